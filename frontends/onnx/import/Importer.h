// The walk over the graph: names and what they stand for, faults, the function that is built.
#pragma once

#include <unordered_map>

#include "frontends/onnx/Faults.h"
#include "frontends/onnx/import/Call.h"
#include "frontends/onnx/import/Import.h"

#include "mlir/Dialect/Func/IR/FuncOps.h"

namespace graft::onnx {

class Importer {
public:
  Importer(ModelFile &file, mlir::MLIRContext &context, const ImportOptions &options)
      : file_(file), options_(options), context_(context), builder_(&context), folder_(options.fold) {}

  Result<ImportedModel> run();

  // For Call.
  const Binding &lookup(std::string_view name);
  ExternalData &external() { return file_.external(); }
  ConstantFolder &folder() { return folder_; }

private:
  void chooseOutputs();
  void bindInputs();
  std::vector<const Node *> neededNodes() const;
  void translate(const Node &node);
  void foldSince(mlir::Operation *last, SmallVector<Binding, 1> &results);
  void finish();

  std::optional<Sizes> inputShape(const ValueInfo &input);
  std::optional<int64_t> inputSize(const ValueInfo &input, size_t axis, bool tokens, bool past);
  Binding materialize(std::string_view name);
  Value parameter(std::string_view name, std::vector<int64_t> shape, int32_t dataType, bool trained,
                  const Tensor *initializer);
  mlir::Location location(const Node &node);
  void verify();

  ModelFile &file_;
  const ImportOptions &options_;
  mlir::MLIRContext &context_;
  mlir::OpBuilder builder_;
  ConstantFolder folder_;
  Faults faults_;
  ImportedModel out_;

  mlir::func::FuncOp function_;
  mlir::Operation *lastHeader_ = nullptr; ///< parameters and constants of the graph stand before the nodes
  std::unordered_map<std::string_view, Binding> names_;
  std::unordered_map<std::string_view, const Tensor *> initializers_;
  std::vector<const ValueInfo *> outputs_;
  std::string modulePath_;    ///< of the last node that had one
  mlir::LocationAttr module_; ///< the same as a location
};

/// The MLIR type of a TensorProto.DataType; null if nn has none.
mlir::Type elementTypeOf(int32_t dataType, mlir::MLIRContext *context);
/// The contents of a checked tensor. Faults: Unsupported, Limit, those of tensorBytes().
Result<mlir::DenseElementsAttr> tensorAttribute(const Tensor &tensor, ExternalData *external,
                                                mlir::MLIRContext *context);

} // namespace graft::onnx
