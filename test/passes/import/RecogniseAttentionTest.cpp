#include "test/passes/import/Passes.h"

namespace graft {
namespace {

using testing::HasSubstr;

class RecogniseAttentionTest : public PassTest {
protected:
  void recognise() {
    run(createSimplifyViews(), createFoldIntoContract(), createGiveMasksMeaning(), createRecogniseAttention(),
        createSimplifyViews());
  }
  /// No product and no softmax is left.
  nn::AttentionOp expectAttention() {
    recognise();
    auto found = operators();
    EXPECT_FALSE(found.contains("nn.contract"));
    EXPECT_FALSE(found.contains("nn.softmax"));
    return only<nn::AttentionOp>();
  }
  void expectNone(const char *why) {
    recognise();
    EXPECT_FALSE(operators().contains("nn.attention"));
    EXPECT_THAT(messages, HasSubstr(why));
  }
};

// Tests both sides scaled by the root, keys transposed through a flattened batch, an additive mask and a guard: torch's
// export of scaled dot-product attention, with heads repeated before.
TEST_F(RecogniseAttentionTest, GroupedHeadsAsExported) {
  parse(
      R"((%x: tensor<2x5x4x8xf32>, %k0: tensor<2x5x2x8xf32>, %v0: tensor<2x5x2x8xf32>, %m: tensor<2x5xi1>) -> tensor<2x5x32xf32> {
    %root = arith.constant dense<0.5> : tensor<2x4x5x8xf32>
    %rootT = arith.constant dense<0.5> : tensor<2x4x8x5xf32>
    %zero = arith.constant dense<0.0> : tensor<2x4x5x5xf32>
    %low = arith.constant dense<-3.4e38> : tensor<2x4x5x5xf32>
    %i = nn.iota axis = 0 : tensor<5x5xi64>
    %j = nn.iota axis = 1 : tensor<5x5xi64>
    %le = arith.cmpi sle, %j, %i : tensor<5x5xi64>
    %causal = nn.broadcast %le dims = [2, 3] : tensor<5x5xi1> -> tensor<2x4x5x5xi1>
    %keys = nn.broadcast %m dims = [0, 3] : tensor<2x5xi1> -> tensor<2x4x5x5xi1>
    %and = arith.andi %causal, %keys : tensor<2x4x5x5xi1>
    %a = arith.select %and, %zero, %low : tensor<2x4x5x5xi1>, tensor<2x4x5x5xf32>
    %q = nn.transpose %x perm = [0, 2, 1, 3] : tensor<2x5x4x8xf32> -> tensor<2x4x5x8xf32>
    %k1 = nn.transpose %k0 perm = [0, 2, 1, 3] : tensor<2x5x2x8xf32> -> tensor<2x2x5x8xf32>
    %k2 = nn.broadcast %k1 dims = [0, 1, 3, 4] : tensor<2x2x5x8xf32> -> tensor<2x2x2x5x8xf32>
    %k3 = nn.reshape %k2 : tensor<2x2x2x5x8xf32> -> tensor<8x5x8xf32>
    %k4 = nn.transpose %k3 perm = [0, 2, 1] : tensor<8x5x8xf32> -> tensor<8x8x5xf32>
    %k5 = nn.reshape %k4 : tensor<8x8x5xf32> -> tensor<2x4x8x5xf32>
    %v1 = nn.transpose %v0 perm = [0, 2, 1, 3] : tensor<2x5x2x8xf32> -> tensor<2x2x5x8xf32>
    %v2 = nn.broadcast %v1 dims = [0, 1, 3, 4] : tensor<2x2x5x8xf32> -> tensor<2x2x2x5x8xf32>
    %v3 = nn.reshape %v2 : tensor<2x2x2x5x8xf32> -> tensor<2x4x5x8xf32>
    %qs = arith.mulf %q, %root : tensor<2x4x5x8xf32>
    %ks = arith.mulf %k5, %rootT : tensor<2x4x8x5xf32>
    %s = nn.contract "bhsd,bhdt->bhst" %qs, %ks : tensor<2x4x5x8xf32>, tensor<2x4x8x5xf32> -> tensor<2x4x5x5xf32>
    %sm = arith.addf %s, %a : tensor<2x4x5x5xf32>
    %p = nn.softmax %sm axis = 3 : tensor<2x4x5x5xf32> -> tensor<2x4x5x5xf32>
    %nan = arith.cmpf uno, %p, %p : tensor<2x4x5x5xf32>
    %pg = arith.select %nan, %zero, %p : tensor<2x4x5x5xi1>, tensor<2x4x5x5xf32>
    %o = nn.contract "bhst,bhte->bhse" %pg, %v3 : tensor<2x4x5x5xf32>, tensor<2x4x5x8xf32> -> tensor<2x4x5x8xf32>
    %t = nn.transpose %o perm = [0, 2, 1, 3] : tensor<2x4x5x8xf32> -> tensor<2x5x4x8xf32>
    %y = nn.reshape %t : tensor<2x5x4x8xf32> -> tensor<2x5x32xf32>
    return %y : tensor<2x5x32xf32>
  })");
  auto attention = expectAttention();
  EXPECT_TRUE(attention.getCausal());
  EXPECT_EQ(attention.getKeyValid(), function.getArgument(3));
  EXPECT_DOUBLE_EQ(attention.getScale().convertToDouble(), 0.25);
  EXPECT_EQ(nn::shapeOf(attention.getKey()), llvm::ArrayRef<int64_t>({2, 2, 5, 8}));
  EXPECT_EQ(nn::shapeOf(attention.getValue()), llvm::ArrayRef<int64_t>({2, 2, 5, 8}));
}

// Tests one key head for all queries, which the equation names without a head.
TEST_F(RecogniseAttentionTest, OneKeyHead) {
  parse(R"((%q: tensor<2x4x5x8xf32>, %k: tensor<2x5x8xf32>, %v: tensor<2x5x6xf32>) -> tensor<2x5x4x6xf32> {
    %kb = nn.broadcast %k dims = [0, 2, 3] : tensor<2x5x8xf32> -> tensor<2x4x5x8xf32>
    %vb = nn.broadcast %v dims = [0, 2, 3] : tensor<2x5x6xf32> -> tensor<2x4x5x6xf32>
    %s = nn.contract "bhsd,bhtd->bhst" %q, %kb : tensor<2x4x5x8xf32>, tensor<2x4x5x8xf32> -> tensor<2x4x5x5xf32>
    %p = nn.softmax %s axis = 3 : tensor<2x4x5x5xf32> -> tensor<2x4x5x5xf32>
    %o = nn.contract "bhst,bhte->bshe" %p, %vb : tensor<2x4x5x5xf32>, tensor<2x4x5x6xf32> -> tensor<2x5x4x6xf32>
    return %o : tensor<2x5x4x6xf32>
  })");
  auto attention = expectAttention();
  EXPECT_EQ(nn::shapeOf(attention.getKey()), llvm::ArrayRef<int64_t>({2, 1, 5, 8}));
  EXPECT_EQ(nn::shapeOf(attention.getValue()), llvm::ArrayRef<int64_t>({2, 1, 5, 6}));
  EXPECT_FALSE(attention.getCausal());
  EXPECT_FALSE(attention.getKeyValid());
}

