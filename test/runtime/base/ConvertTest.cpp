#include "runtime/base/Convert.h"

#include <bit>
#include <cmath>
#include <gtest/gtest.h>
#include <limits>
#include <vector>

namespace graft {
namespace {

constexpr float infinity = std::numeric_limits<float>::infinity();

/// The nearest of all 16-bit values to `value`, ties to the even pattern; found by search.
uint16_t nearest(float value, float (*decode)(uint16_t), uint16_t infinityBits) {
  uint16_t low = 0, high = infinityBits;
  float magnitude = std::fabs(value);
  while (high - low > 1) {
    uint16_t middle = static_cast<uint16_t>((low + high) / 2);
    (decode(middle) <= magnitude ? low : high) = middle;
  }
  // The step above the largest finite value counts as if it were finite.
  double below = decode(low),
         above = high == infinityBits ? 2 * below - decode(static_cast<uint16_t>(low - 1)) : decode(high);
  double middle = (below + above) / 2;
  uint16_t bits = magnitude < middle || (magnitude == middle && low % 2 == 0) ? low : high;
  return std::signbit(value) ? bits | 0x8000 : bits;
}

TEST(Convert, EveryHalfAndBfloatSurvivesTheWayThroughFloat) {
  for (uint32_t bits = 0; bits <= 0xFFFF; ++bits) {
    uint16_t pattern = static_cast<uint16_t>(bits);
    if (std::isnan(halfToFloat(pattern)))
      EXPECT_TRUE(std::isnan(halfToFloat(floatToHalf(halfToFloat(pattern)))));
    else
      EXPECT_EQ(floatToHalf(halfToFloat(pattern)), pattern);
    if (std::isnan(bfloatToFloat(pattern)))
      EXPECT_TRUE(std::isnan(bfloatToFloat(floatToBfloat(bfloatToFloat(pattern)))));
    else
      EXPECT_EQ(floatToBfloat(bfloatToFloat(pattern)), pattern);
  }
}

TEST(Convert, RoundsToNearestEven) {
  uint32_t state = 20240229;
  for (int i = 0; i < 200000; ++i) {
    state = state * 1664525 + 1013904223;
    uint32_t exponent = 100 + state % 50; // around the range of half, with its subnormals
    float value = std::bit_cast<float>(exponent << 23 | (state * 2654435761u >> 9) | (state & 0x80000000));
    if (i % 3 == 0) // ties: clear what half does not hold, then set the half-way bit
      value = std::bit_cast<float>((std::bit_cast<uint32_t>(value) & ~0x1FFFu) | 0x1000);
    ASSERT_EQ(floatToHalf(value), nearest(value, halfToFloat, 0x7C00)) << std::hexfloat << value;
    ASSERT_EQ(floatToBfloat(value), nearest(value, bfloatToFloat, 0x7F80)) << std::hexfloat << value;
  }
}

TEST(Convert, KnowsTheEdgesOfHalf) {
  EXPECT_EQ(floatToHalf(65504.0f), 0x7BFF);
  EXPECT_EQ(floatToHalf(65519.996f), 0x7BFF);
  EXPECT_EQ(floatToHalf(65520.0f), 0x7C00);
  EXPECT_EQ(floatToHalf(-infinity), 0xFC00);
  EXPECT_EQ(floatToHalf(std::ldexp(1.0f, -25)), 0);
  EXPECT_EQ(floatToHalf(std::ldexp(1.5f, -25)), 1);
  EXPECT_EQ(floatToHalf(std::nextafter(std::ldexp(1.0f, -14), 0.0f)), 0x0400)
      << "rounds up to the smallest normal number";
}

TEST(Convert, BfloatOverflowsToInfinity) {
  EXPECT_EQ(floatToBfloat(std::numeric_limits<float>::max()), 0x7F80);
  EXPECT_EQ(floatToBfloat(-infinity), 0xFF80);
}

std::vector<std::byte> bytesOf(std::initializer_list<int> values) {
  std::vector<std::byte> bytes;
  for (int value : values)
    bytes.push_back(static_cast<std::byte>(value));
  return bytes;
}

TEST(Convert, Reads8BitFloats) {
  std::vector<float> out(5);
  toFloat(DType::F8E4M3, bytesOf({0x38, 0xB8, 0x01, 0x7E, 0x7F}), out);
  EXPECT_EQ(out[0], 1.0f);
  EXPECT_EQ(out[1], -1.0f);
  EXPECT_EQ(out[2], std::ldexp(1.0f, -9));
  EXPECT_EQ(out[3], 448.0f);
  EXPECT_TRUE(std::isnan(out[4]));
  toFloat(DType::F8E5M2, bytesOf({0x3C, 0x01, 0x7B, 0x7C, 0xFC}), out);
  EXPECT_EQ(out[0], 1.0f);
  EXPECT_EQ(out[1], std::ldexp(1.0f, -16));
  EXPECT_EQ(out[2], 57344.0f);
  EXPECT_EQ(out[3], infinity);
  EXPECT_EQ(out[4], -infinity);
  std::vector<double> powers(2);
  toDouble(DType::F8E8M0, bytesOf({127, 0}), powers);
  EXPECT_EQ(powers[0], 1.0);
  EXPECT_EQ(powers[1], std::ldexp(1.0, -127));
}

TEST(Convert, ReadsUnalignedBytes) {
  std::vector<std::byte> bytes = bytesOf({0xEE, 0, 0, 0x80, 0x3F, 0, 0, 0, 0xC0});
  std::vector<float> out(2);
  toFloat(DType::F32, std::span(bytes).subspan(1), out);
  EXPECT_EQ(out, (std::vector<float>{1.0f, -2.0f}));
}

TEST(Convert, ReadsEveryIntegerWidthWithItsSign) {
  std::vector<int64_t> one(1), two(2);
  auto minus = bytesOf({0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF});
  struct Case {
    DType type;
    int64_t value;
  };
  for (Case c : {Case{DType::I8, -1},
                 {DType::I16, -1},
                 {DType::I32, -1},
                 {DType::I64, -1},
                 {DType::U8, 255},
                 {DType::U16, 65535},
                 {DType::U32, 4294967295}}) {
    EXPECT_TRUE(toInteger(c.type, std::span(minus).first(byteWidth(c.type)), one));
    EXPECT_EQ(one[0], c.value) << name(c.type);
  }
  EXPECT_FALSE(toInteger(DType::U64, minus, one)) << "does not fit";
  EXPECT_TRUE(toInteger(DType::Bool, bytesOf({0, 2}), two));
  EXPECT_EQ(two, (std::vector<int64_t>{0, 1}));
  EXPECT_FALSE(convertsToInteger(DType::F32));
}

TEST(Convert, StoresFloatsInTheWantedType) {
  std::vector<float> in = {1.0f, -0.5f};
  for (DType type : {DType::F64, DType::F32, DType::F16, DType::BF16}) {
    std::vector<std::byte> bytes(2 * byteWidth(type));
    std::vector<float> out(2);
    ASSERT_TRUE(fromFloat(type, in, bytes));
    toFloat(type, bytes, out);
    EXPECT_EQ(out, in) << name(type);
  }
  std::vector<std::byte> bytes(2);
  EXPECT_FALSE(fromFloat(DType::I8, in, bytes));
  EXPECT_FALSE(convertsToFloat(DType::F4));
}

} // namespace
} // namespace graft
