// The inner loops that exist once per instruction set, as a table; best() is the one for this CPU.
//
// Each function works on plain arrays and is called by one worker on its share; nothing here starts threads or
// allocates.
#pragma once

#include <cstdint>
#include <span>

namespace graft::kernels {

struct AdamWArrays;
struct AdamWNumbers;
struct AttentionBackward;
struct AttentionForward;
struct AttentionRanges;
struct Moments;

struct VectorFunctions {
  /// Elements [first, first + count) of a parameter whose `arrays` begin there; `first` is a multiple of momentBlock.
  /// adamw.h
  void (*adamw)(const AdamWArrays &arrays, const Moments &moments, int64_t first, int64_t count,
                const AdamWNumbers &numbers, uint32_t seed);
  /// A whole moment of a narrow form as float32, and back: what was unpacked packs to the same.
  void (*unpackMoment)(const Moments &moments, bool square, int64_t count, float *out);
  void (*packMoment)(const Moments &moments, bool square, int64_t count, const float *in);
  /// Sum of squares in double; squared_norm.h.
  double (*squaredNorm)(const float *values, int64_t count);
  /// to[i] += from[i]; gather.h
  void (*addTo)(float *to, const float *from, int64_t count);
  /// c[i, :] = or += alpha sum_k a[i, k] b[k, :], c's rows contiguous; a and b are float32 or bfloat16. Gemm.h, when
  /// the library is absent or has no code for the product.
  using OwnGemm = void (*)(int64_t m, int64_t n, int64_t k, const void *a, int64_t aRow, int64_t aColumn, const void *b,
                           int64_t bRow, int64_t bColumn, float *c, int64_t cRow, float alpha, bool accumulate);
  OwnGemm gemm, gemmBF16;
  /// One work item, the ranges of its sequence found; attention/attention.cpp.
  void (*attentionForwardItem)(const AttentionForward &call, const AttentionRanges &ranges, float *scratch,
                               int64_t batch, int64_t keyHead);
  void (*attentionBackwardItem)(const AttentionBackward &call, const AttentionRanges &ranges, float *scratch,
                                int64_t batch, int64_t keyHead);
};

/// For this CPU. Thread-safe.
const VectorFunctions &vectorFunctions();

/// Every instruction set that this CPU has, the plainest first: what tests run.
std::span<const VectorFunctions> availableVectorFunctions();

} // namespace graft::kernels
