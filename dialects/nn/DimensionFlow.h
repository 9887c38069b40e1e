// Follows an index, say the tokens of a row, through a graph: which dimensions of which values count it. Read off
// sharding factors, so that it holds for every operator that has a rule.
#pragma once

#include "dialects/nn/NNDialect.h"

#include "llvm/ADT/DenseMap.h"
#include "llvm/ADT/SmallBitVector.h"

namespace graft::nn {

class DimensionFlow {
public:
  void mark(mlir::Value value, size_t dimension);
  bool isMarked(mlir::Value value, size_t dimension) const;
  bool anyMarked(mlir::Value value) const { return marked_.contains(value); }

  /// The factors of `rule`, that of `op`, that some marked dimension of an operand consists of.
  llvm::SmallBitVector factors(mlir::Operation *op, const ShardingRule &rule) const;
  /// Marks the dimensions of results that contain one of the factors.
  void markResults(mlir::Operation *op, const ShardingRule &rule, const llvm::SmallBitVector &factors);
  /// Both, for an operator that has a rule; nothing for others.
  void follow(mlir::Operation *op);

private:
  llvm::DenseMap<mlir::Value, llvm::SmallBitVector> marked_;
};

} // namespace graft::nn
