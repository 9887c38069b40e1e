#include "runtime/exec/Convert.h"

#include "runtime/program/Layout.h"

#include <bit>
#include <cstring>
#include <limits>
#include <type_traits>

namespace graft {

namespace {
using schema::DType;

/// The 16-bit formats as types of their own.
struct Half {
  uint16_t bits;
};
struct BFloat {
  uint16_t bits;
};

float toFloat(BFloat value) {
  return std::bit_cast<float>(uint32_t(value.bits) << 16);
}

float toFloat(Half value) {
  uint32_t sign = uint32_t(value.bits & 0x8000) << 16, exponent = value.bits >> 10 & 31, mantissa = value.bits & 0x3FF;
  if (exponent == 31)
    return std::bit_cast<float>(sign | 0x7F800000 | mantissa << 13);
  float magnitude =
      exponent == 0 ? float(mantissa) * 0x1p-24f : std::bit_cast<float>((exponent + 112) << 23 | mantissa << 13);
  return sign ? -magnitude : magnitude;
}
template <typename T> float toFloat(T value) {
  return static_cast<float>(value);
}

/// One element; false if it does not fit.
template <typename To, typename From> bool convertOne(To &to, From from) {
  if constexpr (std::is_same_v<To, float>) {
    to = toFloat(from);
  } else if constexpr (std::is_same_v<To, double>) {
    to = static_cast<double>(from);
  } else if constexpr (std::is_same_v<To, bool>) {
    to = from != 0;
    return from == 0 || from == 1;
  } else {
    to = static_cast<To>(from);
    return from >= std::numeric_limits<To>::min() && from <= std::numeric_limits<To>::max();
  }
  return true;
}

template <typename To, typename From> Status convertAll(void *to, const void *from, int64_t count) {
  auto *out = static_cast<char *>(to);
  auto *in = static_cast<const char *>(from);
  for (int64_t i = 0; i < count; ++i) {
    From source;
    To target;
    std::memcpy(&source, in + i * int64_t(sizeof source), sizeof source);
    bool fits = convertOne(target, source);
    if constexpr (std::is_integral_v<From>) // floats always fit
      if (!fits)
        return Status::error(Code::Range,
                             "value " + std::to_string(source) + " at position " + std::to_string(i) + " does not fit");
    std::memcpy(out + i * int64_t(sizeof target), &target, sizeof target);
  }
  return Status::ok();
}

struct Conversion {
  DType to, from;
  Status (*run)(void *, const void *, int64_t);
};
// Booleans are read as bytes: any other bit pattern in a bool would be undefined.
constexpr Conversion conversions[] = {
    {DType::I32, DType::I64, convertAll<int32_t, int64_t>}, {DType::I32, DType::I8, convertAll<int32_t, int8_t>},
    {DType::I32, DType::U8, convertAll<int32_t, uint8_t>},  {DType::I32, DType::Bool, convertAll<int32_t, uint8_t>},
    {DType::I64, DType::I32, convertAll<int64_t, int32_t>}, {DType::I64, DType::I8, convertAll<int64_t, int8_t>},
    {DType::I64, DType::U8, convertAll<int64_t, uint8_t>},  {DType::I64, DType::Bool, convertAll<int64_t, uint8_t>},
    {DType::Bool, DType::Bool, convertAll<bool, uint8_t>},  {DType::Bool, DType::I32, convertAll<bool, int32_t>},
    {DType::Bool, DType::I64, convertAll<bool, int64_t>},   {DType::Bool, DType::U8, convertAll<bool, uint8_t>},
    {DType::F32, DType::F64, convertAll<float, double>},    {DType::F32, DType::I32, convertAll<float, int32_t>},
    {DType::F32, DType::I64, convertAll<float, int64_t>},   {DType::F32, DType::U8, convertAll<float, uint8_t>},
    {DType::F32, DType::Bool, convertAll<float, uint8_t>},  {DType::F32, DType::F16, convertAll<float, Half>},
    {DType::F32, DType::BF16, convertAll<float, BFloat>},   {DType::F64, DType::F32, convertAll<double, float>},
    {DType::F64, DType::I32, convertAll<double, int32_t>},  {DType::F64, DType::I64, convertAll<double, int64_t>},
    {DType::F64, DType::U8, convertAll<double, uint8_t>},   {DType::F64, DType::Bool, convertAll<double, uint8_t>}};
} // namespace

std::string_view dtypeName(DType dtype) {
  constexpr std::string_view names[] = {"float32", "bfloat16", "float16", "float64", "int32",
                                        "int64",   "int8",     "uint8",   "bool"};
  auto index = static_cast<size_t>(dtype);
  return index < std::size(names) ? names[index] : "unknown";
}

Status convert(void *to, DType toType, const void *from, DType fromType, int64_t count) {
  if (toType == fromType && toType != DType::Bool) {
    if (count > 0)
      std::memcpy(to, from, static_cast<size_t>(count * byteSize(toType)));
    return Status::ok();
  }
  for (const Conversion &conversion : conversions)
    if (conversion.to == toType && conversion.from == fromType)
      return conversion.run(to, from, count);
  return Status::error(Code::Type,
                       "is " + std::string(dtypeName(fromType)) + ", expected " + std::string(dtypeName(toType)));
}

std::string shapeText(const std::vector<int64_t> &shape) {
  std::string text = "[";
  for (size_t i = 0; i < shape.size(); ++i)
    text += (i ? ", " : "") + std::to_string(shape[i]);
  return text + "]";
}

} // namespace graft
