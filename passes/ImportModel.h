// From a recipe's [model] to a forward graph whose parameters carry the checkpoint's names.
#pragma once

#include "frontends/onnx/ModelFile.h"
#include "frontends/recipe/Recipe.h"
#include "frontends/weights/Checkpoint.h"

#include "mlir/IR/BuiltinOps.h"
#include "mlir/IR/OwningOpRef.h"

namespace graft {

/// A parameter after binding. With a checkpoint, names are the checkpoint's; without one, the graph's.
struct ImportedParameter {
  std::string name;
  std::vector<std::string> aliases; ///< other names of the same tensor, in the graph or in the checkpoint, sorted
  std::vector<int64_t> shape;
  bool trained = false;
};

struct ImportedGraph {
  mlir::OwningOpRef<mlir::ModuleOp> module;  ///< @forward after the import passes
  std::vector<ImportedParameter> parameters; ///< one per distinct tensor, sorted by name
  std::vector<std::string> notes;            ///< for people
  uint64_t fingerprint = 0;                  ///< of the graph file
  int64_t vocabulary = 0;                    ///< last dimension of the logits
  bool sharesPrompts = false;                ///< packed: prompts stand in a row once
};

/// Reads the graph (.onnx; .mlir, .mlirbc) with batch.sequences / batch.micro_batches rows of batch.tokens tokens, or
/// one row of batch.packed (then @forward takes packed arrays: passes/import/Pack.h), opens the weights, binds names
/// (checkpoint name, [model.names], equal external data, tie_word_embeddings), and runs the import passes. Tied tensors
/// become one parameter. A float tensor of the graph that the checkpoint lacks and that is not used like a weight
/// becomes a constant, with a note. Errors: those of the readers, everything that can be found at once.
Result<ImportedGraph> importGraph(const Recipe &recipe, mlir::MLIRContext &context);

} // namespace graft
