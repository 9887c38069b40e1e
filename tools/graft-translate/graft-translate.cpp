// graft-translate: row programs as PTX text, for tests and for looking at the code.
#include "mlir/Tools/mlir-translate/MlirTranslateMain.h"
#include "mlir/Tools/mlir-translate/Translation.h"
#include "passes/codegen/CompileKernels.h"
#include "passes/codegen/Passes.h"

using namespace mlir;

static LogicalResult translateToPtx(ModuleOp module, llvm::raw_ostream &out) {
  graft::Result<graft::CompiledPtx> compiled = graft::compileRowProgramsToPtx(module, {});
  if (!compiled.isOk())
    return module.emitError() << compiled.status().text();
  out << compiled->text;
  return success();
}

int main(int argc, char **argv) {
  TranslateFromMLIRRegistration toPtx("row-programs-to-ptx", "Row programs to PTX", translateToPtx,
                                      graft::registerCodegenDialects);
  return failed(mlirTranslateMain(argc, argv, "Graft's translation driver\n"));
}
