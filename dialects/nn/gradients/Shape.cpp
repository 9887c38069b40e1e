// Gradients of the shape operators: each is another shape operator.
#include "dialects/nn/Build.h"

using namespace mlir;

namespace graft::nn {

using Values = SmallVector<Value>;
using Cotangents = FailureOr<Values>;

Cotangents BroadcastOp::buildVJP(OpBuilder &builder, ValueRange g, ArrayRef<bool>) {
  SmallVector<int64_t> repeated;
  for (int64_t d = 0; d < typeOf(getResult()).getRank(); ++d)
    if (!llvm::is_contained(getDimensions(), d))
      repeated.push_back(d);
  return Values{Build(builder, getLoc()).sum(g[0], repeated)};
}

Cotangents ReshapeOp::buildVJP(OpBuilder &builder, ValueRange g, ArrayRef<bool>) {
  return Values{Build(builder, getLoc()).reshape(g[0], shapeOf(getInput()))};
}

Cotangents TransposeOp::buildVJP(OpBuilder &builder, ValueRange g, ArrayRef<bool>) {
  SmallVector<int64_t> inverse(getPermutation().size());
  for (auto [i, d] : llvm::enumerate(getPermutation()))
    inverse[d] = static_cast<int64_t>(i);
  return Values{Build(builder, getLoc()).transpose(g[0], inverse)};
}

Cotangents SliceOp::buildVJP(OpBuilder &builder, ValueRange g, ArrayRef<bool>) {
  return Values{builder.createOrFold<PadOp>(getLoc(), getInput().getType(), g[0], getStarts(), getSteps())};
}

Cotangents PadOp::buildVJP(OpBuilder &builder, ValueRange g, ArrayRef<bool>) {
  return Values{builder.createOrFold<SliceOp>(getLoc(), getInput().getType(), g[0], getStarts(), getSteps())};
}

Cotangents ConcatOp::buildVJP(OpBuilder &builder, ValueRange g, ArrayRef<bool> wanted) {
  Build build(builder, getLoc());
  int64_t axis = getAxis(), start = 0;
  Values out;
  for (auto [input, want] : llvm::zip(getInputs(), wanted)) {
    int64_t size = shapeOf(input)[axis];
    out.push_back(want ? build.sliceAxis(g[0], axis, start, size) : Value());
    start += size;
  }
  return out;
}

Cotangents IotaOp::buildVJP(OpBuilder &, ValueRange, ArrayRef<bool>) {
  return Values{};
}

} // namespace graft::nn
