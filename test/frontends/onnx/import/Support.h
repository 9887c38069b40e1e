// What the tests of the importer share: reading models and safetensors files of test/data, running a function.
#pragma once

#include "dialects/reference/Interpreter.h"
#include "dialects/rl/RLDialect.h"
#include "frontends/onnx/import/Import.h"

#include "mlir/IR/MLIRContext.h"
#include "llvm/Support/JSON.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>
#include <fstream>
#include <map>
#include <sstream>

namespace graft::onnx {

inline std::string dataPath(const std::string &path) {
  return std::string(GRAFT_SOURCE_DIR) + "/test/data/" + path;
}

inline std::string readFile(const std::string &path) {
  std::ifstream in(path, std::ios::binary);
  EXPECT_TRUE(in.good()) << path;
  std::stringstream text;
  text << in.rdbuf();
  return text.str();
}

/// All tensors of a safetensors file as the interpreter holds them. For files that the tests trust.
inline std::map<std::string, graft::Tensor> readSafetensors(const std::string &path) {
  std::string bytes = readFile(path);
  uint64_t headerSize = 0;
  std::memcpy(&headerSize, bytes.data(), 8);
  auto header = llvm::json::parse(llvm::StringRef(bytes).substr(8, headerSize));
  EXPECT_TRUE(static_cast<bool>(header)) << path;
  std::map<std::string, graft::Tensor> out;
  for (const auto &[key, value] : *header->getAsObject()) {
    const llvm::json::Object *entry = value.getAsObject();
    if (key == "__metadata__")
      continue;
    graft::Tensor::Shape shape;
    int64_t count = 1;
    for (const llvm::json::Value &size : *entry->getArray("shape")) {
      shape.push_back(*size.getAsInteger());
      count *= shape.back();
    }
    const char *data = bytes.data() + 8 + headerSize + *(*entry->getArray("data_offsets"))[0].getAsInteger();
    auto fill = [&]<typename T>(auto &to) {
      for (int64_t i = 0; i < count; ++i) {
        T element;
        std::memcpy(&element, data + i * static_cast<int64_t>(sizeof(T)), sizeof(T));
        to[i] = static_cast<std::decay_t<decltype(to[i])>>(element);
      }
    };
    llvm::StringRef dtype = *entry->getString("dtype");
    graft::Tensor tensor = dtype.starts_with("F") ? graft::Tensor::floats(shape) : graft::Tensor::integers(shape);
    if (dtype == "F32")
      fill.operator()<float>(tensor.f());
    else if (dtype == "F64")
      fill.operator()<double>(tensor.f());
    else if (dtype == "I64")
      fill.operator()<int64_t>(tensor.i());
    else if (dtype == "I32")
      fill.operator()<int32_t>(tensor.i());
    else
      ADD_FAILURE() << dtype.str() << " in " << path;
    out[key.str()] = tensor;
  }
  return out;
}

/// A context with the dialects of Graft.
inline std::unique_ptr<mlir::MLIRContext> makeContext() {
  mlir::DialectRegistry registry;
  rl::registerDialects(registry);
  return std::make_unique<mlir::MLIRContext>(registry, mlir::MLIRContext::Threading::DISABLED);
}

/// The values of the initializers that became parameters.
inline std::map<std::string, graft::Tensor> initializerValues(const ImportedModel &model, ModelFile &file) {
  std::map<std::string, graft::Tensor> out;
  for (const ImportedParameter &parameter : model.parameters)
    if (parameter.initializer) {
      auto values = tensorFloats(*parameter.initializer, &file.external());
      EXPECT_TRUE(values.isOk()) << values.status().text();
      out[parameter.name] = graft::Tensor::floats(parameter.shape, *values);
    }
  return out;
}

inline mlir::func::FuncOp forwardOf(const ImportedModel &model) {
  return model.module.get().lookupSymbol<mlir::func::FuncOp>("forward");
}

/// Runs the function on inputs by name.
inline llvm::SmallVector<graft::Tensor> run(const ImportedModel &model,
                                            const std::map<std::string, graft::Tensor> &inputs,
                                            const std::map<std::string, graft::Tensor> &parameters) {
  mlir::func::FuncOp function = forwardOf(model);
  llvm::SmallVector<graft::Tensor> arguments;
  for (unsigned i = 0; i < function.getNumArguments(); ++i)
    arguments.push_back(inputs.at(function.getArgAttrOfType<mlir::StringAttr>(i, rl::nameAttribute).str()));
  auto results = interpret(function, arguments, [&](llvm::StringRef name) -> std::optional<graft::Tensor> {
    auto found = parameters.find(name.str());
    return found == parameters.end() ? std::nullopt : std::optional(found->second);
  });
  EXPECT_TRUE(succeeded(results));
  return succeeded(results) ? *results : llvm::SmallVector<graft::Tensor>();
}

} // namespace graft::onnx
