#include "test/passes/import/Passes.h"

namespace graft {
namespace {

using testing::ElementsAre;
using testing::Pair;

class RecogniseNormsTest : public PassTest {
protected:
  /// y = x times or over what `statistics` makes of the mean square %e.
  void parseNorm(const std::string &statistics) {
    parse(R"((%x: tensor<2x3x8xf32>) -> tensor<2x3x8xf32> {
      %c8 = arith.constant dense<8.0> : tensor<2x3xf32>
      %eps = arith.constant dense<1.0e-5> : tensor<2x3xf32>
      %one = arith.constant dense<1.0> : tensor<2x3xf32>
      %half = arith.constant dense<0.5> : tensor<2x3xf32>
      %minusHalf = arith.constant dense<-0.5> : tensor<2x3xf32>
      %s = arith.mulf %x, %x : tensor<2x3x8xf32>
      %t = nn.reduce sum %s axes = [2] : tensor<2x3x8xf32> -> tensor<2x3xf32>
      %m = arith.divf %t, %c8 : tensor<2x3xf32>
      %e = arith.addf %m, %eps : tensor<2x3xf32>
      )" + statistics +
          "return %y : tensor<2x3x8xf32>\n}");
  }
  void expectRMSNorm() {
    run(createSimplifyViews(), createRecogniseNorms());
    EXPECT_THAT(operators(), ElementsAre(Pair("nn.rms_norm", 1)));
    EXPECT_DOUBLE_EQ(only<nn::RMSNormOp>().getEpsilon().convertToDouble(), static_cast<double>(1e-5f));
  }
};

constexpr auto times = R"(
  %b = nn.broadcast %r dims = [0, 1] : tensor<2x3xf32> -> tensor<2x3x8xf32>
  %y = arith.mulf %b, %x : tensor<2x3x8xf32>
)";
constexpr auto over = R"(
  %b = nn.broadcast %r dims = [0, 1] : tensor<2x3xf32> -> tensor<2x3x8xf32>
  %y = arith.divf %x, %b : tensor<2x3x8xf32>
)";

TEST_F(RecogniseNormsTest, InverseRoot) {
  parseNorm(std::string("%r = math.rsqrt %e : tensor<2x3xf32>") + times);
  expectRMSNorm();
}
TEST_F(RecogniseNormsTest, ReciprocalOfRoot) {
  parseNorm(std::string("%q = math.sqrt %e : tensor<2x3xf32>\n%r = arith.divf %one, %q : tensor<2x3xf32>") + times);
  expectRMSNorm();
}
TEST_F(RecogniseNormsTest, RootOfReciprocal) {
  parseNorm(std::string("%q = arith.divf %one, %e : tensor<2x3xf32>\n%r = math.sqrt %q : tensor<2x3xf32>") + times);
  expectRMSNorm();
}
TEST_F(RecogniseNormsTest, PowerOfMinusOneHalf) {
  parseNorm(std::string("%r = math.powf %e, %minusHalf : tensor<2x3xf32>") + times);
  expectRMSNorm();
}
TEST_F(RecogniseNormsTest, QuotientByRoot) {
  parseNorm(std::string("%r = math.sqrt %e : tensor<2x3xf32>") + over);
  expectRMSNorm();
}
TEST_F(RecogniseNormsTest, QuotientByPower) {
  parseNorm(std::string("%r = math.powf %e, %half : tensor<2x3xf32>") + over);
  expectRMSNorm();
}

// Tests that a product with the root itself is no norm.
TEST_F(RecogniseNormsTest, ProductWithTheRootStays) {
  parseNorm(std::string("%r = math.sqrt %e : tensor<2x3xf32>") + times);
  run(createSimplifyViews(), createRecogniseNorms());
  EXPECT_FALSE(operators().contains("nn.rms_norm"));
}

