// The order of code generation, with the reason of each step. Targets differ in the first step only.
#include "dialects/rt/RTDialect.h"
#include "mlir/Conversion/Passes.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/ControlFlow/IR/ControlFlow.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/Dialect/LLVMIR/LLVMDialect.h"
#include "mlir/Dialect/LLVMIR/NVVMDialect.h"
#include "mlir/Dialect/Math/IR/Math.h"
#include "mlir/Dialect/MemRef/IR/MemRef.h"
#include "mlir/Dialect/SCF/IR/SCF.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"
#include "mlir/Pass/PassManager.h"
#include "mlir/Transforms/Passes.h"
#include "passes/codegen/Passes.h"

using namespace mlir;

namespace graft {

#define GEN_PASS_REGISTRATION
#include "passes/codegen/Passes.h.inc"

void buildRowProgramPipeline(OpPassManager &manager, CodeTarget target) {
  manager.addPass(createRowProgramToVector({target}));
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

namespace {
struct PipelineOptions : PassPipelineOptions<PipelineOptions> {
  Option<CodeTarget> target{*this, "target", llvm::cl::desc("What runs the code"), llvm::cl::init(CodeTarget::Cpu),
                            llvm::cl::values(clEnumValN(CodeTarget::Cpu, "cpu", "a CPU"),
                                             clEnumValN(CodeTarget::Cuda, "cuda", "a CUDA GPU"))};
};
} // namespace

void registerCodegenDialects(DialectRegistry &registry) {
  registry
      .insert<rt::RTDialect, arith::ArithDialect, cf::ControlFlowDialect, func::FuncDialect, LLVM::LLVMDialect,
              math::MathDialect, memref::MemRefDialect, NVVM::NVVMDialect, scf::SCFDialect, vector::VectorDialect>();
}

void registerCodegenPasses() {
  registerCodegenStagePasses();
  PassPipelineRegistration<PipelineOptions>(
      "graft-compile-row-programs", "From row programs to the LLVM dialect",
      [](OpPassManager &manager, const PipelineOptions &options) { buildRowProgramPipeline(manager, options.target); });
}

} // namespace graft
