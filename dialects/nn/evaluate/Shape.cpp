// Reference semantics of the shape operators: loops over indices.
#include "dialects/nn/FactorRules.h"

using namespace mlir;

namespace graft::nn {

namespace {
using Tensors = FailureOr<SmallVector<Tensor>>;

Tensor::Shape resultShape(Operation *op) {
  return Tensor::Shape(shapeOf(op->getResult(0)));
}
} // namespace

Tensors BroadcastOp::evaluate(ArrayRef<Tensor> in) {
  Tensor out = in[0].zeros(resultShape(*this));
  Tensor::Shape inner = stridesOf(in[0].shape()), strides(out.rank(), 0);
  for (auto [i, d] : llvm::enumerate(getDimensions()))
    strides[d] = inner[i];
  int64_t k = 0;
  for (Walk walk(out.shape(), {strides}); !walk.done(); walk.next())
    out.copyElement(k++, in[0], walk.offset(0));
  return SmallVector<Tensor>{out};
}

Tensors ReshapeOp::evaluate(ArrayRef<Tensor> in) {
  return SmallVector<Tensor>{in[0].reshaped(resultShape(*this))};
}

Tensors TransposeOp::evaluate(ArrayRef<Tensor> in) {
  Tensor out = in[0].zeros(resultShape(*this));
  Tensor::Shape inner = stridesOf(in[0].shape()), strides;
  for (int64_t d : getPermutation())
    strides.push_back(inner[d]);
  int64_t k = 0;
  for (Walk walk(out.shape(), {strides}); !walk.done(); walk.next())
    out.copyElement(k++, in[0], walk.offset(0));
  return SmallVector<Tensor>{out};
}

namespace {
/// Offset of a box's first element and the strides of walking through it, in the outer tensor.
std::pair<int64_t, Tensor::Shape> boxStrides(const Tensor::Shape &outer, ArrayRef<int64_t> starts,
                                             ArrayRef<int64_t> steps) {
  Tensor::Shape strides = stridesOf(outer);
  int64_t offset = 0;
  for (size_t d = 0; d < outer.size(); ++d) {
    offset += starts[d] * strides[d];
    strides[d] *= steps[d];
  }
  return {offset, strides};
}
} // namespace

Tensors SliceOp::evaluate(ArrayRef<Tensor> in) {
  Tensor out = in[0].zeros(resultShape(*this));
  auto [offset, strides] = boxStrides(in[0].shape(), getStarts(), getSteps());
  int64_t k = 0;
  for (Walk walk(out.shape(), {strides}); !walk.done(); walk.next())
    out.copyElement(k++, in[0], offset + walk.offset(0));
  return SmallVector<Tensor>{out};
}

Tensors PadOp::evaluate(ArrayRef<Tensor> in) {
  Tensor out = in[0].zeros(resultShape(*this));
  auto [offset, strides] = boxStrides(out.shape(), getStarts(), getSteps());
  int64_t k = 0;
  for (Walk walk(in[0].shape(), {strides}); !walk.done(); walk.next())
    out.copyElement(offset + walk.offset(0), in[0], k++);
  return SmallVector<Tensor>{out};
}

Tensors ConcatOp::evaluate(ArrayRef<Tensor> in) {
  Tensor out = in[0].zeros(resultShape(*this));
  Tensor::Shape strides = stridesOf(out.shape());
  int64_t start = 0;
  for (const Tensor &part : in) {
    int64_t k = 0;
    for (Walk walk(part.shape(), {strides}); !walk.done(); walk.next())
      out.copyElement(start + walk.offset(0), part, k++);
    start += part.shape()[getAxis()] * strides[getAxis()];
  }
  return SmallVector<Tensor>{out};
}

Tensors IotaOp::evaluate(ArrayRef<Tensor>) {
  bool isFloat = isa<FloatType>(getElementTypeOrSelf(getResult().getType()));
  Tensor out = isFloat ? Tensor::floats(resultShape(*this)) : Tensor::integers(resultShape(*this));
  int64_t k = 0;
  for (Walk walk(out.shape(), {}); !walk.done(); walk.next(), ++k) {
    int64_t index = walk.index()[getAxis()];
    if (isFloat)
      out.f()[k] = static_cast<double>(index);
    else
      out.i()[k] = index;
  }
  return SmallVector<Tensor>{out};
}

} // namespace graft::nn
