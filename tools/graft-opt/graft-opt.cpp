// graft-opt: runs passes on text, for tests and for looking at one stage at a time.
#include "dialects/nn/NNDialect.h"
#include "dialects/rl/RLDialect.h"
#include "mlir/Dialect/Tensor/IR/Tensor.h"
#include "mlir/Tools/mlir-opt/MlirOptMain.h"
#include "mlir/Transforms/Passes.h"
#include "passes/codegen/Passes.h"

int main(int argc, char **argv) {
  mlir::DialectRegistry registry;
  registry.insert<graft::nn::NNDialect, graft::rl::RLDialect, mlir::tensor::TensorDialect>();
  graft::registerCodegenDialects(registry);
  mlir::registerTransformsPasses();
  graft::registerCodegenPasses();
  return mlir::asMainReturnCode(mlir::MlirOptMain(argc, argv, "Graft's optimizer driver\n", registry));
}
