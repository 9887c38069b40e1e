#include "kernels/attention/attention.h"

#include <cmath>
#include <cstdlib>
#include <limits>
#include <vector>

namespace graft::kernels {

namespace {
/// May query i of sequence b read key j? As in dialects/nn/evaluate/Attention.cpp.
bool isAllowed(const AttentionShape &s, const AttentionMasks &m, int64_t b, int64_t i, int64_t j) {
  int64_t position = i + s.keys - s.queries;
  auto segment = [&](int64_t row, int64_t at) {
    at += (b * m.segmentRows + row) * s.keys;
    return m.segmentBytes == 8 ? static_cast<const int64_t *>(m.segments)[at]
                               : static_cast<const int32_t *>(m.segments)[at];
  };
  if (s.causal && j > position)
    return false;
  if (s.window > 0 && (s.causal ? j <= position - s.window : std::abs(position - j) >= s.window))
    return false;
  if (m.keyValid && (!m.keyValid[b * s.keys + j] || (s.skipInvalidQueries && !m.keyValid[b * s.keys + i])))
    return false;
  return !m.segments || segment(0, j) == segment(0, i) || segment(0, j) == segment(m.segmentRows - 1, i);
}

template <typename Heads> auto rowAt(const Heads &heads, int64_t b, int64_t h, int64_t i) {
  return heads.data + b * heads.strides.batch + h * heads.strides.head + i * heads.strides.position;
}

double dot(const float *a, const float *b, int64_t count) {
  double sum = 0;
  for (int64_t i = 0; i < count; ++i)
    sum += double(a[i]) * b[i];
  return sum;
}

/// Probabilities [T] of one query and the slopes of its scores: d(capped score) / d(q k).
struct Row {
  std::vector<double> p, slope;
  double lse;
};

template <typename Call> Row softmax(const Call &call, int64_t b, int64_t h, int64_t i) {
  const AttentionShape &s = call.shape;
  auto keys = static_cast<size_t>(s.keys);
  Row row{std::vector<double>(keys), std::vector<double>(keys, s.scale), -std::numeric_limits<double>::infinity()};
  double max = row.lse, sum = 0;
  for (int64_t j = 0; j < s.keys; ++j) {
    auto at = static_cast<size_t>(j);
    if (!isAllowed(s, call.masks, b, i, j))
      continue;
    double y = s.scale * dot(rowAt(call.q, b, h, i), rowAt(call.k, b, h / (s.queryHeads / s.keyHeads), j), s.queryDim);
    if (s.softcap > 0) {
      double t = std::tanh(y / s.softcap);
      y = s.softcap * t;
      row.slope[at] *= 1 - t * t;
    }
    row.p[at] = y;
    max = std::max(max, y);
  }
  for (int64_t j = 0; j < s.keys; ++j) {
    double &p = row.p[static_cast<size_t>(j)];
    sum += p = isAllowed(s, call.masks, b, i, j) ? std::exp(p - max) : 0;
  }
  if (sum == 0)
    return row;
  row.lse = max + std::log(sum);
  for (double &p : row.p)
    p /= sum;
  return row;
}

template <typename F> void forQueries(const AttentionShape &s, F f) {
  for (int64_t b = 0; b < s.batch; ++b)
    for (int64_t h = 0; h < s.queryHeads; ++h)
      for (int64_t i = 0; i < s.queries; ++i)
        f(b, h, i);
}

/// Dense [batch, heads, positions, dim] sums in float64.
struct Sums {
  int64_t heads, positions, dim;
  std::vector<double> values;
  Sums(int64_t batch, int64_t heads, int64_t positions, int64_t dim)
      : heads(heads), positions(positions), dim(dim), values(static_cast<size_t>(batch * heads * positions * dim)) {}
  void add(int64_t b, int64_t h, int64_t i, double factor, const float *row) {
    for (int64_t d = 0; d < dim; ++d)
      values[static_cast<size_t>(((b * heads + h) * positions + i) * dim + d)] += factor * row[d];
  }
  void write(const HeadsOut &to) const {
    for (size_t at = 0; at < values.size(); ++at) {
      auto row = static_cast<int64_t>(at) / dim;
      rowAt(to, row / positions / heads, row / positions % heads, row % positions)[static_cast<int64_t>(at) % dim] =
          static_cast<float>(values[at]);
    }
  }
};
} // namespace

void attentionForwardReference(const AttentionForward &call) {
  const AttentionShape &s = call.shape;
  Sums o(s.batch, s.queryHeads, s.queries, s.valueDim);
  forQueries(s, [&](int64_t b, int64_t h, int64_t i) {
    Row row = softmax(call, b, h, i);
    for (int64_t j = 0; j < s.keys; ++j)
      o.add(b, h, i, row.p[static_cast<size_t>(j)], rowAt(call.v, b, h / (s.queryHeads / s.keyHeads), j));
    call.lse[(b * s.queryHeads + h) * s.queries + i] = static_cast<float>(row.lse);
  });
  o.write(call.o);
}

void attentionBackwardReference(const AttentionBackward &call) {
  const AttentionShape &s = call.shape;
  Sums dq(s.batch, s.queryHeads, s.queries, s.queryDim), dk(s.batch, s.keyHeads, s.keys, s.queryDim),
      dv(s.batch, s.keyHeads, s.keys, s.valueDim);
  forQueries(s, [&](int64_t b, int64_t h, int64_t i) {
    int64_t kv = h / (s.queryHeads / s.keyHeads);
    Row row = softmax(call, b, h, i);
    const float *dOut = rowAt(call.dOut, b, h, i);
    std::vector<double> dp(static_cast<size_t>(s.keys));
    double delta = 0;
    for (int64_t j = 0; j < s.keys; ++j) {
      auto at = static_cast<size_t>(j);
      delta += row.p[at] * (dp[at] = dot(dOut, rowAt(call.v, b, kv, j), s.valueDim));
    }
    for (int64_t j = 0; j < s.keys; ++j) {
      auto at = static_cast<size_t>(j);
      double g = row.p[at] * (dp[at] - delta) * row.slope[at];
      dq.add(b, h, i, g, rowAt(call.k, b, kv, j));
      dk.add(b, kv, j, g, rowAt(call.q, b, h, i));
      dv.add(b, kv, j, row.p[at], dOut);
    }
  });
  dq.write(call.dq), dk.write(call.dk), dv.write(call.dv);
}

} // namespace graft::kernels
