// Bound by memory (28 bytes per parameter): one plain loop, no non-temporal stores (the lines were just read).
#include "kernels/adamw/adamw.h"

namespace graft::kernels::GRAFT_TARGET {

namespace {
/// Round to nearest even; NaN stays NaN.
uint16_t rounded(float value) {
  auto bits = __builtin_bit_cast(uint32_t, value);
  uint32_t nearest = (bits + 0x7fff + (bits >> 16 & 1)) >> 16;
  return static_cast<uint16_t>(value == value ? nearest : bits >> 16 | 0x40);
}

template <bool copies>
void update(float *__restrict parameter, const float *__restrict gradient, float *__restrict mean,
            float *__restrict square, uint16_t *__restrict working, int64_t count, const AdamWNumbers &numbers) {
  const AdamWNumbers n = numbers;
  for (int64_t i = 0; i < count; ++i) {
    float g = n.gradientScale * gradient[i];
    float m = n.beta1 * mean[i] + n.oneMinusBeta1 * g;
    float v = n.beta2 * square[i] + n.oneMinusBeta2 * g * g;
    mean[i] = m;
    square[i] = v;
    float p = n.keep * parameter[i] - n.stepSize * m / (__builtin_sqrtf(v) * n.inverseRoot + n.epsilon);
    parameter[i] = p;
    if constexpr (copies)
      working[i] = rounded(p);
  }
}
} // namespace

void adamw(float *parameter, const float *gradient, float *mean, float *square, uint16_t *working, int64_t count,
           const AdamWNumbers &numbers) {
  auto run = working ? update<true> : update<false>;
  run(parameter, gradient, mean, square, working, count, numbers);
}

} // namespace graft::kernels::GRAFT_TARGET
