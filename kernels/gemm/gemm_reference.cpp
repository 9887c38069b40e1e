#include "kernels/gemm/Gemm.h"

namespace graft::kernels {

void gemmReference(const GemmShape &shape, const float *a, const float *b, float *c) {
  int64_t batches = 1;
  for (int64_t dim : shape.batch)
    batches *= dim;
  for (int64_t batch = 0; batch < batches; ++batch) {
    const float *aMatrix = a, *bMatrix = b;
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
          sum += double(aMatrix[i * shape.a.row + k * shape.a.column]) * bMatrix[k * shape.b.row + j * shape.b.column];
        float &out = cMatrix[i * shape.c.row + j * shape.c.column];
        out = static_cast<float>(double(shape.alpha) * sum + (shape.accumulate ? out : 0));
      }
  }
}

} // namespace graft::kernels
