// AdamW (Loshchilov and Hutter, 2019; decoupled decay and bias correction as in torch.optim.AdamW), one pass:
//
//   g' = gradientScale g                                  (the clip factor)
//   p  = (1 - lr decay) p
//   m  = beta1 m + (1 - beta1) g'        v = beta2 v + (1 - beta2) g'^2
//   p  = p - lr / (1 - beta1^t) m / (sqrt(v) / sqrt(1 - beta2^t) + epsilon)
//
// Arrays have [count] elements and do not overlap; parameter, mean and square are updated in place, the gradient is
// read. Padding (zeros in all four) stays zero. `working`, bfloat16 [count], gets p rounded to nearest even unless it
// is null.
//
// Moments are stored as float32, as bfloat16, or in blocks of 256 bytes with a scale (block-wise 8-bit states: Dettmers
// et al., 2022), and are computed with in float32; parameters as float32 or bfloat16. Narrow forms are rounded
// stochastically: a weight, or a moment with beta2 = 0.999, moves by less than half a step of its form, and rounding to
// nearest would leave it where it is. The random bits are a hash of seed and element, so they depend on nothing else.
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

/// Arrays of one parameter, or of a part of one.
struct AdamWArrays {
  float *parameter;
  const float *gradient;
  uint16_t *working = nullptr; ///< bfloat16 copy of the parameter; may be null
  uint16_t *narrow = nullptr;  ///< the parameter itself, if it is stored in bfloat16 and `parameter` is null
};

enum class MomentForm : uint8_t { F32, BF16, Blocks8 };

/// A moment in memory. Blocks8: a byte per element and a power of two per block of 256. Of the mean, a byte is a sign,
/// 4 bits of exponent and 3 of mantissa; of the square, its root in 4 and 4 bits. A root that is not zero stays so: a
/// mean is never divided by epsilon alone.
struct Moment {
  void *values;  ///< 64-byte aligned at element 0
  float *scales; ///< Blocks8 only
};
constexpr int64_t momentBlock = 256;

/// Both moments, of the whole parameter.
struct Moments {
  MomentForm form;
  Moment mean, square;
};

/// Obvious loop in float64 over float32 storage.
void adamwReference(const AdamWArrays &arrays, float *mean, float *square, int64_t count, const AdamWNumbers &numbers);

/// The vectorized one is vectorFunctions().adamw (Dispatch.h).

} // namespace graft::kernels
