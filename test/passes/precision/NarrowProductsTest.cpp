// What is rounded and where, in the printed function; and the same numbers by the reference interpreter, which does not
// model rounding.
#include "passes/precision/NarrowProducts.h"
#include "passes/precision/NarrowStorage.h"

#include "test/dialects/reference/ReferenceFixture.h"

#include "mlir/IR/Verifier.h"

#include <gmock/gmock.h>

using namespace mlir;

namespace graft {
namespace {

using testing::HasSubstr;
using testing::Not;

class NarrowProducts : public testing::Test, protected Reference {
protected:
  /// The function after narrowing, as text; `count` products were narrowed.
  std::string narrowed(const std::string &arguments, const std::string &results, const std::string &body, int count) {
    func::FuncOp function = parse(arguments, results, body);
    if (!function)
      return errors;
    EXPECT_EQ(narrowProducts(function), count);
    EXPECT_TRUE(succeeded(verify(function))) << errors;
    return textOf(function);
  }
  static std::string textOf(func::FuncOp function) {
    std::string text;
    llvm::raw_string_ostream stream(text);
    function.print(stream);
    return text;
  }
  static size_t count(const std::string &text, const std::string &what) {
    size_t found = 0;
    for (size_t at = text.find(what); at != std::string::npos; at = text.find(what, at + 1))
      ++found;
    return found;
  }
};

TEST_F(NarrowProducts, RoundInputsAndSumInFloat32) {
  std::string text = narrowed("%x: tensor<2x3xf32>", "tensor<2x4xf32>", R"(
    %w = rl.parameter "w" trained : tensor<4x3xf32>
    %y = nn.contract "mk,nk->mn" %x, %w : tensor<2x3xf32>, tensor<4x3xf32> -> tensor<2x4xf32>
    return %y : tensor<2x4xf32>)",
                              1);
  EXPECT_THAT(text, HasSubstr("rl.parameter \"w\" trained : tensor<4x3xbf16>"));
  EXPECT_THAT(text, HasSubstr("arith.truncf %arg0 : tensor<2x3xf32> to tensor<2x3xbf16>"));
  EXPECT_THAT(text, HasSubstr("tensor<2x3xbf16>, tensor<4x3xbf16> -> tensor<2x4xf32>"));
  EXPECT_EQ(narrowParameters(*module), std::set<std::string>{"w"});
}

// Tests that a value is rounded once, at its source, however many products read it and through whatever views.
TEST_F(NarrowProducts, RoundOncePerValue) {
  std::string text = narrowed("%x: tensor<2x3xf32>", "tensor<2x2xf32>, tensor<3x3xf32>", R"(
    %h = math.tanh %x : tensor<2x3xf32>
    %t = nn.transpose %h perm = [1, 0] : tensor<2x3xf32> -> tensor<3x2xf32>
    %a = nn.contract "mk,kn->mn" %h, %t : tensor<2x3xf32>, tensor<3x2xf32> -> tensor<2x2xf32>
    %b = nn.contract "mk,kn->mn" %t, %h : tensor<3x2xf32>, tensor<2x3xf32> -> tensor<3x3xf32>
    return %a, %b : tensor<2x2xf32>, tensor<3x3xf32>)",
                              2);
  EXPECT_EQ(count(text, "arith.truncf"), 1u) << text;
  EXPECT_EQ(count(text, "nn.transpose"), 2u) << "one of float32, without users, and one of bfloat16\n" << text;
}

// Tests that what is bound by memory and needs its digits is left: angles of positions, sums over tokens.
TEST_F(NarrowProducts, LeaveScalingAndSums) {
  std::string text = narrowed("%f: tensor<4x1xf32>, %p: tensor<1x5xf32>, %g: tensor<5x4xf32>, %o: tensor<5xf32>",
                              "tensor<4x5xf32>, tensor<4xf32>", R"(
    %angles = nn.contract "fk,kp->fp" %f, %p : tensor<4x1xf32>, tensor<1x5xf32> -> tensor<4x5xf32>
    %sums = nn.contract "sn,s->n" %g, %o : tensor<5x4xf32>, tensor<5xf32> -> tensor<4xf32>
    return %angles, %sums : tensor<4x5xf32>, tensor<4xf32>)",
                              0);
  EXPECT_THAT(text, Not(HasSubstr("bf16")));
}

