#include "test/passes/import/Passes.h"

namespace graft {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;
using testing::Pair;

class SimplifyViewsTest : public PassTest {};
class FoldIntoContractTest : public PassTest {};

// Tests that a transposition that takes the batch apart and together again is one transposition.
TEST_F(SimplifyViewsTest, ReshapeTransposeReshapeIsATranspose) {
  parse(R"((%k: tensor<2x3x4x8xf32>) -> tensor<2x3x8x4xf32> {
    %a = nn.reshape %k : tensor<2x3x4x8xf32> -> tensor<6x4x8xf32>
    %b = nn.transpose %a perm = [0, 2, 1] : tensor<6x4x8xf32> -> tensor<6x8x4xf32>
    %c = nn.reshape %b : tensor<6x8x4xf32> -> tensor<2x3x8x4xf32>
    return %c : tensor<2x3x8x4xf32>
  })");
  run(createSimplifyViews());
  EXPECT_THAT(operators(), ElementsAre(Pair("nn.transpose", 1)));
  EXPECT_EQ(only<nn::TransposeOp>().getPermutation(), llvm::ArrayRef<int64_t>({0, 1, 3, 2}));
}

// Tests that a broadcast of a broadcast through a reshape is one broadcast.
TEST_F(SimplifyViewsTest, BroadcastsJoinThroughReshapes) {
  parse(R"((%m: tensor<4x4xf32>) -> tensor<2x3x4x4xf32> {
    %a = nn.broadcast %m dims = [2, 3] : tensor<4x4xf32> -> tensor<2x1x4x4xf32>
    %b = nn.reshape %a : tensor<2x1x4x4xf32> -> tensor<2x4x4xf32>
    %c = nn.broadcast %b dims = [0, 2, 3] : tensor<2x4x4xf32> -> tensor<2x3x4x4xf32>
    return %c : tensor<2x3x4x4xf32>
  })");
  run(createSimplifyViews());
  EXPECT_THAT(operators(), ElementsAre(Pair("nn.broadcast", 1)));
}

// Tests that views that undo each other disappear.
TEST_F(SimplifyViewsTest, ViewsThatUndoEachOtherDisappear) {
  parse(R"((%x: tensor<2x3x4xf32>) -> tensor<2x3x4xf32> {
    %a = nn.transpose %x perm = [1, 0, 2] : tensor<2x3x4xf32> -> tensor<3x2x4xf32>
    %b = nn.reshape %a : tensor<3x2x4xf32> -> tensor<3x2x2x2xf32>
    %c = nn.transpose %b perm = [1, 0, 2, 3] : tensor<3x2x2x2xf32> -> tensor<2x3x2x2xf32>
    %d = nn.reshape %c : tensor<2x3x2x2xf32> -> tensor<2x3x4xf32>
    return %d : tensor<2x3x4xf32>
  })");
  run(createSimplifyViews());
  EXPECT_THAT(operators(), IsEmpty());
}

// Tests that a chain whose map is no single operator stays.
TEST_F(SimplifyViewsTest, ATransposeInsideOfAReshapeStays) {
  parse(R"((%x: tensor<2x3x4x8xf32>) -> tensor<2x4x24xf32> {
    %a = nn.transpose %x perm = [0, 2, 1, 3] : tensor<2x3x4x8xf32> -> tensor<2x4x3x8xf32>
    %b = nn.reshape %a : tensor<2x4x3x8xf32> -> tensor<2x4x24xf32>
    return %b : tensor<2x4x24xf32>
  })");
  run(createSimplifyViews());
  EXPECT_THAT(operators(), ElementsAre(Pair("nn.reshape", 1), Pair("nn.transpose", 1)));
}

// Tests that the statistics of a row are computed on rows, although the graph keeps a dimension of size 1.
TEST_F(SimplifyViewsTest, UnitDimensionsAroundRowStatisticsDisappear) {
  parse(R"((%x: tensor<2x3x8xf32>) -> tensor<2x3x8xf32> {
    %eighth = arith.constant dense<0.125> : tensor<2x3x1xf32>
    %s = nn.reduce sum %x axes = [2] : tensor<2x3x8xf32> -> tensor<2x3xf32>
    %a = nn.reshape %s : tensor<2x3xf32> -> tensor<2x3x1xf32>
    %m = arith.mulf %a, %eighth : tensor<2x3x1xf32>
    %b = nn.reshape %m : tensor<2x3x1xf32> -> tensor<2x3xf32>
    %c = nn.broadcast %b dims = [0, 1] : tensor<2x3xf32> -> tensor<2x3x8xf32>
    %y = arith.subf %x, %c : tensor<2x3x8xf32>
    return %y : tensor<2x3x8xf32>
  })");
  run(createSimplifyViews());
  EXPECT_THAT(operators(),
              ElementsAre(Pair("arith.mulf", 1), Pair("arith.subf", 1), Pair("nn.broadcast", 1), Pair("nn.reduce", 1)));
  EXPECT_EQ(nn::shapeOf(only<mlir::arith::MulFOp>()), llvm::ArrayRef<int64_t>({2, 3}));
}

