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
  int64_t S, T;
  bool operator()(int64_t b, int64_t i, int64_t j) const {
    int64_t position = i + T - S;
    if (causal && j > position)
      return false;
    if (window > 0 && (causal ? j <= position - window : std::abs(position - j) >= window))
      return false;
    if (valid && !valid[b * T + j])
      return false;
    return !segments || segments[b * T + i] == segments[b * T + j];
  }
};

} // namespace

FailureOr<SmallVector<Tensor>> AttentionOp::evaluate(ArrayRef<Tensor> in) {
  size_t next = 3;
  const Tensor *valid = getKeyValid() ? &in[next++] : nullptr, *segments = getSegments() ? &in[next++] : nullptr,
               *bias = getBias() ? &in[next++] : nullptr;
  ArrayRef<int64_t> qs = shapeOf(getQuery()), vs = shapeOf(getValue());
  int64_t batch = qs[0], heads = qs[1], S = qs[2], D = qs[3], keyHeads = vs[1], T = vs[2], E = vs[3];
  Allowed allowed{getCausal(),
                  static_cast<int64_t>(getWindow()),
                  valid ? valid->i().data() : nullptr,
                  segments ? segments->i().data() : nullptr,
                  S,
                  T};
  double scale = getScale().convertToDouble(), cap = getSoftcap().convertToDouble();

  Tensor out = Tensor::floats({batch, heads, S, E});
  std::vector<double> &o = out.f();
  std::vector<double> p(T);
  for (int64_t b = 0; b < batch; ++b)
    for (int64_t h = 0; h < heads; ++h) {
      int64_t kv = b * keyHeads + h / (heads / keyHeads);
      for (int64_t i = 0; i < S; ++i) {
        int64_t row = (b * heads + h) * S + i;
        double max = -std::numeric_limits<double>::infinity(), sum = 0;
        for (int64_t j = 0; j < T; ++j) {
          if (!allowed(b, i, j))
            continue;
          double score = 0;
          for (int64_t d = 0; d < D; ++d)
            score += in[0].f()[row * D + d] * in[1].f()[(kv * T + j) * D + d];
          score *= scale;
          if (cap > 0)
            score = cap * std::tanh(score / cap);
          if (bias)
            score += bias->f()[row * T + j];
          p[j] = score;
          max = std::max(max, score);
        }
        for (int64_t j = 0; j < T; ++j)
          sum += p[j] = allowed(b, i, j) ? std::exp(p[j] - max) : 0;
        for (int64_t j = 0; j < T && sum != 0; ++j) // 0: nothing to read; NaN goes on
          for (int64_t e = 0; e < E; ++e)
            o[row * E + e] += p[j] / sum * in[2].f()[(kv * T + j) * E + e];
      }
    }
  return SmallVector<Tensor>{out};
}

} // namespace graft::nn
