// The walk of autodiff: what is built and what is not, sums at values used twice, errors. The gradient of each operator
// is tested in test/dialects/nn/gradients_test.cpp.
#include "passes/autodiff/Differentiate.h"
#include "dialects/nn/Build.h"
#include "test/dialects/reference/ReferenceFixture.h"

#include <gmock/gmock.h>

#include <cmath>

using namespace mlir;

namespace graft {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

struct Differentiate : testing::Test, Reference {
  /// The function @f whose single result is the loss.
  void parseLoss(const std::string &arguments, const std::string &body, const std::string &type = "tensor<f32>") {
    function = parse(arguments, type, body + "\nreturn %loss : " + type);
    ASSERT_TRUE(function) << errors;
  }
  Operation *terminator() { return function.getBody().front().getTerminator(); }
  /// The gradients with respect to the given arguments.
  FailureOr<SmallVector<Value>> differentiateBy(ArrayRef<unsigned> arguments) {
    SmallVector<Value> inputs;
    for (unsigned i : arguments)
      inputs.push_back(function.getArgument(i));
    OpBuilder builder(terminator());
    auto gradients = differentiate(builder, terminator()->getOperand(0), inputs);
    EXPECT_TRUE(succeeded(module->verify())) << errors;
    return gradients;
  }
  /// How many operators of this name the function has.
  int count(StringRef name) {
    int found = 0;
    for (Operation &op : function.getBody().front())
      found += op.getName().getStringRef() == name;
    return found;
  }
  int operations() {
    return static_cast<int>(std::distance(function.getBody().front().begin(), function.getBody().front().end()));
  }
  /// Runs the function with the gradients as its results.
  SmallVector<Tensor> run(ArrayRef<Value> gradients, ArrayRef<Tensor> arguments) {
    terminator()->setOperands(gradients);
    auto results = interpret(function, arguments);
    EXPECT_TRUE(succeeded(results)) << errors;
    return succeeded(results) ? *results : SmallVector<Tensor>();
  }

  func::FuncOp function;
};

const char *const twoLayers = R"(
  %a = nn.contract "bi,hi->bh" %x, %v : tensor<2x3xf32>, tensor<4x3xf32> -> tensor<2x4xf32>
  %b = math.tanh %a : tensor<2x4xf32>
  %c = nn.contract "bh,oh->bo" %b, %w : tensor<2x4xf32>, tensor<5x4xf32> -> tensor<2x5xf32>
  %loss = nn.reduce sum %c axes = [0, 1] : tensor<2x5xf32> -> tensor<f32>)";
const char *const twoLayerArguments = "%x: tensor<2x3xf32>, %v: tensor<4x3xf32>, %w: tensor<5x4xf32>";

TEST_F(Differentiate, BuildsOneProductPerWantedGradient) {
  parseLoss(twoLayerArguments, twoLayers);
  ASSERT_TRUE(succeeded(differentiateBy({1, 2})));
  // Forward two; backward: w, the hidden layer, v. Nobody wants that of x.
  EXPECT_EQ(count("nn.contract"), 5);
}

TEST_F(Differentiate, StopsAtTheLastValueThatIsAskedFor) {
  parseLoss(twoLayerArguments, twoLayers);
  ASSERT_TRUE(succeeded(differentiateBy({2})));
  // Forward two, and the gradient of w: the first layer is never entered.
  EXPECT_EQ(count("nn.contract"), 3);
  EXPECT_EQ(count("math.tanh"), 1);
  EXPECT_EQ(count("arith.mulf"), 0);
}

TEST_F(Differentiate, LeavesNothingThatNobodyUses) {
  parseLoss(twoLayerArguments, twoLayers);
  auto gradients = differentiateBy({0, 1, 2});
  ASSERT_TRUE(succeeded(gradients));
  for (Operation &op : function.getBody().front())
    if (&op != terminator() && op.use_empty())
      EXPECT_TRUE(llvm::is_contained(*gradients, op.getResult(0))) << op.getName().getStringRef().str();
}

TEST_F(Differentiate, DoesNotVisitWhatTheLossDoesNotNeed) {
  parseLoss("%x: tensor<2xf32>", R"(
  %metric = math.exp %x : tensor<2xf32>
  %total = nn.reduce prod %metric axes = [0] : tensor<2xf32> -> tensor<f32>
  %loss = nn.reduce sum %x axes = [0] : tensor<2xf32> -> tensor<f32>)");
  ASSERT_TRUE(succeeded(differentiateBy({0}))) << errors;
  EXPECT_EQ(count("math.exp"), 1);
  EXPECT_EQ(count("arith.mulf"), 0);
}

