#include "kernels/gemm/Gemm.h"

#include <bit>

namespace graft::kernels {

namespace {

float toFloat(float value) {
  return value;
}
float toFloat(uint16_t bfloat16) {
  return std::bit_cast<float>(uint32_t(bfloat16) << 16);
}

template <typename T> void multiply(const GemmShape &shape, const T *a, const T *b, float *c) {
  int64_t batches = 1;
  for (int64_t dim : shape.batch)
    batches *= dim;
  for (int64_t batch = 0; batch < batches; ++batch) {
    const T *aMatrix = a, *bMatrix = b;
    float *cMatrix = c;
    int64_t rest = batch;
    for (size_t d = shape.batch.size(); d-- > 0; rest /= shape.batch[d]) {
      aMatrix += rest % shape.batch[d] * shape.a.batch[d];
      bMatrix += rest % shape.batch[d] * shape.b.batch[d];
      cMatrix += rest % shape.batch[d] * shape.c.batch[d];
    }
    for (int64_t i = 0; i < shape.m; ++i)
      for (int64_t j = 0; j < shape.n; ++j) {
        double sum = 0;
        for (int64_t k = 0; k < shape.k; ++k)
          sum += double(toFloat(aMatrix[i * shape.a.row + k * shape.a.column])) *
                 toFloat(bMatrix[k * shape.b.row + j * shape.b.column]);
        float &out = cMatrix[i * shape.c.row + j * shape.c.column];
        out = static_cast<float>(double(shape.alpha) * sum + (shape.accumulate ? out : 0));
      }
  }
}

} // namespace

void gemmReference(const GemmShape &shape, const void *a, const void *b, float *c) {
  if (shape.type == MatrixType::BF16)
    multiply(shape, static_cast<const uint16_t *>(a), static_cast<const uint16_t *>(b), c);
  else
    multiply(shape, static_cast<const float *>(a), static_cast<const float *>(b), c);
}

} // namespace graft::kernels
