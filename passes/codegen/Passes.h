// Passes and pipelines of the code generation stage; Passes.td is the manual.
#pragma once

#include "mlir/Pass/Pass.h"
#include "passes/codegen/TargetPolicy.h"
#include <memory>

namespace mlir {
class DialectRegistry;
class OpPassManager;
} // namespace mlir

namespace graft {

#define GEN_PASS_DECL
#include "passes/codegen/Passes.h.inc"

/// From row programs to the LLVM dialect. Named `graft-compile-row-programs` on the command line.
void buildRowProgramPipeline(mlir::OpPassManager &manager, CodeTarget target);

/// The dialects that this stage reads and creates: rt, arith, cf, func, LLVM, math, memref, NVVM, scf, vector.
void registerCodegenDialects(mlir::DialectRegistry &registry);

/// Registers this stage's passes and its pipeline with the process, for graft-opt.
void registerCodegenPasses();

} // namespace graft
