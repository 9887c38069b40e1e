// Vectors, small products and packing for the loops that are compiled once per instruction set. Everything has internal
// linkage: no copy of it may be shared between instruction sets.
#pragma once

#include "kernels/attention/ranges.h"

namespace graft::kernels::GRAFT_TARGET {
namespace {

// Registers decide the tile: `columns` vectors times attentionGroup rows of sums, and one row of b.
#if defined(__AVX512F__)
constexpr int width = 16, columns = 4;
#elif defined(__AVX__)
constexpr int width = 8, columns = 2;
#else
constexpr int width = 4, columns = 2;
#endif

using Floats = float __attribute__((vector_size(4 * width)));
using Ints = int32_t __attribute__((vector_size(4 * width)));

inline Floats load(const float *from) {
  Floats value;
  __builtin_memcpy(&value, from, sizeof value);
  return value;
}
inline Ints loadInts(const int32_t *from) {
  Ints value;
  __builtin_memcpy(&value, from, sizeof value);
  return value;
}
inline void store(float *to, Floats value) {
  __builtin_memcpy(to, &value, sizeof value);
}
inline Floats all(float value) { // not Floats{} + value: 0 + -0 is 0, so that the addition would stay
  Floats lanes;
  for (int i = 0; i < width; ++i)
    lanes[i] = value;
  return lanes;
}
inline Floats select(Ints mask, Floats yes, Floats no) {
  return mask ? yes : no;
}

template <typename T> inline T smaller(T a, T b) {
  return b < a ? b : a;
}
template <typename T> inline T larger(T a, T b) {
  return a < b ? b : a;
}

inline Ints iota() {
  Ints value = {};
  for (int i = 0; i < width; ++i)
    value[i] = i;
  return value;
}
/// In a fixed order: halves are folded.
inline float sumOf(Floats v) {
  float lanes[width];
  store(lanes, v);
  for (int half = width / 2; half > 0; half /= 2)
    for (int i = 0; i < half; ++i)
      lanes[i] += lanes[i + half];
  return lanes[0];
}
inline float maxOf(Floats v) {
  float lanes[width];
  store(lanes, v);
  for (int half = width / 2; half > 0; half /= 2)
    for (int i = 0; i < half; ++i)
      lanes[i] = larger(lanes[i], lanes[i + half]);
  return lanes[0];
}

/// 2^x for x <= 127: 2 ulp, 0 below -126, NaN stays. x = n + f, |f| <= 1/2; 2^f by a polynomial whose relative error is
/// 2e-9 (weighted least squares towards the minimax polynomial); n goes to the exponent.
inline Floats exp2(Floats x) {
  constexpr float rounder = 12582912; // 1.5 2^23: adding it rounds to an integer
  Floats clamped = select(x < -126.0f, all(-126), x);
  Floats shifted = clamped + rounder;
  Floats f = clamped - (shifted - rounder);
  Floats p = all(1.5345696e-4f);
  p = p * f + 1.3400064e-3f;
  p = p * f + 9.61849e-3f;
  p = p * f + 5.5503283e-2f;
  p = p * f + 2.4022646e-1f;
  p = p * f + 6.931472e-1f;
  p = p * f + 1.0f;
  Floats power = (Floats)(((Ints)shifted << 23) + 0x3f800000); // 2^n
  return select(x < -126.0f, Floats{}, p * power);
}

constexpr float log2e = 1.44269504f, ln2 = 0.693147181f;

/// tanh: near zero the odd polynomial of Cephes' tanhf, elsewhere by e^(-2|x|).
inline Floats tanh(Floats x) {
  Floats size = select(x < 0.0f, -x, x), square = x * x;
  Floats p = all(-5.70498872745e-3f);
  p = p * square + 2.06390887954e-2f;
  p = p * square - 5.37397155531e-2f;
  p = p * square + 1.33314422036e-1f;
  p = p * square - 3.33332819422e-1f;
  Floats e = exp2(size * (-2 * log2e)), far = (1.0f - e) / (1.0f + e);
  return select(size < 0.625f, x + x * square * p, select(x < 0.0f, -far, far));
}

// --- Products --------------------------------------------------------------------------------------------------------

/// c[i, :] = or += sum over d of a[i, d] b[d, :], `rows` by `vectors`; b's and c's rows are contiguous.
template <int rows, int vectors>
void tile(int64_t depth, const float *a, int64_t aRow, int64_t aDepth, const float *b, int64_t bRow, float *c,
          int64_t cRow, bool add) {
  Floats sums[rows][vectors];
#pragma unroll
  for (int i = 0; i < rows; ++i)
#pragma unroll
    for (int j = 0; j < vectors; ++j)
      sums[i][j] = add ? load(c + i * cRow + j * width) : Floats{};
#pragma unroll 2
  for (int64_t d = 0; d < depth; ++d, a += aDepth, b += bRow) {
    Floats row[vectors];
#pragma unroll
    for (int j = 0; j < vectors; ++j)
      row[j] = load(b + j * width);
#pragma unroll
    for (int i = 0; i < rows; ++i) {
      Floats value = all(a[i * aRow]);
#pragma unroll
      for (int j = 0; j < vectors; ++j)
        sums[i][j] += value * row[j];
    }
  }
#pragma unroll
  for (int i = 0; i < rows; ++i)
#pragma unroll
    for (int j = 0; j < vectors; ++j)
      store(c + i * cRow + j * width, sums[i][j]);
}

using Tile = void (*)(int64_t, const float *, int64_t, int64_t, const float *, int64_t, float *, int64_t, bool);

template <int rows> constexpr Tile tileOf(int vectors) {
  if constexpr (columns == 4)
    return vectors == 1   ? tile<rows, 1>
           : vectors == 2 ? tile<rows, 2>
           : vectors == 3 ? tile<rows, 3>
                          : tile<rows, columns>;
  return vectors == 1 ? tile<rows, 1> : tile<rows, 2>;
}

/// By rows - 1 and vectors - 1.
struct Tiles {
  Tile at[attentionGroup][columns];
};
constexpr Tiles makeTiles() {
  Tiles tiles = {};
  for (int v = 0; v < columns; ++v) {
    Tile byRows[attentionGroup] = {tileOf<1>(v + 1), tileOf<2>(v + 1), tileOf<3>(v + 1),
                                   tileOf<4>(v + 1), tileOf<5>(v + 1), tileOf<6>(v + 1)};
    for (int r = 0; r < attentionGroup; ++r)
      tiles.at[r][v] = byRows[r];
  }
  return tiles;
}
constexpr Tiles tiles = makeTiles();

struct Strided {
  const float *data;
  int64_t row, depth;
};
struct Rows {
  float *data;
  int64_t pitch;
};

/// c = or += a b; c is m <= attentionGroup rows of n floats, n a multiple of attentionVector. Columns are cut evenly: 5
/// vectors are 3 and 2, because narrow tiles are slow.
inline void product(int64_t m, int64_t n, int64_t depth, Strided a, const float *b, int64_t bRow, Rows c, bool add) {
  int64_t vectors = n / width, parts = (vectors + columns - 1) / columns;
  for (int64_t part = 0, done = 0; part < parts; ++part) {
    int64_t count = (vectors - done + parts - part - 1) / (parts - part);
    tiles.at[m - 1][count - 1](depth, a.data, a.row, a.depth, b + done * width, bRow, c.data + done * width, c.pitch,
                               add);
    done += count;
  }
}

// --- Packing ---------------------------------------------------------------------------------------------------------

inline void zero(float *to, int64_t count) {
  for (int64_t i = 0; i < count; ++i)
    to[i] = 0;
}

/// to[:] = from[:] and zeros up to `padded`.
inline void copyRow(float *to, const float *from, int64_t count, int64_t padded) {
  int64_t i = 0;
  for (; i + width <= count; i += width)
    store(to + i, load(from + i));
  for (; i < count; ++i)
    to[i] = from[i];
  for (; i < padded; ++i)
    to[i] = 0;
}

template <int... i> struct Indices {};
template <int n, int... i> struct MakeIndices : MakeIndices<n - 1, n - 1, i...> {};
template <int... i> struct MakeIndices<0, i...> {
  using Type = Indices<i...>;
};

/// Lanes of the lower (half = 0) or upper halves of a and b in turn.
template <int half, int... i> inline Floats interleave(Floats a, Floats b, Indices<i...>) {
  return __builtin_shufflevector(a, b, (half * width / 2 + i / 2 + (i % 2) * width)...);
}

/// to[j, i] = from[i, j] for a square of `width` rows. Interleaving rows i and i + width / 2, log2(width) times.
inline void transposeSquare(float *to, int64_t toPitch, const float *from, int64_t fromPitch) {
  using All = typename MakeIndices<width>::Type;
  Floats rows[width], next[width];
#pragma unroll
  for (int i = 0; i < width; ++i)
    rows[i] = load(from + i * fromPitch);
#pragma unroll
  for (int step = 1; step < width; step *= 2) {
#pragma unroll
    for (int i = 0; i < width / 2; ++i) {
      next[2 * i] = interleave<0>(rows[i], rows[i + width / 2], All{});
      next[2 * i + 1] = interleave<1>(rows[i], rows[i + width / 2], All{});
    }
#pragma unroll
    for (int i = 0; i < width; ++i)
      rows[i] = next[i];
  }
#pragma unroll
  for (int i = 0; i < width; ++i)
    store(to + i * toPitch, rows[i]);
}

/// One panel: to[d, j] = from[j, d] for j < keys, zeros up to attentionPanel; d < dim.
inline void packPanel(float *to, const float *from, int64_t pitch, int64_t keys, int64_t dim) {
  int64_t wholeKeys = keys / width * width, wholeDims = dim / width * width;
  for (int64_t d = 0; d < wholeDims; d += width)
    for (int64_t j = 0; j < wholeKeys; j += width)
      transposeSquare(to + d * attentionPanel + j, attentionPanel, from + j * pitch + d, pitch);
  for (int64_t d = 0; d < dim; ++d) {
    float *row = to + d * attentionPanel;
    for (int64_t j = d < wholeDims ? wholeKeys : 0; j < keys; ++j)
      row[j] = from[j * pitch + d];
    for (int64_t j = keys; j < attentionPanel; ++j)
      row[j] = 0;
  }
}

/// Panels side by side: panel p is [dim, attentionPanel] from to + p attentionPanel dim on.
inline void packPanels(float *to, const float *from, int64_t pitch, int64_t keys, int64_t dim) {
  for (int64_t j = 0; j < keys; j += attentionPanel, to += attentionPanel * dim)
    packPanel(to, from + j * pitch, pitch, smaller(attentionPanel, keys - j), dim);
}

// --- Rows of scores --------------------------------------------------------------------------------------------------

/// Rows (position, head) of a work item in this order: the rows of a group then stand at nearly the same position.
struct ItemRows {
  int64_t heads;     ///< that share the key head
  int64_t firstHead; ///< of the sequence's query heads
  int64_t batch;
  int64_t position(int64_t row) const { return row / heads; }
  int64_t offset(const HeadStrides &s, int64_t row) const {
    return batch * s.batch + (firstHead + row % heads) * s.head + row / heads * s.position;
  }
};

/// Keys [begin, end) in multiples of attentionVector.
struct Span {
  int64_t begin = 0, end = 0;
  bool empty() const { return begin >= end; }
};
inline Span join(Span a, Span b) {
  return a.empty() ? b : b.empty() ? a : Span{smaller(a.begin, b.begin), larger(a.end, b.end)};
}
inline Span within(Span span, int64_t begin, int64_t end) {
  return {larger(span.begin, begin), smaller(span.end, end)};
}

/// The keys that rows read, in order: what lies before a gap and what lies behind it. Without a gap the second part is
/// empty, at the end of the first.
struct Reach {
  Span parts[2];
  int64_t begin() const { return parts[0].begin; }
  int64_t end() const { return parts[1].end; }
  bool empty() const { return begin() >= end(); }
  Span gap() const { return {parts[0].end, parts[1].begin}; }
  bool meets(int64_t from, int64_t to) const {
    return !within(parts[0], from, to).empty() || !within(parts[1], from, to).empty();
  }
};
inline Reach reachOf(Span all, Span gap) {
  if (gap.empty())
    gap = {all.end, all.end};
  return {{{all.begin, gap.begin}, {gap.end, all.end}}};
}
/// What either reads, but for the keys that neither does.
inline Reach join(const Reach &a, const Reach &b) {
  if (a.empty() || b.empty())
    return a.empty() ? b : a;
  return reachOf({smaller(a.begin(), b.begin()), larger(a.end(), b.end())},
                 {larger(a.gap().begin, b.gap().begin), smaller(a.gap().end, b.gap().end)});
}
/// What the query at `position` reads of the keys [begin, end), counted from `begin`, a multiple of attentionVector.
inline Reach reachOf(const AttentionRanges &r, int64_t position, int64_t begin, int64_t end) {
  int64_t lo = larger<int64_t>(r.lo[position], begin), hi = smaller<int64_t>(r.hi[position], end);
  int64_t gapBegin = r.gapBegin[position], gapEnd = r.gapEnd[position];
  if (lo >= gapBegin)
    lo = larger(lo, gapEnd);
  if (hi <= gapEnd)
    hi = smaller(hi, gapBegin);
  if (lo >= hi)
    return {};
  Span all = {(lo - begin) / attentionVector * attentionVector, roundUp(hi - begin, attentionVector)};
  if (gapBegin <= lo || gapEnd >= hi)
    return reachOf(all, {});
  return reachOf(all,
                 {roundUp(gapBegin - begin, attentionVector), (gapEnd - begin) / attentionVector * attentionVector});
}
/// Calls f(g, p, keys) panel by panel, p the panel's first key, for what each group reads of it within `all`.
template <typename F> inline void forPanels(const Reach *groups, int64_t count, Span all, F f) {
  for (int64_t p = all.begin / attentionPanel * attentionPanel; p < all.end; p += attentionPanel)
    for (int64_t g = 0; g < count; ++g)
      for (Span part : groups[g].parts) {
        Span keys = within(part, p, smaller(p + attentionPanel, all.end));
        if (!keys.empty())
          f(g, p, keys);
      }
}
/// x = 0 within `all` where `own` does not read.
inline void zeroAround(float *x, Span all, const Reach &own) {
  const Span around[] = {{all.begin, own.begin()}, own.gap(), {own.end(), all.end}};
  for (Span span : around) {
    Span rest = within(span, all.begin, all.end);
    zero(x + rest.begin, rest.end - rest.begin);
  }
}

/// What one query may read, as masks of vectors.
struct Reader {
  int64_t lo, hi, gapBegin, gapEnd;
  int32_t own, parent; ///< labels
  bool holes;
  const int32_t *labels;
  bool isWhole(int64_t j) const {
    return !holes && ((j >= lo && j + width <= gapBegin) || (j >= gapEnd && j + width <= hi));
  }
  Ints mask(int64_t j) const {
    Ints at = iota() + static_cast<int32_t>(j);
    Ints inside = (at >= static_cast<int32_t>(lo)) & (at < static_cast<int32_t>(hi));
    Ints label = loadInts(labels + j);
    return inside & ((label == own) | (label == parent));
  }
};
inline Reader readerOf(const AttentionRanges &r, int64_t position) {
  return {r.lo[position],         r.hi[position],          r.gapBegin[position],   r.gapEnd[position],
          r.queryLabel[position], r.parentLabel[position], r.holes[position] != 0, r.label};
}

/// Scores times log2(e), so that exponentials are powers of two.
struct Scale {
  float factor; ///< of the product q k: scale log2(e), or scale / softcap
  float cap;    ///< softcap log2(e); 0: none
  explicit Scale(const AttentionShape &shape)
      : factor(shape.softcap > 0 ? shape.scale / shape.softcap : shape.scale * log2e), cap(shape.softcap * log2e) {}
};

} // namespace
} // namespace graft::kernels::GRAFT_TARGET