// Tests a soft-cap with the scale inside, more keys than queries, a window, and operands of the products in the other
// order.
TEST_F(RecogniseAttentionTest, SoftcapWindowAndPast) {
  parse(R"((%q: tensor<1x2x3x8xf32>, %k: tensor<1x2x5x8xf32>, %v: tensor<1x2x5x8xf32>) -> tensor<1x2x3x8xf32> {
    %in = arith.constant dense<0.02> : tensor<1x2x3x5xf32>
    %cap = arith.constant dense<5.0> : tensor<1x2x3x5xf32>
    %i = nn.iota axis = 0 : tensor<3x5xi64>
    %j = nn.iota axis = 1 : tensor<3x5xi64>
    %zero = arith.constant dense<0> : tensor<3x5xi64>
    %two = arith.constant dense<2> : tensor<3x5xi64>
    %d = arith.subi %j, %i : tensor<3x5xi64>
    %le = arith.cmpi sle, %d, %two : tensor<3x5xi64>
    %gt = arith.cmpi sgt, %d, %zero : tensor<3x5xi64>
    %and = arith.andi %le, %gt : tensor<3x5xi1>
    %m = nn.broadcast %and dims = [2, 3] : tensor<3x5xi1> -> tensor<1x2x3x5xi1>
    %s = nn.contract "bhtd,bhsd->bhst" %k, %q : tensor<1x2x5x8xf32>, tensor<1x2x3x8xf32> -> tensor<1x2x3x5xf32>
    %a = arith.mulf %s, %in : tensor<1x2x3x5xf32>
    %b = math.tanh %a : tensor<1x2x3x5xf32>
    %c = arith.mulf %b, %cap : tensor<1x2x3x5xf32>
    %p = nn.softmax %c mask %m axis = 3 : tensor<1x2x3x5xf32>, tensor<1x2x3x5xi1> -> tensor<1x2x3x5xf32>
    %o = nn.contract "bhte,bhst->bhse" %v, %p : tensor<1x2x5x8xf32>, tensor<1x2x3x5xf32> -> tensor<1x2x3x8xf32>
    return %o : tensor<1x2x3x8xf32>
  })");
  auto attention = expectAttention();
  EXPECT_TRUE(attention.getCausal());
  EXPECT_EQ(attention.getWindow(), 2);
  EXPECT_DOUBLE_EQ(attention.getSoftcap().convertToDouble(), 5);
  EXPECT_NEAR(attention.getScale().convertToDouble(), 0.1, 1e-8);
}