TEST_F(Differentiate, SumsTheGradientsOfATiedParameter) {
  // Embedding and head share %w: loss = sum((w[ids] w^T)^...): gather and product both feed its gradient.
  parseLoss("%w: tensor<3x2xf64>, %ids: tensor<2xi64>", R"(
  %e = nn.gather %w, %ids axis = 0 : tensor<3x2xf64>, tensor<2xi64> -> tensor<2x2xf64>
  %z = nn.contract "sd,vd->sv" %e, %w : tensor<2x2xf64>, tensor<3x2xf64> -> tensor<2x3xf64>
  %loss = nn.reduce sum %z axes = [0, 1] : tensor<2x3xf64> -> tensor<f64>)",
            "tensor<f64>");
  auto gradients = differentiateBy({0});
  ASSERT_TRUE(succeeded(gradients));
  EXPECT_EQ(count("arith.addf"), 1);
  function.setType(FunctionType::get(&context, function.getArgumentTypes(), gradients->front().getType()));
  auto results = run(*gradients, {Tensor::floats({3, 2}, {1, 2, 3, 4, 5, 6}), Tensor::integers({2}, {2, 2})});
  // Both rows of e are (5, 6): the head's part is (10, 12) for each row; the gather's part is twice the column sums
  // (9, 12), at row 2.
  ASSERT_EQ(results.size(), 1u);
  EXPECT_THAT(results[0].f(), ElementsAre(10, 12, 10, 12, 28, 36));
}

TEST_F(Differentiate, SumsBothSidesOfASquare) {
  parseLoss("%x: tensor<f64>", "%loss = arith.mulf %x, %x : tensor<f64>", "tensor<f64>");
  auto gradients = differentiateBy({0});
  ASSERT_TRUE(succeeded(gradients));
  EXPECT_EQ(count("arith.addf"), 1);
  EXPECT_THAT(run(*gradients, {Tensor::floats({}, 3.0)})[0].f(), ElementsAre(6));
}

TEST_F(Differentiate, GivesNullForAnInputThatTheLossDoesNotReach) {
  parseLoss("%x: tensor<f64>, %unused: tensor<7xf64>", "%loss = math.exp %x : tensor<f64>", "tensor<f64>");
  auto gradients = differentiateBy({0, 1});
  ASSERT_TRUE(succeeded(gradients));
  EXPECT_TRUE((*gradients)[0]);
  EXPECT_FALSE((*gradients)[1]);
}

TEST_F(Differentiate, BuildsNothingIfNoInputIsReached) {
  parseLoss("%x: tensor<f64>, %unused: tensor<7xf64>", "%loss = math.exp %x : tensor<f64>", "tensor<f64>");
  int before = operations();
  auto gradients = differentiateBy({1});
  ASSERT_TRUE(succeeded(gradients));
  EXPECT_FALSE(gradients->front());
  EXPECT_EQ(operations(), before);
}

TEST_F(Differentiate, GivesNullBehindAStopGradient) {
  parseLoss("%x: tensor<f64>", "%s = rl.stop_gradient %x : tensor<f64>\n%loss = math.exp %s : tensor<f64>",
            "tensor<f64>");
  auto gradients = differentiateBy({0});
  ASSERT_TRUE(succeeded(gradients));
  EXPECT_FALSE(gradients->front());
}

TEST_F(Differentiate, GivesNullBehindIntegers) {
  parseLoss("%x: tensor<f64>", R"(
  %i = arith.fptosi %x : tensor<f64> to tensor<i64>
  %loss = arith.sitofp %i : tensor<i64> to tensor<f64>)",
            "tensor<f64>");
  auto gradients = differentiateBy({0});
  ASSERT_TRUE(succeeded(gradients)) << errors;
  EXPECT_FALSE(gradients->front());
}

TEST_F(Differentiate, GivesOnesForTheLossItself) {
  parseLoss("%x: tensor<f64>", "%loss = math.exp %x : tensor<f64>", "tensor<f64>");
  OpBuilder builder(terminator());
  Value loss = terminator()->getOperand(0);
  auto gradients = differentiate(builder, loss, {loss});
  ASSERT_TRUE(succeeded(gradients));
  EXPECT_THAT(run(*gradients, {Tensor::floats({}, 3.0)})[0].f(), ElementsAre(1));
}

