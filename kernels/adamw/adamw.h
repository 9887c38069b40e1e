// AdamW (Loshchilov and Hutter, 2019; decoupled decay and bias correction as in torch.optim.AdamW), one pass:
//
//   g' = gradientScale g                                  (the clip factor)
//   p  = (1 - lr decay) p
//   m  = beta1 m + (1 - beta1) g'        v = beta2 v + (1 - beta2) g'^2
//   p  = p - lr / (1 - beta1^t) m / (sqrt(v) / sqrt(1 - beta2^t) + epsilon)
//
// All arrays are float32 [count] and do not overlap; parameter, mean and square are updated in place, the gradient is
// read. Padding (zeros in all four) stays zero. `working`, bfloat16 [count], gets p rounded to nearest even unless it is
// null.
#pragma once

#include <cstdint>

namespace graft::kernels {

/// The step's numbers, folded in double and rounded once.
struct AdamWNumbers {
  float gradientScale;
  float keep; ///< 1 - lr decay
  float beta1, oneMinusBeta1, beta2, oneMinusBeta2;
  float stepSize;    ///< lr / (1 - beta1^t)
  float inverseRoot; ///< 1 / sqrt(1 - beta2^t)
  float epsilon;
};

/// `step` counts from 1.
AdamWNumbers adamwNumbers(double learningRate, double beta1, double beta2, double epsilon, double decay, int64_t step,
                          double gradientScale);

/// Obvious loop in float64 over float32 storage.
void adamwReference(float *parameter, const float *gradient, float *mean, float *square, uint16_t *working,
                    int64_t count, const AdamWNumbers &numbers);

/// The vectorized one is vectorFunctions().adamw (Dispatch.h).

} // namespace graft::kernels
