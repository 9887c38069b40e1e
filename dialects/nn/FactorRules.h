// Building blocks of sharding rules and costs, shared by all operator families.
#pragma once

#include "dialects/nn/NNDialect.h"

namespace graft::nn {

/// One pass-through factor per dimension, the same for every operand and result (all of the result's shape).
ShardingRule elementwiseRule(mlir::Operation *op);

/// Assembles a rule factor by factor. dims(tensor) index operands first, then results.
class RuleBuilder {
public:
  explicit RuleBuilder(mlir::Operation *op);
  /// A new factor; returns its index.
  int factor(int64_t size, FactorKind kind = FactorKind::PassThrough);
  /// Appends the factor to a dimension of an operand or a result (major to minor).
  void operand(unsigned operand, int64_t dimension, int factor) {
    rule_.operands[operand][dimension].push_back(factor);
  }
  void result(int64_t dimension, int factor, unsigned result = 0) {
    rule_.results[result][dimension].push_back(factor);
  }
  ShardingRule take() { return std::move(rule_); }

private:
  ShardingRule rule_;
};

/// FLOPs = points of the rule times `flopsPerPoint`; bytes = all operands and results once.
Cost costFromRule(mlir::Operation *op, const ShardingRule &rule, int64_t flopsPerPoint);

/// `value` wrapped to the two's complement range of a `width`-bit integer; booleans are 0 and 1.
int64_t wrap(int64_t value, unsigned width);

/// The elements of a constant; floats of any width as doubles, integers sign-extended, booleans as 0 and 1.
Tensor tensorFromAttribute(mlir::DenseElementsAttr elements);
/// The reverse: rounds to the element type.
mlir::DenseElementsAttr attributeFromTensor(const Tensor &tensor, mlir::RankedTensorType type);

} // namespace graft::nn
