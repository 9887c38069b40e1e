// Bound by memory (28 bytes per parameter): one plain loop, no non-temporal stores (the lines were just read).
#include "kernels/adamw/adamw.h"

namespace graft::kernels::GRAFT_TARGET {

void adamw(float *__restrict parameter, const float *__restrict gradient, float *__restrict mean,
           float *__restrict square, int64_t count, const AdamWNumbers &numbers) {
  const AdamWNumbers n = numbers;
  for (int64_t i = 0; i < count; ++i) {
    float g = n.gradientScale * gradient[i];
    float m = n.beta1 * mean[i] + n.oneMinusBeta1 * g;
    float v = n.beta2 * square[i] + n.oneMinusBeta2 * g * g;
    mean[i] = m;
    square[i] = v;
    parameter[i] = n.keep * parameter[i] - n.stepSize * m / (__builtin_sqrtf(v) * n.inverseRoot + n.epsilon);
  }
}

} // namespace graft::kernels::GRAFT_TARGET
