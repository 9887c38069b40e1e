#include "test/passes/import/Passes.h"

namespace graft {
namespace {

using testing::HasSubstr;

class RecogniseRopeTest : public PassTest {
protected:
  /// x [2, 3, 4, 8] rotated by halves with tables that `tables` makes as %t [2, 4, 8] from %f [2, 4, 4] and %g of the
  /// same shape.
  void parseHalves(const std::string &tables, int start = 4) {
    std::string from = std::to_string(start);
    parse(R"((%x: tensor<2x3x4x8xf32>, %f: tensor<2x4x4xf32>, %g: tensor<2x4x4xf32>) -> tensor<2x3x4x8xf32> {
      )" + tables +
          R"(
      %cos = math.cos %t : tensor<2x4x8xf32>
      %sin = math.sin %t : tensor<2x4x8xf32>
      %c = nn.broadcast %cos dims = [0, 2, 3] : tensor<2x4x8xf32> -> tensor<2x3x4x8xf32>
      %s = nn.broadcast %sin dims = [0, 2, 3] : tensor<2x4x8xf32> -> tensor<2x3x4x8xf32>
      %lo = nn.slice %x starts = [0, 0, 0, 0] steps = [1, 1, 1, 1] : tensor<2x3x4x8xf32> -> tensor<2x3x4x4xf32>
      %hi = nn.slice %x starts = [0, 0, 0, )" +
          from + R"(] steps = [1, 1, 1, 1] : tensor<2x3x4x8xf32> -> tensor<2x3x4x4xf32>
      %n = arith.negf %hi : tensor<2x3x4x4xf32>
      %r = nn.concat %n, %lo axis = 3 : tensor<2x3x4x4xf32>, tensor<2x3x4x4xf32> -> tensor<2x3x4x8xf32>
      %a = arith.mulf %x, %c : tensor<2x3x4x8xf32>
      %b = arith.mulf %r, %s : tensor<2x3x4x8xf32>
      %y = arith.addf %a, %b : tensor<2x3x4x8xf32>
      return %y : tensor<2x3x4x8xf32>
    })");
  }
  int ropes() { return operators()["nn.rope"]; }
};

constexpr auto doubled = "%t = nn.concat %f, %f axis = 2 : tensor<2x4x4xf32>, tensor<2x4x4xf32> -> tensor<2x4x8xf32>";

TEST_F(RecogniseRopeTest, HalvesWithAConcatenatedTable) {
  parseHalves(doubled);
  run(createRecogniseRope());
  EXPECT_FALSE(only<nn::RopeOp>().getInterleaved());
  EXPECT_FALSE(operators().contains("nn.concat"));
}

// Tests that a table that repeats its angles through a broadcast is as good as a concatenated one.
TEST_F(RecogniseRopeTest, HalvesWithARepeatedTable) {
  parseHalves(R"(%w = nn.broadcast %f dims = [0, 1, 3] : tensor<2x4x4xf32> -> tensor<2x4x2x4xf32>
    %t = nn.reshape %w : tensor<2x4x2x4xf32> -> tensor<2x4x8xf32>)");
  run(createRecogniseRope());
  EXPECT_EQ(ropes(), 1);
}

// Tests that a table of two different halves is no rotation, and that this is said.
TEST_F(RecogniseRopeTest, DifferentHalvesStay) {
  parseHalves("%t = nn.concat %f, %g axis = 2 : tensor<2x4x4xf32>, tensor<2x4x4xf32> -> tensor<2x4x8xf32>");
  run(createRecogniseRope());
  EXPECT_EQ(ropes(), 0);
  EXPECT_THAT(messages, HasSubstr("not proved to repeat each angle"));
}

// Tests that neighbours that repeat an angle do not make a rotation of halves.
TEST_F(RecogniseRopeTest, TheWrongPairingOfTheTableStays) {
  parseHalves(R"(%w = nn.broadcast %f dims = [0, 1, 2] : tensor<2x4x4xf32> -> tensor<2x4x4x2xf32>
    %t = nn.reshape %w : tensor<2x4x4x2xf32> -> tensor<2x4x8xf32>)");
  run(createRecogniseRope());
  EXPECT_EQ(ropes(), 0);
}

