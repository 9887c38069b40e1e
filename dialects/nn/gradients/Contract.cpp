// The gradient of an einsum is an einsum: the result's letters take the place of the operand's.
#include "dialects/nn/Build.h"

using namespace mlir;

namespace graft::nn {

FailureOr<SmallVector<Value>> ContractOp::buildVJP(OpBuilder &builder, ValueRange g, ArrayRef<bool> wanted) {
  Build b(builder, getLoc());
  auto [lhs, rhs, result] = getLabels();
  SmallVector<Value> out(2);
  if (wanted[0])
    out[0] = b.contract((result + "," + rhs + "->" + lhs).str(), g[0], getRhs());
  if (wanted[1])
    out[1] = b.contract((result + "," + lhs + "->" + rhs).str(), g[0], getLhs());
  return out;
}

} // namespace graft::nn
