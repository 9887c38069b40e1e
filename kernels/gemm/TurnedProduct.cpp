#include "kernels/gemm/TurnedProduct.h"

#include <algorithm>
#include <array>

namespace graft::kernels {

namespace {

// Measured with weights of a head and of layers (test/benchmarks/kernels.cpp): with more rows, or where b stays in the
// caches, the library's way is as fast. A block of 256 rows of c^T fits into the second cache with what it is made of.
constexpr int64_t leastRows = 16, mostRows = 192, leastElements = 1 << 22, blockRows = 256;

/// A copy of [rows, columns] floats; strides are {row, column}.
StridedCopy copyOf(int64_t rows, int64_t columns, std::array<int64_t, 2> to, std::array<int64_t, 2> from) {
  const int64_t shape[] = {rows, columns};
  return StridedCopy(4, shape, to, from);
}

} // namespace

std::optional<TurnedProduct> TurnedProduct::plan(const GemmShape &shape) {
  bool few = shape.m >= leastRows && shape.m <= mostRows && shape.n * shape.k >= leastElements;
  bool dense = shape.type == MatrixType::F32 && shape.batch.empty() && shape.a.column == 1 && shape.b.row == 1 &&
               shape.c.column == 1;
  if (!few || !dense || shape.accumulate)
    return std::nullopt;
  return TurnedProduct(shape);
}

// Rows of a^T and of blocks are padded, so that they do not meet in the same sets of a cache.
TurnedProduct::TurnedProduct(const GemmShape &shape)
    : m_(shape.m), n_(shape.n), k_(shape.k), b_(shape.b.column), pitch_((shape.m + 15) / 16 * 16 + 16),
      alpha_(shape.alpha), turn_(copyOf(k_, m_, {pitch_, 1}, {1, shape.a.row})),
      back_(copyOf(m_, blockRows, {shape.c.row, 1}, {1, pitch_})),
      rest_(copyOf(m_, n_ % blockRows, {shape.c.row, 1}, {1, pitch_})) {}

void TurnedProduct::runBlock(const MatrixLibrary &library, int64_t begin, int64_t size, const StridedCopy &back,
                             const float *turned, const float *b, float *block, float *c) const {
  library.sgemm(false, false, size, m_, k_, alpha_, b + begin * b_, b_, turned, pitch_, 0, block, pitch_);
  back.run(c + begin, block, 0, back.units());
}

bool TurnedProduct::run(const MatrixLibrary &library, MatrixWorkspace &workspace, const float *a, const float *b,
                        float *c) const {
  float *turned = library.scratch(workspace, (k_ + std::min(n_, blockRows)) * pitch_);
  if (!turned)
    return false;
  float *block = turned + k_ * pitch_;
  turn_.run(turned, a, 0, turn_.units());
  int64_t begin = 0;
  for (; begin + blockRows <= n_; begin += blockRows)
    runBlock(library, begin, blockRows, back_, turned, b, block, c);
  if (begin < n_)
    runBlock(library, begin, n_ - begin, rest_, turned, b, block, c);
  return true;
}

} // namespace graft::kernels
