// Folds that need no new operator: identities, and chains of two that are one. Folding of constants is a pass
// (passes/import/FoldConstants.cpp), because it has a size limit.
#include "dialects/nn/NNDialect.h"

using namespace mlir;

namespace graft::nn {

namespace {
template <typename Op> Value identityInput(Op op) {
  return op.getInput().getType() == op.getResult().getType() ? op.getInput() : Value();
}
} // namespace

OpFoldResult BroadcastOp::fold(FoldAdaptor) {
  if (Value same = identityInput(*this))
    return same;
  if (auto inner = getInput().getDefiningOp<BroadcastOp>()) {
    SmallVector<int64_t> dims;
    for (int64_t d : inner.getDimensions())
      dims.push_back(getDimensions()[d]);
    setDimensions(dims);
    getInputMutable().assign(inner.getInput());
    return getResult();
  }
  return {};
}

OpFoldResult ReshapeOp::fold(FoldAdaptor) {
  if (Value same = identityInput(*this))
    return same;
  if (auto inner = getInput().getDefiningOp<ReshapeOp>()) {
    getInputMutable().assign(inner.getInput());
    return getResult();
  }
  return {};
}

OpFoldResult TransposeOp::fold(FoldAdaptor) {
  if (llvm::is_sorted(getPermutation()))
    return getInput();
  if (auto inner = getInput().getDefiningOp<TransposeOp>()) {
    SmallVector<int64_t> permutation;
    for (int64_t d : getPermutation())
      permutation.push_back(inner.getPermutation()[d]);
    setPermutation(permutation);
    getInputMutable().assign(inner.getInput());
    return getResult();
  }
  return {};
}

OpFoldResult SliceOp::fold(FoldAdaptor) {
  return identityInput(*this);
}
OpFoldResult PadOp::fold(FoldAdaptor) {
  return identityInput(*this);
}
OpFoldResult ConcatOp::fold(FoldAdaptor) {
  return getInputs().size() == 1 ? OpFoldResult(getInputs()[0]) : OpFoldResult();
}

} // namespace graft::nn
