// Attention as products and a masked softmax, and its gradient (Dao et al. 2022, appendix B, without the tiling).
#include "dialects/nn/AttentionForm.h"

using namespace mlir;

namespace graft::nn {

namespace {

struct Sizes {
  int64_t B, G, R, S, D, T;
  explicit Sizes(AttentionOp op) {
    auto q = shapeOf(op.getQuery()), k = shapeOf(op.getKey());
    B = q[0], G = k[1], R = q[1] / k[1], S = q[2], D = q[3], T = k[2];
  }
  std::array<int64_t, 5> scores() const { return {B, G, R, S, T}; }
};

/// Whether the segment ids let query i read key j, as [B, G, R, S, T]; `segments` is [B, T] or [B, 2, T].
Value buildSegmentMask(Build &b, Value segments, const Sizes &n) {
  auto scores = n.scores();
  bool twoRows = typeOf(segments).getRank() == 3;
  auto rowOfIds = [&](int64_t row) {
    return twoRows ? b.reshape(b.sliceAxis(segments, 1, row, 1), {n.B, n.T}) : segments;
  };
  Value key = b.broadcast(rowOfIds(0), scores, {0, 4});
  auto isReadBy = [&](Value queries) {
    return b.compare(arith::CmpIPredicate::eq, b.broadcast(queries, scores, {0, 3}), key);
  };
  Value own = isReadBy(rowOfIds(0));
  return twoRows ? b.logicalOr(own, isReadBy(rowOfIds(1))) : own;
}

} // namespace

Value buildAttentionMask(Build &b, AttentionOp op) {
  Sizes n(op);
  Type i64 = b.builder.getI64Type();
  auto scores = n.scores();
  Value mask;
  auto require = [&](Value condition) {
    // Conditions on positions alone are [S, T]; others come as [B, S, T] or [B, T] and say which dimensions they speak
    // of.
    mask = mask ? b.logicalAnd(mask, condition) : condition;
  };
  auto position = [&](int64_t axis, int64_t offset) {
    Value index = b.iota({n.S, n.T}, axis, i64);
    return offset == 0 ? index : b.add(index, b.like(index, static_cast<double>(offset)));
  };
  auto spread = [&](Value positions) { return b.broadcast(positions, scores, {3, 4}); };
  if (op.getCausal() || op.getWindow() > 0) {
    Value query = position(0, n.T - n.S), key = position(1, 0);
    auto window = static_cast<double>(op.getWindow());
    if (op.getCausal())
      require(spread(b.compare(arith::CmpIPredicate::sle, key, query)));
    if (window > 0)
      require(spread(b.compare(arith::CmpIPredicate::sgt, key, b.sub(query, b.like(query, window)))));
    if (window > 0 && !op.getCausal())
      require(spread(b.compare(arith::CmpIPredicate::slt, key, b.add(query, b.like(query, window)))));
  }
  if (op.getKeyValid())
    require(b.broadcast(op.getKeyValid(), scores, {0, 4}));
  if (Value segments = op.getSegments())
    require(buildSegmentMask(b, segments, n));
  return mask;
}

AttentionForm buildAttentionForm(Build &b, AttentionOp op) {
  Sizes n(op);
  AttentionForm form;
  form.query = b.reshape(op.getQuery(), {n.B, n.G, n.R, n.S, n.D});
  double cap = op.getSoftcap().convertToDouble(), scale = op.getScale().convertToDouble();
  Value scores = b.contract("bgrsd,bgtd->bgrst", form.query, op.getKey());
  if (cap > 0) {
    form.cappedTanh = b.tanh(b.scale(scores, scale / cap));
    scores = b.scale(form.cappedTanh, cap);
  } else if (scale != 1.0) {
    scores = b.scale(scores, scale);
  }
  if (op.getBias())
    scores = b.add(scores, b.reshape(op.getBias(), n.scores()));
  form.probabilities = SoftmaxOp::create(b.builder, b.loc, scores.getType(), scores, buildAttentionMask(b, op), 4);
  return form;
}

Value buildAttentionResult(Build &b, AttentionOp op, const AttentionForm &form) {
  return b.reshape(b.contract("bgrst,bgte->bgrse", form.probabilities, op.getValue()), shapeOf(op.getResult()));
}

FailureOr<SmallVector<Value>> AttentionOp::buildVJP(OpBuilder &builder, ValueRange g, ArrayRef<bool> wanted) {
  Build b(builder, getLoc());
  if (g[1])
    return emitOpError() << "the gradient of lse is not supported";
  if (!getBias()) {
    auto op = AttentionGradientOp::create(builder, getLoc(), getQuery(), getKey(), getValue(), getResult(), getLse(),
                                          g[0], getKeyValid(), getSegments(), getScaleAttr(), getCausalAttr(),
                                          getWindowAttr(), getSoftcapAttr());
    SmallVector<Value> gradients(getNumOperands());
    for (unsigned i = 0; i < 3; ++i)
      if (wanted[i])
        gradients[i] = op->getResult(i);
    return gradients;
  }
  Sizes n(*this);
  AttentionForm form = buildAttentionForm(b, *this);
  Value p = form.probabilities, go = b.reshape(g[0], {n.B, n.G, n.R, n.S, shapeOf(getValue())[3]});
  Value dp = b.contract("bgrse,bgte->bgrst", go, getValue());
  Value ds = b.mul(p, b.sub(dp, b.rowSum(b.mul(dp, p))));
  SmallVector<Value> out(getNumOperands());
  if (getBias() && wanted.back())
    out.back() = b.reshape(ds, shapeOf(getBias()));
  if (form.cappedTanh)
    ds = b.mul(ds, b.sub(b.like(ds, 1.0), b.mul(form.cappedTanh, form.cappedTanh)));
  ds = b.scale(ds, getScale().convertToDouble());
  out[0] = b.reshape(b.contract("bgrst,bgtd->bgrsd", ds, getKey()), shapeOf(getQuery()));
  out[1] = b.contract("bgrst,bgrsd->bgtd", ds, form.query);
  out[2] = b.contract("bgrst,bgrse->bgte", p, go);
  for (auto [value, want] : llvm::zip(out, wanted))
    if (!want)
      value = {};
  return out;
}

FailureOr<SmallVector<Value>> AttentionGradientOp::buildVJP(OpBuilder &, ValueRange, ArrayRef<bool>) {
  return emitOpError() << "has no gradient itself";
}

} // namespace graft::nn
