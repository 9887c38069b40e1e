// Entry points of a small forward graph, run by the reference interpreter: what index t speaks of, which arguments are
// asked for, which parameters get a gradient, and that the gradient is that of finite differences.
#include "passes/autodiff/EntryPoints.h"
#include "dialects/rl/RLDialect.h"
#include "test/dialects/reference/ReferenceFixture.h"

#include <gmock/gmock.h>

#include <cmath>

using namespace mlir;

namespace graft {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::UnorderedElementsAre;

constexpr int64_t rows = 2, width = 4, vocabulary = 5, hidden = 3;

/// An embedding and its tied head: logits[b,s] = tanh(E[ids[b,s]] + p) E^T, with a bias that no token reaches.
const char *const forwardText = R"(
func.func @forward(%ids: tensor<2x4xi64> {rl.name = "input_ids"}, %mask: tensor<2x4xi64> {rl.name = "attention_mask"}) -> tensor<2x4x5xf32> {
  %e = rl.parameter "embedding" trained : tensor<5x3xf32>
  %head = rl.parameter "embedding" trained : tensor<5x3xf32>
  %p = rl.parameter "shift" trained : tensor<3xf32>
  %frozen = rl.parameter "scale" : tensor<3xf32>
  %x = nn.gather %e, %ids axis = 0 : tensor<5x3xf32>, tensor<2x4xi64> -> tensor<2x4x3xf32>
  %q = nn.broadcast %p dims = [2] : tensor<3xf32> -> tensor<2x4x3xf32>
  %y = arith.addf %x, %q : tensor<2x4x3xf32>
  %s = nn.broadcast %frozen dims = [2] : tensor<3xf32> -> tensor<2x4x3xf32>
  %z = arith.mulf %y, %s : tensor<2x4x3xf32>
  %h = math.tanh %z : tensor<2x4x3xf32>
  %logits = nn.contract "bsk,vk->bsv" %h, %head : tensor<2x4x3xf32>, tensor<5x3xf32> -> tensor<2x4x5xf32>
  return %logits : tensor<2x4x5xf32>
})";

class EntryPointsTest : public testing::Test, protected Reference {
protected:
  EntryPointsTest() {
    grpo = load("grpo", objective::Role::Objective);
    advantages = load("grpo", objective::Role::Advantages);
    sft = load("sft", objective::Role::Objective);
  }
  static objective::Objective load(const char *name, objective::Role role) {
    auto loaded = objective::load(name, role);
    EXPECT_TRUE(loaded.isOk()) << loaded.status().text();
    return std::move(*loaded);
  }

  /// Parses @forward, builds the entry points and, if there is a loss, the gradients.
  FailureOr<EntryPoints> build(const EntryPointOptions &options, const std::string &text = forwardText) {
    module = parseSourceString<ModuleOp>(text, &context);
    EXPECT_TRUE(module) << errors;
    auto entries = buildEntryPoints(*module, options);
    if (failed(entries) || (options.loss && failed(addGradients(*module, *entries))))
      return failure();
    EXPECT_TRUE(succeeded(module->verify())) << errors;
    return entries;
  }
  func::FuncOp function(StringRef name) { return module->lookupSymbol<func::FuncOp>(name); }
  std::vector<std::string> arguments(StringRef name) {
    std::vector<std::string> names;
    for (unsigned i = 0; i < function(name).getNumArguments(); ++i)
      names.push_back(argumentName(function(name), i).str());
    return names;
  }
  std::vector<std::string> results(StringRef name) {
    std::vector<std::string> names;
    for (unsigned i = 0; i < function(name).getNumResults(); ++i)
      names.push_back(resultName(function(name), i).str());
    return names;
  }

  /// Runs an entry on the arrays below; results by name.
  std::map<std::string, Tensor> run(StringRef name) {
    SmallVector<Tensor> values;
    for (const std::string &argument : arguments(name))
      values.push_back(arrays.at(argument));
    auto outputs = interpret(function(name), values,
                             [&](StringRef parameter) { return std::optional(parameters.at(parameter.str())); });
    EXPECT_TRUE(succeeded(outputs)) << errors;
    std::map<std::string, Tensor> named;
    for (auto [result, tensor] : llvm::zip(results(name), *outputs))
      named[result] = tensor;
    return named;
  }

  /// log softmax(logits[b, t - 1])[ids[b, t]], straight from the definition.
  double logprob(int64_t b, int64_t t) const {
    const Tensor &e = parameters.at("embedding");
    const std::vector<int64_t> &ids = arrays.at("input_ids").i();
    double scores[vocabulary], sum = 0;
    for (int64_t v = 0; v < vocabulary; ++v) {
      scores[v] = 0;
      for (int64_t k = 0; k < hidden; ++k)
        scores[v] += std::tanh((e.f()[ids[b * width + t - 1] * hidden + k] + parameters.at("shift").f()[k]) *
                               parameters.at("scale").f()[k]) *
                     e.f()[v * hidden + k];
      sum += std::exp(scores[v]);
    }
    return scores[ids[b * width + t]] - std::log(sum);
  }

