// Gathers and scatters are each other's adjoints.
#include "dialects/nn/Build.h"

using namespace mlir;

namespace graft::nn {

using Values = SmallVector<Value>;
using Cotangents = FailureOr<Values>;

Cotangents GatherOp::buildVJP(OpBuilder &builder, ValueRange g, ArrayRef<bool>) {
  return Values{ScatterAddOp::create(builder, getLoc(), getData().getType(), g[0], getIndices(), getAxis()), Value()};
}

Cotangents ScatterAddOp::buildVJP(OpBuilder &builder, ValueRange g, ArrayRef<bool>) {
  return Values{GatherOp::create(builder, getLoc(), getUpdates().getType(), g[0], getIndices(), getAxis()), Value()};
}

Cotangents GatherElementsOp::buildVJP(OpBuilder &builder, ValueRange g, ArrayRef<bool>) {
  return Values{ScatterElementsAddOp::create(builder, getLoc(), getData().getType(), g[0], getIndices(), getAxis()),
                Value()};
}

Cotangents ScatterElementsAddOp::buildVJP(OpBuilder &builder, ValueRange g, ArrayRef<bool>) {
  return Values{GatherElementsOp::create(builder, getLoc(), getUpdates().getType(), g[0], getIndices(), getAxis()),
                Value()};
}

} // namespace graft::nn
