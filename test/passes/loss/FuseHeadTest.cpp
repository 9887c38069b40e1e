// Heads and objectives before and after they are fused, both by the reference interpreter in float64: every preset,
// chunks of one token, of an odd number, of all; heads with bias, scale and soft-cap; formulas that need whole
// sequences.
#include "passes/loss/FuseHead.h"

#include "dialects/rl/RLDialect.h"
#include "passes/autodiff/EntryPoints.h"
#include "test/dialects/reference/ReferenceFixture.h"
#include "test/runtime/base/TemporaryDirectory.h"

#include <gmock/gmock.h>

#include <cmath>
#include <random>

using namespace mlir;

namespace graft {
namespace {

using testing::HasSubstr;

constexpr int64_t rows = 3, width = 5, vocabulary = 7, hidden = 4;

const char *const tied = R"(
func.func @forward(%ids: tensor<3x5xi64> {rl.name = "input_ids"}) -> tensor<3x5x7xf32> {
  %e = rl.parameter "embedding" trained : tensor<7x4xf32>
  %x = nn.gather %e, %ids axis = 0 : tensor<7x4xf32>, tensor<3x5xi64> -> tensor<3x5x4xf32>
  %h = math.tanh %x : tensor<3x5x4xf32>
  %logits = nn.contract "bsk,vk->bsv" %h, %e : tensor<3x5x4xf32>, tensor<7x4xf32> -> tensor<3x5x7xf32>
  return %logits : tensor<3x5x7xf32>
})";

/// Bias, scale and soft-cap: 5 tanh((h W^T + b) / 8 / 5).
const char *const capped = R"(
func.func @forward(%ids: tensor<3x5xi64> {rl.name = "input_ids"}) -> tensor<3x5x7xf32> {
  %e = rl.parameter "embedding" trained : tensor<7x4xf32>
  %w = rl.parameter "head" trained : tensor<7x4xf32>
  %b = rl.parameter "bias" trained : tensor<7xf32>
  %x = nn.gather %e, %ids axis = 0 : tensor<7x4xf32>, tensor<3x5xi64> -> tensor<3x5x4xf32>
  %z = nn.contract "bsk,vk->bsv" %x, %w : tensor<3x5x4xf32>, tensor<7x4xf32> -> tensor<3x5x7xf32>
  %bias = nn.broadcast %b dims = [2] : tensor<7xf32> -> tensor<3x5x7xf32>
  %biased = arith.addf %z, %bias : tensor<3x5x7xf32>
  %c = arith.constant dense<0.025> : tensor<3x5x7xf32>
  %five = arith.constant dense<5.0> : tensor<3x5x7xf32>
  %s = arith.mulf %biased, %c : tensor<3x5x7xf32>
  %t = math.tanh %s : tensor<3x5x7xf32>
  %logits = arith.mulf %t, %five : tensor<3x5x7xf32>
  return %logits : tensor<3x5x7xf32>
})";

struct Case {
  const char *name;
  const char *head;
  const char *objective; ///< a preset, or the text of an objective
  std::vector<objective::Override> overrides;
  int loops; ///< two products each do, and a third for the gradient's
};
std::ostream &operator<<(std::ostream &stream, const Case &c) {
  return stream << c.name;
}

/// An entropy bonus, with its gradient, beside a policy loss.
const char *const withEntropy = R"(
objective entropy_bonus
input logprobs : token
input entropy : token
input advantages : token
param coefficient = 0.1
loss = token_mean(-advantages * logprobs - coefficient * entropy)
)";

/// Label smoothing and z-loss.
const char *const smoothed = R"(
objective smoothed
input logits : vocabulary
input advantages : token
l = log_softmax(logits)
loss = token_mean(-advantages * (0.9 * at_token(l) + 0.1 * vocab_mean(l)) + 0.01 * vocab_logsumexp(logits) ^ 2)
)";

/// Sums of p squared, lse(2z), the probability of the three likeliest words, its entropy.
const char *const moments = R"(
objective moments
input logits : vocabulary
input advantages : token
p = softmax(logits)
top = where(logits >= vocab_kth_largest(logits, 3), p, 0)
mass = vocab_sum(top)
renyi = vocab_logsumexp(2 * logits) - 2 * vocab_logsumexp(logits)
loss = token_mean(-advantages * at_token(log_softmax(logits)) + 0.3 * vocab_sum(p * p) + 0.1 * renyi - log(mass)
                  + 0.2 * vocab_sum(where(top > 0, p / mass * log(p / mass), 0)))
)";

/// A ratio per sequence times a value of the distribution.
const char *const perSequence = R"(
objective per_sequence
input logits : vocabulary
input old_logprobs : token
input advantages : token
ratio = exp(seq_mean(at_token(log_softmax(logits)) - old_logprobs))
loss = token_mean(-advantages * ratio - 0.1 * seq_max(vocab_sum(softmax(logits) ^ 2)))
)";

