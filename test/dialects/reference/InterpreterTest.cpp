// interpret(): arguments, parameters, the observer, every error. foldToConstants(): what it folds and what it leaves.
#include "test/dialects/reference/ReferenceFixture.h"

#include <gmock/gmock.h>

#include <cmath>

using namespace mlir;

namespace graft {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

const char *const sumOfBoth = R"(
  %w = rl.parameter "w" : tensor<2xf32>
  %y = arith.addf %x, %w : tensor<2xf32>
  return %y : tensor<2xf32>)";

struct Interpret : testing::Test, Reference {};

TEST_F(Interpret, BindsArgumentsAndParametersByName) {
  auto function = parse("%x: tensor<2xf32>", "tensor<2xf32>", sumOfBoth);
  auto parameters = [](StringRef name) -> std::optional<Tensor> {
    return name == "w" ? std::optional(Tensor::floats({2}, {10, 20})) : std::nullopt;
  };
  auto results = interpret(function, {Tensor::floats({2}, {1, 2})}, parameters);
  ASSERT_TRUE(succeeded(results)) << errors;
  EXPECT_THAT(results->front().f(), ElementsAre(11, 22));
}

TEST_F(Interpret, ComputesInDoublePrecisionWhateverTheType) {
  auto function =
      parse("%x: tensor<1xbf16>", "tensor<1xf32>",
            "%w = arith.extf %x : tensor<1xbf16> to tensor<1xf32>\n%y = math.exp %w : tensor<1xf32>\nreturn "
            "%y : tensor<1xf32>");
  auto results = interpret(function, {Tensor::floats({1}, 0.1)});
  ASSERT_TRUE(succeeded(results)) << errors;
  EXPECT_EQ(results->front().f()[0], std::exp(0.1));
}

TEST_F(Interpret, ReturnsAValueTwiceAndAnArgumentUnchanged) {
  auto function = parse("%x: tensor<1xi64>", "tensor<1xi64>, tensor<1xi64>, tensor<1xi64>",
                        "%y = arith.addi %x, %x : tensor<1xi64>\nreturn %y, %x, %y : tensor<1xi64>, tensor<1xi64>, "
                        "tensor<1xi64>");
  auto results = interpret(function, {Tensor::integers({1}, 4)});
  ASSERT_TRUE(succeeded(results)) << errors;
  ASSERT_EQ(results->size(), 3u);
  EXPECT_THAT((*results)[0].i(), ElementsAre(8));
  EXPECT_THAT((*results)[1].i(), ElementsAre(4));
  EXPECT_THAT((*results)[2].i(), ElementsAre(8));
}

TEST_F(Interpret, ShowsTheObserverEveryResultInProgramOrder) {
  auto function =
      parse("%x: tensor<1xf32>", "tensor<1xf32>",
            "%a = arith.negf %x : tensor<1xf32>\n%unused = math.exp %x : tensor<1xf32>\n%y = arith.addf %a, "
            "%a : tensor<1xf32>\nreturn %y : tensor<1xf32>");
  std::vector<std::string> seen;
  auto observer = [&](Operation *op, ArrayRef<Tensor> results) {
    seen.push_back(op->getName().getStringRef().str() + " " + std::to_string(static_cast<int>(results[0].f()[0])));
  };
  ASSERT_TRUE(succeeded(interpret(function, {Tensor::floats({1}, 3.0)}, {}, observer)));
  EXPECT_THAT(seen, ElementsAre("arith.negf -3", "math.exp 20", "arith.addf -6"));
}

TEST_F(Interpret, RefusesTheWrongNumberOfArguments) {
  auto function = parse("%x: tensor<2xf32>", "", "return");
  EXPECT_TRUE(failed(interpret(function, {})));
  EXPECT_THAT(errors, HasSubstr("needs 1 arguments, got 0"));
}