// Tests heads that are two dimensions of the products, as a decomposed Attention operator has them.
TEST_F(RecogniseAttentionTest, HeadsInTwoDimensions) {
  parse(R"((%q: tensor<1x6x5x8xf32>, %k: tensor<1x2x5x8xf32>, %v: tensor<1x2x5x8xf32>) -> tensor<1x6x5x8xf32> {
    %i = nn.iota axis = 3 : tensor<1x2x3x5x5xi64>
    %j = nn.iota axis = 4 : tensor<1x2x3x5x5xi64>
    %le = arith.cmpi sle, %j, %i : tensor<1x2x3x5x5xi64>
    %q5 = nn.reshape %q : tensor<1x6x5x8xf32> -> tensor<1x2x3x5x8xf32>
    %s = nn.contract "bhgsd,bhtd->bhgst" %q5, %k : tensor<1x2x3x5x8xf32>, tensor<1x2x5x8xf32> -> tensor<1x2x3x5x5xf32>
    %p = nn.softmax %s mask %le axis = 4 : tensor<1x2x3x5x5xf32>, tensor<1x2x3x5x5xi1> -> tensor<1x2x3x5x5xf32>
    %o = nn.contract "bhgst,bhte->bhgse" %p, %v : tensor<1x2x3x5x5xf32>, tensor<1x2x5x8xf32> -> tensor<1x2x3x5x8xf32>
    %y = nn.reshape %o : tensor<1x2x3x5x8xf32> -> tensor<1x6x5x8xf32>
    return %y : tensor<1x6x5x8xf32>
  })");
  auto attention = expectAttention();
  EXPECT_EQ(attention.getQuery(), function.getArgument(0));
  EXPECT_EQ(attention.getKey(), function.getArgument(1));
}

/// Attention over scores that `scores` makes as %c from the product %s.
std::string withScores(const std::string &scores) {
  return R"((%q: tensor<1x2x4x8xf32>, %k: tensor<1x2x4x8xf32>, %v: tensor<1x2x4x8xf32>, %z: tensor<1x2x4x4xf32>) -> tensor<1x2x4x8xf32> {
    %s = nn.contract "bhsd,bhtd->bhst" %q, %k : tensor<1x2x4x8xf32>, tensor<1x2x4x8xf32> -> tensor<1x2x4x4xf32>
    )" + scores +
         R"(
    %o = nn.contract "bhst,bhte->bhse" %p, %v : tensor<1x2x4x4xf32>, tensor<1x2x4x8xf32> -> tensor<1x2x4x8xf32>
    return %o : tensor<1x2x4x8xf32>
  })";
}

// Tests that scores with a bias from data are no plain attention.
TEST_F(RecogniseAttentionTest, ABiasFromDataStays) {
  parse(withScores(R"(%c = arith.addf %s, %z : tensor<1x2x4x4xf32>
    %p = nn.softmax %c axis = 3 : tensor<1x2x4x4xf32> -> tensor<1x2x4x4xf32>)"));
  expectNone("not recognised as attention: the scores are not a scaled product");
}

// Tests that a mask without a meaning keeps the softmax.
TEST_F(RecogniseAttentionTest, AnUnknownMaskStays) {
  parse(withScores(
      R"(%m = arith.constant dense<[[[[1,0,0,1],[1,1,0,0],[1,1,1,0],[1,1,1,1]],[[1,0,0,0],[1,1,0,0],[1,1,1,0],[1,1,1,1]]]]> : tensor<1x2x4x4xi1>
    %p = nn.softmax %s mask %m axis = 3 : tensor<1x2x4x4xf32>, tensor<1x2x4x4xi1> -> tensor<1x2x4x4xf32>)"));
  expectNone("the mask has no proven meaning");
}

// Tests that a softmax over the queries, or two softmaxes of one product, are not mistaken for attention.
TEST_F(RecogniseAttentionTest, ASoftmaxOverQueriesStays) {
  parse(withScores("%p = nn.softmax %s axis = 2 : tensor<1x2x4x4xf32> -> tensor<1x2x4x4xf32>"));
  expectNone("");
}

// Tests that probabilities that are changed before the second product are no attention.
TEST_F(RecogniseAttentionTest, ChangedProbabilitiesStay) {
  parse(withScores(R"(%a = nn.softmax %s axis = 3 : tensor<1x2x4x4xf32> -> tensor<1x2x4x4xf32>
    %p = arith.mulf %a, %z : tensor<1x2x4x4xf32>)"));
  expectNone("");
}

} // namespace
} // namespace graft
