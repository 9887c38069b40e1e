#include "runtime/base/Convert.h"

#include <bit>
#include <cmath>
#include <cstring>
#include <limits>

namespace graft {

float halfToFloat(uint16_t bits) {
  uint32_t sign = static_cast<uint32_t>(bits & 0x8000) << 16, exponent = bits >> 10 & 0x1F, mantissa = bits & 0x3FF;
  if (exponent == 0x1F)
    return std::bit_cast<float>(sign | 0x7F800000 | mantissa << 13);
  if (exponent != 0)
    return std::bit_cast<float>(sign | (exponent + 112) << 23 | mantissa << 13);
  float magnitude = std::ldexp(static_cast<float>(mantissa), -24);
  return sign ? -magnitude : magnitude;
}

uint16_t floatToHalf(float value) {
  uint32_t bits = std::bit_cast<uint32_t>(value), magnitude = bits & 0x7FFFFFFF;
  uint16_t sign = static_cast<uint16_t>(bits >> 16 & 0x8000);
  if (magnitude > 0x7F800000)
    return sign | 0x7E00 | static_cast<uint16_t>(magnitude >> 13 & 0x3FF);
  if (magnitude >= 0x477FF000) // 65520 lies half way between the largest half and the next step
    return sign | 0x7C00;
  if (magnitude <
      0x38800000) { // below the smallest normal half: a multiple of 2^-24, which this product makes exact to round
    float scaled = std::bit_cast<float>(magnitude) * 16777216.0f;
    return sign | static_cast<uint16_t>(std::nearbyint(scaled));
  }
  uint32_t rebased = magnitude - (112u << 23);
  return sign | static_cast<uint16_t>((rebased + 0xFFF + (rebased >> 13 & 1)) >> 13);
}

float bfloatToFloat(uint16_t bits) {
  return std::bit_cast<float>(static_cast<uint32_t>(bits) << 16);
}

uint16_t floatToBfloat(float value) {
  uint32_t bits = std::bit_cast<uint32_t>(value);
  if ((bits & 0x7FFFFFFF) > 0x7F800000)
    return static_cast<uint16_t>(bits >> 16 | 0x40);
  return static_cast<uint16_t>((bits + 0x7FFF + (bits >> 16 & 1)) >> 16);
}

namespace {
/// OCP 8-bit floats. E4M3 has no infinity: only all ones is NaN. E5M2 is the upper half of a half.
float e4m3ToFloat(uint8_t bits) {
  int exponent = bits >> 3 & 0xF, mantissa = bits & 7;
  float magnitude = exponent == 0xF && mantissa == 7 ? std::numeric_limits<float>::quiet_NaN()
                    : exponent == 0                  ? std::ldexp(static_cast<float>(mantissa), -9)
                                                     : std::ldexp(static_cast<float>(8 + mantissa), exponent - 10);
  return bits & 0x80 ? -magnitude : magnitude;
}
float e8m0ToFloat(uint8_t bits) {
  return bits == 0xFF ? std::numeric_limits<float>::quiet_NaN() : std::ldexp(1.0f, bits - 127);
}

/// Reads one Raw per output element and converts it.
template <typename Raw, typename Out, typename Function>
void convertEach(std::span<const std::byte> bytes, std::span<Out> out, Function convert) {
  for (size_t i = 0; i < out.size(); ++i) {
    Raw raw;
    std::memcpy(&raw, bytes.data() + i * sizeof(Raw), sizeof(Raw));
    out[i] = static_cast<Out>(convert(raw));
  }
}

template <typename Out> void toReal(DType type, std::span<const std::byte> bytes, std::span<Out> out) {
  auto same = [](auto raw) { return raw; };
  switch (type) {
  case DType::F64:
    return convertEach<double>(bytes, out, same);
  case DType::F32:
    return convertEach<float>(bytes, out, same);
  case DType::F16:
    return convertEach<uint16_t>(bytes, out, halfToFloat);
  case DType::BF16:
    return convertEach<uint16_t>(bytes, out, bfloatToFloat);
  case DType::F8E4M3:
    return convertEach<uint8_t>(bytes, out, e4m3ToFloat);
  case DType::F8E5M2:
    return convertEach<uint8_t>(bytes, out, [](uint8_t raw) { return halfToFloat(static_cast<uint16_t>(raw << 8)); });
  case DType::F8E8M0:
    return convertEach<uint8_t>(bytes, out, e8m0ToFloat);
  default:
    return;
  }
}
} // namespace

bool convertsToFloat(DType type) {
  return kind(type) == DTypeKind::Float && byteWidth(type) != 0;
}
bool convertsToInteger(DType type) {
  return kind(type) == DTypeKind::Integer || kind(type) == DTypeKind::Bool;
}

void toFloat(DType type, std::span<const std::byte> bytes, std::span<float> out) {
  toReal(type, bytes, out);
}
void toDouble(DType type, std::span<const std::byte> bytes, std::span<double> out) {
  toReal(type, bytes, out);
}

bool toInteger(DType type, std::span<const std::byte> bytes, std::span<int64_t> out) {
  auto same = [](auto raw) { return raw; };
  bool fits = true;
  switch (type) {
  case DType::I64:
    convertEach<int64_t>(bytes, out, same);
    break;
  case DType::I32:
    convertEach<int32_t>(bytes, out, same);
    break;
  case DType::I16:
    convertEach<int16_t>(bytes, out, same);
    break;
  case DType::I8:
    convertEach<int8_t>(bytes, out, same);
    break;
  case DType::U64:
    convertEach<uint64_t>(bytes, out, [&](uint64_t raw) {
      fits = fits && raw <= static_cast<uint64_t>(std::numeric_limits<int64_t>::max());
      return raw;
    });
    break;
  case DType::U32:
    convertEach<uint32_t>(bytes, out, same);
    break;
  case DType::U16:
    convertEach<uint16_t>(bytes, out, same);
    break;
  case DType::U8:
    convertEach<uint8_t>(bytes, out, same);
    break;
  case DType::Bool:
    convertEach<uint8_t>(bytes, out, [](uint8_t raw) { return raw != 0; });
    break;
  default:
    fits = false;
  }
  return fits;
}

bool fromFloat(DType type, std::span<const float> in, std::span<std::byte> out) {
  auto store = [&](auto convert) {
    for (size_t i = 0; i < in.size(); ++i) {
      auto raw = convert(in[i]);
      std::memcpy(out.data() + i * sizeof raw, &raw, sizeof raw);
    }
    return true;
  };
  switch (type) {
  case DType::F64:
    return store([](float value) { return static_cast<double>(value); });
  case DType::F32:
    return store([](float value) { return value; });
  case DType::F16:
    return store(floatToHalf);
  case DType::BF16:
    return store(floatToBfloat);
  default:
    return false;
  }
}

} // namespace graft
