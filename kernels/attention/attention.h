// Scaled dot-product attention with grouped heads, float32, forward and backward. What it means is nn.attention's
// (dialects/nn/NNOps.td) without `bias`:
//
//   x[i, j] = scale q[i] . k[j]         y = softcap tanh(x / softcap), or x if softcap is 0
//   lse[i]  = log sum_j exp(y[i, j])    p[i, j] = exp(y[i, j] - lse[i])    o[i] = sum_j p[i, j] v[j]
//
// over the keys j that query i may read; query head h reads key head h / (queryHeads / keyHeads). Query i of S stands
// at position i + T - S of the T keys. A query that may read nothing gives o = 0, lse = -infinity and no gradient.
//
//   dv[j] = sum_i p[i, j] do[i]         g[i, j] = scale p (do[i] . v[j] - do[i] . o[i]) (1 - (y / softcap)^2)
//   dq[i] = sum_j g[i, j] k[j]          dk[j] = sum_i g[i, j] q[i]                (Dao et al. 2022, appendix B)
//
// Queries whose row of `do` is all zeros are skipped: they add zeros. No array [S, T] exists: a work item needs scratch
// for a few rows of scores and for packed copies of its keys and values.
//
// A work item is one sequence's key head (with the query heads that read it), so grouped heads need no copies, no two
// items write one element, and bits do not depend on the cut.
#pragma once

#include <cstdint>

namespace graft::kernels {

/// [batch, heads, positions, dim] anywhere in memory: element strides; the last dimension is contiguous.
struct HeadStrides {
  int64_t batch, head, position;
};
struct HeadsIn {
  const float *data;
  HeadStrides strides;
};
struct HeadsOut {
  float *data;
  HeadStrides strides;
};

struct AttentionShape {
  int64_t batch, queryHeads, keyHeads; ///< keyHeads divides queryHeads
  int64_t queries, keys;               ///< S and T
  int64_t queryDim, valueDim;          ///< of q and k; of v and o. Multiples of 16 are fast
  bool causal;                         ///< j <= i + T - S
  int64_t window;                      ///< 0: none; j > i + T - S - window, without `causal` |i + T - S - j| < window
  bool skipInvalidQueries;             ///< S = T: queries that keyValid excludes as keys give 0 (beyond nn.attention)
  float scale, softcap;
};

struct AttentionMasks {
  const uint8_t *keyValid; ///< [batch, T], not 0: may be read; nullptr: all
  /// [batch, segmentRows, T], S = T, int32 or int64; nullptr: one segment. Query i reads key j when row 0 of j equals
  /// row 0 of i, or the second row of i, which so names a segment that i reads besides its own (its own: none).
  const void *segments;
  int64_t segmentBytes; ///< 4 or 8
  int64_t segmentRows;  ///< 1 or 2
};

struct AttentionForward {
  AttentionShape shape;
  AttentionMasks masks;
  HeadsIn q, k, v; ///< [batch, queryHeads, S, queryDim], [batch, keyHeads, T, queryDim], [batch, keyHeads, T, valueDim]
  HeadsOut o;      ///< [batch, queryHeads, S, valueDim]
  float *lse;      ///< [batch, queryHeads, S] dense, natural logarithm
};

struct AttentionBackward {
  AttentionShape shape;
  AttentionMasks masks;
  HeadsIn q, k, v, o, dOut; ///< o and lse as the forward wrote them; dOut is shaped like o
  const float *lse;
  HeadsOut dq, dk, dv; ///< shaped like q, k, v; all of them is written
};

/// Work items of forward and backward.
int64_t attentionUnits(const AttentionShape &shape);
/// Bytes of scratch per worker, to be aligned to 64.
int64_t attentionForwardScratch(const AttentionShape &shape);
int64_t attentionBackwardScratch(const AttentionShape &shape);

/// Work items [begin, end), with scratch of this call's own.
void attentionForward(const AttentionForward &call, void *scratch, int64_t begin, int64_t end);
void attentionBackward(const AttentionBackward &call, void *scratch, int64_t begin, int64_t end);

// Obvious loops over everything in float64, rounded once.
void attentionForwardReference(const AttentionForward &call);
/// Reads neither o nor lse: it computes its own.
void attentionBackwardReference(const AttentionBackward &call);

} // namespace graft::kernels
