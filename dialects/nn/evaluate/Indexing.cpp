// Reference semantics of gathers and of their adjoints.
#include "dialects/nn/FactorRules.h"

using namespace mlir;

namespace graft::nn {

namespace {

using Tensors = FailureOr<SmallVector<Tensor>>;

LogicalResult checkIndices(Operation *op, const Tensor &indices, int64_t size) {
  for (int64_t index : indices.i())
    if (index < 0 || index >= size)
      return op->emitError() << "index " << index << " is not in [0, " << size << ")";
  return success();
}

/// Visits (position in the wide tensor, position in the narrow one) for gather: narrow = wide[:axis] + indices +
/// wide[axis+1:].
template <typename Function>
void forEachSlice(const Tensor::Shape &wide, const Tensor &indices, int64_t axis, Function visit) {
  int64_t outer = 1, inner = 1;
  for (int64_t d = 0; d < axis; ++d)
    outer *= wide[d];
  for (size_t d = axis + 1; d < wide.size(); ++d)
    inner *= wide[d];
  int64_t narrow = 0;
  for (int64_t o = 0; o < outer; ++o)
    for (int64_t index : indices.i())
      for (int64_t j = 0; j < inner; ++j)
        visit((o * wide[axis] + index) * inner + j, narrow++);
}

/// Visits (position in the wide tensor, position in the narrow one) for the element-wise forms.
template <typename Function>
void forEachElement(const Tensor::Shape &wide, const Tensor &indices, int64_t axis, Function visit) {
  Tensor::Shape strides = stridesOf(wide);
  int64_t along = strides[axis], narrow = 0;
  strides[axis] = 0;
  for (Walk walk(indices.shape(), {strides}); !walk.done(); walk.next(), ++narrow)
    visit(walk.offset(0) + indices.i()[narrow] * along, narrow);
}

/// Integers wrap around at `width` bits.
void addElement(Tensor &to, int64_t k, const Tensor &from, int64_t j, unsigned width) {
  if (to.isFloat())
    to.f()[k] += from.f()[j];
  else
    to.i()[k] =
        wrap(static_cast<int64_t>(static_cast<uint64_t>(to.i()[k]) + static_cast<uint64_t>(from.i()[j])), width);
}

} // namespace

Tensors GatherOp::evaluate(ArrayRef<Tensor> in) {
  if (failed(checkIndices(*this, in[1], in[0].shape()[getAxis()])))
    return failure();
  Tensor out = in[0].zeros(Tensor::Shape(shapeOf(getResult())));
  forEachSlice(in[0].shape(), in[1], getAxis(),
               [&](int64_t wide, int64_t narrow) { out.copyElement(narrow, in[0], wide); });
  return SmallVector<Tensor>{out};
}

Tensors ScatterAddOp::evaluate(ArrayRef<Tensor> in) {
  Tensor out = in[0].zeros(Tensor::Shape(shapeOf(getResult())));
  if (failed(checkIndices(*this, in[1], out.shape()[getAxis()])))
    return failure();
  unsigned width = typeOf(getResult()).getElementTypeBitWidth();
  forEachSlice(out.shape(), in[1], getAxis(),
               [&](int64_t wide, int64_t narrow) { addElement(out, wide, in[0], narrow, width); });
  return SmallVector<Tensor>{out};
}

Tensors GatherElementsOp::evaluate(ArrayRef<Tensor> in) {
  if (failed(checkIndices(*this, in[1], in[0].shape()[getAxis()])))
    return failure();
  Tensor out = in[0].zeros(Tensor::Shape(shapeOf(getResult())));
  forEachElement(in[0].shape(), in[1], getAxis(),
                 [&](int64_t wide, int64_t narrow) { out.copyElement(narrow, in[0], wide); });
  return SmallVector<Tensor>{out};
}

Tensors ScatterElementsAddOp::evaluate(ArrayRef<Tensor> in) {
  Tensor out = in[0].zeros(Tensor::Shape(shapeOf(getResult())));
  if (failed(checkIndices(*this, in[1], out.shape()[getAxis()])))
    return failure();
  unsigned width = typeOf(getResult()).getElementTypeBitWidth();
  forEachElement(out.shape(), in[1], getAxis(),
                 [&](int64_t wide, int64_t narrow) { addElement(out, wide, in[0], narrow, width); });
  return SmallVector<Tensor>{out};
}

} // namespace graft::nn