TEST_F(Differentiate, UsesOnlyTheResultsOfAnOperatorThatTheLossNeeds) {
  parseLoss("%z: tensor<1x4xf64>, %y: tensor<1xi64>", R"(
  %l, %h, %n = rl.token_logprobs %z, %y : tensor<1x4xf64>, tensor<1xi64> -> tensor<1xf64>
  %loss = nn.reduce sum %l axes = [0] : tensor<1xf64> -> tensor<f64>)",
            "tensor<f64>");
  auto gradients = differentiateBy({0});
  ASSERT_TRUE(succeeded(gradients)) << errors;
  function.setType(FunctionType::get(&context, function.getArgumentTypes(), gradients->front().getType()));
  EXPECT_THAT(run(*gradients, {Tensor::floats({1, 4}), Tensor::integers({1}, 1)})[0].f(),
              ElementsAre(testing::DoubleEq(-0.25), testing::DoubleEq(0.75), testing::DoubleEq(-0.25),
                          testing::DoubleEq(-0.25)));
}

TEST_F(Differentiate, ReportsEveryOperatorWithoutGradientOnTheWay) {
  parseLoss("%x: tensor<f32>, %z: tensor<f32>", R"(
  %a = math.atan %x : tensor<f32>
  %b = math.cbrt %z : tensor<f32>
  %loss = arith.addf %a, %b : tensor<f32>)");
  EXPECT_TRUE(failed(differentiateBy({0, 1})));
  EXPECT_THAT(errors, HasSubstr("'math.atan' has no gradient, but the loss depends on it"));
  EXPECT_THAT(errors, HasSubstr("'math.cbrt' has no gradient, but the loss depends on it"));
}

TEST_F(Differentiate, AllowsAnOperatorWithoutGradientBesideTheWay) {
  parseLoss("%x: tensor<f32>, %z: tensor<f32>", R"(
  %a = math.atan %z : tensor<f32>
  %loss = arith.mulf %x, %a : tensor<f32>)");
  auto gradients = differentiateBy({0});
  ASSERT_TRUE(succeeded(gradients)) << errors;
  EXPECT_EQ(errors, "");
}

TEST_F(Differentiate, ReportsAProductOverADimension) {
  parseLoss("%x: tensor<2xf32>", "%loss = nn.reduce prod %x axes = [0] : tensor<2xf32> -> tensor<f32>");
  EXPECT_TRUE(failed(differentiateBy({0})));
  EXPECT_THAT(errors, HasSubstr("the gradient of a product over a dimension is not supported"));
}

TEST_F(Differentiate, ReportsALossThatDependsOnLse) {
  parseLoss("%z: tensor<1x4xf32>, %y: tensor<1xi64>", R"(
  %l, %h, %n = rl.token_logprobs %z, %y : tensor<1x4xf32>, tensor<1xi64> -> tensor<1xf32>
  %loss = nn.reduce sum %n axes = [0] : tensor<1xf32> -> tensor<f32>)");
  EXPECT_TRUE(failed(differentiateBy({0})));
  EXPECT_THAT(errors, HasSubstr("the gradient of lse is not supported"));
}

// Tests that the walk is a loop, linear in the length of the program: recursion would exhaust the stack, a search per
// operator would take minutes.
TEST_F(Differentiate, TakesAChainOfAHundredThousandOperators) {
  constexpr int length = 100'000;
  parseLoss("%x: tensor<f64>", "%loss = arith.negf %x : tensor<f64>", "tensor<f64>");
  OpBuilder builder(terminator());
  Value value = terminator()->getOperand(0);
  for (int i = 1; i < length; ++i)
    value = math::SinOp::create(builder, function.getLoc(), value);
  terminator()->setOperands(value);
  auto gradients = differentiateBy({0});
  ASSERT_TRUE(succeeded(gradients));
  EXPECT_EQ(count("math.cos"), length - 1);
  EXPECT_EQ(count("arith.negf"), 2);
  Tensor gradient = run(*gradients, {Tensor::floats({}, 0.0)})[0];
  EXPECT_EQ(gradient.at(0), -1.0); // d sin(sin(...(-x))) at 0
}

} // namespace
} // namespace graft