  objective::Objective grpo, advantages, sft;
  std::map<std::string, Tensor> parameters = {
      {"embedding", Tensor::floats({vocabulary, hidden},
                                   {0.1, -0.4, 0.3, 0.9, 0.2, -0.7, -0.2, 0.5, 0.6, 1.1, -0.3, 0.4, -0.8, 0.7, 0.05})},
      {"shift", Tensor::floats({hidden}, {0.2, -0.1, 0.4})},
      {"scale", Tensor::floats({hidden}, {1.5, 0.5, -1.0})}};
  std::map<std::string, Tensor> arrays = {
      {"input_ids", Tensor::integers({rows, width}, {1, 4, 2, 0, 3, 3, 1, 0})},
      {"loss_mask", Tensor::integers({rows, width}, {0, 0, 1, 1, 0, 1, 1, 0})},
      {"advantages", Tensor::floats({rows, width}, {1, 1, 1, 1, -0.5, -0.5, -0.5, -0.5})},
      {"old_logprobs", Tensor::floats({rows, width}, -1.6)},
      {"denominator.tokens", Tensor::floats({}, 4)},
      {"denominator.sequences", Tensor::floats({}, 2)},
      {"denominator.rows", Tensor::floats({}, 2)}};
};

TEST_F(EntryPointsTest, LogprobsAtAnIndexSpeakOfItsToken) {
  ASSERT_TRUE(succeeded(build({}))) << errors;
  EXPECT_FALSE(function("forward"));
  EXPECT_THAT(results("logprobs"), ElementsAre("logprobs"));
  Tensor logprobs = run("logprobs")["logprobs"];
  for (int64_t b = 0; b < rows; ++b) {
    EXPECT_EQ(logprobs.f()[b * width], 0);
    for (int64_t t = 1; t < width; ++t)
      EXPECT_NEAR(logprobs.f()[b * width + t], logprob(b, t), 1e-12) << b << " " << t;
  }
}

TEST_F(EntryPointsTest, UnusedArgumentsAreNotAskedFor) {
  ASSERT_TRUE(succeeded(build({.loss = &sft})));
  EXPECT_THAT(arguments("logprobs"), ElementsAre("input_ids"));
  EXPECT_THAT(arguments("accumulate"), UnorderedElementsAre("input_ids", "loss_mask", "denominator.tokens"));
}

TEST_F(EntryPointsTest, TiedParametersGetOneGradientAndFrozenOnesNone) {
  auto entries = build({.loss = &grpo});
  ASSERT_TRUE(succeeded(entries)) << errors;
  EXPECT_THAT(entries->trained, ElementsAre("embedding", "shift"));
  EXPECT_THAT(entries->unreached, testing::IsEmpty());
  std::vector<std::string> names = results("accumulate");
  EXPECT_EQ(names[0], "loss");
  EXPECT_EQ(names[1], "logprobs");
  EXPECT_EQ(names[names.size() - 2], "grad.embedding");
  EXPECT_EQ(names.back(), "grad.shift");
  EXPECT_THAT(names, testing::Contains("metric.clip_fraction"));
  EXPECT_EQ(names.size(), 4 + entries->metrics.size());
}

TEST_F(EntryPointsTest, GradientsAreThoseOfFiniteDifferences) {
  ASSERT_TRUE(succeeded(build({.loss = &grpo}))) << errors;
  auto values = run("accumulate");
  for (const char *name : {"embedding", "shift"})
    for (int64_t k = 0; k < parameters.at(name).size(); ++k) {
      double losses[2], step = 1e-5, kept = parameters.at(name).f()[k];
      for (int side : {0, 1}) {
        parameters.at(name).f()[k] = kept + (side ? step : -step);
        losses[side] = run("accumulate")["loss"].at(0);
      }
      parameters.at(name).f()[k] = kept;
      EXPECT_NEAR(values["grad." + std::string(name)].f()[k], (losses[1] - losses[0]) / (2 * step), 1e-8)
          << name << " " << k;
    }
}

TEST_F(EntryPointsTest, MaskedTokensHaveNoInfluence) {
  ASSERT_TRUE(succeeded(build({.loss = &grpo}))) << errors;
  double loss = run("accumulate")["loss"].at(0);
  for (int64_t k = 0; k < rows * width; ++k)
    if (!arrays.at("loss_mask").i()[k]) {
      arrays.at("advantages").f()[k] = std::nan("");
      arrays.at("old_logprobs").f()[k] = std::nan("");
    }
  EXPECT_EQ(run("accumulate")["loss"].at(0), loss);
}

