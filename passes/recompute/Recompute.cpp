#include "passes/recompute/Recompute.h"

#include "dialects/rl/Names.h"

#include "mlir/IR/IRMapping.h"
#include "mlir/IR/Matchers.h"

#include <cmath>

using namespace mlir;

namespace graft {

namespace {

/// Operators that the loss, the metrics and the log-probs depend on, themselves included.
DenseSet<Operation *> forwardOperators(func::FuncOp function) {
  DenseSet<Operation *> forward;
  SmallVector<Operation *> stack;
  auto visit = [&](Value value) {
    if (Operation *op = value.getDefiningOp(); op && forward.insert(op).second)
      stack.push_back(op);
  };
  for (auto [i, value] : llvm::enumerate(function.getBody().front().getTerminator()->getOperands()))
    if (!resultName(function, i).starts_with(rl::gradientPrefix))
      visit(value);
  while (!stack.empty())
    for (Value operand : stack.pop_back_val()->getOperands())
      visit(operand);
  return forward;
}

/// What is there in the backward pass anyway, besides arguments.
bool isGiven(Operation *op) {
  return isa<rl::ParameterOp>(op) || matchPattern(op, m_Constant());
}

bool isFree(Operation *op) {
  auto cost = dyn_cast<nn::CostOpInterface>(op);
  return cost && cost.getRecomputeClass() == nn::RecomputeClass::Free;
}

int64_t bytesOf(Value value) {
  auto type = nn::typeOf(value);
  int64_t bits = type.getElementTypeBitWidth();
  return type.getNumElements() * std::max<int64_t>(1, bits / 8);
}

bool isReplayable(Operation *op) {
  auto cost = dyn_cast<nn::CostOpInterface>(op);
  return cost && op->getNumRegions() == 0 && cost.getRecomputeClass() != nn::RecomputeClass::Discrete &&
         cost.getRecomputeClass() != nn::RecomputeClass::Collective;
}

/// True for what runs in one kernel with the operators that feed and follow it.
bool isFusible(Operation *op) {
  return nn::isElementwise(op) || isa<nn::ReduceOp>(op);
}

/// Does any operator read the value from memory, directly or through views, among those that `counts`?
template <typename Counts> bool isReadFromMemory(Value value, Counts counts) {
  return llvm::any_of(value.getUsers(), [&](Operation *user) {
    if (isFree(user))
      return isReadFromMemory(user->getResult(0), counts);
    return counts(user) && !isFusible(user);
  });
}

int64_t picoseconds(double seconds) {
  return std::max<int64_t>(1, std::llround(seconds * 1e12));
}

/// Prices of keeping a value and of running an operator again. What a library reads is in memory; what only kernels
/// read is not, until it is kept, and costs them next to nothing to compute again.
class Prices {
public:
  Prices(const DenseSet<Operation *> &forward, const TargetRates &rates) : forward_(forward), rates_(rates) {}

  int64_t ofKeeping(Value value) const {
    bool written = isReadFromMemory(value, [&](Operation *user) { return forward_.contains(user); });
    return picoseconds((written ? 1 : 2) * seconds(bytesOf(value)));
  }

  int64_t ofReplaying(Operation *op) const {
    auto interface = dyn_cast<nn::CostOpInterface>(op);
    if (!interface)
      return 0;
    nn::Cost cost = interface.getCost();
    if (!isFusible(op))
      return picoseconds(rates_.seconds(static_cast<double>(cost.flops), static_cast<double>(cost.bytes)));
    double sum = 0;
    for (Value result : op->getResults()) {
      bool written = isReadFromMemory(result, [&](Operation *user) { return !forward_.contains(user); });
      sum += (written ? 1.5 : 0.25) * seconds(bytesOf(result));
    }
    return picoseconds(sum);
  }

private:
  double seconds(int64_t bytes) const { return rates_.seconds(0, static_cast<double>(bytes)); }

  const DenseSet<Operation *> &forward_;
  const TargetRates &rates_;
};

} // namespace

RecomputeGraph::RecomputeGraph(func::FuncOp function, const TargetRates &rates) {
  Block &block = function.getBody().front();
  DenseSet<Operation *> forward = forwardOperators(function);
  Prices prices(forward, rates);
  DenseMap<Value, int> valueOf;
  for (Operation &op : block) {
    bool ours = forward.contains(&op) && !isGiven(&op);
    operatorAt_.push_back(ours ? static_cast<int>(problem_.operators.size()) : -1);
    if (!ours) {
      for (Value operand : op.getOperands())
        if (auto it = valueOf.find(operand); it != valueOf.end() && !op.hasTrait<OpTrait::IsTerminator>())
          problem_.values[it->second].needed = true;
      continue;
    }
    recompute::Operator &node = problem_.operators.emplace_back();
    bool free = isFree(&op);
    node.replayable = free || isReplayable(&op);
    node.cost = free ? 0 : prices.ofReplaying(&op);
    for (Value operand : op.getOperands())
      if (auto it = valueOf.find(operand); it != valueOf.end() && !llvm::is_contained(node.inputs, it->second))
        node.inputs.push_back(it->second);
    for (Value result : op.getResults()) {
      valueOf[result] = static_cast<int>(problem_.values.size());
      node.results.push_back(valueOf[result]);
      problem_.values.push_back({bytesOf(result), free ? 0 : prices.ofKeeping(result), free, false});
    }
  }
}

namespace {

/// Makes replayed values available in the backward pass, each once, as late as possible.
class Replay {
public:
  Replay(const DenseSet<Operation *> &replayed, StringAttr mark) : replayed_(replayed), mark_(mark) {}

  /// Lets `user`, an operator of the backward pass, read clones.
  void serve(Operation *user) {
    for (OpOperand &operand : user->getOpOperands())
      operand.set(available(operand.get(), user));
  }

private:
  Value available(Value value, Operation *before) {
    Operation *op = value.getDefiningOp();
    if (!op || !replayed_.contains(op))
      return value;
    if (Value known = clones_.lookupOrNull(value))
      return known;
    for (Value operand : op->getOperands())
      (void)available(operand, before);
    OpBuilder builder(before);
    builder.clone(*op, clones_)->setAttr(rl::phaseAttribute, mark_);
    return clones_.lookup(value);
  }

  const DenseSet<Operation *> &replayed_;
  StringAttr mark_;
  IRMapping clones_;
};

} // namespace

void RecomputeGraph::apply(func::FuncOp function, const recompute::Plan &plan) const {
  DenseSet<Operation *> replayed;
  SmallVector<Operation *> backward;
  for (auto [op, index] : llvm::zip_equal(function.getBody().front(), operatorAt_)) {
    if (index >= 0 && plan.replayed[index])
      replayed.insert(&op);
    if (index < 0 && !isGiven(&op) && !op.hasTrait<OpTrait::IsTerminator>())
      backward.push_back(&op);
  }
  Builder builder(function.getContext());
  Replay replay(replayed, builder.getStringAttr(rl::recomputePhase));
  for (Operation *op : backward) {
    replay.serve(op);
    op->setAttr(rl::phaseAttribute, builder.getStringAttr(rl::backwardPhase));
  }
}

} // namespace graft
