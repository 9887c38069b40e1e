// Bound by memory (28 bytes per parameter in float32): one plain loop, no non-temporal stores (the lines were just
// read). Narrow forms are unpacked into a block of float32 in L1, updated there, and packed.
#include "kernels/adamw/adamw.h"

namespace graft::kernels::GRAFT_TARGET {

namespace {

uint32_t bitsOf(float value) {
  return __builtin_bit_cast(uint32_t, value);
}
float floatOf(uint32_t bits) {
  return __builtin_bit_cast(float, bits);
}

/// Round to nearest even; NaN stays NaN.
uint16_t rounded(float value) {
  uint32_t bits = bitsOf(value), nearest = (bits + 0x7fff + (bits >> 16 & 1)) >> 16;
  return static_cast<uint16_t>(value == value ? nearest : bits >> 16 | 0x40);
}

template <bool copies>
void update(float *__restrict parameter, const float *__restrict gradient, uint16_t *__restrict working,
            float *__restrict mean, float *__restrict square, int64_t count, const AdamWNumbers &numbers) {
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

/// 32 random bits of an element (a mixer of two rounds: Wellons' lowbias32).
uint32_t randomBits(uint32_t seed, uint32_t element) {
  uint32_t x = element * 0x9e3779b9u ^ seed;
  x = (x ^ x >> 16) * 0x7feb352du;
  x = (x ^ x >> 15) * 0x846ca68bu;
  return x ^ x >> 16;
}

// --- Forms of moments: `unpack` and `pack` of up to 256 elements from element `at`, a multiple of 256. ---

struct AsF32 {
  static void unpack(const Moment &moment, int64_t at, int64_t count, float *out) {
    __builtin_memcpy(out, static_cast<const float *>(moment.values) + at, static_cast<uint64_t>(count) * sizeof(float));
  }
  static void pack(const Moment &moment, int64_t at, int64_t count, const float *in, uint32_t) {
    __builtin_memcpy(static_cast<float *>(moment.values) + at, in, static_cast<uint64_t>(count) * sizeof(float));
  }
};

struct AsBF16 {
  static void unpack(const Moment &moment, int64_t at, int64_t count, float *out) {
    const auto *from = static_cast<const uint16_t *>(moment.values) + at;
    for (int64_t i = 0; i < count; ++i)
      out[i] = floatOf(uint32_t(from[i]) << 16);
  }
  static void pack(const Moment &moment, int64_t at, int64_t count, const float *in, uint32_t seed) {
    auto *to = static_cast<uint16_t *>(moment.values) + at;
    for (int64_t i = 0; i < count; ++i)
      to[i] = static_cast<uint16_t>((bitsOf(in[i]) + (randomBits(seed, uint32_t(at + i)) & 0xffff)) >> 16);
  }
};

/// A byte is the upper bits of a float32 in (0, 1] minus those of 2^-15: as many of the mantissa as `mantissa` says. 0
/// is zero. `Signed`: the sign is bit 7; otherwise the root is stored, and rounded up rather than to zero.
template <bool Signed> struct AsBlock {
  static constexpr int mantissa = Signed ? 3 : 4, shift = 23 - mantissa;
  static constexpr int32_t offset = (127 - 15) << mantissa;

  static void unpack(const Moment &moment, int64_t at, int64_t count, float *out) {
    const auto *from = static_cast<const uint8_t *>(moment.values) + at;
    float scale = moment.scales[at / momentBlock];
    for (int64_t i = 0; i < count; ++i) {
      uint32_t code = Signed ? from[i] & 0x7fu : from[i], sign = Signed ? uint32_t(from[i] >> 7) << 31 : 0;
      float value = floatOf(((code + uint32_t(offset)) << shift) | sign) * scale;
      value = code == 0 ? 0.0f : value;
      out[i] = Signed ? value : value * value;
    }
  }
  static void pack(const Moment &moment, int64_t at, int64_t count, const float *in, uint32_t seed) {
    alignas(64) float values[momentBlock];
    int32_t largest = 0;
    for (int64_t i = 0; i < count; ++i) {
      values[i] = Signed ? in[i] : __builtin_sqrtf(in[i]);
      auto magnitude = static_cast<int32_t>(bitsOf(values[i]) & 0x7fffffff);
      largest = magnitude > largest ? magnitude : largest;
    }
    // The power of two at or above the largest: dividing by it is exact, so what was unpacked packs to the same.
    float scale = floatOf((uint32_t(largest) + 0x7fffff) & 0x7f800000), inverse = scale > 0 ? 1 / scale : 0;
    moment.scales[at / momentBlock] = scale;
    auto *to = static_cast<uint8_t *>(moment.values) + at;
    for (int64_t i = 0; i < count; ++i) {
      uint32_t bits = bitsOf(values[i] * inverse), random = randomBits(seed, uint32_t(at + i)) >> (32 - shift);
      int32_t code = static_cast<int32_t>(((bits & 0x7fffffff) + random) >> shift) - offset;
      code = code < 0 ? 0 : code;
      if constexpr (Signed)
        code |= code ? static_cast<int32_t>(bits >> 31 << 7) : 0;
      else
        code = code == 0 && bits != 0 ? 1 : code;
      to[i] = static_cast<uint8_t>(code);
    }
  }
};

constexpr uint32_t seedOfSquares = 0x5bd1e995, seedOfParameters = 0xc2b2ae35;

template <typename Mean, typename Square>
void updateBlocks(const AdamWArrays &arrays, const Moments &moments, int64_t first, int64_t count,
                  const AdamWNumbers &numbers, uint32_t seed) {
  alignas(64) float mean[momentBlock], square[momentBlock], parameter[momentBlock];
  auto run = arrays.working ? update<true> : update<false>;
  // The part begins at `first`; random bits are those of elements of the whole.
  const Moment narrow{arrays.narrow - (arrays.narrow ? first : 0), nullptr};
  for (int64_t done = 0; done < count; done += momentBlock) {
    int64_t size = count - done < momentBlock ? count - done : momentBlock, at = first + done;
    Mean::unpack(moments.mean, at, size, mean);
    Square::unpack(moments.square, at, size, square);
    if (arrays.narrow)
      AsBF16::unpack(narrow, at, size, parameter);
    run(arrays.narrow ? parameter : arrays.parameter + done, arrays.gradient + done,
        arrays.working ? arrays.working + done : nullptr, mean, square, size, numbers);
    if (arrays.narrow)
      AsBF16::pack(narrow, at, size, parameter, seed ^ seedOfParameters);
    Mean::pack(moments.mean, at, size, mean, seed);
    Square::pack(moments.square, at, size, square, seed ^ seedOfSquares);
  }
}

} // namespace

void adamw(const AdamWArrays &arrays, const Moments &moments, int64_t first, int64_t count, const AdamWNumbers &numbers,
           uint32_t seed) {
  if (moments.form == MomentForm::BF16)
    return updateBlocks<AsBF16, AsBF16>(arrays, moments, first, count, numbers, seed);
  if (moments.form == MomentForm::Blocks8)
    return updateBlocks<AsBlock<true>, AsBlock<false>>(arrays, moments, first, count, numbers, seed);
  if (arrays.narrow)
    return updateBlocks<AsF32, AsF32>(arrays, moments, first, count, numbers, seed);
  auto run = arrays.working ? update<true> : update<false>;
  run(arrays.parameter, arrays.gradient, arrays.working, static_cast<float *>(moments.mean.values) + first,
      static_cast<float *>(moments.square.values) + first, count, numbers);
}

void unpackMoment(const Moments &moments, bool square, int64_t count, float *out) {
  const Moment &moment = square ? moments.square : moments.mean;
  auto *unpack = moments.form == MomentForm::BF16 ? AsBF16::unpack
                 : square                         ? AsBlock<false>::unpack
                                                  : AsBlock<true>::unpack;
  for (int64_t at = 0; at < count; at += momentBlock)
    unpack(moment, at, count - at < momentBlock ? count - at : momentBlock, out + at);
}

void packMoment(const Moments &moments, bool square, int64_t count, const float *in) {
  const Moment &moment = square ? moments.square : moments.mean;
  auto *pack = moments.form == MomentForm::BF16 ? AsBF16::pack : square ? AsBlock<false>::pack : AsBlock<true>::pack;
  for (int64_t at = 0; at < count; at += momentBlock)
    pack(moment, at, count - at < momentBlock ? count - at : momentBlock, in + at, 0);
}

} // namespace graft::kernels::GRAFT_TARGET
