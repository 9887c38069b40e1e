#include "runtime/base/Checked.h"

#include "runtime/base/DType.h"

#include <gtest/gtest.h>
#include <vector>

namespace graft {
namespace {

std::optional<uint64_t> count(std::vector<int64_t> shape) {
  return elementCount(shape);
}

TEST(Checked, MultipliesAndAddsUpToTheLimit) {
  EXPECT_EQ(checkedMultiply(1u << 31, 1u << 31), 1ull << 62);
  EXPECT_FALSE(checkedMultiply(1ull << 32, 1ull << 32));
  EXPECT_EQ(checkedAdd(UINT64_MAX - 1, 1), UINT64_MAX);
  EXPECT_FALSE(checkedAdd(UINT64_MAX, 1));
}

TEST(ElementCount, OfOrdinaryShapes) {
  EXPECT_EQ(count({}), 1u);
  EXPECT_EQ(count({3, 5, 7}), 105u);
}

TEST(ElementCount, OfAnEmptyTensorIgnoresHugeDimensions) {
  EXPECT_EQ(count({0, INT64_MAX, INT64_MAX}), 0u);
  EXPECT_EQ(count({INT64_MAX, INT64_MAX, 0}), 0u);
}

TEST(ElementCount, RefusesNegativeDimensionsAndOverflow) {
  EXPECT_FALSE(count({-1}));
  EXPECT_FALSE(count({0, -1}));
  EXPECT_FALSE(count({1ll << 32, 1ll << 32}));
  EXPECT_FALSE(count({4194305, 4194305, 211106198978564})) << "wraps to 4 in 64 bits";
}

TEST(DType, SpellingsAreTheReverseOfEachOther) {
  for (int i = 0; i <= static_cast<int>(DType::C64); ++i) {
    DType type = static_cast<DType>(i);
    EXPECT_EQ(dtypeFromSafetensors(safetensorsName(type)), type);
    EXPECT_EQ(byteWidth(type), bitWidth(type) / 8);
  }
  EXPECT_FALSE(dtypeFromSafetensors("f32"));
  EXPECT_FALSE(dtypeFromSafetensors(""));
  EXPECT_EQ(byteWidth(DType::F4), 0u);
}

} // namespace
} // namespace graft
