// Replaces operators on constants by their value, as far as the value is small.
//
// What is folded is decided by size, not by kind: shape arithmetic, index grids and masks of short sequences disappear;
// tables of weights stay operators. Not thread-safe.
#pragma once

#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/Pass/Pass.h"

namespace graft {

struct FoldLimits {
  int64_t integers = 65536;            ///< elements of a folded integer or boolean tensor
  int64_t floats = 8192;               ///< elements of a folded float tensor
  int64_t operands = int64_t{1} << 20; ///< elements of an operand that is read for it
  int64_t total = int64_t{1} << 27;    ///< elements read and written by all folds together: then folding ends
};

class ConstantFolder {
public:
  explicit ConstantFolder(FoldLimits limits = {}) : limits_(limits) {}

  /// If the operands of `op` are constants and its results are small enough: puts constants in its place, erases it and
  /// returns them. Otherwise (also when it has no defined value, like a division by zero) returns nothing and leaves it
  /// alone. Views of a tensor whose elements are all equal are folded whatever their size; other tensors of booleans or
  /// floats are not repeated.
  llvm::SmallVector<mlir::Value> fold(mlir::Operation *op);

private:
  bool affordable(mlir::Operation *op);

  FoldLimits limits_;
  int64_t spent_ = 0;
};

/// Folds every operator of a function, first to last, and erases what nobody uses then.
void foldConstants(mlir::func::FuncOp function, FoldLimits limits = {});

/// Erases the pure operators of a block whose results nobody uses, last to first.
void eraseDeadOperators(mlir::Block &block);

/// graft-fold-constants: foldConstants() on a func.func.
std::unique_ptr<mlir::Pass> createFoldConstantsPass(FoldLimits limits = {});
void registerFoldConstantsPass();

} // namespace graft
