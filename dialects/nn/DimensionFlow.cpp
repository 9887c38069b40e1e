#include "dialects/nn/DimensionFlow.h"

using namespace mlir;

namespace graft::nn {

void DimensionFlow::mark(Value value, size_t dimension) {
  llvm::SmallBitVector &marked = marked_[value];
  marked.resize(static_cast<unsigned>(typeOf(value).getRank()));
  marked.set(static_cast<unsigned>(dimension));
}

bool DimensionFlow::isMarked(Value value, size_t dimension) const {
  auto it = marked_.find(value);
  return it != marked_.end() && it->second.test(static_cast<unsigned>(dimension));
}

llvm::SmallBitVector DimensionFlow::factors(Operation *op, const ShardingRule &rule) const {
  llvm::SmallBitVector found(static_cast<unsigned>(rule.factors.size()));
  for (auto [operand, dimensions] : llvm::zip(op->getOperands(), rule.operands))
    for (auto [d, some] : llvm::enumerate(dimensions))
      if (isMarked(operand, d))
        for (int factor : some)
          found.set(static_cast<unsigned>(factor));
  return found;
}

void DimensionFlow::markResults(Operation *op, const ShardingRule &rule, const llvm::SmallBitVector &factors) {
  for (auto [result, dimensions] : llvm::zip(op->getResults(), rule.results))
    for (auto [d, some] : llvm::enumerate(dimensions))
      if (llvm::any_of(some, [&](int factor) { return factors.test(static_cast<unsigned>(factor)); }))
        mark(result, d);
}

void DimensionFlow::follow(Operation *op) {
  auto shardable = dyn_cast<ShardingRuleOpInterface>(op);
  if (!shardable || llvm::none_of(op->getOperands(), [&](Value operand) { return anyMarked(operand); }))
    return;
  ShardingRule rule = shardable.getShardingRule();
  markResults(op, rule, factors(op, rule));
}

} // namespace graft::nn
