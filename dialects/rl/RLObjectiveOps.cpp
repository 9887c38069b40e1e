// Values per token, sequence, group and step, and the ways between them: verifiers, gradients, factors, cost, reference
// semantics. The numbers in the verifiers are those of RLObjectiveOps.td.
#include "dialects/rl/RLDialect.h"

#include "dialects/nn/Build.h"
#include "dialects/nn/FactorRules.h"

#include <limits>

using namespace mlir;

namespace graft::rl {

namespace {

using nn::Build;
using nn::FactorKind;
using nn::ReduceKind;
using Cotangents = FailureOr<SmallVector<Value>>;
using Tensors = FailureOr<SmallVector<Tensor>>;

constexpr double infinity = std::numeric_limits<double>::infinity();

bool sameElements(Value a, Value b) {
  return nn::typeOf(a).getElementType() == nn::typeOf(b).getElementType();
}
LogicalResult checkKind(Operation *op, ReduceKind kind) {
  if (kind == ReduceKind::Prod)
    return op->emitOpError() << "combines by sum, max or min, not by prod";
  return success();
}
LogicalResult checkElements(Operation *op, Value input, Value result) {
  if (!sameElements(input, result))
    return op->emitOpError() << "the result must have the input's element type " << nn::typeOf(input).getElementType();
  return success();
}

double combine(ReduceKind kind, double a, double b) {
  if (a != a || b != b)
    return a + b;
  return kind == ReduceKind::Sum ? a + b : kind == ReduceKind::Max ? std::max(a, b) : std::min(a, b);
}
double neutral(ReduceKind kind) {
  return kind == ReduceKind::Sum ? 0 : kind == ReduceKind::Max ? -infinity : infinity;
}

/// Shares `cotangent` equally among the elements where `extreme` holds, `count` of them; both shaped like `extreme`.
Value shares(Build &b, Value extreme, Value cotangent, Value count) {
  return b.selectOrZero(extreme, b.div(cotangent, b.max(count, b.like(count, 1))));
}
Value asNumber(Build &b, Value condition, Value like) {
  return b.cast(condition, getElementTypeOrSelf(like.getType()));
}

/// Every dimension of every tensor is one of the given factors: dims[tensor] lists them, operands first.
nn::ShardingRule ruleOf(Operation *op, ArrayRef<std::pair<int64_t, FactorKind>> factors,
                        ArrayRef<SmallVector<int>> dims) {
  nn::RuleBuilder rule(op);
  for (auto [size, kind] : factors)
    rule.factor(size, kind);
  for (auto [tensor, indices] : llvm::enumerate(dims))
    for (auto [d, factor] : llvm::enumerate(indices)) {
      if (tensor < op->getNumOperands())
        rule.operand(static_cast<unsigned>(tensor), static_cast<int64_t>(d), factor);
      else
        rule.result(static_cast<int64_t>(d), factor);
    }
  return rule.take();
}

} // namespace

#define GRAFT_RL_COST(Op)                                                                                              \
  nn::Cost Op::getCost() {                                                                                             \
    return nn::costFromRule(*this, getShardingRule(), 1);                                                              \
  }                                                                                                                    \
  nn::RecomputeClass Op::getRecomputeClass() {                                                                         \
    return nn::RecomputeClass::Cheap;                                                                                  \
  }
GRAFT_RL_COST(SequenceReduceOp)
GRAFT_RL_COST(SequenceBroadcastOp)
GRAFT_RL_COST(GroupReduceOp)
GRAFT_RL_COST(BatchReduceOp)
GRAFT_RL_COST(BatchBroadcastOp)
#undef GRAFT_RL_COST

//===-- sequence_reduce -------------------------------------------------------------------------------------------===//

void SequenceReduceOp::build(OpBuilder &builder, OperationState &state, ReduceKind kind, Value input, Value mask) {
  build(builder, state, nn::typeOf(input).clone(nn::shapeOf(input).drop_back()), kind, input, mask);
}

LogicalResult SequenceReduceOp::verify() {
  auto shape = nn::shapeOf(getInput());
  if (shape.size() != 2 || nn::shapeOf(getMask()) != shape || nn::shapeOf(getResult()) != shape.drop_back()) // 1
    return emitOpError() << "input and mask must be [B,S], the result [B]";
  if (failed(checkKind(*this, getKind()))) // 2
    return failure();
  return checkElements(*this, getInput(), getResult()); // 3
}

Tensors SequenceReduceOp::evaluate(ArrayRef<Tensor> in) {
  int64_t B = in[0].shape()[0], S = in[0].shape()[1];
  Tensor out = Tensor::floats({B});
  for (int64_t b = 0; b < B; ++b) {
    double value = neutral(getKind());
    bool any = false;
    for (int64_t t = 0; t < S; ++t)
      if (in[1].i()[b * S + t]) {
        value = combine(getKind(), value, in[0].f()[b * S + t]);
        any = true;
      }
    out.f()[b] = any ? value : 0;
  }
  return SmallVector<Tensor>{out};
}

Cotangents SequenceReduceOp::buildVJP(OpBuilder &builder, ValueRange g, ArrayRef<bool>) {
  Build b(builder, getLoc());
  auto spread = [&](Value row) -> Value { return SequenceBroadcastOp::create(builder, getLoc(), row, getMask()); };
  if (getKind() == ReduceKind::Sum)
    return SmallVector<Value>{spread(g[0]), Value()};
  Value equal = b.compare(arith::CmpFPredicate::OEQ, getInput(), spread(getResult()));
  Value extreme = b.logicalAnd(equal, getMask());
  Value count = create(builder, getLoc(), ReduceKind::Sum, asNumber(b, extreme, g[0]), getMask());
  return SmallVector<Value>{shares(b, extreme, spread(g[0]), spread(count)), Value()};
}

nn::ShardingRule SequenceReduceOp::getShardingRule() {
  auto shape = nn::shapeOf(getInput());
  return ruleOf(*this, {{shape[0], FactorKind::PassThrough}, {shape[1], FactorKind::Reduction}}, {{0, 1}, {0, 1}, {0}});
}

//===-- sequence_broadcast ----------------------------------------------------------------------------------------===//

void SequenceBroadcastOp::build(OpBuilder &builder, OperationState &state, Value input, Value mask) {
  build(builder, state, nn::typeOf(input).clone(nn::shapeOf(mask)), input, mask);
}

LogicalResult SequenceBroadcastOp::verify() {
  auto shape = nn::shapeOf(getMask());
  if (shape.size() != 2 || nn::shapeOf(getInput()) != shape.drop_back() || nn::shapeOf(getResult()) != shape) // 1
    return emitOpError() << "the input must be [B], mask and result [B,S]";
  return checkElements(*this, getInput(), getResult()); // 2
}

Tensors SequenceBroadcastOp::evaluate(ArrayRef<Tensor> in) {
  int64_t S = in[1].shape()[1];
  Tensor out = in[0].zeros(in[1].shape());
  for (int64_t k = 0; k < out.size(); ++k)
    if (in[1].i()[k])
      out.copyElement(k, in[0], k / S);
  return SmallVector<Tensor>{out};
}

Cotangents SequenceBroadcastOp::buildVJP(OpBuilder &builder, ValueRange g, ArrayRef<bool>) {
  return SmallVector<Value>{SequenceReduceOp::create(builder, getLoc(), ReduceKind::Sum, g[0], getMask()), Value()};
}

nn::ShardingRule SequenceBroadcastOp::getShardingRule() {
  auto shape = nn::shapeOf(getMask());
  return ruleOf(*this, {{shape[0], FactorKind::PassThrough}, {shape[1], FactorKind::PassThrough}},
                {{0}, {0, 1}, {0, 1}});
}

//===-- group_reduce ----------------------------------------------------------------------------------------------===//

void GroupReduceOp::build(OpBuilder &builder, OperationState &state, ReduceKind kind, Value input, Value ids,
                          Value rows) {
  build(builder, state, input.getType(), kind, input, ids, rows);
}

LogicalResult GroupReduceOp::verify() {
  auto shape = nn::shapeOf(getInput());
  bool equal = nn::shapeOf(getIds()) == shape && nn::shapeOf(getRows()) == shape && nn::shapeOf(getResult()) == shape;
  if (shape.size() != 1 || !equal) // 1
    return emitOpError() << "input, ids, rows and result must be [B]";
  if (failed(checkKind(*this, getKind()))) // 2
    return failure();
  return checkElements(*this, getInput(), getResult()); // 3
}

Tensors GroupReduceOp::evaluate(ArrayRef<Tensor> in) {
  Tensor out = Tensor::floats(in[0].shape());
  for (int64_t b = 0; b < out.size(); ++b) {
    if (!in[2].i()[b])
      continue;
    double value = neutral(getKind());
    for (int64_t c = 0; c < out.size(); ++c)
      if (in[2].i()[c] && in[1].i()[c] == in[1].i()[b])
        value = combine(getKind(), value, in[0].f()[c]);
    out.f()[b] = value;
  }
  return SmallVector<Tensor>{out};
}

Cotangents GroupReduceOp::buildVJP(OpBuilder &builder, ValueRange g, ArrayRef<bool>) {
  Build b(builder, getLoc());
  auto sum = [&](Value x) -> Value { return create(builder, getLoc(), ReduceKind::Sum, x, getIds(), getRows()); };
  Value total = sum(g[0]);
  if (getKind() == ReduceKind::Sum)
    return SmallVector<Value>{total, Value(), Value()};
  Value extreme = b.logicalAnd(b.compare(arith::CmpFPredicate::OEQ, getInput(), getResult()), getRows());
  return SmallVector<Value>{shares(b, extreme, total, sum(asNumber(b, extreme, total))), Value(), Value()};
}

nn::ShardingRule GroupReduceOp::getShardingRule() {
  // A group may lie anywhere in the batch.
  return ruleOf(*this, {{nn::shapeOf(getInput())[0], FactorKind::MustReplicate}}, {{0}, {0}, {0}, {0}});
}

//===-- batch_reduce ----------------------------------------------------------------------------------------------===//

void BatchReduceOp::build(OpBuilder &builder, OperationState &state, ReduceKind kind, Value input, Value rows) {
  build(builder, state, nn::typeOf(input).clone(ArrayRef<int64_t>{}), kind, input, rows);
}

LogicalResult BatchReduceOp::verify() {
  auto shape = nn::shapeOf(getInput());
  if (shape.size() != 1 || nn::shapeOf(getRows()) != shape || !nn::shapeOf(getResult()).empty()) // 1
    return emitOpError() << "input and rows must be [B], the result []";
  if (failed(checkKind(*this, getKind()))) // 2
    return failure();
  return checkElements(*this, getInput(), getResult()); // 3
}

Tensors BatchReduceOp::evaluate(ArrayRef<Tensor> in) {
  double value = neutral(getKind());
  for (int64_t b = 0; b < in[0].size(); ++b)
    if (in[1].i()[b])
      value = combine(getKind(), value, in[0].f()[b]);
  return SmallVector<Tensor>{Tensor::floats({}, value)};
}

Cotangents BatchReduceOp::buildVJP(OpBuilder &builder, ValueRange g, ArrayRef<bool>) {
  Build b(builder, getLoc());
  auto spread = [&](Value x) -> Value { return BatchBroadcastOp::create(builder, getLoc(), x, getRows()); };
  if (getKind() == ReduceKind::Sum)
    return SmallVector<Value>{spread(g[0]), Value()};
  Value equal = b.compare(arith::CmpFPredicate::OEQ, getInput(), spread(getResult()));
  Value extreme = b.logicalAnd(equal, getRows());
  Value count = create(builder, getLoc(), ReduceKind::Sum, asNumber(b, extreme, g[0]), getRows());
  return SmallVector<Value>{shares(b, extreme, spread(g[0]), spread(count)), Value()};
}

nn::ShardingRule BatchReduceOp::getShardingRule() {
  return ruleOf(*this, {{nn::shapeOf(getInput())[0], FactorKind::Reduction}}, {{0}, {0}, {}});
}

//===-- batch_broadcast -------------------------------------------------------------------------------------------===//

void BatchBroadcastOp::build(OpBuilder &builder, OperationState &state, Value input, Value rows) {
  build(builder, state, nn::typeOf(input).clone(nn::shapeOf(rows)), input, rows);
}

LogicalResult BatchBroadcastOp::verify() {
  auto shape = nn::shapeOf(getRows());
  if (shape.size() != 1 || !nn::shapeOf(getInput()).empty() || nn::shapeOf(getResult()) != shape) // 1
    return emitOpError() << "the input must be [], rows and result [B]";
  return checkElements(*this, getInput(), getResult()); // 2
}

Tensors BatchBroadcastOp::evaluate(ArrayRef<Tensor> in) {
  Tensor out = in[0].zeros(in[1].shape());
  for (int64_t b = 0; b < out.size(); ++b)
    if (in[1].i()[b])
      out.copyElement(b, in[0], 0);
  return SmallVector<Tensor>{out};
}

Cotangents BatchBroadcastOp::buildVJP(OpBuilder &builder, ValueRange g, ArrayRef<bool>) {
  return SmallVector<Value>{BatchReduceOp::create(builder, getLoc(), ReduceKind::Sum, g[0], getRows()), Value()};
}

nn::ShardingRule BatchBroadcastOp::getShardingRule() {
  return ruleOf(*this, {{nn::shapeOf(getRows())[0], FactorKind::PassThrough}}, {{}, {0}, {0}});
}

//===-- stop_gradient ---------------------------------------------------------------------------------------------===//

Tensors StopGradientOp::evaluate(ArrayRef<Tensor> in) {
  return SmallVector<Tensor>{in[0]};
}
Cotangents StopGradientOp::buildVJP(OpBuilder &, ValueRange, ArrayRef<bool>) {
  return SmallVector<Value>{Value()};
}
nn::ShardingRule StopGradientOp::getShardingRule() {
  return nn::elementwiseRule(*this);
}
nn::Cost StopGradientOp::getCost() {
  return {};
}
nn::RecomputeClass StopGradientOp::getRecomputeClass() {
  return nn::RecomputeClass::Free;
}

} // namespace graft::rl
