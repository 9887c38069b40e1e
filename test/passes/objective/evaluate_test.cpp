// Evaluation of objectives: masks, splitting a step, gradients of every function, anchors from the literature, faults
// of arrays.
#include "passes/objective/EvaluateObjective.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <random>

namespace graft::objective {
namespace {

using testing::AllOf;
using testing::HasSubstr;

constexpr double nan = std::numeric_limits<double>::quiet_NaN();
constexpr double infinity = std::numeric_limits<double>::infinity();

Objective loaded(const std::string &name, Role role = Role::Objective, const std::vector<Override> &overrides = {}) {
  auto result = load(name, role, overrides);
  if (!result.isOk()) {
    ADD_FAILURE() << result.status().text();
    return {};
  }
  return std::move(*result);
}
Objective compiled(const std::string &text) {
  auto result = compile("t.objective", text);
  if (!result.isOk()) {
    ADD_FAILURE() << result.status().text();
    return {};
  }
  return std::move(*result);
}
Arrays evaluated(const Objective &objective, const Arrays &arrays) {
  auto result = evaluateObjective(objective, arrays);
  if (!result.isOk()) {
    ADD_FAILURE() << result.status().text();
    return {};
  }
  return std::move(*result);
}

/// B sequences of S tokens with holes, one empty row, and random values everywhere.
Arrays batch(int64_t B, int64_t S, unsigned seed) {
  std::mt19937 random(seed);
  auto uniform = [&](double low, double high) {
    return low + (high - low) * static_cast<double>(random()) / 4294967296.0;
  };
  Arrays arrays;
  for (const char *name : {"logprobs", "old_logprobs", "ref_logprobs", "entropy", "advantages"}) {
    Tensor tensor = Tensor::floats({B, S});
    bool positive = std::string(name) == "entropy", both = std::string(name) == "advantages";
    for (double &x : tensor.f())
      x = positive ? uniform(0, 3) : both ? uniform(-2, 2) : uniform(-2.5, -0.1);
    arrays[name] = tensor;
  }
  Tensor mask = Tensor::integers({B, S});
  for (int64_t k = 0; k < mask.size(); ++k)
    mask.i()[k] = k / S != 1 && random() % 3 != 0;
  arrays["loss_mask"] = mask;
  arrays["logits"] = Tensor::floats({B, S, 5});
  for (double &x : arrays["logits"].f())
    x = uniform(-2, 2);
  arrays["labels"] = Tensor::integers({B, S});
  for (int64_t &label : arrays["labels"].i())
    label = random() % 5;
  arrays["group_ids"] = Tensor::integers({B});
  arrays["rewards"] = Tensor::floats({B});
  for (int64_t b = 0; b < B; ++b) {
    arrays["group_ids"].i()[b] = b / 2;
    arrays["rewards"].f()[b] = uniform(-1, 1);
  }
  return arrays;
}

const std::vector<std::string> clippedFamily = {"grpo", "dr_grpo", "dapo", "ppo_clip", "gspo", "cispo"};
const std::vector<Override> everything = {{"kl", "k3", ""}, {"kl_coef", 0.1, ""}, {"entropy_coef", 0.02, ""}};

// Tests that nothing at a masked position matters, whatever it is, in value, metrics and gradient.
TEST(Masks, NothingPasses) {
  for (const std::string &name : clippedFamily) {
    Objective objective = loaded(name, Role::Objective, everything);
    Arrays clean = batch(4, 6, 3), dirty = clean;
    size_t next = 0;
    for (const char *array : {"logprobs", "old_logprobs", "ref_logprobs", "entropy", "advantages"})
      for (int64_t k = 0; k < 24; ++k)
        if (!clean["loss_mask"].i()[k])
          dirty[array].f()[k] = std::array{nan, infinity, -infinity, 1e300}[next++ % 4];
    Arrays a = evaluated(objective, clean), b = evaluated(objective, dirty);
    ASSERT_EQ(a.size(), b.size());
    for (const auto &[result, tensor] : a)
      for (int64_t k = 0; k < tensor.size(); ++k) {
        EXPECT_EQ(tensor.at(k), b[result].at(k)) << name << " " << result << " " << k;
        if (result.rfind("grad.", 0) == 0 && !clean["loss_mask"].i()[k])
          EXPECT_EQ(tensor.at(k), 0) << name << " " << result << " " << k;
      }
  }
}

// Tests the same of values per word.
TEST(Masks, NothingOfWordsPasses) {
  Objective objective = compiled("objective t\ninput logits : vocabulary\ninput advantages : token\n"
                                 "l = log_softmax(logits)\nloss = token_mean(at_token(l) * advantages - "
                                 "seq_mean(vocab_sum(softmax(logits) * l)) + vocab_max(logits) ^ 2)\n");
  Arrays clean = batch(4, 6, 3), dirty = clean;
  for (int64_t k = 0; k < dirty["logits"].size(); ++k)
    if (!clean["loss_mask"].i()[k / 5])
      dirty["logits"].f()[k] = k % 2 ? nan : infinity;
  Arrays a = evaluated(objective, clean), b = evaluated(objective, dirty);
  for (const auto &[result, tensor] : a)
    for (int64_t k = 0; k < tensor.size(); ++k)
      EXPECT_EQ(tensor.at(k), b[result].at(k)) << result << " " << k;
}

// Tests that without an input per word nobody guesses how many words there are: a metric is left out, a loss is
// refused.
TEST(Words, AreCountedWhereThereAreSome) {
  const std::string text = "objective t\ninput logprobs : token\ninput logits : vocabulary\n";
  Arrays arrays = batch(2, 3, 7);
  Arrays with = evaluated(compiled(text + "loss = token_mean(vocab_mean(logits))\nmetric m = words\n"), arrays);
  EXPECT_EQ(with["metric.m"].at(0), 5);
  arrays.erase("logits");
  EXPECT_FALSE(evaluated(compiled(text + "loss = token_mean(logprobs)\nmetric m = words\n"), arrays).count("metric.m"));
  auto refused = evaluateObjective(compiled(text + "loss = token_mean(logprobs) / words\n"), arrays);
  ASSERT_FALSE(refused.isOk());
  EXPECT_THAT(refused.status().text(), HasSubstr("counts words, but uses no input per word"));
}

// Tests that a broadcast from a sequence's value does not pick up NaN from masked tokens on the way back.
TEST(Masks, BroadcastsKeepGradientsClean) {
  Objective objective = compiled("objective t\ninput logprobs : token\ninput scale : sequence\ninput all : scalar\n"
                                 "loss = token_sum(all * seq_sum(logprobs) * scale / log(-logprobs) ^ 3)\n");
  Arrays arrays = batch(4, 6, 5);
  arrays["scale"] = Tensor::floats({4}, {1, nan, 2, 3});
  arrays["all"] = Tensor::floats({}, 0.5);
  for (int64_t k = 0; k < 24; ++k)
    if (!arrays["loss_mask"].i()[k])
      arrays["logprobs"].f()[k] = -1; // log is 0: a division by zero where it must not count
  for (const auto &[name, tensor] : evaluated(objective, arrays))
    for (int64_t k = 0; k < tensor.size(); ++k)
      EXPECT_TRUE(std::isfinite(tensor.at(k))) << name << " " << k;
}

/// Rows [begin, end) of every array.
Arrays rows(const Arrays &arrays, int64_t begin, int64_t end) {
  Arrays part;
  for (const auto &[name, tensor] : arrays) {
    Tensor::Shape shape = tensor.shape();
    int64_t size = tensor.size() / shape[0];
    shape[0] = end - begin;
    Tensor slice = tensor.zeros(shape);
    for (int64_t k = 0; k < slice.size(); ++k)
      slice.copyElement(k, tensor, begin * size + k);
    part[name] = slice;
  }
  return part;
}

// Tests that any split of a step into micro-batches gives the loss, gradients and metrics of the whole, under each
// aggregation.
TEST(Split, DoesNotMatter) {
  for (const std::string &name : clippedFamily)
    for (const char *aggregation : {"token_mean", "token_sum", "sequence_mean_token_mean", "sequence_mean_token_sum",
                                    "sequence_mean_token_sum_norm"}) {
      std::vector<Override> overrides = everything;
      overrides.push_back({"aggregation", aggregation, ""});
      Objective objective = loaded(name, Role::Objective, overrides);
      ASSERT_TRUE(objective.splitsGroups());
      Arrays step = batch(6, 5, 11);
      Arrays whole = evaluated(objective, step);
      double tokens = 0, sequences = 0;
      for (int64_t b = 0; b < 6; ++b) {
        int64_t count = 0;
        for (int64_t t = 0; t < 5; ++t)
          count += step["loss_mask"].i()[b * 5 + t];
        tokens += static_cast<double>(count);
        sequences += count > 0;
      }
      std::map<std::string, double> metrics;
      double loss = 0;
      for (auto [begin, end] : {std::pair<int64_t, int64_t>{0, 1}, {1, 2}, {2, 6}}) {
        Arrays part = rows(step, begin, end);
        part["denominator.tokens"] = Tensor::floats({}, tokens);
        part["denominator.sequences"] = Tensor::floats({}, sequences);
        part["denominator.rows"] = Tensor::floats({}, 6);
        Arrays results = evaluated(objective, part);
        loss += results["loss"].at(0);
        for (int64_t k = 0; k < (end - begin) * 5; ++k)
          EXPECT_NEAR(results["grad.logprobs"].at(k), whole["grad.logprobs"].at(begin * 5 + k), 1e-12);
        for (const Metric &metric : objective.metrics) {
          double value = results["metric." + metric.name].at(0);
          auto [at, isNew] = metrics.try_emplace(metric.name, value);
          if (!isNew)
            at->second = metric.combine == Combine::Max   ? std::max(at->second, value)
                         : metric.combine == Combine::Min ? std::min(at->second, value)
                                                          : at->second + value;
        }
      }
      EXPECT_NEAR(loss, whole["loss"].at(0), 1e-12) << name << " " << aggregation;
      for (const auto &[metric, value] : metrics)
        EXPECT_NEAR(value, whole["metric." + metric].at(0), 1e-12) << name << " " << metric;
    }
}

class Functions : public testing::TestWithParam<std::string> {};
// Tests the gradient of every function against finite differences.
TEST_P(Functions, GradientEqualsFiniteDifferences) {
  Objective objective = compiled(
      "objective t\ninput logits : vocabulary\ninput logprobs : token\ninput rewards : sequence\nloss = " + GetParam() +
      "\n");
  Arrays arrays = batch(4, 6, 17);
  Arrays results = evaluated(objective, arrays);
  const double h = 1e-6;
  for (const Input &input : objective.requiredInputs())
    for (int64_t k = 0; k < arrays[input.name].size(); ++k) {
      auto lossAt = [&](double shift) {
        Arrays moved = arrays;
        moved[input.name].f()[k] += shift;
        return evaluated(objective, moved)["loss"].at(0);
      };
      double numeric = (lossAt(h) - lossAt(-h)) / (2 * h);
      EXPECT_NEAR(results["grad." + input.name].at(k), numeric, 1e-6 * (1 + std::abs(numeric)))
          << input.name << " " << k;
    }
}
INSTANTIATE_TEST_SUITE_P(
    All, Functions,
    testing::Values(
        "token_mean(exp(logprobs))", "token_mean(log(-logprobs))", "token_mean(log1p(-logprobs))",
        "token_mean(expm1(logprobs))", "token_mean(sqrt(-logprobs))", "token_mean(abs(logprobs + 1))",
        "token_mean(tanh(logprobs))", "token_mean(sigmoid(logprobs))", "token_mean(log_sigmoid(3 * logprobs))",
        "token_mean(min(logprobs, -1) * max(logprobs, -1.5, 2 * logprobs))",
        "token_mean(clip(logprobs, -2, -1) * logprobs)", "token_mean(where(logprobs > -1, logprobs ^ 3, 2 * logprobs))",
        "token_mean((-logprobs) ^ 1.5 / (1 - logprobs))", "token_mean(logprobs * rewards)",
        "batch_mean(seq_mean(logprobs) * rewards)", "batch_sum(seq_sum(logprobs) ^ 2)",
        "batch_mean(seq_max(logprobs) - seq_min(logprobs))",
        "batch_sum(seq_std(logprobs, ddof = 0) * seq_var(logprobs))",
        "batch_sum(group_std(rewards + 0.1 * seq_sum(logprobs)) * rewards)",
        "batch_sum(group_max(rewards) * rewards - group_min(rewards) ^ 2)",
        "batch_std(rewards) + batch_var(rewards, ddof = 0)", "batch_max(seq_sum(logprobs)) * batch_min(rewards)",
        "token_std(logprobs) * token_var(logprobs, ddof = 0) + token_max(logprobs) - token_min(logprobs)",
        "token_mean(at_token(log_softmax(logits)) * rewards)", "token_mean(vocab_sum(softmax(logits) ^ 2 * logprobs))",
        "token_mean(vocab_logsumexp(2 * logits) - vocab_mean(logits ^ 2, where = logits > 0))",
        "token_mean(vocab_max(logits * logprobs) - vocab_min(logits) ^ 2) + token_max(vocab_sum(logits / words))",
        "token_mean(log(vocab_sum(where(logits >= vocab_kth_largest(logits, 2), softmax(logits), 0))))",
        "batch_mean(seq_mean(vocab_sum(softmax(logits) * (log_softmax(logits) - logprobs))) * rewards)",
        "token_mean((logprobs - token_mean(logprobs)) * rewards)", "token_mean(logprobs, where = logprobs > -1)",
        "batch_mean(seq_mean(logprobs ^ 2, where = logprobs > -1), where = rewards > 0) + "
        "batch_sum(group_mean(rewards, where = rewards > 0) ^ 2)"));

// Tests numbers of known formulas: two sequences of lengths 3 and 2.
TEST(Anchors, PolicyBatch) {
  Arrays arrays;
  arrays["logprobs"] = Tensor::floats({2, 3}, {-0.5, -1.2, -0.3, -2.0, -0.7, 9});
  arrays["old_logprobs"] = Tensor::floats({2, 3}, {-0.6, -1.0, -0.8, -1.5, -2.0, 9});
  arrays["ref_logprobs"] = Tensor::floats({2, 3}, {-0.4, -1.3, -0.5, -1.8, -0.9, 9});
  arrays["advantages"] = Tensor::floats({2}, {1.0, -0.8});
  arrays["loss_mask"] = Tensor::integers({2, 3}, {1, 1, 1, 1, 1, 0});
  auto expect = [&](const std::string &name, std::vector<Override> overrides, double loss,
                    std::vector<double> gradient) {
    Arrays results = evaluated(loaded(name, Role::Objective, overrides), arrays);
    EXPECT_NEAR(results["loss"].at(0), loss, 5e-9) << name;
    gradient.push_back(0);
    for (size_t k = 0; k < gradient.size(); ++k)
      EXPECT_NEAR(results["grad.logprobs"].at(static_cast<int64_t>(k)), gradient[k], 5e-9) << name << " " << k;
  };
  expect("ppo_clip", {}, 0.09030713, {-0.22103418, -0.16374615, 0, 0, 0.58708747});
  expect("grpo", {{"aggregation", "sequence_mean_token_mean", ""}}, 0.37320905,
         {-0.18419515, -0.13645513, 0, 0, 0.73385933});
  expect("grpo", {{"aggregation", "sequence_mean_token_sum", ""}}, 0.22576783,
         {-0.55258546, -0.40936538, 0, 0, 1.46771867});
  expect("dr_grpo", {{"max_tokens", 4.0, ""}}, 0.05644196, {-0.13814636, -0.10234134, 0, 0, 0.36692967});
  expect("ppo_clip", {{"dual_clip", 3.0, ""}}, -0.01678033, {-0.22103418, -0.16374615, 0, 0, 0});
  expect("dapo", {{"dual_clip", 3.0, ""}}, -0.03278033, {-0.22103418, -0.16374615, 0, 0, 0});
  expect("grpo", {{"delta", 2.5, ""}}, -0.09678033, {-0.22103418, -0.16374615, 0, 0, 0});
  expect("cispo", {}, -0.01138753, {-0.22103418, -0.16374615, -0.24, 0.128, 0.192});
  expect("cispo", {{"cispo_bounds", "absolute", ""}, {"clip_high", 5.0, ""}}, -0.19911529,
         {-0.22103418, -0.16374615, -0.32974425, 0.09704491, 0.58708747});
  for (const char *form : {"sequence", "token"})
    expect("gspo", {{"gspo", form, ""}, {"clip_low", 0.2, ""}, {"clip_high", 0.2, ""}}, 0.02541447,
           {-0.19043847, -0.19043847, -0.19043847, 0.29836494, 0.29836494});
}

// Tests the advantages of the reward group [2, 0, 0, 1] as frameworks compute them.
TEST(Anchors, Advantages) {
  Arrays arrays = {{"rewards", Tensor::floats({5}, {2, 0, 0, 1, 7})},
                   {"group_ids", Tensor::integers({5}, {3, 3, 3, 3, 9})}};
  auto expect = [&](const std::string &name, const std::vector<Override> &overrides, std::vector<double> expected) {
    Arrays results = evaluated(loaded(name, Role::Advantages, overrides), arrays);
    ASSERT_EQ(results["advantages"].shape(), Tensor::Shape{5});
    for (size_t k = 0; k < expected.size(); ++k)
      EXPECT_NEAR(results["advantages"].at(static_cast<int64_t>(k)), expected[k], 2e-8) << name << " " << k;
  };
  expect("grpo", {}, {1.30544607, -0.78326764, -0.78326764, 0.26108921, 0});
  expect("grpo", {{"eps", 1e-6, ""}, {"group_of_one", "raw", ""}},
         {1.30558106, -0.78334862, -0.78334862, 0.26111621, 7 / (1 + 1e-6)});
  expect("grpo", {{"ddof", 0.0, ""}}, {1.50737493, -0.90442496, -0.90442496, 0.30147499, 0});
  expect("grpo", {{"scale", "none", ""}}, {1.25, -0.75, -0.75, 0.25, 0});
  expect("dr_grpo", {}, {1.25, -0.75, -0.75, 0.25, 0});
  expect("dr_grpo", {{"group_of_one", "raw", ""}}, {1.25, -0.75, -0.75, 0.25, 7});
  expect("rloo", {}, {5.0 / 3, -1, -1, 1.0 / 3, 0});
  expect("rloo", {{"group_of_one", "raw", ""}}, {5.0 / 3, -1, -1, 1.0 / 3, 7});
}

// Tests the metrics of the clipped family on tokens whose values are known.
TEST(Metrics, OfTheClippedFamily) {
  Arrays arrays;
  arrays["logprobs"] = Tensor::floats({1, 4}, {std::log(1.5), std::log(0.5), 0, 5});
  arrays["old_logprobs"] = Tensor::floats({1, 4}, {0, 0, 0, 0});
  arrays["advantages"] = Tensor::floats({1}, 1.0);
  arrays["entropy"] = Tensor::floats({1, 4}, {1, 2, 3, 1000});
  arrays["loss_mask"] = Tensor::floats({1, 4}, {1, 1, 1, 0});
  Arrays results = evaluated(loaded("grpo"), arrays);
  EXPECT_NEAR(results["metric.mean_ratio"].at(0), 1, 1e-12);
  EXPECT_NEAR(results["metric.min_ratio"].at(0), 0.5, 1e-12);
  EXPECT_NEAR(results["metric.max_ratio"].at(0), 1.5, 1e-12);
  EXPECT_NEAR(results["metric.clip_fraction"].at(0), 1.0 / 3, 1e-12); // 0.5 is below the bound, but its gradient stays
  EXPECT_NEAR(results["metric.approx_kl"].at(0), (1 / 1.5 + std::log(1.5) - 1 + 2 + std::log(0.5) - 1) / 3, 1e-12);
  EXPECT_NEAR(results["metric.entropy"].at(0), 2, 1e-12);
  EXPECT_NEAR(results["metric.mean_logprob"].at(0), (std::log(1.5) + std::log(0.5)) / 3, 1e-12);
  arrays.erase("entropy");
  EXPECT_EQ(evaluated(loaded("grpo"), arrays).count("metric.entropy"), 0u);
}

// Tests that arrays without the first token are understood by their shape.
TEST(Arrays, WithoutTheFirstToken) {
  Arrays full = batch(3, 4, 23);
  for (int64_t b = 0; b < 3; ++b)
    full["loss_mask"].i()[b * 4] = 0;
  Arrays shorter = full;
  for (const char *name : {"old_logprobs", "advantages"}) {
    Tensor cut = Tensor::floats({3, 3});
    for (int64_t k = 0; k < 9; ++k)
      cut.f()[k] = full[name].f()[k / 3 * 4 + k % 3 + 1];
    shorter[name] = cut;
  }
  Objective objective = loaded("grpo");
  EXPECT_EQ(evaluated(objective, shorter)["loss"].at(0), evaluated(objective, full)["loss"].at(0));
}

// Tests that a step without any loss token gives 0, not NaN.
TEST(Arrays, NothingToLearnFrom) {
  Arrays arrays = batch(3, 4, 29);
  arrays["loss_mask"] = Tensor::integers({3, 4});
  for (const std::string &name : clippedFamily) {
    Arrays results = evaluated(loaded(name, Role::Objective, everything), arrays);
    EXPECT_EQ(results["loss"].at(0), 0) << name;
    for (double g : results["grad.logprobs"].f())
      EXPECT_EQ(g, 0) << name;
  }
}

TEST(ArrayFaults, AllAtOnce) {
  Arrays arrays = batch(3, 4, 31);
  arrays.erase("old_logprobs");
  arrays["advantages"] = Tensor::floats({2, 4});
  auto result = evaluateObjective(loaded("grpo"), arrays);
  ASSERT_FALSE(result.isOk());
  EXPECT_EQ(result.status().exitCode(), 3);
  EXPECT_THAT(result.status().text(),
              AllOf(HasSubstr("array 'old_logprobs': missing: 'grpo' needs it (a value per token)"),
                    HasSubstr("array 'advantages': has shape [2, 4], expected a value per token: [3, 4]")));
}

TEST(ArrayFaults, EachKind) {
  auto said = [](const std::string &name, Role role, const std::function<void(Arrays &)> &spoil) {
    Arrays arrays = batch(3, 4, 37);
    spoil(arrays);
    auto result = evaluateObjective(loaded(name, role), arrays);
    return result.isOk() ? "accepted" : result.status().text();
  };
  EXPECT_THAT(said("grpo", Role::Objective, [](Arrays &a) { a.erase("loss_mask"); }),
              HasSubstr("array 'loss_mask': missing"));
  EXPECT_THAT(said("grpo", Role::Objective, [](Arrays &a) { a["loss_mask"] = Tensor::integers({3}); }),
              HasSubstr("'loss_mask': has shape [3], expected [3, 4]"));
  EXPECT_THAT(said("grpo", Role::Objective, [](Arrays &a) { a["loss_mask"] = Tensor::floats({3, 4}, nan); }),
              HasSubstr("holds NaN"));
  EXPECT_THAT(said("grpo", Role::Objective, [](Arrays &a) { a["denominator.tokens"] = Tensor::floats({}, -1); }),
              HasSubstr("'denominator.tokens': is not one number"));
  EXPECT_THAT(said("grpo", Role::Objective, [](Arrays &a) { a["entropy"] = Tensor::floats({7}); }),
              HasSubstr("'entropy': has shape [7]"));
  EXPECT_THAT(said("grpo", Role::Objective,
                   [](Arrays &a) {
                     for (auto &[name, tensor] : a)
                       tensor = tensor.zeros({0, 4});
                   }),
              HasSubstr("the arrays are empty"));
  EXPECT_THAT(said("grpo", Role::Advantages, [](Arrays &a) { a.erase("group_ids"); }),
              HasSubstr("'group_ids': missing"));
  EXPECT_THAT(said("grpo", Role::Advantages, [](Arrays &a) { a["group_ids"] = Tensor::floats({3}); }),
              HasSubstr("holds floats, expected integers"));
  EXPECT_THAT(said("grpo", Role::Advantages, [](Arrays &a) { a["group_ids"] = Tensor::integers({4}); }),
              HasSubstr("'group_ids': has shape [4], expected [3]"));
  EXPECT_THAT(said("grpo", Role::Advantages, [](Arrays &a) { a["rewards"] = Tensor::floats({3, 4}); }),
              HasSubstr("'rewards': has shape [3, 4], expected a value per sequence"));
}

} // namespace
} // namespace graft::objective
