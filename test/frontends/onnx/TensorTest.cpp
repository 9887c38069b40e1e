// Values of tensors: every data type from raw bytes and from typed fields.
#include "frontends/onnx/Tensor.h"

#include <cmath>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "frontends/onnx/Parse.h"
#include "test/frontends/onnx/ModelBuilder.h"

namespace graft::onnx {
namespace {
using namespace test;
using testing::ElementsAre;

/// A checked tensor; the bytes are kept.
class Read {
public:
  explicit Read(const Message &message) : bytes_(message.bytes), tensor_(parseTensor(bytes_)) {
    EXPECT_TRUE(tensor_.isOk());
    Faults faults;
    checkTensor(*tensor_, "t", faults);
    EXPECT_EQ(faults.take().text(), "");
  }
  std::vector<int64_t> integers() { return *tensorIntegers(*tensor_, nullptr); }
  std::vector<double> floats() { return *tensorFloats(*tensor_, nullptr); }
  const Tensor &operator*() { return *tensor_; }

private:
  std::string bytes_;
  Result<Tensor> tensor_;
};

using Ints = std::vector<int64_t>;

TEST(TensorValues, integersOfEveryType) {
  EXPECT_THAT(Read(tensorHead("", Int64, {2}).packed(7, Ints{-5, INT64_MAX})).integers(), ElementsAre(-5, INT64_MAX));
  EXPECT_THAT(Read(tensorHead("", Int32, {2}).packed(5, Ints{-5, INT32_MAX})).integers(), ElementsAre(-5, INT32_MAX));
  EXPECT_THAT(Read(tensorHead("", Int16, {1}).packed(5, Ints{-32768})).integers(), ElementsAre(-32768));
  EXPECT_THAT(Read(tensorHead("", Uint16, {1}).packed(5, Ints{65535})).integers(), ElementsAre(65535));
  EXPECT_THAT(Read(tensorHead("", Int8, {2}).text(9, "\xFF\x7F")).integers(), ElementsAre(-1, 127));
  EXPECT_THAT(Read(tensorHead("", Uint8, {2}).text(9, "\xFF\x7F")).integers(), ElementsAre(255, 127));
  EXPECT_THAT(Read(tensorHead("", Uint32, {1}).packed(11, Ints{4294967295})).integers(), ElementsAre(4294967295));
  EXPECT_THAT(Read(tensorHead("", Uint64, {1}).packed(11, Ints{7})).integers(), ElementsAre(7));
}

TEST(TensorValues, boolsBecomeZeroOrOne) {
  EXPECT_THAT(Read(tensorHead("", Bool, {3}).text(9, std::string("\x02\xFF\x00", 3))).integers(), ElementsAre(1, 1, 0));
  EXPECT_THAT(Read(tensorHead("", Bool, {2}).packed(5, Ints{0, 1})).integers(), ElementsAre(0, 1));
}

TEST(TensorValues, floatsOfEveryType) {
  EXPECT_THAT(Read(test::floats("", {2}, {1.5f, -2})).floats(), ElementsAre(1.5, -2));
  double value = 0.1;
  EXPECT_THAT(Read(tensorHead("", Double, {1}).text(9, {reinterpret_cast<char *>(&value), 8})).floats(),
              ElementsAre(0.1));
  // 1, -2, the smallest subnormal, the largest number, infinity
  EXPECT_THAT(Read(tensorHead("", Float16, {5}).packed(5, Ints{0x3C00, 0xC000, 1, 0x7BFF, 0x7C00})).floats(),
              ElementsAre(1, -2, std::ldexp(1, -24), 65504, INFINITY));
  EXPECT_TRUE(std::isnan(Read(tensorHead("", Float16, {1}).packed(5, Ints{0x7E00})).floats()[0]));
  EXPECT_THAT(Read(tensorHead("", Bfloat16, {2}).text(9, std::string("\x80\x3F\x00\xC0", 4))).floats(),
              ElementsAre(1, -2));
  EXPECT_THAT(Read(tensorHead("", Int64, {1}).packed(7, Ints{3})).floats(), ElementsAre(3));
}

TEST(TensorValues, refusesOtherTypes) {
  EXPECT_EQ(tensorIntegers(*Read(test::floats("", {1}, {1})), nullptr).status().faults()[0].code, Code::Type);
  EXPECT_EQ(tensorFloats(*Read(tensorHead("", Int4, {1}).text(9, "1")), nullptr).status().faults()[0].code, Code::Type);
  EXPECT_EQ(tensorFloats(*Read(tensorHead("", String, {1}).text(6, "1")), nullptr).status().faults()[0].code,
            Code::Unsupported);
}

TEST(TensorValues, rawBytesAreNotCopied) {
  Message message = tensorHead("", Float, {1}).text(9, "1234");
  Result<Tensor> tensor = parseTensor(message.bytes);
  Result<TensorBytes> bytes = tensorBytes(*tensor, nullptr);
  EXPECT_EQ(bytes->view.data(), tensor->raw->data());
  EXPECT_TRUE(bytes->owned.empty());
}

TEST(TensorValues, typedValuesInSeveralPiecesAreJoined) {
  EXPECT_THAT(Read(tensorHead("", Int64, {3}).integer(7, 1).packed(7, Ints{2, 3})).integers(), ElementsAre(1, 2, 3));
}

} // namespace
} // namespace graft::onnx
