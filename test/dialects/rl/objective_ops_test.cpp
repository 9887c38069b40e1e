// The operators of objectives: reference semantics, gradients against finite differences, masks that nothing passes,
// decomposition into primitives, and one refusal per verifier check.
#include "dialects/nn/Build.h"
#include "dialects/reference/Interpreter.h"
#include "dialects/rl/RLDialect.h"
#include "passes/autodiff/Differentiate.h"
#include "passes/objective/DecomposeObjective.h"

#include "mlir/Parser/Parser.h"
#include "mlir/Transforms/GreedyPatternRewriteDriver.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>

using namespace mlir;

namespace graft {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

constexpr double nan = std::numeric_limits<double>::quiet_NaN();

struct Case {
  const char *name;
  const char *body;   ///< defines %y of %x and %m [3,4], %r and %g [3]
  const char *input;  ///< type of %x
  const char *result; ///< type of %y
};
std::ostream &operator<<(std::ostream &out, const Case &c) {
  return out << c.name;
}

class ObjectiveOps : public testing::Test {
protected:
  ObjectiveOps() {
    DialectRegistry registry;
    rl::registerDialects(registry);
    context.appendDialectRegistry(registry);
    context.loadAllAvailableDialects();
  }

  OwningOpRef<ModuleOp> parse(const std::string &body, const std::string &input, const std::string &result) {
    std::string text = "func.func @f(%x: " + input + ", %m: tensor<3x4xi1>, %r: tensor<3xi1>, %g: tensor<3xi32>) -> " +
                       result + " {\n" + body + "\nreturn %y : " + result + "\n}";
    return parseSourceString<ModuleOp>(text, &context);
  }
  static func::FuncOp functionOf(ModuleOp module) { return *module.getOps<func::FuncOp>().begin(); }

  /// Sequences 0 and 2 have loss tokens and take part; sequences 0 and 1 are one group.
  static SmallVector<Tensor> arguments(Tensor x) {
    return {x, Tensor::integers({3, 4}, {1, 0, 1, 1, 0, 0, 0, 0, 0, 1, 1, 0}), Tensor::integers({3}, {1, 0, 1}),
            Tensor::integers({3}, {7, 7, 5})};
  }
  std::vector<double> run(const std::string &body, Tensor x, const std::string &input, const std::string &result) {
    auto module = parse(body, input, result);
    EXPECT_TRUE(module) << body;
    auto results = interpret(functionOf(*module), arguments(x));
    EXPECT_TRUE(succeeded(results));
    return (*results)[0].f();
  }
  /// What the verifier says about a function that uses %x: `input`.
  std::string refusal(const std::string &body, const std::string &input, const std::string &result) {
    std::string said;
    ScopedDiagnosticHandler handler(&context, [&](Diagnostic &diagnostic) { said += diagnostic.str() + "\n"; });
    EXPECT_FALSE(parse(body, input, result));
    return said;
  }

