#include "passes/autodiff/Differentiate.h"

#include "dialects/nn/Build.h"

using namespace mlir;

namespace graft {

namespace {

bool isFloat(Value value) {
  return isa<FloatType>(getElementTypeOrSelf(value.getType()));
}

/// Float values of the block before `end` that depend on one of the inputs.
DenseSet<Value> dependents(Block &block, Block::iterator end, ValueRange inputs) {
  DenseSet<Value> active(inputs.begin(), inputs.end());
  for (Operation &op : llvm::make_range(block.begin(), end))
    if (llvm::any_of(op.getOperands(), [&](Value operand) { return active.contains(operand); }))
      for (Value result : op.getResults())
        if (isFloat(result))
          active.insert(result);
  return active;
}

/// The cotangent of each value seen so far.
class Cotangents {
public:
  Cotangents(OpBuilder &builder) : builder_(builder) {}
  Value of(Value value) const { return map_.lookup(value); }
  void accumulate(Value value, Value cotangent) {
    Value &sum = map_[value];
    sum = sum ? nn::Build(builder_, cotangent.getLoc()).add(sum, cotangent) : cotangent;
  }

private:
  OpBuilder &builder_;
  DenseMap<Value, Value> map_;
};

/// Adds the cotangents of one operator's operands. Fails with an error if it has no gradient.
LogicalResult propagate(Operation &op, OpBuilder &builder, const DenseSet<Value> &active, Cotangents &cotangents) {
  SmallVector<Value> results;
  for (Value result : op.getResults())
    results.push_back(cotangents.of(result));
  SmallVector<bool> wanted;
  for (Value operand : op.getOperands())
    wanted.push_back(active.contains(operand));
  if (!llvm::any_of(results, [](Value v) { return bool(v); }) || !llvm::is_contained(wanted, true))
    return success();
  auto differentiable = dyn_cast<nn::DifferentiableOpInterface>(op);
  if (!differentiable)
    return op.emitError() << "'" << op.getName() << "' has no gradient, but the loss depends on it";
  auto operands = differentiable.buildVJP(builder, results, wanted);
  if (failed(operands))
    return failure();
  for (auto [operand, cotangent, want] : llvm::zip(op.getOperands(), *operands, wanted))
    if (want && cotangent)
      cotangents.accumulate(operand, cotangent);
  return success();
}

/// Erases operators in [begin, end) that nobody uses: partial gradients of operands that did not want one.
void eraseDead(Block::iterator begin, Block::iterator end, ArrayRef<Value> kept) {
  SmallVector<Operation *> added;
  for (Operation &op : llvm::make_range(begin, end))
    added.push_back(&op);
  for (Operation *op : llvm::reverse(added))
    if (op->use_empty() &&
        llvm::none_of(op->getResults(), [&](Value result) { return llvm::is_contained(kept, result); }))
      op->erase();
}

} // namespace

FailureOr<SmallVector<Value>> differentiate(OpBuilder &builder, Value loss, ValueRange inputs) {
  Block &block = *builder.getInsertionBlock();
  Block::iterator end = builder.getInsertionPoint();
  DenseSet<Value> active = dependents(block, end, inputs);
  SmallVector<Operation *> forward;
  for (Operation &op : llvm::make_range(block.begin(), end))
    forward.push_back(&op);

  Cotangents cotangents(builder);
  cotangents.accumulate(loss, nn::Build(builder, loss.getLoc()).like(loss, 1.0));
  bool good = true;
  for (Operation *op : llvm::reverse(forward))
    good = succeeded(propagate(*op, builder, active, cotangents)) && good;
  if (!good)
    return failure();
  SmallVector<Value> gradients;
  for (Value input : inputs)
    gradients.push_back(active.contains(input) ? cotangents.of(input) : Value());
  if (!forward.empty())
    eraseDead(std::next(forward.back()->getIterator()), end, gradients);
  return gradients;
}

} // namespace graft