TEST_F(EntryPointsTest, OnPolicyRatiosAreOne) {
  ASSERT_TRUE(succeeded(build({.loss = &grpo, .onPolicy = true}))) << errors;
  EXPECT_THAT(arguments("accumulate"), testing::Not(testing::Contains("old_logprobs")));
  auto values = run("accumulate");
  EXPECT_EQ(values["metric.mean_ratio"].at(0), 1);
  EXPECT_NEAR(values["loss"].at(0), -0.25, 1e-12); // -(2 * 1 + 2 * -0.5) / 4
  double norm = 0;
  for (double g : values["grad.embedding"].f())
    norm += g * g;
  EXPECT_GT(norm, 1e-4) << "the gradient flows through the ratio";
}

TEST_F(EntryPointsTest, AdvantagesOfWholeStep) {
  ASSERT_TRUE(succeeded(build({.loss = &grpo, .advantages = &advantages, .stepSequences = 4}))) << errors;
  arrays["rewards"] = Tensor::floats({4}, {1, 0, 2, 4});
  arrays["group_ids"] = Tensor::integers({4}, {7, 7, 3, 3});
  arrays["loss_mask"] = Tensor::integers({4, width}, 1);
  Tensor values = run("advantages")["advantages"];
  ASSERT_EQ(values.shape(), Tensor::Shape({4}));
  // The parameter 1e-4 is a float32 in the graph: off by up to 2^-25 of itself, 3e-12, which the quotients share.
  double half = 0.5 / (std::sqrt(0.5) + 1e-4), one = 1 / (std::sqrt(2.0) + 1e-4);
  EXPECT_NEAR(values.f()[0], half, 1e-11);
  EXPECT_NEAR(values.f()[1], -half, 1e-11);
  EXPECT_NEAR(values.f()[2], -one, 1e-11);
  EXPECT_NEAR(values.f()[3], one, 1e-11);
}

TEST_F(EntryPointsTest, ParametersThatTheLossDoesNotReachDoNotTrain) {
  std::string text = forwardText;
  size_t at = text.find("  return");
  text.insert(at, R"(  %dead = rl.parameter "dead" trained : tensor<2x4x5xf32>
  %zero = arith.constant dense<0> : tensor<2x4x5xi64>
  %ints = arith.fptosi %dead : tensor<2x4x5xf32> to tensor<2x4x5xi64>
  %positive = arith.cmpi sge, %ints, %zero : tensor<2x4x5xi64>
  %one = arith.uitofp %positive : tensor<2x4x5xi1> to tensor<2x4x5xf32>
  %shifted = arith.addf %logits, %one : tensor<2x4x5xf32>
)");
  text.replace(text.find("return %logits"), 14, "return %shifted");
  auto entries = build({.loss = &grpo}, text);
  ASSERT_TRUE(succeeded(entries)) << errors;
  EXPECT_THAT(entries->unreached, ElementsAre("dead"));
  EXPECT_THAT(entries->trained, ElementsAre("embedding", "shift"));
}

struct BadForward {
  const char *name, *text, *message;
};
class BadForwardTest : public EntryPointsTest, public testing::WithParamInterface<BadForward> {};

TEST_P(BadForwardTest, IsRefused) {
  EXPECT_TRUE(failed(build({}, GetParam().text)));
  EXPECT_THAT(errors, HasSubstr(GetParam().message));
}

INSTANTIATE_TEST_SUITE_P(
    Forward, BadForwardTest,
    testing::Values(BadForward{"Absent",
                               "func.func @other(%x: tensor<2xf32>) -> tensor<2xf32> { return %x : tensor<2xf32> }",
                               "no function @forward"},
                    BadForward{"NoIds",
                               "func.func @forward(%x: tensor<2x4x5xf32> {rl.name = \"x\"}) -> tensor<2x4x5xf32> { "
                               "return %x : tensor<2x4x5xf32> }",
                               "input 'input_ids'"},
                    BadForward{"FloatIds",
                               "func.func @forward(%x: tensor<2x4xf32> {rl.name = \"input_ids\"}) -> tensor<2x4xf32> { "
                               "return %x : tensor<2x4xf32> }",
                               "input 'input_ids'"},
                    BadForward{"NoLogits",
                               "func.func @forward(%x: tensor<2x4xi64> {rl.name = \"input_ids\"}) -> tensor<2x4xi64> { "
                               "return %x : tensor<2x4xi64> }",
                               "needs one output"}),
    [](const auto &info) { return std::string(info.param.name); });

} // namespace
} // namespace graft
