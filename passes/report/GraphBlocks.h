// The repeated blocks of a graph, before and after import, for the port report.
#pragma once

#include "frontends/onnx/Model.h"
#include "passes/report/PortReport.h"

#include "mlir/Dialect/Func/IR/FuncOps.h"

namespace graft::report {

/// The module path of a location chain, "" if it has none.
std::string modulePath(mlir::Location location);

/// Blocks of an imported function, described by what their operators mean.
std::vector<ReportBlock> importedBlocks(mlir::func::FuncOp function);

/// Blocks of a graph that could not be imported, described by their operators' names. `graph` need not be sound.
std::vector<ReportBlock> graphBlocks(const onnx::Graph &graph);

} // namespace graft::report
