// What a target decides when a row program is written as loops over vectors. Everything else is shared.
//
// A *lane group* is the set of threads that work on one unit together, row after row: one CPU thread, a warp or a block
// of a GPU. Each member takes vectors of `width` columns, starting at its first column and stepping by `columnStep`, so
// the same member owns the same columns in every row: partial sums over rows need no atomic operation. A group of
// several members has a width that divides the columns, so that only a CPU meets half a vector at a row's end.
#pragma once

#include "dialects/rt/RTOps.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/IR/ImplicitLocOpBuilder.h"
#include <memory>

namespace graft {

enum class CodeTarget { Cpu, Cuda };

/// The units that a group takes.
struct UnitSteps {
  mlir::Value first;
  mlir::Value step; ///< null: 1
};

/// Memory for a scratch row of the group.
struct ScratchMemory {
  mlir::Value buffer; ///< one-dimensional memref of f32
  mlir::Value base;   ///< index of the row's first element; null: 0
};

/// One target's answers for one program. `begin` is called first; what it writes stands before all else.
class TargetPolicy {
public:
  TargetPolicy(int64_t width, int64_t columnStep) : width_(width), columnStep_(columnStep) {}
  virtual ~TargetPolicy() = default;

  /// Elements of one vector, a power of two.
  int64_t width() const { return width_; }
  /// Columns that the whole group takes in one step.
  int64_t columnStep() const { return columnStep_; }
  /// Whether the target rounds to bf16 by an instruction.
  virtual bool roundsToBf16() const = 0;

  /// Says what the function is and writes what its members need to know about themselves.
  virtual void begin(mlir::ImplicitLocOpBuilder &builder, mlir::func::FuncOp function) = 0;
  /// The group's share of the units [begin, ...).
  virtual UnitSteps units(mlir::ImplicitLocOpBuilder &builder, mlir::Value begin) = 0;
  /// The first column of this member (index).
  virtual mlir::Value firstColumn(mlir::OpBuilder &builder, mlir::Location loc) = 0;
  /// Memory for the program's `index`-th scratch row, padded to whole vectors.
  virtual ScratchMemory scratch(mlir::ImplicitLocOpBuilder &builder, int64_t index) = 0;
  /// Where in its memory the scratch row keeps `column`, the first of a vector.
  virtual mlir::Value scratchColumn(mlir::OpBuilder &builder, mlir::Location loc, mlir::Value column) = 0;
  /// The row's value, known to all members, from each member's vector of partial results.
  virtual mlir::Value foldLanes(mlir::OpBuilder &builder, mlir::Location loc, rt::ReductionKind kind,
                                mlir::Value partial) = 0;
  /// Runs `store` for one member of the group. `isRead`: members may read elsewhere in the row what is stored.
  virtual void storePerRow(mlir::OpBuilder &builder, mlir::Location loc, bool isRead,
                           llvm::function_ref<void(mlir::OpBuilder &)> store) = 0;

private:
  int64_t width_, columnStep_;
};

/// One thread per unit, 64 lanes: on AVX-512 four independent registers per value, which hides the latency of
/// reductions.
std::unique_ptr<TargetPolicy> cpuPolicy(rt::RowProgramOp program);

/// A warp per unit up to 1,024 columns, a block of 256 threads above; 16-byte accesses where rows are aligned to them.
std::unique_ptr<TargetPolicy> cudaPolicy(rt::RowProgramOp program);

/// How a CUDA kernel is launched: any number of blocks gives the same bits; more than units / blockUnits are idle.
struct CudaLaunch {
  int32_t blockThreads; ///< threads of a block, exactly
  int32_t blockUnits;   ///< units that a block takes at a time
};
CudaLaunch cudaLaunch(rt::RowProgramOp program);

} // namespace graft
