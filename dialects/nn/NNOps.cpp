// Type inference and small accessors of the nn operators.
#include "dialects/nn/NNDialect.h"

using namespace mlir;

#define GET_OP_CLASSES
#include "dialects/nn/NNOps.cpp.inc"

namespace graft::nn {

LogicalResult TransposeOp::inferReturnTypes(MLIRContext *, std::optional<Location>, Adaptor adaptor,
                                            SmallVectorImpl<Type> &types) {
  auto input = cast<RankedTensorType>(adaptor.getInput().getType());
  SmallVector<int64_t> shape;
  for (int64_t d : adaptor.getPermutation()) {
    if (d < 0 || d >= input.getRank())
      return failure();
    shape.push_back(input.getDimSize(d));
  }
  types.push_back(input.clone(shape));
  return success();
}

LogicalResult ReduceOp::inferReturnTypes(MLIRContext *, std::optional<Location>, Adaptor adaptor,
                                         SmallVectorImpl<Type> &types) {
  auto input = cast<RankedTensorType>(adaptor.getInput().getType());
  SmallVector<int64_t> shape;
  for (int64_t d = 0; d < input.getRank(); ++d)
    if (!llvm::is_contained(adaptor.getAxes(), d))
      shape.push_back(input.getDimSize(d));
  types.push_back(input.clone(shape));
  return success();
}

std::array<StringRef, 3> ContractOp::getLabels() {
  auto [inputs, result] = getEquation().split("->");
  auto [lhs, rhs] = inputs.split(',');
  return {lhs, rhs, result};
}

} // namespace graft::nn
