#include "runtime/exec/Convert.h"

#include <cmath>
#include <cstring>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <limits>

namespace graft {
namespace {
using schema::DType;
using testing::HasSubstr;

template <typename To, typename From> std::vector<To> converted(DType to, DType from, const std::vector<From> &values) {
  std::vector<To> out(values.size());
  Status status = convert(out.data(), to, values.data(), from, static_cast<int64_t>(values.size()));
  EXPECT_TRUE(status.isOk()) << status.text();
  return out;
}

TEST(Convert, NumbersThatFit) {
  EXPECT_EQ((converted<int32_t, int64_t>(DType::I32, DType::I64, {1, -2, 2147483647})),
            (std::vector<int32_t>{1, -2, 2147483647}));
  EXPECT_EQ((converted<float, double>(DType::F32, DType::F64, {0.5, -2})), (std::vector<float>{0.5f, -2}));
  EXPECT_EQ((converted<float, int64_t>(DType::F32, DType::I64, {1, 0})), (std::vector<float>{1, 0}));
  EXPECT_EQ((converted<double, float>(DType::F64, DType::F32, {0.5f, -2})), (std::vector<double>{0.5, -2}));
  EXPECT_EQ((converted<double, int64_t>(DType::F64, DType::I64, {-3})), std::vector<double>{-3});
  EXPECT_EQ((converted<uint8_t, int64_t>(DType::Bool, DType::I64, {1, 0})), (std::vector<uint8_t>{1, 0}));
  EXPECT_EQ((converted<float, float>(DType::F32, DType::F32, {})), std::vector<float>());
}

TEST(Convert, SixteenBitFloats) {
  EXPECT_EQ((converted<float, uint16_t>(DType::F32, DType::BF16, {0x3F80, 0xC000})), (std::vector<float>{1, -2}));
  EXPECT_EQ((converted<float, uint16_t>(DType::F32, DType::F16, {0x3C00, 0xC000, 0x0001, 0x8000, 0x7BFF})),
            (std::vector<float>{1, -2, 0x1p-24f, -0.0f, 65504}));
  auto special = converted<float, uint16_t>(DType::F32, DType::F16, {0x7C00, 0xFC00, 0x7E00});
  EXPECT_EQ(special[0], std::numeric_limits<float>::infinity());
  EXPECT_EQ(special[1], -std::numeric_limits<float>::infinity());
  EXPECT_TRUE(std::isnan(special[2]));
}

TEST(Convert, WhatDoesNotFitIsNamed) {
  std::vector<int64_t> wide = {1, int64_t(1) << 31};
  std::vector<uint8_t> bytes = {0, 1, 2};
  int32_t narrow[3];
  EXPECT_THAT(convert(narrow, DType::I32, wide.data(), DType::I64, 2).text(),
              HasSubstr("value 2147483648 at position 1"));
  EXPECT_THAT(convert(narrow, DType::Bool, bytes.data(), DType::Bool, 3).text(), HasSubstr("value 2 at position 2"));
  EXPECT_THAT(convert(narrow, DType::I32, wide.data(), DType::F32, 2).text(), HasSubstr("is float32, expected int32"));
  EXPECT_THAT(convert(narrow, DType::F32, wide.data(), static_cast<DType>(99), 2).text(), HasSubstr("is unknown"));
}

// Tests that callers' arrays need no alignment.
TEST(Convert, TakesUnalignedArrays) {
  char bytes[17];
  const int64_t values[2] = {7, -8};
  std::memcpy(bytes + 1, values, sizeof values);
  int32_t out[2];
  ASSERT_TRUE(convert(out, DType::I32, bytes + 1, DType::I64, 2).isOk());
  EXPECT_EQ(out[0], 7);
  EXPECT_EQ(out[1], -8);
}

} // namespace
} // namespace graft