TEST_F(Interpret, RefusesAnArgumentOfAnotherShape) {
  auto function = parse("%x: tensor<2xf32>, %y: tensor<3xf32>", "", "return");
  EXPECT_TRUE(failed(interpret(function, {Tensor::floats({2}), Tensor::floats({1, 3})})));
  EXPECT_THAT(errors, HasSubstr("argument 1 has another shape than its type 'tensor<3xf32>'"));
}

TEST_F(Interpret, RefusesAnArgumentThatIsNoTensor) {
  auto function = parse("%x: f32", "", "return");
  EXPECT_TRUE(failed(interpret(function, {Tensor::floats({})})));
  EXPECT_THAT(errors, HasSubstr("argument 0 of type 'f32' is no tensor of static shape"));
}

TEST_F(Interpret, RefusesAnArgumentOfAnotherKind) {
  auto function = parse("%x: tensor<2xi64>", "", "return");
  EXPECT_TRUE(failed(interpret(function, {Tensor::floats({2})})));
  EXPECT_THAT(errors, HasSubstr("argument 0 holds floats, but its type is 'tensor<2xi64>'"));
}

TEST_F(Interpret, NamesAMissingParameter) {
  auto function = parse("%x: tensor<2xf32>", "tensor<2xf32>", sumOfBoth);
  auto nothing = [](StringRef) { return std::nullopt; };
  EXPECT_TRUE(failed(interpret(function, {Tensor::floats({2})}, nothing)));
  EXPECT_THAT(errors, HasSubstr("no value for parameter 'w'"));
}

TEST_F(Interpret, NeedsASourceOnlyWhereThereAreParameters) {
  auto function = parse("%x: tensor<2xf32>", "tensor<2xf32>", sumOfBoth);
  EXPECT_TRUE(failed(interpret(function, {Tensor::floats({2})})));
  EXPECT_THAT(errors, HasSubstr("no value for parameter 'w'"));
}

TEST_F(Interpret, RefusesAParameterOfAnotherShape) {
  auto function = parse("%x: tensor<2xf32>", "tensor<2xf32>", sumOfBoth);
  auto scalar = [](StringRef) { return Tensor::floats({}); };
  EXPECT_TRUE(failed(interpret(function, {Tensor::floats({2})}, scalar)));
  EXPECT_THAT(errors, HasSubstr("parameter 'w' has another shape than the graph says"));
}

TEST_F(Interpret, NamesAnOperatorWithoutReferenceSemantics) {
  auto function =
      parse("%x: tensor<2xf32>", "tensor<2xf32>", "%y = math.atan %x : tensor<2xf32>\nreturn %y : tensor<2xf32>");
  EXPECT_TRUE(failed(interpret(function, {Tensor::floats({2})})));
  EXPECT_THAT(errors, HasSubstr("'math.atan' has no reference semantics"));
}

TEST_F(Interpret, RefusesAConstantThatIsNoTensor) {
  auto function = parse("", "", "%c = arith.constant 1.0 : f32\nreturn");
  EXPECT_TRUE(failed(interpret(function, {})));
  EXPECT_THAT(errors, HasSubstr("only dense tensor constants can be evaluated"));
}

struct Fold : testing::Test, Reference {
  Attribute integers(ArrayRef<int64_t> values) {
    auto count = static_cast<int64_t>(values.size());
    return DenseElementsAttr::get(RankedTensorType::get({count}, IntegerType::get(&context, 64)), values);
  }
  /// Folds the last operator before the return.
  FailureOr<SmallVector<Attribute>> fold(const std::string &body, int64_t maxElements) {
    auto function = parse("%x: tensor<2xf32>", "", body + "\nreturn");
    EXPECT_TRUE(function) << errors;
    return foldToConstants(function.getBody().front().getTerminator()->getPrevNode(), maxElements);
  }
};

const char *const addition =
    "%a = arith.constant dense<[1, 2]> : tensor<2xi64>\n%y = arith.addi %a, %a : tensor<2xi64>";