/// Words above a sequence's mean log-prob, weighed by what a sequence has of them: each needs all tokens of the last.
const char *const nested = R"(
objective nested
input logits : vocabulary
l = log_softmax(logits)
usual = seq_mean(at_token(l))
mass = vocab_sum(where(l > usual, softmax(logits), 0))
loss = token_mean(-at_token(l) * seq_mean(mass) * exp(usual))
)";

class FuseHead : public testing::TestWithParam<Case>, protected Reference {
protected:
  static objective::Objective load(const Case &c) {
    graft::test::TemporaryDirectory at;
    std::string name = c.objective;
    if (name.find('=') != std::string::npos)
      name = at.write("test.objective", name);
    auto loaded = objective::load(name, objective::Role::Objective, c.overrides);
    EXPECT_TRUE(loaded.isOk()) << loaded.status().text();
    return std::move(*loaded);
  }

  /// @accumulate with gradients.
  OwningOpRef<ModuleOp> build(const Case &c) {
    OwningOpRef<ModuleOp> module = parseSourceString<ModuleOp>(c.head, &context);
    EXPECT_TRUE(module) << errors;
    objective::Objective loss = load(c);
    EntryPointOptions options;
    options.loss = &loss;
    auto entries = buildEntryPoints(*module, options);
    EXPECT_TRUE(succeeded(entries) && succeeded(addGradients(*module, *entries))) << errors;
    return module;
  }

  std::map<std::string, Tensor> run(func::FuncOp function) {
    SmallVector<Tensor> values;
    for (BlockArgument argument : function.getArguments())
      values.push_back(array(argumentName(function, argument.getArgNumber()).str(), nn::typeOf(argument)));
    auto outputs = interpret(function, values, [&](StringRef name) {
      return std::optional(
          random(name.str(), name == "bias" ? Tensor::Shape{vocabulary} : Tensor::Shape{vocabulary, hidden}));
    });
    EXPECT_TRUE(succeeded(outputs)) << errors;
    std::map<std::string, Tensor> named;
    if (succeeded(outputs))
      for (auto [i, tensor] : llvm::enumerate(*outputs))
        named[resultName(function, static_cast<unsigned>(i)).str()] = tensor;
    return named;
  }

  /// Numbers in [-1, 1] that depend on the name only.
  static Tensor random(const std::string &name, Tensor::Shape shape) {
    std::mt19937 generator(static_cast<unsigned>(name.size() * 7 + static_cast<unsigned char>(name[0])));
    Tensor tensor = Tensor::floats(std::move(shape));
    for (double &value : tensor.f())
      value = std::uniform_real_distribution<double>(-1, 1)(generator);
    return tensor;
  }
  static Tensor array(const std::string &name, RankedTensorType type) {
    Tensor::Shape shape(type.getShape());
    if (name == "input_ids")
      return Tensor::integers(shape, {1, 4, 2, 0, 3, 6, 3, 1, 0, 5, 2, 2, 6, 1, 4});
    if (name == "loss_mask")
      return Tensor::integers(shape, {0, 0, 1, 1, 1, 0, 1, 1, 0, 0, 0, 0, 0, 1, 0});
    if (name == "group_ids")
      return Tensor::integers(shape, {0, 0, 1});
    if (name == "denominator.tokens")
      return Tensor::floats(shape, 6);
    if (StringRef(name).starts_with("denominator."))
      return Tensor::floats(shape, 3);
    Tensor tensor = random(name, shape);
    if (StringRef(name).ends_with("logprobs"))
      for (double &value : tensor.f())
        value = value * 0.3 - 1.9;
    return tensor;
  }

  static void expectNoLogitsOutside(func::FuncOp function) {
    for (Operation &op : function.getBody().front())
      for (Value result : op.getResults())
        EXPECT_NE(nn::shapeOf(result), (ArrayRef<int64_t>{rows, width, vocabulary}))
            << op.getName().getStringRef().str();
  }
};

TEST_P(FuseHead, ComputesTheSame) {
  OwningOpRef<ModuleOp> plain = build(GetParam());
  auto expected = run(plain->lookupSymbol<func::FuncOp>("accumulate"));
  for (int64_t chunk : {1, 4, 7, 100}) {
    OwningOpRef<ModuleOp> module = plain->clone();
    auto function = module->lookupSymbol<func::FuncOp>("accumulate");
    HeadOptions options;
    options.chunkRows = chunk;
    FusedHead head = fuseHead(function, options);
    ASSERT_TRUE(head.fused) << head.reason;
    EXPECT_EQ(head.loops, GetParam().loops);
    EXPECT_EQ(head.chunkRows, std::min(chunk, rows * width));
    ASSERT_TRUE(succeeded(module->verify())) << errors;
    expectNoLogitsOutside(function);
    int64_t products = 0;
    function.walk([&](nn::ContractOp op) { products += op->getParentOp() != function; });
    int64_t bias = GetParam().head == capped; // whose gradient is a product with ones
    EXPECT_EQ(products, (head.loops + 2) + bias);
    auto got = run(function);
    ASSERT_EQ(got.size(), expected.size());
    for (const auto &[name, tensor] : expected)
      for (int64_t k = 0; k < tensor.size(); ++k) // the same sums in another order, in float64
        ASSERT_NEAR(got[name].f()[k], tensor.f()[k], 1e-12) << name << "[" << k << "], chunk " << chunk;
  }
}

