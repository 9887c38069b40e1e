// Gradients of reductions, scans and softmax.
#include "dialects/nn/Build.h"

using namespace mlir;

namespace graft::nn {

using Values = SmallVector<Value>;
using Cotangents = FailureOr<Values>;

Cotangents ReduceOp::buildVJP(OpBuilder &builder, ValueRange g, ArrayRef<bool>) {
  Build b(builder, getLoc());
  auto spread = [&](Value value) { return b.broadcastAlong(value, shapeOf(getInput()), getAxes()); };
  switch (getKind()) {
  case ReduceKind::Sum:
    return Values{spread(g[0])};
  case ReduceKind::Max:
  case ReduceKind::Min: {
    // Equal shares to all extreme elements, as torch.amax does.
    Value extreme = b.compare(arith::CmpFPredicate::OEQ, getInput(), spread(getResult()));
    Value count = b.sum(b.cast(extreme, getElementTypeOrSelf(g[0].getType())), getAxes());
    return Values{b.selectOrZero(extreme, spread(b.div(g[0], count)))};
  }
  case ReduceKind::Prod:
    return emitOpError() << "the gradient of a product over a dimension is not supported";
  }
  llvm_unreachable("all kinds are listed");
}

Cotangents CumsumOp::buildVJP(OpBuilder &builder, ValueRange g, ArrayRef<bool>) {
  return Values{CumsumOp::create(builder, getLoc(), g[0].getType(), g[0], getAxis(), getExclusive(), !getReverse())};
}

Cotangents SoftmaxOp::buildVJP(OpBuilder &builder, ValueRange g, ArrayRef<bool>) {
  Build b(builder, getLoc());
  int64_t axis = getAxis();
  Value y = getResult(), weighted = b.mul(g[0], y);
  Value dot = b.broadcastAlong(b.sum(weighted, {axis}), shapeOf(y), {axis});
  Values out{b.mul(y, b.sub(g[0], dot))};
  out.resize(getNumOperands());
  return out;
}

Cotangents LogSoftmaxOp::buildVJP(OpBuilder &builder, ValueRange g, ArrayRef<bool>) {
  Build b(builder, getLoc());
  int64_t axis = getAxis();
  Value total = b.broadcastAlong(b.sum(g[0], {axis}), shapeOf(g[0]), {axis});
  return Values{b.sub(g[0], b.mul(b.exp(getResult()), total))};
}

} // namespace graft::nn
