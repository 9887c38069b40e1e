// Conversion between storage types: exact where the target can hold the value, round to nearest even otherwise.
#pragma once

#include "runtime/base/DType.h"

#include <cstddef>
#include <cstdint>
#include <span>

namespace graft {

float halfToFloat(uint16_t bits);
/// Round to nearest even; values of 65520 and above become infinity; NaN stays NaN (quiet, payload's top bits kept).
uint16_t floatToHalf(float value);
float bfloatToFloat(uint16_t bits);
/// Round to nearest even; NaN stays NaN (quiet).
uint16_t floatToBfloat(float value);

/// True if toFloat and toDouble can read this type: F64, F32, F16, BF16 and the 8-bit floats.
bool convertsToFloat(DType type);
/// True if toInteger can read this type: all integers and Bool.
bool convertsToInteger(DType type);

/// `bytes` holds out.size() elements of `type`, at any alignment. F64 to float rounds to nearest even (large values
/// become infinity). Precondition: convertsToFloat(type), bytes.size() == out.size() * byteWidth(type).
void toFloat(DType type, std::span<const std::byte> bytes, std::span<float> out);
void toDouble(DType type, std::span<const std::byte> bytes, std::span<double> out);
/// Bool: any byte but 0 is 1. U64 above the largest int64: returns false (and stops); otherwise true.
bool toInteger(DType type, std::span<const std::byte> bytes, std::span<int64_t> out);

/// The reverse, for saving: `out` holds in.size() elements of F64, F32, F16 or BF16. Returns false for any other type.
bool fromFloat(DType type, std::span<const float> in, std::span<std::byte> out);

} // namespace graft
