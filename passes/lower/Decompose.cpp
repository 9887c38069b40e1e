// One function per operator: its formula from NNOps.td, numerically stable in float32.
#include "passes/lower/Decompose.h"

#include "dialects/nn/AttentionForm.h"
#include "dialects/rl/RLDialect.h"
#include "passes/Rewriting.h"
#include "passes/objective/DecomposeObjective.h"

#include <limits>

using namespace mlir;

namespace graft {

namespace {

using nn::Build;

template <typename Op, Value (*formula)(Build &, Op)> struct Decompose final : OpRewritePattern<Op> {
  using OpRewritePattern<Op>::OpRewritePattern;
  LogicalResult matchAndRewrite(Op op, PatternRewriter &rewriter) const override {
    Build build(rewriter, op.getLoc());
    Value value = formula(build, op);
    if (!value)
      return rewriter.notifyMatchFailure(op, "nothing to decompose");
    rewriter.replaceOp(op, value);
    return success();
  }
};

int64_t lastAxis(Value value) {
  return nn::typeOf(value).getRank() - 1;
}

Value rowMean(Build &b, Value x) {
  return b.scale(b.sum(x, {lastAxis(x)}), 1.0 / static_cast<double>(nn::shapeOf(x).back()));
}

Value spread(Build &b, Value row, Value like) {
  return b.broadcastAlong(row, nn::shapeOf(like), {lastAxis(like)});
}

/// Attention that no kernel does: with a bias. The products and the softmax of its definition; lse has no reader then.
struct DecomposeAttention final : OpRewritePattern<nn::AttentionOp> {
  using OpRewritePattern::OpRewritePattern;
  LogicalResult matchAndRewrite(nn::AttentionOp op, PatternRewriter &rewriter) const override {
    if (!op.getBias())
      return rewriter.notifyMatchFailure(op, "there is a kernel for it");
    Build b(rewriter, op.getLoc());
    Value result = nn::buildAttentionResult(b, op, nn::buildAttentionForm(b, op));
    rewriter.replaceOp(op, ValueRange{result, b.like(op.getLse(), 0)});
    return success();
  }
};

/// Softmax along another dimension than the last: turned so that it is the last.
template <typename Op> Value turned(Build &b, Op op, Value mask, Value (*alongLast)(Build &, Value, Value)) {
  int64_t axis = op.getAxis(), last = lastAxis(op.getInput());
  if (axis == last)
    return alongLast(b, op.getInput(), mask);
  SmallVector<int64_t> swap = llvm::to_vector(llvm::seq<int64_t>(0, last + 1));
  std::swap(swap[axis], swap[last]);
  return b.transpose(alongLast(b, b.transpose(op.getInput(), swap), mask ? b.transpose(mask, swap) : Value()), swap);
}

Value softmaxAlongLast(Build &b, Value x, Value mask) {
  int64_t last = lastAxis(x);
  double infinity = std::numeric_limits<double>::infinity();
  Value allowed = mask ? b.select(mask, x, b.like(x, -infinity)) : x;
  Value max = b.reduce(nn::ReduceKind::Max, allowed, {last});
  if (mask) // a row without an allowed element: any finite number, so that x - max is not NaN
    max = b.select(b.compare(arith::CmpFPredicate::OEQ, max, b.like(max, -infinity)), b.like(max, 0), max);
  Value e = b.exp(b.sub(x, spread(b, max, x)));
  if (mask)
    e = b.selectOrZero(mask, e);
  Value sum = b.sum(e, {last});
  Value inverse = b.div(b.like(sum, 1.0), sum);
  if (mask)
    inverse = b.select(b.compare(arith::CmpFPredicate::OEQ, sum, b.like(sum, 0)), b.like(sum, 0), inverse);
  return b.mul(e, spread(b, inverse, x));
}

Value logSoftmaxAlongLast(Build &b, Value x, Value) {
  int64_t last = lastAxis(x);
  Value centered = b.sub(x, spread(b, b.reduce(nn::ReduceKind::Max, x, {last}), x));
  return b.sub(centered, spread(b, b.log(b.sum(b.exp(centered), {last})), x));
}

Value softmax(Build &b, nn::SoftmaxOp op) {
  return turned(b, op, op.getMask(), softmaxAlongLast);
}
Value logSoftmax(Build &b, nn::LogSoftmaxOp op) {
  return turned(b, op, Value(), logSoftmaxAlongLast);
}

Value normalized(Build &b, Value x, double epsilon) {
  Value mean = rowMean(b, b.mul(x, x));
  return b.mul(x, spread(b, b.rsqrt(b.add(mean, b.like(mean, epsilon))), x));
}
Value rmsNorm(Build &b, nn::RMSNormOp op) {
  return normalized(b, op.getInput(), op.getEpsilon().convertToDouble());
}
Value layerNorm(Build &b, nn::LayerNormOp op) {
  Value x = op.getInput();
  return normalized(b, b.sub(x, spread(b, rowMean(b, x), x)), op.getEpsilon().convertToDouble());
}

Value rope(Build &b, nn::RopeOp op) {
  Value x = op.getInput(), c = op.getCos(), s = op.getSin();
  auto shape = llvm::to_vector(nn::shapeOf(x));
  int64_t last = lastAxis(x), half = shape.back() / 2;
  if (op.getInterleaved()) { // as halves of [..., 2, D/2], turned back afterwards
    auto pairs = shape;
    pairs.back() = half;
    pairs.push_back(2);
    SmallVector<int64_t> swap = llvm::to_vector(llvm::seq<int64_t>(0, last + 2));
    std::swap(swap[last], swap[last + 1]);
    Value turned = b.transpose(b.reshape(x, pairs), swap);
    auto part = [&](int64_t i) { return b.reshape(b.sliceAxis(turned, last, i, 1), nn::shapeOf(c)); };
    Value x1 = part(0), x2 = part(1);
    auto halves = llvm::to_vector(nn::shapeOf(turned));
    halves[last] = 1;
    Value y = b.concat(
        {b.reshape(b.sub(b.mul(x1, c), b.mul(x2, s)), halves), b.reshape(b.add(b.mul(x2, c), b.mul(x1, s)), halves)},
        last);
    return b.reshape(b.transpose(y, swap), shape);
  }
  Value x1 = b.sliceAxis(x, last, 0, half), x2 = b.sliceAxis(x, last, half, half);
  return b.concat({b.sub(b.mul(x1, c), b.mul(x2, s)), b.add(b.mul(x2, c), b.mul(x1, s))}, last);
}

Value sigmoid(Build &b, nn::SigmoidOp op) {
  // exp of minus the magnitude never overflows: 1 / (1 + e) for x >= 0, e / (1 + e) for x < 0.
  Value x = op.getInput(), zero = b.like(x, 0), one = b.like(x, 1);
  Value e = b.exp(b.neg(math::AbsFOp::create(b.builder, b.loc, x)));
  Value numerator = b.select(b.compare(arith::CmpFPredicate::OGE, x, zero), one, e);
  return b.div(numerator, b.add(one, e));
}

Value softplus(Build &b, nn::SoftplusOp op) {
  Value x = op.getInput(), e = b.exp(b.neg(math::AbsFOp::create(b.builder, b.loc, x)));
  return b.add(b.max(x, b.like(x, 0)), math::Log1pOp::create(b.builder, b.loc, e));
}

/// Kernels fold the last dimension by any reduction, and sum others in float32: a reduction over the last and others is
/// split, and any other over leading dimensions is turned so that they are the last one.
Value splitReduction(Build &b, nn::ReduceOp op) {
  auto axes = llvm::to_vector(op.getAxes());
  Value x = op.getInput();
  auto shape = nn::shapeOf(x);
  if (axes.empty())
    return x;
  if (axes.back() == lastAxis(x)) {
    if (axes.size() == 1)
      return {};
    int64_t last = axes.pop_back_val();
    return b.reduce(op.getKind(), b.reduce(op.getKind(), x, {last}), axes);
  }
  if (op.getKind() == nn::ReduceKind::Sum && getElementTypeOrSelf(x.getType()).isF32())
    return {};
  SmallVector<int64_t> order, sizes;
  int64_t reduced = 1;
  for (int64_t d = 0; d <= lastAxis(x); ++d)
    if (!llvm::is_contained(axes, d)) {
      order.push_back(d);
      sizes.push_back(shape[d]);
    }
  for (int64_t d : axes) {
    order.push_back(d);
    reduced *= shape[d];
  }
  sizes.push_back(reduced);
  return b.reduce(op.getKind(), b.reshape(b.transpose(x, order), sizes), {static_cast<int64_t>(sizes.size()) - 1});
}

/// A running sum is a masked sum over [.., i, j]: quadratic, but a row program. Scans of long sequences are a kernel of
/// a later day.
Value cumsum(Build &b, nn::CumsumOp op) {
  Value x = op.getInput();
  int64_t axis = op.getAxis(), last = lastAxis(x);
  SmallVector<int64_t> swap = llvm::to_vector(llvm::seq<int64_t>(0, last + 1));
  std::swap(swap[axis], swap[last]);
  Value turned = axis == last ? x : b.transpose(x, swap);
  auto square = llvm::to_vector(nn::shapeOf(turned));
  square.push_back(square.back());
  Type i64 = b.builder.getI64Type();
  Value i = b.iota(square, last, i64), j = b.iota(square, last + 1, i64);
  using P = arith::CmpIPredicate;
  P predicate = op.getReverse() ? (op.getExclusive() ? P::sgt : P::sge) : (op.getExclusive() ? P::slt : P::sle);
  Value terms = b.selectOrZero(b.compare(predicate, j, i), b.broadcastAlong(turned, square, {last}));
  Value sums = b.sum(terms, {last + 1});
  return axis == last ? sums : b.transpose(sums, swap);
}

/// Rows of booleans are gathered as numbers (exactly 0 and 1); another axis than the first is brought to the front.
Value gather(Build &b, nn::GatherOp op) {
  Value data = op.getData();
  Type element = getElementTypeOrSelf(data.getType());
  auto take = [&](Value table) {
    SmallVector<int64_t> shape(nn::shapeOf(op.getIndices()));
    llvm::append_range(shape, nn::shapeOf(table).drop_front());
    return nn::GatherOp::create(b.builder, b.loc, nn::typeOf(table).clone(shape), table, op.getIndices(), 0)
        .getResult();
  };
  if (element.isInteger(1))
    return b.cast(nn::GatherOp::create(b.builder, b.loc, nn::typeOf(op.getResult()).clone(b.builder.getF32Type()),
                                       b.cast(data, b.builder.getF32Type()), op.getIndices(), op.getAxis()),
                  element);
  int64_t axis = op.getAxis(), rank = nn::typeOf(data).getRank(), indexRank = nn::typeOf(op.getIndices()).getRank();
  if (axis == 0)
    return {};
  SmallVector<int64_t> toFront = {axis}, back;
  for (int64_t d = 0; d < rank; ++d)
    if (d != axis)
      toFront.push_back(d);
  for (int64_t d = 0; d < axis; ++d)
    back.push_back(indexRank + d);
  for (int64_t d = 0; d < indexRank; ++d)
    back.push_back(d);
  for (int64_t d = axis; d < rank - 1; ++d)
    back.push_back(indexRank + d);
  return b.transpose(take(b.transpose(data, toFront)), back);
}

struct DecomposeTokenLogprobs final : OpRewritePattern<rl::TokenLogprobsOp> {
  using OpRewritePattern::OpRewritePattern;
  LogicalResult matchAndRewrite(rl::TokenLogprobsOp op, PatternRewriter &rewriter) const override {
    Build b(rewriter, op.getLoc());
    Value z = op.getLogits();
    int64_t last = lastAxis(z);
    Type i64 = rewriter.getI64Type();
    Value max = b.reduce(nn::ReduceKind::Max, z, {last});
    Value centered = b.sub(z, spread(b, max, z)), e = b.exp(centered);
    Value isLabel = b.compare(arith::CmpIPredicate::eq, b.iota(nn::shapeOf(z), last, i64),
                              spread(b, b.cast(op.getLabels(), i64), z));
    Value sum = b.sum(e, {last}), logSum = b.log(sum);
    Value chosen = b.sum(b.selectOrZero(isLabel, centered), {last});
    // p log p is 0 where p is 0, also when the logit is -inf.
    Value weighted = b.select(b.compare(arith::CmpFPredicate::OGT, e, b.like(e, 0)), b.mul(e, centered), b.like(e, 0));
    Value entropy = b.sub(logSum, b.div(b.sum(weighted, {last}), sum));
    SmallVector<Value> results = {b.sub(chosen, logSum), entropy, b.add(max, logSum)};
    if (op.getRows())
      for (Value &result : results)
        result = b.selectOrZero(op.getRows(), result);
    rewriter.replaceOp(op, results);
    return success();
  }
};

} // namespace

LogicalResult decompose(func::FuncOp function, bool onlyAttention) {
  RewritePatternSet patterns(function.getContext());
  patterns.add<DecomposeAttention>(patterns.getContext());
  if (!onlyAttention)
    patterns.add<Decompose<nn::SoftmaxOp, softmax>, Decompose<nn::LogSoftmaxOp, logSoftmax>,
                 Decompose<nn::RMSNormOp, rmsNorm>, Decompose<nn::LayerNormOp, layerNorm>, Decompose<nn::RopeOp, rope>,
                 Decompose<nn::SigmoidOp, sigmoid>, Decompose<nn::SoftplusOp, softplus>,
                 Decompose<nn::ReduceOp, splitReduction>, Decompose<nn::CumsumOp, cumsum>,
                 Decompose<nn::GatherOp, gather>, DecomposeTokenLogprobs>(patterns.getContext());
  if (!onlyAttention)
    populateObjectiveDecompositions(patterns);
  return applyPatternsGreedily(function, std::move(patterns), straightLineRewriting());
}

} // namespace graft
