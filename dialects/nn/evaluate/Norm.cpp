// Reference semantics of the norms and of the rotary embedding: one row at a time.
#include "dialects/nn/FactorRules.h"

#include <cmath>

using namespace mlir;

namespace graft::nn {

namespace {

using Tensors = FailureOr<SmallVector<Tensor>>;

/// y = (x - mean) / sqrt(mean((x - mean)^2) + epsilon) per row, with mean = 0 if not `centered`.
Tensors normalize(const Tensor &input, double epsilon, bool centered) {
  Tensor out = input;
  std::vector<double> &y = out.f();
  int64_t n = input.shape().back();
  for (int64_t base = 0; base < out.size(); base += n) {
    double mean = 0, square = 0;
    for (int64_t k = base; centered && k < base + n; ++k)
      mean += y[k] / static_cast<double>(n);
    for (int64_t k = base; k < base + n; ++k)
      square += (y[k] - mean) * (y[k] - mean) / static_cast<double>(n);
    for (int64_t k = base; k < base + n; ++k)
      y[k] = (y[k] - mean) / std::sqrt(square + epsilon);
  }
  return SmallVector<Tensor>{out};
}

} // namespace

Tensors RMSNormOp::evaluate(ArrayRef<Tensor> in) {
  return normalize(in[0], getEpsilon().convertToDouble(), false);
}
Tensors LayerNormOp::evaluate(ArrayRef<Tensor> in) {
  return normalize(in[0], getEpsilon().convertToDouble(), true);
}

Tensors RopeOp::evaluate(ArrayRef<Tensor> in) {
  Tensor out = in[0];
  int64_t half = in[0].shape().back() / 2;
  for (int64_t row = 0; row * 2 * half < out.size(); ++row)
    for (int64_t i = 0; i < half; ++i) {
      int64_t first = row * 2 * half + (getInterleaved() ? 2 * i : i), second = first + (getInterleaved() ? 1 : half);
      double x1 = in[0].f()[first], x2 = in[0].f()[second], c = in[1].f()[row * half + i],
             s = in[2].f()[row * half + i];
      out.f()[first] = x1 * c - x2 * s;
      out.f()[second] = x2 * c + x1 * s;
    }
  return SmallVector<Tensor>{out};
}

} // namespace graft::nn
