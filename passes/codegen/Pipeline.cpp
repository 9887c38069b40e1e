// The order of code generation for a CPU, with the reason of each step.
#include "mlir/Conversion/Passes.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/Dialect/MemRef/Transforms/Passes.h"
#include "mlir/Pass/PassManager.h"
#include "mlir/Transforms/Passes.h"
#include "passes/codegen/Passes.h"

using namespace mlir;

namespace graft {

#define GEN_PASS_REGISTRATION
#include "passes/codegen/Passes.h.inc"

void buildRowProgramPipeline(OpPassManager &manager) {
  manager.addPass(createRowProgramToVector());
  // Before any conversion: the patterns match math on vectors.
  manager.addNestedPass<func::FuncOp>(createApproximateMath());
  // The emitter repeats constants and row addresses; one of each is cheaper to convert than many.
  manager.addNestedPass<func::FuncOp>(createCSEPass());
  manager.addPass(createSCFToControlFlowPass());
  ConvertVectorToLLVMPassOptions vectorOptions;
  vectorOptions.reassociateFPReductions = true; // the final fold of a vector's lanes as a tree
  manager.addPass(createConvertVectorToLLVMPass(vectorOptions));
  manager.addPass(createFinalizeMemRefToLLVMConversionPass());
  manager.addPass(createConvertMathToLLVMPass());
  manager.addPass(createArithToLLVMConversionPass());
  manager.addPass(createConvertControlFlowToLLVMPass());
  ConvertFuncToLLVMPassOptions functionOptions;
  functionOptions.useBarePtrCallConv = true; // one pointer per buffer; shapes are static
  manager.addPass(createConvertFuncToLLVMPass(functionOptions));
  manager.addPass(createReconcileUnrealizedCastsPass());
}

void registerCodegenPasses() {
  registerCodegenStagePasses();
  PassPipelineRegistration<>("graft-compile-row-programs", "From row programs to the LLVM dialect for a CPU",
                             buildRowProgramPipeline);
}

} // namespace graft