// Tests that a loop over tokens is handed the rounded tensors, and no longer those that only its products read.
TEST_F(NarrowProducts, RoundOutsideOfLoops) {
  std::string text = narrowed("%m: tensor<2x3xi1>, %x: tensor<2x3x8xf32>", "tensor<2x3x5xf32>", R"(
    %w = rl.parameter "w" : tensor<5x8xf32>
    %y = rl.token_loop %m : tensor<2x3xi1> tokens(%x : tensor<2x3x8xf32>) whole(%w : tensor<5x8xf32>) chunk = 2
        gives(tensor<2x3x5xf32>) {
    ^bb0(%a: tensor<2x1x8xf32>, %v: tensor<5x8xf32>):
      %z = nn.contract "bsk,vk->bsv" %a, %v : tensor<2x1x8xf32>, tensor<5x8xf32> -> tensor<2x1x5xf32>
      rl.yield %z : tensor<2x1x5xf32>
    }
    return %y : tensor<2x3x5xf32>)",
                              1);
  EXPECT_THAT(text, HasSubstr("tokens(%0 : tensor<2x3x8xbf16>) whole(%2 : tensor<5x8xbf16>)"));
  EXPECT_THAT(text, HasSubstr("(%arg2: tensor<2x1x8xbf16>, %arg3: tensor<5x8xbf16>)"));
}

// Tests that parameters stored in bfloat16 are widened where they are read: rows that were gathered, not the table; and
// that products read them as they are.
TEST_F(NarrowProducts, ReadNarrowStorageAsItIs) {
  func::FuncOp function = parse("%ids: tensor<2xi64>", "tensor<2x5xf32>", R"(
    %e = rl.parameter "table" trained : tensor<9x4xf32>
    %n = rl.parameter "norm" trained : tensor<4xf32>
    %w = rl.parameter "w" trained : tensor<5x4xf32>
    %x = nn.gather %e, %ids axis = 0 : tensor<9x4xf32>, tensor<2xi64> -> tensor<2x4xf32>
    %s = nn.broadcast %n dims = [1] : tensor<4xf32> -> tensor<2x4xf32>
    %h = arith.mulf %x, %s : tensor<2x4xf32>
    %y = nn.contract "mk,nk->mn" %h, %w : tensor<2x4xf32>, tensor<5x4xf32> -> tensor<2x5xf32>
    return %y : tensor<2x5xf32>)");
  ASSERT_TRUE(function) << errors;
  EXPECT_EQ(narrowStorage(function), (std::set<std::string>{"table", "w"}));
  EXPECT_EQ(narrowProducts(function), 1);
  EXPECT_TRUE(succeeded(verify(function))) << errors;
  std::string text = textOf(function);
  EXPECT_EQ(count(text, "rl.parameter"), 3u) << text;
  EXPECT_THAT(text, HasSubstr("nn.gather %0, %arg0 axis = 0 : tensor<9x4xbf16>, tensor<2xi64> -> tensor<2x4xbf16>"));
  EXPECT_THAT(text, HasSubstr("arith.extf %4 : tensor<2x4xbf16> to tensor<2x4xf32>"));
  EXPECT_THAT(text, HasSubstr("rl.parameter \"norm\" trained : tensor<4xf32>"));
  EXPECT_THAT(text, Not(HasSubstr("tensor<9x4xf32>")));
  EXPECT_THAT(text, HasSubstr("tensor<2x4xbf16>, tensor<5x4xbf16> -> tensor<2x5xf32>"));
}

TEST_F(NarrowProducts, ComputeTheSameWithoutRounding) {
  func::FuncOp function = parse("%x: tensor<2x3xf32>", "tensor<2x2xf32>", R"(
    %h = math.tanh %x : tensor<2x3xf32>
    %y = nn.contract "mk,nk->mn" %h, %x : tensor<2x3xf32>, tensor<2x3xf32> -> tensor<2x2xf32>
    return %y : tensor<2x2xf32>)");
  ASSERT_TRUE(function) << errors;
  Tensor x = Tensor::floats({2, 3}, std::vector<double>{0.1, -0.2, 0.3, 1.5, -2.5, 0.7});
  auto before = interpret(function, {x});
  narrowProducts(function);
  auto after = interpret(function, {x});
  ASSERT_TRUE(succeeded(before) && succeeded(after)) << errors;
  EXPECT_EQ((*before)[0].f(), (*after)[0].f());
}

} // namespace
} // namespace graft
