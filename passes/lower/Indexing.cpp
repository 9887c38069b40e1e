#include "passes/lower/Indexing.h"

#include "dialects/nn/NNDialect.h"

using namespace mlir;

namespace graft {

namespace {

Affine zero(size_t spaceRank) {
  return {SmallVector<int64_t>(spaceRank, 0), 0};
}

void addMultiple(Affine &to, const Affine &from, int64_t factor) {
  for (auto [a, b] : llvm::zip(to.coefficients, from.coefficients))
    a += b * factor;
  to.constant += from.constant * factor;
}

/// Largest value that the expression takes on the space.
int64_t maximum(const Affine &affine, ArrayRef<int64_t> space) {
  int64_t sum = affine.constant;
  for (auto [coefficient, size] : llvm::zip(affine.coefficients, space))
    sum += coefficient * std::max<int64_t>(size - 1, 0);
  return sum;
}

/// Splits e into (e div n, e mod n) where its terms allow it: each coefficient is a multiple of n or belongs to the
/// rest, and the rest stays below n.
std::optional<std::pair<Affine, Affine>> divide(const Affine &e, int64_t n, ArrayRef<int64_t> space) {
  Affine quotient = zero(space.size()), rest = quotient;
  for (auto [i, coefficient] : llvm::enumerate(e.coefficients))
    (coefficient % n == 0 ? quotient.coefficients[i] : rest.coefficients[i]) =
        coefficient % n == 0 ? coefficient / n : coefficient;
  quotient.constant = e.constant / n;
  rest.constant = e.constant % n;
  if (maximum(rest, space) >= n)
    return std::nullopt;
  return std::pair(quotient, rest);
}

/// Index into the operand of a reshape: the linear element number, taken apart along the operand's dimensions. To keep
/// products small and separable it works on runs of dimensions with equal products.
std::optional<Index> throughReshape(nn::ReshapeOp op, const Index &index, ArrayRef<int64_t> space) {
  auto in = nn::shapeOf(op.getInput()), out = nn::shapeOf(op.getResult());
  Index result;
  for (size_t i = 0, j = 0; i < in.size() || j < out.size();) {
    size_t firstIn = i;
    Affine linear = zero(space.size());
    auto take = [&] {
      Affine joined = zero(space.size());
      addMultiple(joined, linear, out[j]);
      addMultiple(joined, index[j], 1);
      linear = joined;
      return out[j++];
    };
    int64_t left = i < in.size() ? in[i++] : 1, right = j < out.size() ? take() : 1;
    while (left != right) {
      if (left < right)
        left *= in[i++];
      else
        right *= take();
    }
    // From the last dimension of the run to the first; the first takes what remains.
    SmallVector<Affine> dims(i - firstIn);
    for (size_t d = i; d-- > firstIn;) {
      if (d == firstIn) {
        dims[0] = linear;
        break;
      }
      auto parts = divide(linear, in[d], space);
      if (!parts)
        return std::nullopt;
      dims[d - firstIn] = parts->second;
      linear = parts->first;
    }
    llvm::append_range(result, dims);
  }
  return result;
}

} // namespace

Index identityIndex(size_t rank, size_t spaceRank) {
  Index index(rank, zero(spaceRank));
  for (size_t d = 0; d < rank; ++d)
    index[d].coefficients[d] = 1;
  return index;
}

std::optional<Source> stepThroughView(Operation *op, const Index &index, ArrayRef<int64_t> space) {
  if (auto transpose = dyn_cast<nn::TransposeOp>(op)) {
    Index inner(index.size());
    for (auto [i, d] : llvm::enumerate(transpose.getPermutation()))
      inner[d] = index[i];
    return Source{transpose.getInput(), inner};
  }
  if (auto broadcast = dyn_cast<nn::BroadcastOp>(op)) {
    Index inner;
    for (int64_t d : broadcast.getDimensions())
      inner.push_back(index[d]);
    return Source{broadcast.getInput(), inner};
  }
  if (auto slice = dyn_cast<nn::SliceOp>(op)) {
    Index inner;
    for (auto [affine, start, step] : llvm::zip(index, slice.getStarts(), slice.getSteps())) {
      Affine moved = zero(space.size());
      addMultiple(moved, affine, step);
      moved.constant += start;
      inner.push_back(moved);
    }
    return Source{slice.getInput(), inner};
  }
  auto reshape = cast<nn::ReshapeOp>(op);
  if (auto inner = throughReshape(reshape, index, space))
    return Source{reshape.getInput(), *inner};
  return std::nullopt;
}

std::optional<Source> resolve(Value value, Index index, ArrayRef<int64_t> space, llvm::function_ref<bool(Value)> stop) {
  while (isView(value.getDefiningOp()) && !stop(value)) {
    auto source = stepThroughView(value.getDefiningOp(), index, space);
    if (!source)
      return std::nullopt;
    value = source->value;
    index = source->index;
  }
  return Source{value, index};
}

Strides linearize(const Index &index, ArrayRef<int64_t> shape, size_t spaceRank) {
  Affine sum = zero(spaceRank);
  for (auto [affine, stride] : llvm::zip(index, denseStrides(shape)))
    addMultiple(sum, affine, stride);
  return {sum.coefficients, sum.constant};
}

SmallVector<int64_t> denseStrides(ArrayRef<int64_t> shape) {
  SmallVector<int64_t> strides(shape.size(), 1);
  for (size_t d = shape.size(); d-- > 1;)
    strides[d - 1] = strides[d] * shape[d];
  return strides;
}

} // namespace graft