TEST_P(FuseHead, LossAndMetricsDoNotWaitForTheBackwardPass) {
  OwningOpRef<ModuleOp> module = build(GetParam());
  auto function = module->lookupSymbol<func::FuncOp>("accumulate");
  ASSERT_TRUE(fuseHead(function).fused);
  Operation *embeddingGradient = *function.getOps<nn::ScatterAddOp>().begin();
  for (OpOperand &operand : function.getBody().front().getTerminator()->getOpOperands())
    if (StringRef name = resultName(function, operand.getOperandNumber()); !name.starts_with("grad."))
      EXPECT_TRUE(operand.get().getDefiningOp()->isBeforeInBlock(embeddingGradient)) << name.str();
}

using Kl = objective::Override;
const Case cases[] = {
    {"sft", tied, "sft", {}, 1},
    {"grpo", tied, "grpo", {}, 1},
    {"grpo_k3", tied, "grpo", {{"kl", std::string("k3"), ""}, {"kl_coef", 0.2, ""}}, 1},
    {"grpo_capped", capped, "grpo", {{"kl", std::string("k1"), ""}, {"kl_coef", 0.2, ""}}, 1},
    {"dr_grpo", tied, "dr_grpo", {}, 1},
    {"dapo", capped, "dapo", {}, 1},
    {"ppo_clip", tied, "ppo_clip", {}, 1},
    {"cispo", tied, "cispo", {}, 1},
    {"entropy", capped, withEntropy, {}, 1},
    {"sequence_mean", tied, "grpo", {{"aggregation", std::string("sequence_mean_token_mean"), ""}}, 1},
    {"gspo", tied, "gspo", {}, 2},
    {"gspo_capped", capped, "gspo", {}, 2},
    {"smoothed", tied, smoothed, {}, 1},
    {"smoothed_capped", capped, smoothed, {}, 1},
    {"moments", tied, moments, {}, 1},
    {"moments_capped", capped, moments, {}, 1},
    {"per_sequence", capped, perSequence, {}, 2},
    {"nested", tied, nested, {}, 3},
};
INSTANTIATE_TEST_SUITE_P(Objectives, FuseHead, testing::ValuesIn(cases),
                         [](const auto &info) { return std::string(info.param.name); });

class FuseHeadForward : public FuseHead {};

TEST_F(FuseHeadForward, LogprobsOfAllTokensInChunks) {
  OwningOpRef<ModuleOp> module = build({"", tied, "sft", {}, 1});
  auto function = module->lookupSymbol<func::FuncOp>("logprobs");
  auto expected = run(function);
  HeadOptions options;
  options.chunkRows = 4;
  ASSERT_TRUE(fuseHead(function, options).fused);
  expectNoLogitsOutside(function);
  auto got = run(function);
  for (int64_t k = 0; k < rows * width; ++k)
    EXPECT_NEAR(got["logprobs"].f()[k], expected["logprobs"].f()[k], 1e-13);
}

TEST_F(FuseHeadForward, StaysWhereNothingIsWon) {
  OwningOpRef<ModuleOp> module = build({"", tied, "sft", {}, 1});
  FusedHead head = fuseHead(module->lookupSymbol<func::FuncOp>("logprobs"));
  EXPECT_FALSE(head.fused);
  EXPECT_THAT(head.reason, HasSubstr("small"));
}

TEST_F(FuseHeadForward, StaysWhereTokensMix) {
  std::string text = tied; // logits are normalised over the sequence
  text.replace(text.find("return"), 6,
               "%r = nn.softmax %logits axis = 1 : tensor<3x5x7xf32> -> tensor<3x5x7xf32>\n  return");
  text.replace(text.rfind("%logits"), 7, "%r");
  OwningOpRef<ModuleOp> module = build({"", text.c_str(), "sft", {}, 1});
  auto function = module->lookupSymbol<func::FuncOp>("accumulate");
  FusedHead head = fuseHead(function);
  EXPECT_FALSE(head.fused);
  EXPECT_THAT(head.reason, HasSubstr("does not treat every token by itself"));
  EXPECT_TRUE(function.getOps<rl::TokenLoopOp>().empty());
  EXPECT_TRUE(succeeded(module->verify()));
}

} // namespace
} // namespace graft
