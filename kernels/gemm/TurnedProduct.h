// c = alpha a b where a has few rows and b^T is dense, as a layer's weights are: computed as c^T = b^T a^T.
//
// The library copies b for every product, turned, and with few rows of a that costs as much as the product. Here a is
// turned instead, which is small, and b is read as it lies. The rows of c^T are made in blocks that stay in cache, and
// each block is turned back into c.
#pragma once

#include "kernels/copy/copy.h"
#include "kernels/gemm/Gemm.h"

#include <optional>

namespace graft::kernels {

class TurnedProduct {
public:
  /// Nothing where the library's own way is as fast: too many rows of a, too small a b, or another layout.
  static std::optional<TurnedProduct> plan(const GemmShape &shape);

  /// False if there is no memory.
  bool run(const MatrixLibrary &library, MatrixWorkspace &workspace, const float *a, const float *b, float *c) const;

private:
  explicit TurnedProduct(const GemmShape &shape);
  void runBlock(const MatrixLibrary &library, int64_t begin, int64_t size, const StridedCopy &back, const float *turned,
                const float *b, float *block, float *c) const;

  int64_t m_, n_, k_, b_, pitch_; ///< sizes, distance of b's columns, of the rows of a^T and of a block
  float alpha_;
  StridedCopy turn_, back_, rest_; ///< a to a^T, a block to c, the last block to c
};

} // namespace graft::kernels
