// Reference semantics of reductions, scans and softmax.
#include "dialects/nn/FactorRules.h"

#include <cmath>
#include <limits>

using namespace mlir;

namespace graft::nn {

namespace {

using Tensors = FailureOr<SmallVector<Tensor>>;

template <typename T> T neutral(ReduceKind kind) {
  switch (kind) {
  case ReduceKind::Sum:
    return T(0);
  case ReduceKind::Prod:
    return T(1);
  case ReduceKind::Max:
    return std::numeric_limits<T>::has_infinity ? -std::numeric_limits<T>::infinity()
                                                : std::numeric_limits<T>::lowest();
  case ReduceKind::Min:
    return std::numeric_limits<T>::has_infinity ? std::numeric_limits<T>::infinity() : std::numeric_limits<T>::max();
  }
  llvm_unreachable("all kinds are listed");
}

/// Integers wrap around.
template <typename T> T add(T a, T b) {
  if constexpr (std::is_integral_v<T>)
    return static_cast<T>(static_cast<uint64_t>(a) + static_cast<uint64_t>(b));
  else
    return a + b;
}
template <typename T> T multiply(T a, T b) {
  if constexpr (std::is_integral_v<T>)
    return static_cast<T>(static_cast<uint64_t>(a) * static_cast<uint64_t>(b));
  else
    return a * b;
}

template <typename T> T combine(ReduceKind kind, T a, T b) {
  if (a != a || b != b) // NaN
    return a + b;
  switch (kind) {
  case ReduceKind::Sum:
    return add(a, b);
  case ReduceKind::Prod:
    return multiply(a, b);
  case ReduceKind::Max:
    return std::max(a, b);
  case ReduceKind::Min:
    return std::min(a, b);
  }
  llvm_unreachable("all kinds are listed");
}

/// Integers as their type stores them: sums and products modulo 2^width may be reduced at the end.
SmallVector<Tensor> wrapped(Operation *op, Tensor out) {
  if (!out.isFloat())
    for (int64_t &value : out.i())
      value = wrap(value, typeOf(op->getResult(0)).getElementTypeBitWidth());
  return {out};
}

/// Calls `row(base, stride, n)` for each line of a tensor along `axis`: its elements are base, base + stride, ...
template <typename Function> void forEachRow(const Tensor::Shape &shape, int64_t axis, Function row) {
  Tensor::Shape strides = stridesOf(shape), outer = shape;
  outer[axis] = 1;
  for (Walk walk(outer, {strides}); !walk.done(); walk.next())
    row(walk.offset(0), strides[axis], shape[axis]);
}

} // namespace

Tensors ReduceOp::evaluate(ArrayRef<Tensor> in) {
  Tensor out = in[0].zeros(Tensor::Shape(shapeOf(getResult())));
  Tensor::Shape inner = stridesOf(out.shape()), strides(in[0].rank(), 0);
  for (int64_t d = 0, kept = 0; d < in[0].rank(); ++d)
    if (!llvm::is_contained(getAxes(), d))
      strides[d] = inner[kept++];
  auto run = [&](const auto &from, auto &to) {
    using T = std::decay_t<decltype(to[0])>;
    std::fill(to.begin(), to.end(), neutral<T>(getKind()));
    size_t k = 0;
    for (Walk walk(in[0].shape(), {strides}); !walk.done(); walk.next())
      to[walk.offset(0)] = combine<T>(getKind(), to[walk.offset(0)], from[k++]);
  };
  if (in[0].isFloat())
    run(in[0].f(), out.f());
  else
    run(in[0].i(), out.i());
  return wrapped(*this, out);
}

Tensors CumsumOp::evaluate(ArrayRef<Tensor> in) {
  Tensor out = in[0].zeros(in[0].shape());
  auto run = [&](const auto &from, auto &to) {
    forEachRow(in[0].shape(), getAxis(), [&](int64_t base, int64_t stride, int64_t n) {
      std::decay_t<decltype(to[0])> sum = 0;
      for (int64_t j = 0; j < n; ++j) {
        int64_t k = base + stride * (getReverse() ? n - 1 - j : j);
        auto next = add(sum, from[k]);
        to[k] = getExclusive() ? sum : next;
        sum = next;
      }
    });
  };
  if (in[0].isFloat())
    run(in[0].f(), out.f());
  else
    run(in[0].i(), out.i());
  return wrapped(*this, out);
}

Tensors SoftmaxOp::evaluate(ArrayRef<Tensor> in) {
  Tensor out = Tensor::floats(in[0].shape());
  const std::vector<double> &x = in[0].f();
  std::vector<double> &y = out.f();
  forEachRow(out.shape(), getAxis(), [&](int64_t base, int64_t stride, int64_t n) {
    auto allowed = [&](int64_t k) { return !getMask() || in[1].i()[k]; };
    double max = -std::numeric_limits<double>::infinity(), sum = 0;
    for (int64_t k = base; k < base + n * stride; k += stride)
      if (allowed(k))
        max = combine(ReduceKind::Max, max, x[k]);
    for (int64_t k = base; k < base + n * stride; k += stride)
      if (allowed(k))
        sum += y[k] = std::exp(x[k] - max);
    for (int64_t k = base; k < base + n * stride; k += stride)
      if (allowed(k))
        y[k] /= sum;
  });
  return SmallVector<Tensor>{out};
}

Tensors LogSoftmaxOp::evaluate(ArrayRef<Tensor> in) {
  Tensor out = in[0];
  std::vector<double> &y = out.f();
  forEachRow(out.shape(), getAxis(), [&](int64_t base, int64_t stride, int64_t n) {
    double max = -std::numeric_limits<double>::infinity(), sum = 0;
    for (int64_t k = base; k < base + n * stride; k += stride)
      max = combine(ReduceKind::Max, max, y[k]);
    for (int64_t k = base; k < base + n * stride; k += stride)
      sum += std::exp(y[k] - max);
    for (int64_t k = base; k < base + n * stride; k += stride)
      y[k] -= max + std::log(sum);
  });
  return SmallVector<Tensor>{out};
}

} // namespace graft::nn
