#include "passes/import/MaskProof.h"
#include "test/passes/import/Passes.h"

namespace graft {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

/// Masks of two sequences, three heads, five rows and columns. The argument %m is named as a mask, %ids is not.
class MaskProofTest : public PassTest {
protected:
  /// `body` computes %mask : tensor<2x3x5x5xTYPE> from %m and %ids.
  std::optional<MaskMeaning> prove(const std::string &body, const std::string &type = "i1") {
    std::string tensor = "tensor<2x3x5x5x" + type + ">";
    parse("(%m: tensor<2x5xi64> {rl.name = \"attention_mask\"}, %ids: tensor<2x5xi64> {rl.name = \"input_ids\"}) -> " +
          tensor + R"( {
      %i = nn.iota axis = 0 : tensor<5x5xi64>
      %j = nn.iota axis = 1 : tensor<5x5xi64>
      %le = arith.cmpi sle, %j, %i : tensor<5x5xi64>
      %causal = nn.broadcast %le dims = [2, 3] : tensor<5x5xi1> -> tensor<2x3x5x5xi1>
      %z = arith.constant dense<0> : tensor<2x5xi64>
      %ne = arith.cmpi ne, %m, %z : tensor<2x5xi64>
      %keys = nn.broadcast %ne dims = [0, 3] : tensor<2x5xi1> -> tensor<2x3x5x5xi1>
      )" + body +
          "\nreturn %mask : " + tensor + "\n}");
    if (!function)
      return std::nullopt;
    prover = MaskProver(); // it remembers values of the function before
    return prover.prove(function.getBody().front().getTerminator()->getOperand(0));
  }
  std::string text(const std::optional<MaskMeaning> &meaning) {
    return meaning ? meaning->text() : "unproved: " + prover.reason();
  }

  MaskProver prover;
};

constexpr auto both = "%mask = arith.andi %causal, %keys : tensor<2x3x5x5xi1>";

TEST_F(MaskProofTest, Causal) {
  EXPECT_EQ(text(prove("%mask = arith.andi %causal, %causal : tensor<2x3x5x5xi1>")), "causal");
}

TEST_F(MaskProofTest, CausalWithValidKeys) {
  auto meaning = prove(both);
  EXPECT_EQ(text(meaning), "causal, valid keys");
  EXPECT_EQ(meaning->keys, function.getArgument(0));
}

TEST_F(MaskProofTest, ValidKeysAlone) {
  EXPECT_EQ(text(prove("%mask = arith.andi %keys, %keys : tensor<2x3x5x5xi1>")), "valid keys");
}

TEST_F(MaskProofTest, Everything) {
  EXPECT_EQ(text(prove("%mask = arith.constant dense<true> : tensor<2x3x5x5xi1>")), "everything");
}

/// j > i - w and j <= i; without the second part for `both` directions j < i + w.
std::string window(int64_t size, bool causal) {
  std::string w = std::to_string(size);
  return "%w = arith.constant dense<" + w + R"(> : tensor<5x5xi64>
    %low = arith.subi %i, %w : tensor<5x5xi64>
    %high = arith.addi %i, %w : tensor<5x5xi64>
    %gt = arith.cmpi sgt, %j, %low : tensor<5x5xi64>
    %lt = arith.cmpi slt, %j, %high : tensor<5x5xi64>
    %in = arith.andi %gt, )" +
         (causal ? "%le" : "%lt") + R"( : tensor<5x5xi1>
    %mask = nn.broadcast %in dims = [2, 3] : tensor<5x5xi1> -> tensor<2x3x5x5xi1>)";
}

TEST_F(MaskProofTest, Windows) {
  EXPECT_EQ(text(prove(window(1, true))), "causal, window 1");
  EXPECT_EQ(text(prove(window(3, true))), "causal, window 3");
  EXPECT_EQ(text(prove(window(5, true))), "causal"); // wider than the sequence
  EXPECT_EQ(text(prove(window(2, false))), "window 2");
}

