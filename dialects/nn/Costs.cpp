// Sharding factors, cost and recompute class of the structured operators, by family.
#include "dialects/nn/FactorRules.h"

using namespace mlir;

namespace graft::nn {

namespace {

using Kind = FactorKind;

/// Element-wise, except that `axis` (all operands and results have one shape) has another kind.
ShardingRule rowRule(Operation *op, int64_t axis, Kind kind) {
  ShardingRule rule = elementwiseRule(op);
  rule.factors[axis].kind = kind;
  return rule;
}

/// Gather and scatter: wide [outer, n, inner], indices [i...], narrow [outer, i..., inner].
/// `wide` and `narrow` add a factor to a dimension of the respective tensor; `along` is the kind of the wide tensor's
/// axis, `each` that of the indices' dimensions.
template <typename Wide, typename Narrow>
ShardingRule takeRule(Operation *op, ArrayRef<int64_t> wide, ArrayRef<int64_t> indices, int64_t axis, Wide addWide,
                      Narrow addNarrow, Kind along, Kind each) {
  RuleBuilder rule(op);
  int64_t extra = static_cast<int64_t>(indices.size()) - 1;
  for (int64_t d = 0; d < static_cast<int64_t>(wide.size()); ++d) {
    int factor = rule.factor(wide[d], d == axis ? along : Kind::PassThrough);
    addWide(rule, d, factor);
    if (d != axis)
      addNarrow(rule, d < axis ? d : d + extra, factor);
  }
  for (auto [i, size] : llvm::enumerate(indices)) {
    int factor = rule.factor(size, each);
    rule.operand(1, static_cast<int64_t>(i), factor);
    addNarrow(rule, axis + static_cast<int64_t>(i), factor);
  }
  return rule.take();
}

/// A cost that counts `flops` per element of a tensor instead of per point: a gather computes no more than it returns,
/// a scatter no more than it adds.
Cost perElement(Operation *op, Value counted, int64_t flops) {
  Cost cost = costFromRule(op, ShardingRule{}, 0);
  cost.flops = typeOf(counted).getNumElements() * flops;
  return cost;
}

/// Factors of a slice or pad: a dimension that is cut is blocked.
ShardingRule boxRule(Operation *op) {
  RuleBuilder rule(op);
  auto in = shapeOf(op->getOperand(0)), out = shapeOf(op->getResult(0));
  for (auto [d, sizes] : llvm::enumerate(llvm::zip(in, out))) {
    auto [a, b] = sizes;
    int factor = rule.factor(std::max(a, b), a == b ? Kind::PassThrough : Kind::Blocked);
    rule.operand(0, static_cast<int64_t>(d), factor);
    rule.result(static_cast<int64_t>(d), factor);
  }
  return rule.take();
}

} // namespace

//===-- Shape -----------------------------------------------------------------------------------------------------===//

ShardingRule BroadcastOp::getShardingRule() {
  RuleBuilder rule(*this);
  for (auto [d, size] : llvm::enumerate(shapeOf(getResult()))) {
    int factor = rule.factor(size);
    rule.result(static_cast<int64_t>(d), factor);
    if (const auto *it = llvm::find(getDimensions(), static_cast<int64_t>(d)); it != getDimensions().end())
      rule.operand(0, it - getDimensions().begin(), factor);
  }
  return rule.take();
}

namespace {

/// Cuts a run of input dimensions and a run of result dimensions with equal products into common factors, major to
/// minor: [8, 64] -> [512] gives (i j), [6, 4] -> [3, 8] gives (i j) k -> i (j k). Returns false, having added nothing,
/// where no common cut exists ([6, 4] -> [4, 6]).
bool cutRun(RuleBuilder &rule, ArrayRef<int64_t> in, ArrayRef<int64_t> out, int64_t firstIn, int64_t firstOut) {
  struct Part {
    int64_t size;
    size_t i, j;
  };
  SmallVector<Part> parts;
  for (size_t i = 0, j = 0, left = 1, right = 1; i < in.size() || j < out.size();) {
    left = left == 1 && i < in.size() ? in[i] : left;
    right = right == 1 && j < out.size() ? out[j] : right;
    size_t common = std::min(left, right);
    if (left % common != 0 || right % common != 0)
      return false;
    if (common > 1)
      parts.push_back({static_cast<int64_t>(common), i, j});
    left /= common;
    right /= common;
    i += left == 1;
    j += right == 1;
  }
  for (const Part &part : parts) {
    int factor = rule.factor(part.size);
    rule.operand(0, firstIn + static_cast<int64_t>(part.i), factor);
    rule.result(firstOut + static_cast<int64_t>(part.j), factor);
  }
  return true;
}

} // namespace

ShardingRule ReshapeOp::getShardingRule() {
  RuleBuilder rule(*this);
  auto in = shapeOf(getInput()), out = shapeOf(getResult());
  auto replicate = [&](size_t i0, size_t i1, size_t j0, size_t j1) {
    for (size_t i = i0; i < i1; ++i)
      rule.operand(0, static_cast<int64_t>(i), rule.factor(in[i], Kind::MustReplicate));
    for (size_t j = j0; j < j1; ++j)
      rule.result(static_cast<int64_t>(j), rule.factor(out[j], Kind::MustReplicate));
  };
  if (typeOf(getInput()).getNumElements() == 0) {
    replicate(0, in.size(), 0, out.size());
    return rule.take();
  }
  // Runs of dimensions with equal products, as short as possible, from the left.
  for (size_t i = 0, j = 0; i < in.size() || j < out.size();) {
    size_t i0 = i, j0 = j;
    int64_t left = i < in.size() ? in[i++] : 1, right = j < out.size() ? out[j++] : 1;
    while (left != right)
      left < right ? left *= in[i++] : right *= out[j++];
    if (!cutRun(rule, in.slice(i0, i - i0), out.slice(j0, j - j0), static_cast<int64_t>(i0), static_cast<int64_t>(j0)))
      replicate(i0, i, j0, j);
  }
  return rule.take();
}

ShardingRule TransposeOp::getShardingRule() {
  RuleBuilder rule(*this);
  for (auto [i, d] : llvm::enumerate(getPermutation())) {
    int factor = rule.factor(shapeOf(getInput())[d]);
    rule.operand(0, d, factor);
    rule.result(static_cast<int64_t>(i), factor);
  }
  return rule.take();
}

ShardingRule SliceOp::getShardingRule() {
  return boxRule(*this);
}
ShardingRule PadOp::getShardingRule() {
  return boxRule(*this);
}

ShardingRule ConcatOp::getShardingRule() {
  RuleBuilder rule(*this);
  for (auto [d, size] : llvm::enumerate(shapeOf(getResult()))) {
    auto dimension = static_cast<int64_t>(d);
    int factor = rule.factor(size, d == getAxis() ? Kind::Blocked : Kind::PassThrough);
    rule.result(dimension, factor);
    for (unsigned i = 0; i < getNumOperands(); ++i)
      rule.operand(i, dimension, factor);
  }
  return rule.take();
}

ShardingRule IotaOp::getShardingRule() {
  return elementwiseRule(*this);
}

//===-- Reductions ------------------------------------------------------------------------------------------------===//

ShardingRule ReduceOp::getShardingRule() {
  RuleBuilder rule(*this);
  int64_t kept = 0;
  for (auto [d, size] : llvm::enumerate(shapeOf(getInput()))) {
    bool reduced = llvm::is_contained(getAxes(), static_cast<int64_t>(d));
    int factor = rule.factor(size, reduced ? Kind::Reduction : Kind::PassThrough);
    rule.operand(0, static_cast<int64_t>(d), factor);
    if (!reduced)
      rule.result(kept++, factor);
  }
  return rule.take();
}

ShardingRule CumsumOp::getShardingRule() {
  return rowRule(*this, getAxis(), Kind::MustReplicate);
}
ShardingRule SoftmaxOp::getShardingRule() {
  return rowRule(*this, getAxis(), Kind::MustReplicate);
}
ShardingRule LogSoftmaxOp::getShardingRule() {
  return rowRule(*this, getAxis(), Kind::MustReplicate);
}

//===-- Products --------------------------------------------------------------------------------------------------===//

ShardingRule ContractOp::getShardingRule() {
  RuleBuilder rule(*this);
  std::map<char, int> factors;
  auto labels = getLabels();
  for (int t = 0; t < 3; ++t) {
    auto shape = shapeOf(t == 0 ? getLhs() : t == 1 ? getRhs() : Value(getResult()));
    for (auto [d, label] : llvm::enumerate(labels[t])) {
      auto it = factors.find(label);
      if (it == factors.end())
        it =
            factors
                .insert({label, rule.factor(shape[d], labels[2].contains(label) ? Kind::PassThrough : Kind::Reduction)})
                .first;
      if (t < 2)
        rule.operand(t, static_cast<int64_t>(d), it->second);
      else
        rule.result(static_cast<int64_t>(d), it->second);
    }
  }
  return rule.take();
}

//===-- Indexing --------------------------------------------------------------------------------------------------===//

ShardingRule GatherOp::getShardingRule() {
  return takeRule(
      *this, shapeOf(getData()), shapeOf(getIndices()), getAxis(),
      [](RuleBuilder &rule, int64_t d, int f) { rule.operand(0, d, f); },
      [](RuleBuilder &rule, int64_t d, int f) { rule.result(d, f); }, Kind::Reduction,
      Kind::PassThrough); // a shard of the table gives a partial sum
}

ShardingRule ScatterAddOp::getShardingRule() {
  return takeRule(
      *this, shapeOf(getResult()), shapeOf(getIndices()), getAxis(),
      [](RuleBuilder &rule, int64_t d, int f) { rule.result(d, f); },
      [](RuleBuilder &rule, int64_t d, int f) { rule.operand(0, d, f); }, Kind::PassThrough,
      Kind::Reduction); // a shard of the updates gives a partial sum
}

namespace {
/// Element-wise indexing: pass-through except along the axis, where each side has a factor of its own.
ShardingRule elementsRule(Operation *op, ArrayRef<int64_t> shape, int64_t axis) {
  RuleBuilder rule(op);
  for (auto [d, size] : llvm::enumerate(shape)) {
    auto dimension = static_cast<int64_t>(d);
    int own = rule.factor(shapeOf(op->getOperand(0))[d], dimension == axis ? Kind::MustReplicate : Kind::PassThrough);
    rule.operand(0, dimension, own);
    int other = dimension == axis ? rule.factor(shapeOf(op->getOperand(1))[d]) : own;
    rule.operand(1, dimension, other);
    rule.result(dimension, other);
  }
  return rule.take();
}
} // namespace

ShardingRule GatherElementsOp::getShardingRule() {
  return elementsRule(*this, shapeOf(getData()), getAxis());
}

ShardingRule ScatterElementsAddOp::getShardingRule() {
  RuleBuilder rule(*this);
  for (auto [d, size] : llvm::enumerate(shapeOf(getResult()))) {
    auto dimension = static_cast<int64_t>(d);
    bool along = d == getAxis();
    int wide = rule.factor(size, along ? Kind::MustReplicate : Kind::PassThrough);
    int narrow = along ? rule.factor(shapeOf(getUpdates())[d], Kind::Reduction) : wide;
    rule.operand(0, dimension, narrow);
    rule.operand(1, dimension, narrow);
    rule.result(dimension, wide);
  }
  return rule.take();
}

//===-- Norms, rotary embedding, attention ------------------------------------------------------------------------===//

ShardingRule RMSNormOp::getShardingRule() {
  return rowRule(*this, typeOf(getInput()).getRank() - 1, Kind::MustReplicate);
}
ShardingRule LayerNormOp::getShardingRule() {
  return rowRule(*this, typeOf(getInput()).getRank() - 1, Kind::MustReplicate);
}

ShardingRule RopeOp::getShardingRule() {
  RuleBuilder rule(*this);
  int64_t last = typeOf(getInput()).getRank() - 1;
  for (int64_t d = 0; d <= last; ++d) {
    int factor = rule.factor(shapeOf(getInput())[d], d == last ? Kind::MustReplicate : Kind::PassThrough);
    rule.operand(0, d, factor);
    rule.result(d, factor);
    int table = d == last ? rule.factor(shapeOf(getCos())[d], Kind::MustReplicate) : factor;
    rule.operand(1, d, table);
    rule.operand(2, d, table);
  }
  return rule.take();
}

namespace {

/// Factors of attention and of its gradient: operands and results in order, each with a letter for what it is.
template <typename Op>
ShardingRule attentionRule(Op op, Kind queries, ArrayRef<std::pair<Value, char>> operands, ArrayRef<char> results) {
  RuleBuilder rule(op);
  auto q = shapeOf(op.getQuery()), k = shapeOf(op.getKey()), v = shapeOf(op.getValue());
  int b = rule.factor(q[0]), g = rule.factor(k[1]), r = rule.factor(q[1] / k[1], queries),
      s = rule.factor(q[2], queries);
  // The softmax stands between the sum over d and the result, so parts of that sum cannot be added up later.
  int d = rule.factor(q[3], Kind::MustReplicate), t = rule.factor(k[2], Kind::MustReplicate), e = rule.factor(v[3]);
  bool twoRows = op.getSegments() && typeOf(op.getSegments()).getRank() == 3;
  int rows = twoRows ? rule.factor(2, Kind::MustReplicate) : -1; // of segments: both are read for each query
  using Dims = SmallVector<SmallVector<int, 2>>;
  auto dims = [&](char what) -> Dims {
    switch (what) {
    case 'q':
      return {{b}, {g, r}, {s}, {d}};
    case 'k':
      return {{b}, {g}, {t}, {d}};
    case 'v':
      return {{b}, {g}, {t}, {e}};
    case 'o':
      return {{b}, {g, r}, {s}, {e}};
    case 'l':
      return {{b}, {g, r}, {s}};
    case 'm':
      return {{b}, {t}};
    case 's':
      return twoRows ? Dims{{b}, {rows}, {t}} : Dims{{b}, {t}};
    default:
      return {{b}, {g, r}, {s}, {t}}; // bias
    }
  };
  unsigned next = 0;
  for (auto [value, what] : operands) {
    if (!value)
      continue;
    for (auto [i, factors] : llvm::enumerate(dims(what)))
      for (int factor : factors)
        rule.operand(next, static_cast<int64_t>(i), factor);
    ++next;
  }
  for (auto [index, what] : llvm::enumerate(results))
    for (auto [i, factors] : llvm::enumerate(dims(what)))
      for (int factor : factors)
        rule.result(static_cast<int64_t>(i), factor, static_cast<unsigned>(index));
  return rule.take();
}

/// So many products over the query's and over the value's dimension, for all pairs of query and key; a causal mask lets
/// half of them be skipped, which a peak counts as work not done.
template <typename Op> Cost attentionCost(Op op, int64_t overD, int64_t overE) {
  auto q = shapeOf(op.getQuery()), v = shapeOf(op.getValue());
  Cost cost = costFromRule(op, ShardingRule{}, 0);
  cost.flops = 2 * q[0] * q[1] * q[2] * v[2] * (overD * q[3] + overE * v[3]) / (op.getCausal() ? 2 : 1);
  return cost;
}

} // namespace

ShardingRule AttentionOp::getShardingRule() {
  return attentionRule(*this, Kind::PassThrough,
                       {{getQuery(), 'q'},
                        {getKey(), 'k'},
                        {getValue(), 'v'},
                        {getKeyValid(), 'm'},
                        {getSegments(), 's'},
                        {getBias(), 'b'}},
                       {'o', 'l'});
}

/// dk and dv are sums over queries and their heads, which only a whole group has.
ShardingRule AttentionGradientOp::getShardingRule() {
  return attentionRule(*this, Kind::MustReplicate,
                       {{getQuery(), 'q'},
                        {getKey(), 'k'},
                        {getValue(), 'v'},
                        {getOutput(), 'o'},
                        {getLse(), 'l'},
                        {getCotangent(), 'o'},
                        {getKeyValid(), 'm'},
                        {getSegments(), 's'}},
                       {'q', 'k', 'v'});
}

Cost AttentionOp::getCost() {
  return attentionCost(*this, 1, 1);
}
Cost AttentionGradientOp::getCost() {
  return attentionCost(*this, 3, 2);
}
RecomputeClass AttentionGradientOp::getRecomputeClass() {
  return RecomputeClass::Attention;
}

//===-- Costs of the rest -----------------------------------------------------------------------------------------===//

#define GRAFT_COST(OP, COST, CLASS)                                                                                    \
  Cost OP::getCost() {                                                                                                 \
    return COST;                                                                                                       \
  }                                                                                                                    \
  RecomputeClass OP::getRecomputeClass() {                                                                             \
    return RecomputeClass::CLASS;                                                                                      \
  }

GRAFT_COST(BroadcastOp, Cost{}, Free)
GRAFT_COST(ReshapeOp, Cost{}, Free)
GRAFT_COST(TransposeOp, Cost{}, Free)
GRAFT_COST(SliceOp, Cost{}, Free)
GRAFT_COST(IotaOp, Cost{}, Free)
GRAFT_COST(PadOp, perElement(*this, getResult(), 0), Cheap)
GRAFT_COST(ConcatOp, perElement(*this, getResult(), 0), Cheap)
GRAFT_COST(ReduceOp, costFromRule(*this, getShardingRule(), 1), Cheap)
GRAFT_COST(CumsumOp, costFromRule(*this, getShardingRule(), 1), Cheap)
GRAFT_COST(SoftmaxOp, costFromRule(*this, getShardingRule(), 5), Cheap)
GRAFT_COST(LogSoftmaxOp, costFromRule(*this, getShardingRule(), 5), Cheap)
GRAFT_COST(ContractOp, costFromRule(*this, getShardingRule(), 2), Gemm)
GRAFT_COST(GatherOp, perElement(*this, getResult(), 0), Cheap)
GRAFT_COST(ScatterAddOp, perElement(*this, getUpdates(), 1), Cheap)
GRAFT_COST(GatherElementsOp, perElement(*this, getResult(), 0), Cheap)
GRAFT_COST(ScatterElementsAddOp, perElement(*this, getUpdates(), 1), Cheap)
GRAFT_COST(RMSNormOp, costFromRule(*this, getShardingRule(), 4), Cheap)
GRAFT_COST(LayerNormOp, costFromRule(*this, getShardingRule(), 6), Cheap)
GRAFT_COST(RopeOp, perElement(*this, getResult(), 3), Cheap)
RecomputeClass AttentionOp::getRecomputeClass() {
  return RecomputeClass::Attention;
}

} // namespace graft::nn
