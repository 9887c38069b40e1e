// A group of operators (Groups.h) as one row program and the instruction that calls it.
#pragma once

#include "dialects/rt/RTOps.h"
#include "passes/lower/EntryBuilder.h"

namespace graft {

/// Appends a row program to the module `kernels` and a KernelCall to the entry; column reductions that are split over
/// units add a second pair that sums the parts. The instruction's kernel index is the position of its row program among
/// those of the module. Fails with an error on an operator that no row program can say.
mlir::LogicalResult emitGroup(mlir::ModuleOp kernels, EntryBuilder &entry, const Grouping &grouping, int group);

/// Merges adjacent row dimensions where every access allows it, drops those of size 1, and lengthens short columns:
/// fewer index updates per row, longer vectors. The same elements in the same order. Exposed for its test.
void simplifySpace(rt::RowProgramOp program);

} // namespace graft