constexpr auto wholeNorm = R"((%x: tensor<2x8xf32>, %z: tensor<2x8xf32>) -> tensor<2x8xf32> {
    %n = arith.constant dense<NUMBER> : tensor<2xf32>
    %eps = arith.constant dense<1.0e-5> : tensor<2xf32>
    %s = arith.mulf %x, %x : tensor<2x8xf32>
    %t = nn.reduce sum %s axes = [1] : tensor<2x8xf32> -> tensor<2xf32>
    %m = arith.mulf %t, %n : tensor<2xf32>
    %e = arith.addf %m, %eps : tensor<2xf32>
    %r = math.rsqrt %e : tensor<2xf32>
    %b = nn.broadcast %r dims = [0] : tensor<2xf32> -> tensor<2x8xf32>
    %y = arith.mulf OPERAND, %b : tensor<2x8xf32>
    return %y : tensor<2x8xf32>
  })";

std::string withNumberAndOperand(const std::string &number, const std::string &operand) {
  std::string text = wholeNorm;
  text.replace(text.find("NUMBER"), 6, number);
  text.replace(text.find("OPERAND"), 7, operand);
  return text;
}

// Tests that a mean that is off by more than rounding is no mean.
TEST_F(RecogniseNormsTest, AnotherFactorThanTheMeansStays) {
  parse(withNumberAndOperand("0.126", "%x"));
  run(createRecogniseNorms());
  EXPECT_FALSE(operators().contains("nn.rms_norm"));
}
// Tests that another value that is divided by the root of this one's mean square is no norm.
TEST_F(RecogniseNormsTest, AnotherOperandStays) {
  parse(withNumberAndOperand("0.125", "%z"));
  run(createRecogniseNorms());
  EXPECT_FALSE(operators().contains("nn.rms_norm"));
}
TEST_F(RecogniseNormsTest, TheSameOperandIsANorm) {
  parse(withNumberAndOperand("0.125", "%x"));
  run(createRecogniseNorms());
  EXPECT_TRUE(operators().contains("nn.rms_norm"));
}

// Tests that the RMS norm of a centred value is a layer norm, with dimensions of size 1 kept as exporters do.
TEST_F(RecogniseNormsTest, LayerNorm) {
  parse(R"((%x: tensor<2x3x8xf32>) -> tensor<2x3x8xf32> {
    %n = arith.constant dense<0.125> : tensor<2x3x1xf32>
    %eps = arith.constant dense<1.0e-5> : tensor<2x3x1xf32>
    %one = arith.constant dense<1.0> : tensor<2x3x1xf32>
    %s = nn.reduce sum %x axes = [2] : tensor<2x3x8xf32> -> tensor<2x3xf32>
    %s1 = nn.reshape %s : tensor<2x3xf32> -> tensor<2x3x1xf32>
    %mean = arith.mulf %s1, %n : tensor<2x3x1xf32>
    %m0 = nn.reshape %mean : tensor<2x3x1xf32> -> tensor<2x3xf32>
    %mb = nn.broadcast %m0 dims = [0, 1] : tensor<2x3xf32> -> tensor<2x3x8xf32>
    %c = arith.subf %x, %mb : tensor<2x3x8xf32>
    %q = arith.mulf %c, %c : tensor<2x3x8xf32>
    %v = nn.reduce sum %q axes = [2] : tensor<2x3x8xf32> -> tensor<2x3xf32>
    %v1 = nn.reshape %v : tensor<2x3xf32> -> tensor<2x3x1xf32>
    %var = arith.mulf %v1, %n : tensor<2x3x1xf32>
    %e = arith.addf %var, %eps : tensor<2x3x1xf32>
    %d = math.sqrt %e : tensor<2x3x1xf32>
    %r = arith.divf %one, %d : tensor<2x3x1xf32>
    %r0 = nn.reshape %r : tensor<2x3x1xf32> -> tensor<2x3xf32>
    %rb = nn.broadcast %r0 dims = [0, 1] : tensor<2x3xf32> -> tensor<2x3x8xf32>
    %y = arith.mulf %c, %rb : tensor<2x3x8xf32>
    return %y : tensor<2x3x8xf32>
  })");
  run(createSimplifyViews(), createRecogniseNorms());
  EXPECT_THAT(operators(), ElementsAre(Pair("nn.layer_norm", 1)));
}

} // namespace
} // namespace graft
