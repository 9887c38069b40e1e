// Objective reductions in the padded form: selections and reductions over [B,S], [B] and, for groups, [B,B] (every pair
// of sequences, computed from the ids inside the kernel and never stored).
#include "passes/lower/Decompose.h"

#include "dialects/nn/Build.h"
#include "dialects/rl/RLDialect.h"

#include "mlir/IR/PatternMatch.h"

#include <limits>

using namespace mlir;

namespace graft {

namespace {

using nn::Build;
using nn::ReduceKind;

template <typename Op, Value (*formula)(Build &, Op)> struct Decompose final : OpRewritePattern<Op> {
  using OpRewritePattern<Op>::OpRewritePattern;
  LogicalResult matchAndRewrite(Op op, PatternRewriter &rewriter) const override {
    Build build(rewriter, op.getLoc());
    rewriter.replaceOp(op, formula(build, op));
    return success();
  }
};

/// Reduces the last dimension over the elements where `allowed` holds.
Value reduceAllowed(Build &b, ReduceKind kind, Value x, Value allowed) {
  double infinity = std::numeric_limits<double>::infinity();
  double neutral = kind == ReduceKind::Max ? -infinity : kind == ReduceKind::Min ? infinity : 0.0;
  return b.reduce(kind, b.select(allowed, x, b.like(x, neutral)), {nn::typeOf(x).getRank() - 1});
}

Value sequenceReduce(Build &b, rl::SequenceReduceOp op) {
  Value value = reduceAllowed(b, op.getKind(), op.getInput(), op.getMask());
  return op.getKind() == ReduceKind::Sum ? value : b.selectOrZero(b.reduce(ReduceKind::Max, op.getMask(), {1}), value);
}

Value sequenceBroadcast(Build &b, rl::SequenceBroadcastOp op) {
  return b.selectOrZero(op.getMask(), b.broadcast(op.getInput(), nn::shapeOf(op.getMask()), {0}));
}

Value groupReduce(Build &b, rl::GroupReduceOp op) {
  int64_t n = nn::shapeOf(op.getInput())[0];
  auto own = [&](Value value) { return b.broadcast(value, {n, n}, {0}); };
  auto others = [&](Value value) { return b.broadcast(value, {n, n}, {1}); };
  Value sameGroup = b.compare(arith::CmpIPredicate::eq, own(op.getIds()), others(op.getIds()));
  return b.selectOrZero(op.getRows(), reduceAllowed(b, op.getKind(), others(op.getInput()),
                                                    b.logicalAnd(sameGroup, others(op.getRows()))));
}

Value batchReduce(Build &b, rl::BatchReduceOp op) {
  return reduceAllowed(b, op.getKind(), op.getInput(), op.getRows());
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
