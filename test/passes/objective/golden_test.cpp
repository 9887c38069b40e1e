// Values, gradients and metrics that frameworks computed with their own code (test/data/objectives, see its README.md),
// against the presets under the settings of those frameworks.
#include "passes/objective/EvaluateObjective.h"
#include "test/passes/objective/FrameworkSettings.h"

#include <gtest/gtest.h>

#include <cmath>
#include <filesystem>
#include <fstream>
#include <set>

namespace graft::objective {
namespace {

using nlohmann::json;

void flatten(const json &value, Tensor::Shape &shape, std::vector<double> &elements, size_t depth = 0) {
  if (!value.is_array()) {
    elements.push_back(value.is_boolean() ? value.get<bool>() : value.get<double>());
    return;
  }
  if (shape.size() == depth)
    shape.push_back(static_cast<int64_t>(value.size()));
  for (const json &element : value)
    flatten(element, shape, elements, depth + 1);
}
Tensor tensorOf(const json &value) {
  Tensor::Shape shape;
  std::vector<double> elements;
  flatten(value, shape, elements);
  return Tensor::floats(shape, elements);
}

/// The case's inputs under Graft's names.
Arrays arraysOf(const json &c) {
  Arrays arrays;
  for (const auto &[name, value] : c["inputs"].items())
    arrays[name] = tensorOf(value);
  if (arrays.count("labels")) { // -100: not in the loss
    const Tensor labels = arrays["labels"];
    arrays["labels"] = Tensor::integers(labels.shape(), std::vector<int64_t>(labels.f().begin(), labels.f().end()));
    if (!arrays.count("loss_mask")) {
      arrays["loss_mask"] = labels;
      for (double &counts : arrays["loss_mask"].f())
        counts = counts >= 0;
    }
  }
  if (arrays.count("advantages_seq"))
    arrays["advantages"] = arrays["advantages_seq"];
  if (arrays.count("token_rewards")) {
    const Tensor &rewards = arrays["token_rewards"], &mask = arrays["loss_mask"];
    int64_t B = rewards.shape()[0], S = rewards.shape()[1];
    Tensor sums = Tensor::floats({B});
    for (int64_t k = 0; k < B * S; ++k)
      sums.f()[k / S] += rewards.f()[k] * mask.f()[k];
    arrays["rewards"] = sums;
  }
  if (arrays.count("rewards_per_func")) { // one reward function of weight 1; groups of consecutive rows
    int64_t B = arrays["rewards_per_func"].shape()[0], size = c["settings"]["num_generations"].get<int64_t>();
    arrays["rewards"] = arrays["rewards_per_func"].reshaped({B});
    arrays["group_ids"] = Tensor::integers({B});
    for (int64_t b = 0; b < B; ++b)
      arrays["group_ids"].i()[b] = b / size;
  } else if (arrays.count("group_ids")) {
    const Tensor ids = arrays["group_ids"];
    arrays["group_ids"] = Tensor::integers(ids.shape(), std::vector<int64_t>(ids.f().begin(), ids.f().end()));
  }
  return arrays;
}

double total(const Tensor &tensor) {
  double sum = 0;
  for (double x : tensor.f())
    sum += x;
  return sum;
}

void expectNear(const std::string &name, const Tensor &actual, const Tensor &expected, double tolerance) {
  ASSERT_EQ(actual.size(), expected.size()) << name;
  for (int64_t k = 0; k < actual.size(); ++k)
    EXPECT_NEAR(actual.at(k), expected.at(k), tolerance * (1 + std::abs(expected.at(k)))) << name << "[" << k << "]";
}

/// The frameworks' metrics that mean the same as one of ours, or a sum of theirs does. Not compared: TRL's clip ratio
/// at sequence level (a mean over sequences) and with delta, OpenRLHF's with dual clip (which they do not count).
bool isComparable(const json &c, const std::string &metric) {
  const json &s = c["settings"];
  bool set = (s.contains("delta") && !s["delta"].is_null()) || (s.contains("dual_clip") && !s["dual_clip"].is_null());
  return metric != "clip_fraction" || !(set || s.value("importance_sampling_level", "") == "sequence");
}
struct MetricRule {
  const char *framework;
  const char *ours;
  std::vector<const char *> theirs;
};
const std::vector<MetricRule> metricRules = {
    {"verl", "clip_fraction", {"actor/pg_clipfrac", "actor/pg_clipfrac_lower"}},
    {"TRL", "clip_fraction", {"clip_ratio/region_mean"}},
    {"Liger-Kernel", "clip_fraction", {"clip_ratio"}},
    {"OpenRLHF", "clip_fraction", {"clip_ratio"}},
    {"AReaL", "clip_fraction", {"clip_fraction", "dual_clip_fraction"}},
    {"TRL", "kl", {"kl"}},
    {"Liger-Kernel", "kl", {"kl"}},
    {"TRL", "entropy", {"entropy"}},
    {"NeMo-RL", "mean_ratio", {"probs_ratio"}},
    {"NeMo-RL", "min_ratio", {"probs_ratio_min"}},
    {"NeMo-RL", "max_ratio", {"probs_ratio_max"}},
};

class Golden : public testing::TestWithParam<json> {};

TEST_P(Golden, Agrees) {
  const json &c = GetParam();
  double tolerance = c["precision"] == "float64" ? 1e-6 : 1e-5;
  Arrays arrays = arraysOf(c);
  Settings mapped = settingsOf(c, arrays.count("loss_mask") ? total(arrays["loss_mask"]) : 0);
  if (mapped.role == Role::Advantages)
    arrays.erase("loss_mask");
  auto objective = mapped.text.empty() ? load(mapped.preset, mapped.role, mapped.overrides)
                                       : compile("test.objective", mapped.text, mapped.overrides);
  ASSERT_TRUE(objective.isOk()) << objective.status().text();
  auto results = evaluateObjective(*objective, arrays);
  ASSERT_TRUE(results.isOk()) << results.status().text();

  size_t compared = 0;
  for (const auto &[name, value] : c["expected"].items()) {
    if (name == "metrics" || name == "returns" || name == "kl_matrix" || name == "entropy")
      continue;
    Tensor expected = tensorOf(value);
    if (name == "advantages") { // a value per token: ours is per sequence
      Tensor mask = tensorOf(c["inputs"]["loss_mask"]), spread = expected.zeros(expected.shape());
      int64_t S = mask.shape()[1];
      for (int64_t k = 0; k < mask.size(); ++k)
        spread.f()[k] = mask.f()[k] != 0 ? (*results)["advantages"].f()[k / S] : 0;
      expectNear(name, spread, expected, tolerance);
    } else {
      std::string ours = name == "advantages_seq"      ? "advantages"
                         : name.rfind("grad_", 0) == 0 ? "grad." + name.substr(5)
                                                       : name;
      ASSERT_TRUE(results->count(ours)) << ours;
      expectNear(ours, (*results)[ours], expected, tolerance);
    }
    ++compared;
  }
  EXPECT_GT(compared, 0u);

  if (!c["expected"].contains("metrics"))
    return;
  const json &metrics = c["expected"]["metrics"];
  for (const MetricRule &rule : metricRules) {
    std::string ours = std::string("metric.") + rule.ours;
    if (c["framework"] != rule.framework || !isComparable(c, rule.ours) || !metrics.contains(rule.theirs[0]) ||
        !results->count(ours))
      continue;
    double expected = 0;
    for (const char *theirs : rule.theirs)
      expected += metrics.value(theirs, 0.0);
    EXPECT_NEAR((*results)[ours].at(0), expected, tolerance * (1 + std::abs(expected))) << ours;
  }
}

std::vector<json> allCases() {
  std::vector<json> cases;
  std::set<std::filesystem::path> files;
  for (const auto &entry : std::filesystem::directory_iterator(GRAFT_SOURCE_DIR "/test/data/objectives"))
    if (entry.path().extension() == ".json")
      files.insert(entry.path());
  for (const auto &path : files) {
    std::ifstream stream(path);
    json file = json::parse(stream);
    for (const json &c : file["cases"])
      cases.push_back(c);
  }
  return cases;
}

std::string caseName(const testing::TestParamInfo<json> &info) {
  std::string name = info.param["case"].get<std::string>() + "_" + info.param["framework"].get<std::string>();
  for (char &letter : name)
    if (!std::isalnum(static_cast<unsigned char>(letter)))
      letter = '_';
  return name;
}

INSTANTIATE_TEST_SUITE_P(Cases, Golden, testing::ValuesIn(allCases()), caseName);

} // namespace
} // namespace graft::objective
