// Passes and pipeline of the import stage; Passes.td is the manual.
#pragma once

#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/Pass/Pass.h"

#include <memory>

namespace mlir {
class OpPassManager;
} // namespace mlir

namespace graft {

#define GEN_PASS_DECL
#include "passes/import/Passes.h.inc"

/// From operators as an exporter writes them to what they mean. Named `graft-import` on the command line; the order and
/// its reasons stand in Pipeline.cpp. The manager runs on func.func.
void buildImportPipeline(mlir::OpPassManager &manager);

/// Runs the pipeline on one function. What could not be recognised is reported by remarks on the operators; the
/// function is correct all the same. Fails only if the IR is invalid.
mlir::LogicalResult runImportPasses(mlir::func::FuncOp function);

/// Registers this stage's passes and its pipeline with the process, for graft-opt.
void registerImportPasses();

} // namespace graft
