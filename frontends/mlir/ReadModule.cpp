#include "frontends/mlir/ReadModule.h"

#include "dialects/rl/RLDialect.h"
#include "frontends/mlir/Diagnostics.h"
#include "runtime/base/File.h"
#include "runtime/program/Hash.h"

#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/IR/Verifier.h"
#include "mlir/Parser/Parser.h"

#include "llvm/Support/MemoryBuffer.h"
#include "llvm/Support/SourceMgr.h"

using namespace mlir;

namespace graft {

namespace {

constexpr uint64_t maxBytes = 256u << 20;

bool isModelDialect(StringRef dialect) {
  return llvm::is_contained({"nn", "rl", "arith", "math", "func", "builtin"}, dialect);
}

/// One fault per operator name that no model may contain, per function but @forward, per argument without a name.
Status checkModule(ModuleOp module, const std::string &path) {
  Status status;
  auto fault = [&](Code code, std::string message, Location where, std::string hint = "") {
    std::string place = locationText(where);
    status.merge(Status::error(code, std::move(message), place.empty() ? path : place, std::move(hint)));
  };
  auto forward = module.lookupSymbol<func::FuncOp>("forward");
  if (!forward || !forward.getBody().hasOneBlock())
    return Status::error(Code::Graph, "there is no function @forward of one block", path);
  for (unsigned i = 0; i < forward.getNumArguments(); ++i) {
    auto type = dyn_cast<RankedTensorType>(forward.getArgumentTypes()[i]);
    if (!forward.getArgAttrOfType<StringAttr>(i, rl::nameAttribute))
      fault(Code::Graph, "argument " + std::to_string(i) + " of @forward has no name", forward.getLoc(),
            "give it the attribute {rl.name = \"input_ids\"}");
    if (!type || !type.hasStaticShape())
      fault(Code::Unsupported, "argument " + std::to_string(i) + " of @forward is no tensor of static shape",
            forward.getLoc());
  }
  std::set<std::string> reported;
  module.walk([&](Operation *op) {
    std::string name = op->getName().getStringRef().str();
    if ((!isModelDialect(op->getName().getDialectNamespace()) || isa<func::CallOp>(op)) && reported.insert(name).second)
      fault(Code::Unsupported, "'" + name + "' is no operator of a model", op->getLoc(),
            "a model consists of nn, rl, arith and math operators");
  });
  for (Operation &op : *module.getBody())
    if (&op != forward.getOperation())
      fault(Code::Unsupported, "the module holds more than @forward", op.getLoc());
  return status;
}

} // namespace

Result<ReadModule> readModule(const std::string &path, MLIRContext &context) {
  std::string place = escaped(path, 400);
  GRAFT_ASSIGN_OR_RETURN(InputFile file, InputFile::open(path));
  if (file.size() > maxBytes)
    return Status::error(Code::Limit, "the file is larger than 256 MiB", place);
  std::string text(file.size(), '\0');
  GRAFT_RETURN_IF_ERROR(file.read(0, std::as_writable_bytes(std::span(text))));

  DiagnosticCollector diagnostics(context, Code::Format, "");
  llvm::SourceMgr sources;
  sources.AddNewSourceBuffer(llvm::MemoryBuffer::getMemBuffer(text, path), llvm::SMLoc());
  ReadModule read;
  read.module = parseSourceFile<ModuleOp>(sources, ParserConfig(&context));
  if (!read.module)
    return diagnostics.take("parsing " + place);
  GRAFT_RETURN_IF_ERROR(checkModule(*read.module, place));
  read.fingerprint = hash64(text);
  return read;
}

} // namespace graft