// Tests that pieces that are not the halves of the value are no rotation.
TEST_F(RecogniseRopeTest, OtherPiecesThanHalvesStay) {
  parseHalves(doubled, 3);
  run(createRecogniseRope());
  EXPECT_EQ(ropes(), 0);
}

/// Tables of two positions and four elements, given by their rows.
std::string constantTable(const std::string &second) {
  return R"((%x: tensor<2x4xf32>, %i: tensor<2xi64>) -> tensor<2x4xf32> {
    %table = arith.constant dense<[[1.0, 0.5, 1.0, 0.5], )" +
         second + R"(]> : tensor<2x4xf32>
    %c = nn.gather %table, %i axis = 0 : tensor<2x4xf32>, tensor<2xi64> -> tensor<2x4xf32>
    %s = math.sin %c : tensor<2x4xf32>
    %lo = nn.slice %x starts = [0, 0] steps = [1, 1] : tensor<2x4xf32> -> tensor<2x2xf32>
    %hi = nn.slice %x starts = [0, 2] steps = [1, 1] : tensor<2x4xf32> -> tensor<2x2xf32>
    %minus = arith.constant dense<-1.0> : tensor<2x2xf32>
    %n = arith.mulf %hi, %minus : tensor<2x2xf32>
    %r = nn.concat %n, %lo axis = 1 : tensor<2x2xf32>, tensor<2x2xf32> -> tensor<2x4xf32>
    %a = arith.mulf %x, %c : tensor<2x4xf32>
    %b = arith.mulf %r, %s : tensor<2x4xf32>
    %y = arith.addf %b, %a : tensor<2x4xf32>
    return %y : tensor<2x4xf32>
  })";
}

// Tests that a constant table, looked up by position, is checked by its elements.
TEST_F(RecogniseRopeTest, AConstantTableWithEqualHalves) {
  parse(constantTable("[0.25, 0.75, 0.25, 0.75]"));
  run(createRecogniseRope());
  EXPECT_EQ(ropes(), 1);
}
TEST_F(RecogniseRopeTest, AConstantTableWithOneDifferentElementStays) {
  parse(constantTable("[0.25, 0.75, 0.25, 0.76]"));
  run(createRecogniseRope());
  EXPECT_EQ(ropes(), 0);
}

// Tests that pairs of neighbours, stacked and flattened, are an interleaved rotation.
TEST_F(RecogniseRopeTest, Neighbours) {
  parse(R"((%x: tensor<4x8xf32>, %f: tensor<4x4xf32>) -> tensor<4x8xf32> {
    %w = nn.broadcast %f dims = [0, 1] : tensor<4x4xf32> -> tensor<4x4x2xf32>
    %t = nn.reshape %w : tensor<4x4x2xf32> -> tensor<4x8xf32>
    %c = math.cos %t : tensor<4x8xf32>
    %s = math.sin %t : tensor<4x8xf32>
    %even = nn.slice %x starts = [0, 0] steps = [1, 2] : tensor<4x8xf32> -> tensor<4x4xf32>
    %odd = nn.slice %x starts = [0, 1] steps = [1, 2] : tensor<4x8xf32> -> tensor<4x4xf32>
    %n = arith.negf %odd : tensor<4x4xf32>
    %n1 = nn.reshape %n : tensor<4x4xf32> -> tensor<4x4x1xf32>
    %e1 = nn.reshape %even : tensor<4x4xf32> -> tensor<4x4x1xf32>
    %p = nn.concat %n1, %e1 axis = 2 : tensor<4x4x1xf32>, tensor<4x4x1xf32> -> tensor<4x4x2xf32>
    %r = nn.reshape %p : tensor<4x4x2xf32> -> tensor<4x8xf32>
    %a = arith.mulf %x, %c : tensor<4x8xf32>
    %b = arith.mulf %r, %s : tensor<4x8xf32>
    %y = arith.addf %a, %b : tensor<4x8xf32>
    return %y : tensor<4x8xf32>
  })");
  run(createSimplifyViews(), createRecogniseRope());
  EXPECT_TRUE(only<nn::RopeOp>().getInterleaved());
}

} // namespace
} // namespace graft