// Tests that operands that are viewed differently are computed in full.
TEST_F(SimplifyViewsTest, DifferentBroadcastsStayAboveTheSum) {
  parse(R"((%x: tensor<3xf32>, %y: tensor<2xf32>) -> tensor<2x3xf32> {
    %a = nn.broadcast %x dims = [1] : tensor<3xf32> -> tensor<2x3xf32>
    %b = nn.broadcast %y dims = [0] : tensor<2xf32> -> tensor<2x3xf32>
    %c = arith.addf %a, %b : tensor<2x3xf32>
    return %c : tensor<2x3xf32>
  })");
  run(createSimplifyViews());
  EXPECT_THAT(operators(), ElementsAre(Pair("arith.addf", 1), Pair("nn.broadcast", 2)));
}

// Tests that arithmetic that does nothing disappears.
TEST_F(SimplifyViewsTest, NeutralArithmeticDisappears) {
  parse(R"((%x: tensor<2xf32>, %m: tensor<2xi1>) -> tensor<2xf32> {
    %one = arith.constant dense<1.0> : tensor<2xf32>
    %zero = arith.constant dense<0.0> : tensor<2xf32>
    %a = arith.mulf %one, %x : tensor<2xf32>
    %b = arith.addf %zero, %a : tensor<2xf32>
    %c = arith.divf %b, %one : tensor<2xf32>
    %d = arith.subf %c, %zero : tensor<2xf32>
    %e = arith.extf %d : tensor<2xf32> to tensor<2xf64>
    %f = arith.truncf %e : tensor<2xf64> to tensor<2xf32>
    %g = arith.select %m, %f, %f : tensor<2xi1>, tensor<2xf32>
    return %g : tensor<2xf32>
  })");
  run(createSimplifyViews());
  EXPECT_THAT(operators(), IsEmpty());
}

// Tests that a cast to a narrower type and back stays: it rounds.
TEST_F(SimplifyViewsTest, RoundingStays) {
  parse(R"((%x: tensor<2xf32>) -> tensor<2xf32> {
    %a = arith.truncf %x : tensor<2xf32> to tensor<2xbf16>
    %b = arith.extf %a : tensor<2xbf16> to tensor<2xf32>
    return %b : tensor<2xf32>
  })");
  run(createSimplifyViews());
  EXPECT_THAT(operators(), ElementsAre(Pair("arith.extf", 1), Pair("arith.truncf", 1)));
}

// Tests that transposes of both operands and of the result become letters.
TEST_F(FoldIntoContractTest, TransposesBecomeLetters) {
  parse(R"((%x: tensor<8x2xf32>, %w: tensor<5x8xf32>) -> tensor<5x2xf32> {
    %a = nn.transpose %x perm = [1, 0] : tensor<8x2xf32> -> tensor<2x8xf32>
    %b = nn.transpose %w perm = [1, 0] : tensor<5x8xf32> -> tensor<8x5xf32>
    %y = nn.contract "bk,kn->bn" %a, %b : tensor<2x8xf32>, tensor<8x5xf32> -> tensor<2x5xf32>
    %z = nn.transpose %y perm = [1, 0] : tensor<2x5xf32> -> tensor<5x2xf32>
    return %z : tensor<5x2xf32>
  })");
  run(createFoldIntoContract());
  EXPECT_THAT(operators(), ElementsAre(Pair("nn.contract", 1)));
  EXPECT_EQ(only<nn::ContractOp>().getEquation(), "kb,nk->nb");
}

// Tests that a broadcast along a batch letter disappears, and one along a summed letter stays.
TEST_F(FoldIntoContractTest, OnlyBroadcastsAlongTheResultBecomeLetters) {
  parse(R"((%x: tensor<2x3x8xf32>, %w: tensor<8x5xf32>, %v: tensor<5xf32>) -> (tensor<2x3x5xf32>, tensor<2x3x5xf32>) {
    %b = nn.broadcast %w dims = [1, 2] : tensor<8x5xf32> -> tensor<2x8x5xf32>
    %y = nn.contract "bmk,bkn->bmn" %x, %b : tensor<2x3x8xf32>, tensor<2x8x5xf32> -> tensor<2x3x5xf32>
    %c = nn.broadcast %v dims = [1] : tensor<5xf32> -> tensor<8x5xf32>
    %z = nn.contract "bmk,kn->bmn" %x, %c : tensor<2x3x8xf32>, tensor<8x5xf32> -> tensor<2x3x5xf32>
    return %y, %z : tensor<2x3x5xf32>, tensor<2x3x5xf32>
  })");
  run(createFoldIntoContract());
  EXPECT_THAT(operators(), ElementsAre(Pair("nn.broadcast", 1), Pair("nn.contract", 2)));
}

// Tests that a product whose result is also used as it is keeps its order.
TEST_F(FoldIntoContractTest, AResultWithAnotherUseStays) {
  parse(R"((%x: tensor<2x8xf32>, %w: tensor<8x5xf32>) -> (tensor<2x5xf32>, tensor<5x2xf32>) {
    %y = nn.contract "bk,kn->bn" %x, %w : tensor<2x8xf32>, tensor<8x5xf32> -> tensor<2x5xf32>
    %z = nn.transpose %y perm = [1, 0] : tensor<2x5xf32> -> tensor<5x2xf32>
    return %y, %z : tensor<2x5xf32>, tensor<5x2xf32>
  })");
  run(createFoldIntoContract());
  EXPECT_THAT(operators(), ElementsAre(Pair("nn.contract", 1), Pair("nn.transpose", 1)));
}

} // namespace
} // namespace graft