TEST_F(Fold, EvaluatesAnOperatorOfConstants) {
  auto attributes = fold(addition, 2);
  ASSERT_TRUE(succeeded(attributes));
  EXPECT_EQ(attributes->front(), integers({2, 4}));
}

TEST_F(Fold, LeavesLargeResults) {
  EXPECT_TRUE(failed(fold(addition, 1)));
  EXPECT_EQ(errors, "");
}

TEST_F(Fold, CountsTheResultNotTheOperands) {
  auto attributes = fold("%a = arith.constant dense<1.0> : tensor<8xf32>\n%y = nn.reduce sum %a axes = [0] : "
                         "tensor<8xf32> -> tensor<f32>",
                         1);
  ASSERT_TRUE(succeeded(attributes));
  EXPECT_EQ(cast<DenseElementsAttr>(attributes->front()).getSplatValue<float>(), 8.0f);
}

TEST_F(Fold, RoundsToTheResultsType) {
  auto attributes = fold("%a = arith.constant dense<0.1> : tensor<1xf32>\n%y = arith.truncf %a : tensor<1xf32> to "
                         "tensor<1xbf16>",
                         8);
  ASSERT_TRUE(succeeded(attributes));
  auto value = cast<DenseElementsAttr>(attributes->front());
  EXPECT_TRUE(value.getElementType().isBF16());
  EXPECT_EQ((*value.getValues<APFloat>().begin()).bitcastToAPInt().getZExtValue(), 0x3DCDu);
}

TEST_F(Fold, KeepsBooleansAndInfinities) {
  auto booleans = fold("%a = arith.constant dense<[1.0, 0xFF800000]> : tensor<2xf32>\n%y = arith.cmpf ogt, %a, %a : "
                       "tensor<2xf32>",
                       2);
  ASSERT_TRUE(succeeded(booleans));
  EXPECT_FALSE(cast<DenseElementsAttr>(booleans->front()).getSplatValue<bool>());
  auto infinity = fold("%a = arith.constant dense<0xFF800000> : tensor<2xf32>\n%y = arith.negf %a : tensor<2xf32>", 2);
  ASSERT_TRUE(succeeded(infinity));
  EXPECT_EQ(cast<DenseElementsAttr>(infinity->front()).getSplatValue<float>(), INFINITY);
}

TEST_F(Fold, EvaluatesAnOperatorWithoutOperands) {
  auto attributes = fold("%y = nn.iota axis = 0 : tensor<3xi64>", 3);
  ASSERT_TRUE(succeeded(attributes));
  EXPECT_EQ(attributes->front(), integers({0, 1, 2}));
}

TEST_F(Fold, LeavesOperatorsOfUnknownValuesSilently) {
  EXPECT_TRUE(failed(fold("%y = arith.negf %x : tensor<2xf32>", 8)));
  EXPECT_EQ(errors, "");
}

TEST_F(Fold, LeavesConstantsAndParameters) {
  EXPECT_TRUE(failed(fold("%y = arith.constant dense<1.0> : tensor<2xf32>", 8)));
  EXPECT_TRUE(failed(fold("%y = rl.parameter \"w\" : tensor<2xf32>", 8)));
  EXPECT_EQ(errors, "");
}

TEST_F(Fold, LeavesScalarsThatAreNoTensors) {
  EXPECT_TRUE(failed(fold("%a = arith.constant 1 : i64\n%y = arith.addi %a, %a : i64", 8)));
  EXPECT_EQ(errors, "");
}

TEST_F(Fold, LeavesWhatIsUndefinedSilently) {
  EXPECT_TRUE(failed(fold("%a = arith.constant dense<0> : tensor<2xi64>\n%y = arith.divsi %a, %a : tensor<2xi64>", 8)));
  EXPECT_EQ(errors, "");
}

} // namespace
} // namespace graft