// Tests the exporter's form: an index grid that gathers the mask as booleans.
TEST_F(MaskProofTest, GatheredKeys) {
  EXPECT_EQ(text(prove(R"(
    %flat = nn.reshape %ne : tensor<2x5xi1> -> tensor<10xi1>
    %five = arith.constant dense<5> : tensor<2x3x5x5xi64>
    %b = nn.iota axis = 0 : tensor<2x3x5x5xi64>
    %c = nn.iota axis = 3 : tensor<2x3x5x5xi64>
    %row = arith.muli %b, %five : tensor<2x3x5x5xi64>
    %at = arith.addi %row, %c : tensor<2x3x5x5xi64>
    %g = nn.gather %flat, %at axis = 0 : tensor<10xi1>, tensor<2x3x5x5xi64> -> tensor<2x3x5x5xi1>
    %mask = arith.andi %causal, %g : tensor<2x3x5x5xi1>)")),
            "causal, valid keys");
}

// Tests additive masks: selected, computed, and added to each other.
TEST_F(MaskProofTest, AdditiveMasks) {
  constexpr auto numbers = R"(
    %zero = arith.constant dense<0.0> : tensor<2x3x5x5xf32>
    %one = arith.constant dense<1.0> : tensor<2x3x5x5xf32>
    %low = arith.constant dense<-3.4e38> : tensor<2x3x5x5xf32>
    %less = arith.constant dense<-1.0e4> : tensor<2x3x5x5xf32>
    %little = arith.constant dense<-10.0> : tensor<2x3x5x5xf32>
    %mf = arith.sitofp %m : tensor<2x5xi64> to tensor<2x5xf32>
    %mb = nn.broadcast %mf dims = [0, 3] : tensor<2x5xf32> -> tensor<2x3x5x5xf32>
    %inv = arith.subf %one, %mb : tensor<2x3x5x5xf32>
    %padding = arith.mulf %inv, %less : tensor<2x3x5x5xf32>
    %triangle = arith.select %causal, %zero, %low : tensor<2x3x5x5xi1>, tensor<2x3x5x5xf32>
  )";
  std::string start = numbers;
  EXPECT_EQ(text(prove(start + "%mask = arith.addf %triangle, %zero : tensor<2x3x5x5xf32>", "f32")), "causal");
  EXPECT_EQ(text(prove(start + "%mask = arith.addf %padding, %zero : tensor<2x3x5x5xf32>", "f32")), "valid keys");
  EXPECT_EQ(text(prove(start + "%mask = arith.addf %triangle, %padding : tensor<2x3x5x5xf32>", "f32")),
            "causal, valid keys");
  EXPECT_THAT(text(prove(start + "%mask = arith.mulf %inv, %little : tensor<2x3x5x5xf32>", "f32")),
              HasSubstr("neither 0 nor very negative"));
}

// Tests a mask that is one expression and no conjunction of parts.
TEST_F(MaskProofTest, AMaskInOnePiece) {
  EXPECT_EQ(text(prove(R"(
    %no = arith.constant dense<false> : tensor<2x3x5x5xi1>
    %mask = arith.select %causal, %keys, %no : tensor<2x3x5x5xi1>, tensor<2x3x5x5xi1>)")),
            "causal, valid keys");
}

struct Refused {
  const char *name, *body, *reason;
};
class RefusedMask : public MaskProofTest, public testing::WithParamInterface<Refused> {};

TEST_P(RefusedMask, IsNotProved) {
  EXPECT_FALSE(prove(GetParam().body).has_value());
  EXPECT_THAT(prover.reason(), HasSubstr(GetParam().reason)) << messages;
}

constexpr Refused refusedMasks[] = {
    {"Chunks", R"(
      %two = arith.constant dense<2> : tensor<5x5xi64>
      %ci = arith.divsi %i, %two : tensor<5x5xi64>
      %cj = arith.divsi %j, %two : tensor<5x5xi64>
      %same = arith.cmpi eq, %ci, %cj : tensor<5x5xi64>
      %chunk = arith.andi %same, %le : tensor<5x5xi1>
      %mask = nn.broadcast %chunk dims = [2, 3] : tensor<5x5xi1> -> tensor<2x3x5x5xi1>)",
     "no known kind"},
    {"OneEntryTooMany", R"(
      %table = arith.constant dense<[[1,0,0,0,1],[1,1,0,0,0],[1,1,1,0,0],[1,1,1,1,0],[1,1,1,1,1]]> : tensor<5x5xi1>
      %mask = nn.broadcast %table dims = [2, 3] : tensor<5x5xi1> -> tensor<2x3x5x5xi1>)",
     "no known kind"},
    {"KeysOfTheRow", R"(
      %rows = nn.broadcast %ne dims = [0, 2] : tensor<2x5xi1> -> tensor<2x3x5x5xi1>
      %mask = arith.andi %causal, %rows : tensor<2x3x5x5xi1>)",
     "another place"},
    {"KeysOfAnotherSequence", R"(
      %first = nn.slice %ne starts = [0, 0] steps = [1, 1] : tensor<2x5xi1> -> tensor<1x5xi1>
      %flat = nn.reshape %first : tensor<1x5xi1> -> tensor<5xi1>
      %mask = nn.broadcast %flat dims = [3] : tensor<5xi1> -> tensor<2x3x5x5xi1>)",
     "another place"},
    {"InvertedKeys", R"(
      %eq = arith.cmpi eq, %m, %z : tensor<2x5xi64>
      %mask = nn.broadcast %eq dims = [0, 3] : tensor<2x5xi1> -> tensor<2x3x5x5xi1>)",
     "valid where its argument is 0"},
    {"KeysOrDiagonal", R"(
      %eq = arith.cmpi eq, %i, %j : tensor<5x5xi64>
      %diagonal = nn.broadcast %eq dims = [2, 3] : tensor<5x5xi1> -> tensor<2x3x5x5xi1>
      %mask = arith.ori %keys, %diagonal : tensor<2x3x5x5xi1>)",
     "some elements depend on valid keys"},
    {"TwoKeys", R"(
      %rows = nn.broadcast %ne dims = [0, 2] : tensor<2x5xi1> -> tensor<2x3x5x5xi1>
      %mask = arith.ori %keys, %rows : tensor<2x3x5x5xi1>)",
     "several elements"},
    {"TokensThatAreCompared", R"(
      %one = arith.constant dense<1> : tensor<2x5xi64>
      %eq = arith.cmpi eq, %ids, %one : tensor<2x5xi64>
      %mask = nn.broadcast %eq dims = [0, 3] : tensor<2x5xi1> -> tensor<2x3x5x5xi1>)",
     "not computed from masks"},
    {"HeadsThatDiffer", R"(
      %h = nn.iota axis = 1 : tensor<2x3x5x5xi64>
      %c = nn.iota axis = 3 : tensor<2x3x5x5xi64>
      %mask = arith.cmpi sle, %c, %h : tensor<2x3x5x5xi64>)",
     "different sequences or heads"},
    {"IndicesFromTheMask", R"(
      %at = nn.broadcast %m dims = [0, 3] : tensor<2x5xi64> -> tensor<2x3x5x5xi64>
      %yes = arith.constant dense<true> : tensor<2xi1>
      %mask = nn.gather %yes, %at axis = 0 : tensor<2xi1>, tensor<2x3x5x5xi64> -> tensor<2x3x5x5xi1>)",
     "an index depends"},
    {"SumsAlongTheMask", R"(
      %sum = nn.cumsum %m axis = 1 : tensor<2x5xi64>
      %pos = arith.cmpi ne, %sum, %z : tensor<2x5xi64>
      %mask = nn.broadcast %pos dims = [0, 3] : tensor<2x5xi1> -> tensor<2x3x5x5xi1>)",
     "not computed from masks"},
};
INSTANTIATE_TEST_SUITE_P(Masks, RefusedMask, testing::ValuesIn(refusedMasks),
                         [](const auto &info) { return std::string(info.param.name); });

