// Reference semantics of attention: for each query the allowed keys, one by one.
#include "dialects/nn/FactorRules.h"

#include <cmath>
#include <limits>

using namespace mlir;

namespace graft::nn {

namespace {

/// May query i read key j of sequence b?
struct Allowed {
  bool causal;
  int64_t window;
  const int64_t *valid, *segments;
  int64_t segmentRows; ///< 2: the second names what each query reads besides its own segment
  int64_t S, T;
  bool operator()(int64_t b, int64_t i, int64_t j) const {
    int64_t position = i + T - S;
    if (causal && j > position)
      return false;
    if (window > 0 && (causal ? j <= position - window : std::abs(position - j) >= window))
      return false;
    if (valid && !valid[b * T + j])
      return false;
    if (!segments)
      return true;
    const int64_t *own = segments + b * segmentRows * T, *other = own + (segmentRows - 1) * T;
    return own[j] == own[i] || own[j] == other[i];
  }
};

/// Sizes and masks, as attention and its gradient have them.
template <typename Op> struct Form {
  int64_t batch, heads, S, D, keyHeads, T, E;
  double scale, cap;
  Allowed allowed;
  Form(Op op, const Tensor *valid, const Tensor *segments)
      : batch(shapeOf(op.getQuery())[0]), heads(shapeOf(op.getQuery())[1]), S(shapeOf(op.getQuery())[2]),
        D(shapeOf(op.getQuery())[3]), keyHeads(shapeOf(op.getValue())[1]), T(shapeOf(op.getValue())[2]),
        E(shapeOf(op.getValue())[3]), scale(op.getScale().convertToDouble()), cap(op.getSoftcap().convertToDouble()),
        allowed{op.getCausal(),
                static_cast<int64_t>(op.getWindow()),
                valid ? valid->i().data() : nullptr,
                segments ? segments->i().data() : nullptr,
                segments && segments->shape().size() == 3 ? 2 : 1,
                S,
                T} {}
  /// Calls f(b, row, kv, i) for every query: its row of q, and the first row of its key head.
  template <typename F> void forEachQuery(F f) const {
    for (int64_t b = 0; b < batch; ++b)
      for (int64_t h = 0; h < heads; ++h)
        for (int64_t i = 0; i < S; ++i)
          f(b, (b * heads + h) * S + i, (b * keyHeads + h / (heads / keyHeads)) * T, i);
  }
  /// The score without bias; `slope` is what the soft-cap makes of its derivative.
  double score(const Tensor &q, const Tensor &k, int64_t row, int64_t key, double &slope) const {
    double sum = 0;
    for (int64_t d = 0; d < D; ++d)
      sum += q.f()[row * D + d] * k.f()[key * D + d];
    sum *= scale;
    slope = scale;
    if (cap > 0) {
      double capped = std::tanh(sum / cap);
      slope *= 1 - capped * capped;
      sum = cap * capped;
    }
    return sum;
  }
};

} // namespace

FailureOr<SmallVector<Tensor>> AttentionOp::evaluate(ArrayRef<Tensor> in) {
  size_t next = 3;
  const Tensor *valid = getKeyValid() ? &in[next++] : nullptr, *segments = getSegments() ? &in[next++] : nullptr,
               *bias = getBias() ? &in[next++] : nullptr;
  Form<AttentionOp> form(*this, valid, segments);
  int64_t T = form.T, E = form.E;
  Tensor out = Tensor::floats({form.batch, form.heads, form.S, E}),
         lse = Tensor::floats({form.batch, form.heads, form.S});
  std::vector<double> &o = out.f();
  std::vector<double> p(T);
  form.forEachQuery([&](int64_t b, int64_t row, int64_t kv, int64_t i) {
    double max = -std::numeric_limits<double>::infinity(), sum = 0, slope;
    for (int64_t j = 0; j < T; ++j) {
      if (!form.allowed(b, i, j))
        continue;
      p[j] = form.score(in[0], in[1], row, kv + j, slope) + (bias ? bias->f()[row * T + j] : 0);
      max = std::max(max, p[j]);
    }
    for (int64_t j = 0; j < T; ++j)
      sum += p[j] = form.allowed(b, i, j) ? std::exp(p[j] - max) : 0;
    for (int64_t j = 0; j < T && sum != 0; ++j) // 0: nothing to read; NaN goes on
      for (int64_t e = 0; e < E; ++e)
        o[row * E + e] += p[j] / sum * in[2].f()[(kv + j) * E + e];
    lse.f()[row] = max + std::log(sum);
  });
  return SmallVector<Tensor>{out, lse};
}

/// With p the probabilities and g the cotangent: dv = p g, ds = p (g v - g o), dq = ds k, dk = ds q.
FailureOr<SmallVector<Tensor>> AttentionGradientOp::evaluate(ArrayRef<Tensor> in) {
  size_t next = 6;
  const Tensor *valid = getKeyValid() ? &in[next++] : nullptr, *segments = getSegments() ? &in[next++] : nullptr;
  const Tensor &q = in[0], &k = in[1], &v = in[2], &o = in[3], &lse = in[4], &g = in[5];
  Form<AttentionGradientOp> form(*this, valid, segments);
  int64_t D = form.D, E = form.E;
  Tensor dq = q.zeros(q.shape()), dk = k.zeros(k.shape()), dv = v.zeros(v.shape());
  form.forEachQuery([&](int64_t b, int64_t row, int64_t kv, int64_t i) {
    double delta = 0, slope;
    for (int64_t e = 0; e < E; ++e)
      delta += g.f()[row * E + e] * o.f()[row * E + e];
    for (int64_t j = 0; j < form.T; ++j) {
      if (!form.allowed(b, i, j))
        continue;
      double p = std::exp(form.score(q, k, row, kv + j, slope) - lse.f()[row]), dp = 0;
      for (int64_t e = 0; e < E; ++e) {
        dp += g.f()[row * E + e] * v.f()[(kv + j) * E + e];
        dv.f()[(kv + j) * E + e] += p * g.f()[row * E + e];
      }
      double ds = p * (dp - delta) * slope;
      for (int64_t d = 0; d < D; ++d) {
        dq.f()[row * D + d] += ds * k.f()[(kv + j) * D + d];
        dk.f()[(kv + j) * D + d] += ds * q.f()[row * D + d];
      }
    }
  });
  return SmallVector<Tensor>{dq, dk, dv};
}

} // namespace graft::nn
