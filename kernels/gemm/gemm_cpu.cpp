// Our own product, for what the library has no code for: a block of b is packed so that its columns are contiguous,
// then each row of c gathers k terms, 64 columns at a time. Simple and right; the library is about ten times faster.
#include <cstdint>

namespace graft::kernels::GRAFT_TARGET {

namespace {
constexpr int64_t columns = 64, depth = 128;

struct BF16 {
  uint16_t bits;
};
float toFloat(float value) {
  return value;
}
float toFloat(BF16 value) {
  return __builtin_bit_cast(float, uint32_t(value.bits) << 16);
}

/// sums[j] += sum over k of a[k] packed[k, j]
template <typename T>
void multiplyRow(int64_t k, const T *a, int64_t aColumn, const float (*packed)[columns], float *sums) {
  for (int64_t p = 0; p < k; ++p) {
    float value = toFloat(a[p * aColumn]);
    for (int64_t j = 0; j < columns; ++j)
      sums[j] += value * packed[p][j];
  }
}

template <typename T>
void multiply(int64_t m, int64_t n, int64_t k, const T *a, int64_t aRow, int64_t aColumn, const T *b, int64_t bRow,
              int64_t bColumn, float *c, int64_t cRow, float alpha, bool accumulate) {
  alignas(64) float packed[depth][columns];
  for (int64_t j0 = 0; j0 < n; j0 += columns) {
    int64_t width = n - j0 < columns ? n - j0 : columns;
    for (int64_t k0 = 0; k0 == 0 || k0 < k; k0 += depth) { // once even if k is 0: c is written
      int64_t length = k - k0 < depth ? k - k0 : depth;
      for (int64_t p = 0; p < length; ++p)
        for (int64_t j = 0; j < columns; ++j)
          packed[p][j] = j < width ? toFloat(b[(k0 + p) * bRow + (j0 + j) * bColumn]) : 0;
      bool adds = accumulate || k0 > 0;
      for (int64_t i = 0; i < m; ++i) {
        alignas(64) float sums[columns] = {};
        multiplyRow(length, a + i * aRow + k0 * aColumn, aColumn, packed, sums);
        float *out = c + i * cRow + j0;
        for (int64_t j = 0; j < width; ++j)
          out[j] = alpha * sums[j] + (adds ? out[j] : 0);
      }
    }
  }
}
} // namespace

void gemm(int64_t m, int64_t n, int64_t k, const void *a, int64_t aRow, int64_t aColumn, const void *b, int64_t bRow,
          int64_t bColumn, float *c, int64_t cRow, float alpha, bool accumulate) {
  multiply(m, n, k, static_cast<const float *>(a), aRow, aColumn, static_cast<const float *>(b), bRow, bColumn, c, cRow,
           alpha, accumulate);
}

void gemmBF16(int64_t m, int64_t n, int64_t k, const void *a, int64_t aRow, int64_t aColumn, const void *b,
              int64_t bRow, int64_t bColumn, float *c, int64_t cRow, float alpha, bool accumulate) {
  multiply(m, n, k, static_cast<const BF16 *>(a), aRow, aColumn, static_cast<const BF16 *>(b), bRow, bColumn, c, cRow,
           alpha, accumulate);
}

} // namespace graft::kernels::GRAFT_TARGET