// Tests that any integer may stand for valid where the graph itself compares with 0.
TEST_F(MaskProofTest, TokensThatAreNotZeroAreKeys) {
  auto meaning = prove(R"(
    %nonzero = arith.cmpi ne, %ids, %z : tensor<2x5xi64>
    %mask = nn.broadcast %nonzero dims = [0, 3] : tensor<2x5xi1> -> tensor<2x3x5x5xi1>)");
  EXPECT_EQ(text(meaning), "valid keys");
  EXPECT_EQ(meaning->keys, function.getArgument(1));
}

// Tests that a mask that doubles at every step is given up, not followed for ever.
TEST_F(MaskProofTest, ExponentialWorkIsRefused) {
  std::string body = "%x0 = arith.addi %m, %m : tensor<2x5xi64>\n";
  for (int k = 1; k < 60; ++k)
    body += "%x" + std::to_string(k) + " = arith.addi %x" + std::to_string(k - 1) + ", %x" + std::to_string(k - 1) +
            " : tensor<2x5xi64>\n";
  body += R"(%pos = arith.cmpi ne, %x59, %z : tensor<2x5xi64>
    %mask = nn.broadcast %pos dims = [0, 3] : tensor<2x5xi1> -> tensor<2x3x5x5xi1>)";
  EXPECT_FALSE(prove(body).has_value());
  EXPECT_THAT(prover.reason(), HasSubstr("too long"));
}

// Tests that the mask built for a meaning is proved to have it.
TEST_F(MaskProofTest, ABuiltMaskHasItsMeaning) {
  for (bool causal : {false, true})
    for (int64_t size : {0, 2, 3})
      for (bool keys : {false, true}) {
        ASSERT_TRUE(prove(both).has_value());
        MaskMeaning meaning{causal, size, keys ? function.getArgument(0) : mlir::Value()};
        if (meaning.allowsEverything())
          continue;
        mlir::OpBuilder builder(function.getBody().front().getTerminator());
        mlir::Value mask = buildMask(builder, function.getLoc(), meaning, {2, 3, 5, 5});
        EXPECT_EQ(text(prover.prove(mask)), meaning.text());
      }
}

//===-- The pass --------------------------------------------------------------------------------------------------===//

