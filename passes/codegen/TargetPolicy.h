// What a target decides when a row program is written as loops over vectors. Everything else is shared.
//
// A *lane group* is the set of threads that work on one row together: one CPU thread, later a warp or a block of a GPU.
// Each member takes vectors of `vectorWidth` columns, starting at `firstColumn` and stepping by `columnStep`.
#pragma once

#include "dialects/rt/RTOps.h"

namespace graft {

class TargetPolicy {
public:
  virtual ~TargetPolicy() = default;

  /// Elements of one vector, a power of two.
  virtual int64_t vectorWidth(int64_t columns) const = 0;
  /// The first column of this member (index).
  virtual mlir::Value firstColumn(mlir::OpBuilder &builder, mlir::Location loc, int64_t width) const = 0;
  /// Columns that the whole group takes in one step.
  virtual int64_t columnStep(int64_t width) const = 0;
  /// The mask (vector<width x i1>) of the last step, of which `tail` columns exist.
  virtual mlir::Value tailMask(mlir::OpBuilder &builder, mlir::Location loc, int64_t width, int64_t tail) const = 0;
  /// The row's value, known to all members, from each member's vector of partial results.
  virtual mlir::Value foldLanes(mlir::OpBuilder &builder, mlir::Location loc, rt::ReductionKind kind,
                                mlir::Value partial) const = 0;
  /// Runs `store` for one member of the group.
  virtual void storePerRow(mlir::OpBuilder &builder, mlir::Location loc,
                           llvm::function_ref<void(mlir::OpBuilder &)> store) const = 0;
};

/// One thread per row, 64 lanes: on AVX-512 four independent registers per value, which hides the latency of
/// reductions. Lives as long as the process.
const TargetPolicy &cpuPolicy();

} // namespace graft
