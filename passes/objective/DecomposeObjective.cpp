#include "passes/objective/DecomposeObjective.h"

#include "dialects/nn/Build.h"
#include "dialects/rl/RLDialect.h"

#include <limits>

using namespace mlir;

namespace graft {

namespace {

using nn::Build;
using nn::ReduceKind;

constexpr double infinity = std::numeric_limits<double>::infinity();

template <typename Op, Value (*formula)(Build &, Op)> struct Decompose final : OpRewritePattern<Op> {
  using OpRewritePattern<Op>::OpRewritePattern;
  LogicalResult matchAndRewrite(Op op, PatternRewriter &rewriter) const override {
    Build build(rewriter, op.getLoc());
    rewriter.replaceOp(op, formula(build, op));
    return success();
  }
};

/// Reduces the last dimension over the elements that `mask` allows; of none: the kind's neutral element.
Value maskedReduce(Build &b, ReduceKind kind, Value x, Value mask) {
  double neutral = kind == ReduceKind::Sum ? 0 : kind == ReduceKind::Max ? -infinity : infinity;
  int64_t last = nn::typeOf(x).getRank() - 1;
  return b.reduce(kind, b.select(mask, x, b.like(x, neutral)), {last});
}

Value sequenceReduce(Build &b, rl::SequenceReduceOp op) {
  Value y = maskedReduce(b, op.getKind(), op.getInput(), op.getMask());
  if (op.getKind() == ReduceKind::Sum)
    return y;
  Value count = b.sum(b.cast(op.getMask(), nn::typeOf(y).getElementType()), {1});
  return b.selectOrZero(b.compare(arith::CmpFPredicate::OGT, count, b.like(count, 0)), y);
}

Value sequenceBroadcast(Build &b, rl::SequenceBroadcastOp op) {
  return b.selectOrZero(op.getMask(), b.broadcastAlong(op.getInput(), nn::shapeOf(op.getMask()), {1}));
}

Value groupReduce(Build &b, rl::GroupReduceOp op) {
  int64_t B = nn::shapeOf(op.getInput())[0];
  auto along = [&](Value x, int64_t axis) { return b.broadcastAlong(x, {B, B}, {axis}); };
  Value same = b.compare(arith::CmpIPredicate::eq, along(op.getIds(), 1), along(op.getIds(), 0));
  Value y = maskedReduce(b, op.getKind(), along(op.getInput(), 0), b.logicalAnd(same, along(op.getRows(), 0)));
  return b.selectOrZero(op.getRows(), y);
}

Value batchReduce(Build &b, rl::BatchReduceOp op) {
  return maskedReduce(b, op.getKind(), op.getInput(), op.getRows());
}

Value batchBroadcast(Build &b, rl::BatchBroadcastOp op) {
  return b.selectOrZero(op.getRows(), b.broadcast(op.getInput(), nn::shapeOf(op.getRows()), {}));
}

Value stopGradient(Build &, rl::StopGradientOp op) {
  return op.getInput();
}

} // namespace

void populateObjectiveDecompositions(RewritePatternSet &patterns) {
  patterns.add<Decompose<rl::SequenceReduceOp, sequenceReduce>, Decompose<rl::SequenceBroadcastOp, sequenceBroadcast>,
               Decompose<rl::GroupReduceOp, groupReduce>, Decompose<rl::BatchReduceOp, batchReduce>,
               Decompose<rl::BatchBroadcastOp, batchBroadcast>, Decompose<rl::StopGradientOp, stopGradient>>(
      patterns.getContext());
}

} // namespace graft