class GiveMasksMeaningTest : public PassTest {
protected:
  void parseSoftmax(const std::string &body) {
    parse(R"((%scores: tensor<2x3x4x4xf32>, %m: tensor<2x4xi1>) -> tensor<2x3x4x4xf32> {
      %i = nn.iota axis = 0 : tensor<4x4xi64>
      %j = nn.iota axis = 1 : tensor<4x4xi64>
      %le = arith.cmpi sge, %i, %j : tensor<4x4xi64>
      %causal = nn.broadcast %le dims = [2, 3] : tensor<4x4xi1> -> tensor<2x3x4x4xi1>
      %keys = nn.broadcast %m dims = [0, 3] : tensor<2x4xi1> -> tensor<2x3x4x4xi1>
      %and = arith.andi %causal, %keys : tensor<2x3x4x4xi1>
      %zero = arith.constant dense<0.0> : tensor<2x3x4x4xf32>
      %low = arith.constant dense<-3.4e38> : tensor<2x3x4x4xf32>
      )" + body +
          "return %y : tensor<2x3x4x4xf32>\n}");
  }
  void expectOnlyAMask() {
    run(createGiveMasksMeaning());
    EXPECT_TRUE(only<nn::SoftmaxOp>().getMask());
    EXPECT_EQ(only<nn::SoftmaxOp>().getInput(), function.getArgument(0));
    auto found = operators();
    for (const char *gone : {"arith.addf", "arith.select", "arith.cmpf"})
      EXPECT_FALSE(found.contains(gone)) << gone;
  }
};

TEST_F(GiveMasksMeaningTest, AddedMaskAndGuard) {
  parseSoftmax(R"(
    %a = arith.select %and, %zero, %low : tensor<2x3x4x4xi1>, tensor<2x3x4x4xf32>
    %s = arith.addf %scores, %a : tensor<2x3x4x4xf32>
    %p = nn.softmax %s axis = 3 : tensor<2x3x4x4xf32> -> tensor<2x3x4x4xf32>
    %nan = arith.cmpf uno, %p, %p : tensor<2x3x4x4xf32>
    %y = arith.select %nan, %zero, %p : tensor<2x3x4x4xi1>, tensor<2x3x4x4xf32>
  )");
  expectOnlyAMask();
}

TEST_F(GiveMasksMeaningTest, SelectedScores) {
  parseSoftmax(R"(
    %s = arith.select %and, %scores, %low : tensor<2x3x4x4xi1>, tensor<2x3x4x4xf32>
    %y = nn.softmax %s axis = 3 : tensor<2x3x4x4xf32> -> tensor<2x3x4x4xf32>
  )");
  expectOnlyAMask();
}

// Tests that two masks in a row, one added and one of the softmax, become one.
TEST_F(GiveMasksMeaningTest, TwoMasks) {
  parseSoftmax(R"(
    %a = arith.select %causal, %zero, %low : tensor<2x3x4x4xi1>, tensor<2x3x4x4xf32>
    %s = arith.addf %a, %scores : tensor<2x3x4x4xf32>
    %y = nn.softmax %s mask %keys axis = 3 : tensor<2x3x4x4xf32>, tensor<2x3x4x4xi1> -> tensor<2x3x4x4xf32>
  )");
  expectOnlyAMask();
}

// Tests that a guard of a softmax without a mask stays: infinite scores make it NaN.
TEST_F(GiveMasksMeaningTest, TheGuardOfAnUnmaskedSoftmaxStays) {
  parseSoftmax(R"(
    %p = nn.softmax %scores axis = 3 : tensor<2x3x4x4xf32> -> tensor<2x3x4x4xf32>
    %nan = arith.cmpf uno, %p, %p : tensor<2x3x4x4xf32>
    %y = arith.select %nan, %zero, %p : tensor<2x3x4x4xi1>, tensor<2x3x4x4xf32>
  )");
  run(createGiveMasksMeaning());
  EXPECT_TRUE(operators().contains("arith.select"));
}

// Tests that a mask without a known meaning stays as it is, with the reason.
TEST_F(GiveMasksMeaningTest, AnUnknownMaskStays) {
  parseSoftmax(R"(
    %or = arith.ori %causal, %keys : tensor<2x3x4x4xi1>
    %a = arith.select %or, %zero, %low : tensor<2x3x4x4xi1>, tensor<2x3x4x4xf32>
    %s = arith.addf %scores, %a : tensor<2x3x4x4xf32>
    %y = nn.softmax %s axis = 3 : tensor<2x3x4x4xf32> -> tensor<2x3x4x4xf32>
  )");
  run(createGiveMasksMeaning());
  EXPECT_FALSE(only<nn::SoftmaxOp>().getMask());
  EXPECT_THAT(messages, HasSubstr("the mask keeps the form it has in the graph: some elements depend on valid keys"));
}

} // namespace
} // namespace graft
