// Gradients of the norms and of the rotary embedding; formulas in NNOps.td.
#include "dialects/nn/Build.h"

using namespace mlir;

namespace graft::nn {

using Values = SmallVector<Value>;
using Cotangents = FailureOr<Values>;

namespace {

/// Mean over the last dimension, repeated along it.
Value rowMean(Build &b, Value x) {
  int64_t last = typeOf(x).getRank() - 1;
  Value sum = b.sum(x, {last});
  return b.broadcastAlong(b.scale(sum, 1.0 / static_cast<double>(shapeOf(x).back())), shapeOf(x), {last});
}

/// 1 / sqrt(mean(x^2) + epsilon) per row, repeated along the last dimension. x is centered already where the norm
/// centers.
Value reciprocalRoot(Build &b, Value x, double epsilon) {
  int64_t last = typeOf(x).getRank() - 1;
  Value mean = b.scale(b.sum(b.mul(x, x), {last}), 1.0 / static_cast<double>(shapeOf(x).back()));
  return b.broadcastAlong(b.rsqrt(b.add(mean, b.like(mean, epsilon))), shapeOf(x), {last});
}

} // namespace

Cotangents RMSNormOp::buildVJP(OpBuilder &builder, ValueRange g, ArrayRef<bool>) {
  Build b(builder, getLoc());
  Value r = reciprocalRoot(b, getInput(), getEpsilon().convertToDouble()), y = getResult();
  return Values{b.mul(r, b.sub(g[0], b.mul(y, rowMean(b, b.mul(g[0], y)))))};
}

Cotangents LayerNormOp::buildVJP(OpBuilder &builder, ValueRange g, ArrayRef<bool>) {
  Build b(builder, getLoc());
  Value centered = b.sub(getInput(), rowMean(b, getInput())), y = getResult();
  Value r = reciprocalRoot(b, centered, getEpsilon().convertToDouble());
  Value projected = b.add(rowMean(b, g[0]), b.mul(y, rowMean(b, b.mul(g[0], y))));
  return Values{b.mul(r, b.sub(g[0], projected))};
}

Cotangents RopeOp::buildVJP(OpBuilder &builder, ValueRange g, ArrayRef<bool> wanted) {
  Build b(builder, getLoc());
  if (wanted[1] || wanted[2])
    return emitOpError() << "the gradient of the rotation angles is not supported";
  return Values{RopeOp::create(builder, getLoc(), g[0].getType(), g[0], getCos(), b.neg(getSin()), getInterleaved()),
                Value(), Value()};
}

} // namespace graft::nn
