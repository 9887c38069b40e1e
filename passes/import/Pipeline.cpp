// The order of the import stage, with the reason of each step.
#include "passes/import/Passes.h"

#include "mlir/Pass/PassManager.h"
#include "mlir/Pass/PassRegistry.h"
#include "mlir/Transforms/Passes.h"

using namespace mlir;

namespace graft {

#define GEN_PASS_REGISTRATION
#include "passes/import/Passes.h.inc"

void buildImportPipeline(OpPassManager &manager) {
  // Exporters write the same subexpression again and again; "the same value" must be one value for everything below.
  manager.addPass(createCSEPass());
  // Views meet and vanish, and statistics of rows get the rows' shape: norms are looked for in that form.
  manager.addPass(createSimplifyViews());
  // Equations without views: they say which dimension is batch, head, token.
  manager.addPass(createFoldIntoContract());
  manager.addPass(createCSEPass());
  manager.addPass(createGiveMasksMeaning());
  manager.addPass(createRecogniseNorms());
  // Before attention, which follows queries and keys to the rotation.
  manager.addPass(createRecogniseRope());
  manager.addPass(createRecogniseAttention());
  // What was recognised left views and dead operators behind.
  manager.addPass(createSimplifyViews());
  manager.addPass(createFoldIntoContract());
  manager.addPass(createCSEPass());
}

LogicalResult runImportPasses(func::FuncOp function) {
  PassManager manager(function.getContext(), func::FuncOp::getOperationName());
  buildImportPipeline(manager);
  manager.enableVerifier(false); // addGradients() does, once for all: ten times is an eighth of the stage
  return manager.run(function);
}

void registerImportPasses() {
  registerImportStagePasses();
  PassPipelineRegistration<>("graft-import", "From operators as an exporter writes them to what they mean",
                             buildImportPipeline);
}

} // namespace graft