  MLIRContext context;
};

const char perToken[] = "tensor<3x4xf64>", perSequence[] = "tensor<3xf64>", scalar[] = "tensor<f64>";
#define SEQUENCE_REDUCE(kind)                                                                                          \
  "%y = rl.sequence_reduce " kind " %x mask %m : tensor<3x4xf64>, tensor<3x4xi1> -> tensor<3xf64>"
#define GROUP_REDUCE(kind)                                                                                             \
  "%y = rl.group_reduce " kind " %x ids %g rows %r : tensor<3xf64>, tensor<3xi32>, tensor<3xi1> -> tensor<3xf64>"
#define BATCH_REDUCE(kind) "%y = rl.batch_reduce " kind " %x rows %r : tensor<3xf64>, tensor<3xi1> -> tensor<f64>"
const char sequenceBroadcast[] =
    "%y = rl.sequence_broadcast %x mask %m : tensor<3xf64>, tensor<3x4xi1> -> tensor<3x4xf64>";
const char batchBroadcast[] = "%y = rl.batch_broadcast %x rows %r : tensor<f64>, tensor<3xi1> -> tensor<3xf64>";

const Case opCases[] = {Case{"SequenceSum", SEQUENCE_REDUCE("sum"), perToken, perSequence},
                        Case{"SequenceMax", SEQUENCE_REDUCE("max"), perToken, perSequence},
                        Case{"SequenceMin", SEQUENCE_REDUCE("min"), perToken, perSequence},
                        Case{"SequenceBroadcast", sequenceBroadcast, perSequence, perToken},
                        Case{"GroupSum", GROUP_REDUCE("sum"), perSequence, perSequence},
                        Case{"GroupMax", GROUP_REDUCE("max"), perSequence, perSequence},
                        Case{"GroupMin", GROUP_REDUCE("min"), perSequence, perSequence},
                        Case{"BatchSum", BATCH_REDUCE("sum"), perSequence, scalar},
                        Case{"BatchMax", BATCH_REDUCE("max"), perSequence, scalar},
                        Case{"BatchMin", BATCH_REDUCE("min"), perSequence, scalar},
                        Case{"BatchBroadcast", batchBroadcast, scalar, perSequence}};

// Tests the values, with NaN wherever the mask says no.
TEST_F(ObjectiveOps, Values) {
  Tensor x = Tensor::floats({3, 4}, {1, nan, 2, 4, nan, nan, nan, nan, nan, -3, 5, nan});
  EXPECT_THAT(run(SEQUENCE_REDUCE("sum"), x, perToken, perSequence), ElementsAre(7, 0, 2));
  EXPECT_THAT(run(SEQUENCE_REDUCE("max"), x, perToken, perSequence), ElementsAre(4, 0, 5));
  EXPECT_THAT(run(SEQUENCE_REDUCE("min"), x, perToken, perSequence), ElementsAre(1, 0, -3));
  Tensor s = Tensor::floats({3}, {1, nan, 2});
  EXPECT_THAT(run(sequenceBroadcast, s, perSequence, perToken), ElementsAre(1, 0, 1, 1, 0, 0, 0, 0, 0, 2, 2, 0));
  EXPECT_THAT(run(GROUP_REDUCE("sum"), s, perSequence, perSequence), ElementsAre(1, 0, 2));
  EXPECT_THAT(run(BATCH_REDUCE("sum"), s, perSequence, scalar), ElementsAre(3));
  EXPECT_THAT(run(BATCH_REDUCE("max"), s, perSequence, scalar), ElementsAre(2));
  EXPECT_THAT(run(BATCH_REDUCE("min"), s, perSequence, scalar), ElementsAre(1));
  EXPECT_THAT(run(batchBroadcast, Tensor::floats({}, 3), scalar, perSequence), ElementsAre(3, 0, 3));
}

// Tests groups of several sequences that all take part.
TEST_F(ObjectiveOps, Groups) {
  auto module = parse(GROUP_REDUCE("sum"), perSequence, perSequence);
  SmallVector<Tensor> in = arguments(Tensor::floats({3}, {1, 2, 4}));
  in[2] = Tensor::integers({3}, 1);
  EXPECT_THAT((*interpret(functionOf(*module), in))[0].f(), ElementsAre(3, 3, 4));
  in[3] = Tensor::integers({3}, {5, 7, 5});
  EXPECT_THAT((*interpret(functionOf(*module), in))[0].f(), ElementsAre(5, 2, 5));
}

class EachOp : public ObjectiveOps, public testing::WithParamInterface<Case> {
protected:
  /// Values in [-1, 1], all different.
  static Tensor values(Type type) {
    Tensor x = Tensor::floats(Tensor::Shape(cast<RankedTensorType>(type).getShape()));
    for (int64_t k = 0; k < x.size(); ++k)
      x.f()[k] = std::sin(1 + 2.7 * static_cast<double>(k));
    return x;
  }
  /// Makes the function return sum(y w) with fixed weights, and its gradient.
  void appendGradient(func::FuncOp function) {
    Operation *end = function.getBody().front().getTerminator();
    OpBuilder builder(end);
    nn::Build b(builder, function.getLoc());
    Value y = end->getOperand(0);
    int64_t rank = nn::typeOf(y).getRank();
    Value w = b.like(y, 1);
    for (int64_t d = 0; d < rank; ++d)
      w = b.add(w, b.scale(b.iota(nn::shapeOf(y), d, builder.getF64Type()), 0.7 + static_cast<double>(d)));
    Value loss = b.sum(b.mul(b.mul(y, y), w), llvm::to_vector(llvm::seq<int64_t>(0, rank)));
    auto gradients = differentiate(builder, loss, {function.getArgument(0)});
    ASSERT_TRUE(succeeded(gradients));
    ASSERT_TRUE((*gradients)[0]);
    SmallVector<Value> results{loss, (*gradients)[0]};
    end->setOperands(results);
    function.setType(builder.getFunctionType(function.getArgumentTypes(), ValueRange(results).getTypes()));
  }
};

TEST_P(EachOp, GradientEqualsFiniteDifferences) {
  auto module = parse(GetParam().body, GetParam().input, GetParam().result);
  ASSERT_TRUE(module);
  func::FuncOp function = functionOf(*module);
  appendGradient(function);
  ASSERT_TRUE(succeeded(module->verify()));
  SmallVector<Tensor> in = arguments(values(function.getArgument(0).getType()));
  auto results = interpret(function, in);
  ASSERT_TRUE(succeeded(results));
  const double h = 1e-6;
  for (int64_t k = 0; k < in[0].size(); ++k) {
    auto lossAt = [&](double shift) {
      SmallVector<Tensor> moved = in;
      moved[0].f()[k] += shift;
      return (*interpret(function, moved))[0].at(0);
    };
    EXPECT_NEAR((*results)[1].at(k), (lossAt(h) - lossAt(-h)) / (2 * h), 1e-8) << k;
  }
}

// Tests that primitives compute the same, and that NaN at masked places reaches neither the value nor the gradient of
// anything that is not masked.
TEST_P(EachOp, DecomposesWithoutChange) {
  auto module = parse(GetParam().body, GetParam().input, GetParam().result);
  ASSERT_TRUE(module);
  func::FuncOp function = functionOf(*module);
  appendGradient(function);
  SmallVector<Tensor> in = arguments(values(function.getArgument(0).getType()));
  if (in[0].rank() > 0)
    in[0].f()[1] = nan; // masked in every case
  auto before = interpret(function, in);
  ASSERT_TRUE(succeeded(before));
  RewritePatternSet patterns(&context);
  populateObjectiveDecompositions(patterns);
  ASSERT_TRUE(succeeded(applyPatternsGreedily(function, std::move(patterns))));
  function.walk(
      [](Operation *op) { EXPECT_FALSE(isa<rl::RLDialect>(op->getDialect())) << op->getName().getStringRef().str(); });
  auto after = interpret(function, in);
  ASSERT_TRUE(succeeded(after));
  for (size_t i = 0; i < before->size(); ++i)
    for (int64_t k = 0; k < (*before)[i].size(); ++k) {
      EXPECT_TRUE(std::isfinite((*before)[i].at(k))) << i << " " << k;
      EXPECT_DOUBLE_EQ((*after)[i].at(k), (*before)[i].at(k)) << i << " " << k;
    }
}

INSTANTIATE_TEST_SUITE_P(All, EachOp, testing::ValuesIn(opCases),
                         [](const auto &info) { return std::string(info.param.name); });

// Tests that a stopped value has no gradient, and that the text form survives a round trip.
TEST_F(ObjectiveOps, StopGradient) {
  auto module = parse("%y = rl.stop_gradient %x : tensor<3xf64>", perSequence, perSequence);
  ASSERT_TRUE(module);
  func::FuncOp function = functionOf(*module);
  Operation *end = function.getBody().front().getTerminator();
  OpBuilder builder(end);
  nn::Build b(builder, function.getLoc());
  auto gradients = differentiate(builder, b.sum(end->getOperand(0), {0}), {function.getArgument(0)});
  ASSERT_TRUE(succeeded(gradients));
  EXPECT_FALSE((*gradients)[0]);
}

TEST_F(ObjectiveOps, RoundTrip) {
  auto print = [](ModuleOp module) {
    std::string text;
    llvm::raw_string_ostream(text) << module;
    return text;
  };
  for (const Case &c : opCases) {
    auto module = parse(c.body, c.input, c.result);
    ASSERT_TRUE(module);
    auto again = parseSourceString<ModuleOp>(print(*module), &context);
    ASSERT_TRUE(again);
    EXPECT_EQ(print(*again), print(*module));
  }
}

// Tests the verifiers; the numbers are those of the constraints in RLObjectiveOps.td.
TEST_F(ObjectiveOps, Refusals) {
  const char shapes[] = "input and mask must be [B,S], the result [B]",
             kind[] = "combines by sum, max or min, not by prod", elements[] = "must have the input's element type";
  EXPECT_THAT(refusal("%y = rl.sequence_reduce sum %x mask %m : tensor<3x5xf64>, tensor<3x4xi1> -> tensor<3xf64>",
                      "tensor<3x5xf64>", perSequence),
              HasSubstr(shapes)); // 1
  EXPECT_THAT(refusal("%y = rl.sequence_reduce sum %x mask %r : tensor<3xf64>, tensor<3xi1> -> tensor<f64>",
                      perSequence, scalar),
              HasSubstr(shapes));                                                        // 1
  EXPECT_THAT(refusal(SEQUENCE_REDUCE("prod"), perToken, perSequence), HasSubstr(kind)); // 2
  EXPECT_THAT(refusal("%y = rl.sequence_reduce sum %x mask %m : tensor<3x4xf64>, tensor<3x4xi1> -> tensor<3xf32>",
                      perToken, "tensor<3xf32>"),
              HasSubstr(elements)); // 3
  EXPECT_THAT(refusal("%y = rl.sequence_broadcast %x mask %m : tensor<4xf64>, tensor<3x4xi1> -> tensor<3x4xf64>",
                      "tensor<4xf64>", perToken),
              HasSubstr("the input must be [B], mask and result [B,S]"));
  EXPECT_THAT(refusal("%y = rl.sequence_broadcast %x mask %m : tensor<3xf64>, tensor<3x4xi1> -> tensor<3x4xf32>",
                      perSequence, "tensor<3x4xf32>"),
              HasSubstr(elements));
  EXPECT_THAT(
      refusal(
          "%y = rl.group_reduce sum %x ids %g rows %r : tensor<2xf64>, tensor<3xi32>, tensor<3xi1> -> tensor<2xf64>",
          "tensor<2xf64>", "tensor<2xf64>"),
      HasSubstr("input, ids, rows and result must be [B]"));
  EXPECT_THAT(refusal(GROUP_REDUCE("prod"), perSequence, perSequence), HasSubstr(kind));
  EXPECT_THAT(
      refusal(
          "%y = rl.group_reduce sum %x ids %g rows %r : tensor<3xf64>, tensor<3xi32>, tensor<3xi1> -> tensor<3xf32>",
          perSequence, "tensor<3xf32>"),
      HasSubstr(elements));
  EXPECT_THAT(refusal("%y = rl.batch_reduce sum %x rows %r : tensor<3xf64>, tensor<3xi1> -> tensor<1xf64>", perSequence,
                      "tensor<1xf64>"),
              HasSubstr("input and rows must be [B], the result []"));
  EXPECT_THAT(refusal(BATCH_REDUCE("prod"), perSequence, scalar), HasSubstr(kind));
  EXPECT_THAT(refusal("%y = rl.batch_reduce sum %x rows %r : tensor<3xf64>, tensor<3xi1> -> tensor<f32>", perSequence,
                      "tensor<f32>"),
              HasSubstr(elements));
  EXPECT_THAT(refusal("%y = rl.batch_broadcast %x rows %r : tensor<1xf64>, tensor<3xi1> -> tensor<3xf64>",
                      "tensor<1xf64>", perSequence),
              HasSubstr("the input must be [], rows and result [B]"));
  EXPECT_THAT(refusal("%y = rl.batch_broadcast %x rows %r : tensor<f64>, tensor<3xi1> -> tensor<3xf32>", scalar,
                      "tensor<3xf32>"),
              HasSubstr(elements));
}

} // namespace
} // namespace graft
