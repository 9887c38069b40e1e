// The texts that come with Graft: they compile under every choice of their parameters, and ask for what they should.
#include "test/frontends/objective/Texts.h"

#include <filesystem>
#include <fstream>

namespace graft::objective {
namespace {
using testing::ElementsAre;
using testing::IsSupersetOf;
using testing::UnorderedElementsAre;

std::vector<std::string> listed(Role role, bool library) {
  std::vector<std::string> names;
  for (const Preset &preset : presets())
    if (preset.role == role && preset.library == library)
      names.emplace_back(preset.name);
  return names;
}

TEST(Presets, Listed) {
  EXPECT_THAT(listed(Role::Objective, false),
              ElementsAre("cispo", "dapo", "dr_grpo", "grpo", "gspo", "ppo_clip", "sft"));
  EXPECT_THAT(listed(Role::Advantages, false), ElementsAre("dr_grpo", "grpo", "rloo"));
}

class EachPreset : public testing::TestWithParam<Preset> {};
// Tests that a preset compiles with every allowed string, without warnings, and documents everything it declares.
TEST_P(EachPreset, Compiles) {
  const Preset &preset = GetParam();
  std::string name(preset.name);
  auto plain = load(name, preset.role);
  ASSERT_TRUE(plain.isOk()) << plain.status().text();
  EXPECT_EQ(plain->name, name);
  EXPECT_FALSE(plain->description.empty());
  EXPECT_FALSE(plain->sources.empty());
  EXPECT_THAT(plain->warnings, testing::IsEmpty());
  for (const Parameter &parameter : plain->parameters)
    for (const ParameterValue &choice : parameter.choices) {
      auto chosen = load(name, preset.role, {{parameter.name, choice, ""}, {"kl_coef", 0.1, ""}});
      if (preset.role == Role::Advantages || name == "sft")
        chosen = load(name, preset.role, {{parameter.name, choice, ""}});
      EXPECT_TRUE(chosen.isOk()) << parameter.name << " = " << print(choice) << "\n" << chosen.status().text();
    }
}
// Tests that no loss depends on all sequences at once: steps may be split.
TEST_P(EachPreset, Splits) {
  auto objective = load(std::string(GetParam().name), GetParam().role);
  ASSERT_TRUE(objective.isOk());
  EXPECT_EQ(objective->splitsGroups(), GetParam().role == Role::Objective);
}
std::vector<Preset> withoutLibraries() {
  std::vector<Preset> result;
  for (const Preset &preset : presets())
    if (!preset.library)
      result.push_back(preset);
  return result;
}
INSTANTIATE_TEST_SUITE_P(All, EachPreset, testing::ValuesIn(withoutLibraries()), [](const auto &info) {
  return std::string(info.param.role == Role::Advantages ? "Advantages_" : "") + std::string(info.param.name);
});

TEST(Presets, MetricsOfTheClippedFamily) {
  for (const char *name : {"grpo", "dr_grpo", "dapo", "ppo_clip", "gspo", "cispo"}) {
    auto objective = load(name, Role::Objective);
    ASSERT_TRUE(objective.isOk());
    std::map<std::string, Combine> metrics;
    for (const Metric &metric : objective->metrics)
      metrics[metric.name] = metric.combine;
    EXPECT_EQ(metrics, (std::map<std::string, Combine>{{"mean_ratio", Combine::Sum},
                                                       {"min_ratio", Combine::Min},
                                                       {"max_ratio", Combine::Max},
                                                       {"clip_fraction", Combine::Sum},
                                                       {"approx_kl", Combine::Sum},
                                                       {"entropy", Combine::Sum},
                                                       {"mean_logprob", Combine::Sum}}))
        << name;
  }
}

TEST(Presets, Inputs) {
  auto grpo = load("grpo", Role::Objective);
  ASSERT_TRUE(grpo.isOk());
  EXPECT_THAT(names(grpo->requiredInputs()), UnorderedElementsAre("logprobs", "old_logprobs", "advantages"));
  EXPECT_THAT(names(grpo->metricInputs()), UnorderedElementsAre("entropy"));
  auto kl = load("grpo", Role::Objective, {{"kl", "k3", ""}, {"kl_coef", 0.1, ""}, {"entropy_coef", 0.1, ""}});
  ASSERT_TRUE(kl.isOk());
  EXPECT_THAT(names(kl->requiredInputs()),
              UnorderedElementsAre("logprobs", "old_logprobs", "advantages", "ref_logprobs", "entropy"));
  // The recipe of interfaces.md: an estimator is named, its weight is 0.
  auto off = load("grpo", Role::Objective, {{"kl", "k3", ""}});
  ASSERT_TRUE(off.isOk());
  EXPECT_THAT(names(off->requiredInputs()), UnorderedElementsAre("logprobs", "old_logprobs", "advantages"));
  auto rloo = load("rloo", Role::Advantages);
  ASSERT_TRUE(rloo.isOk());
  EXPECT_THAT(names(rloo->requiredInputs()), ElementsAre("rewards"));
  EXPECT_TRUE(rloo->usesGroups());
}

TEST(Presets, Unknown) {
  EXPECT_THAT(load("gprpo", Role::Objective).status().text(), testing::HasSubstr("did you mean 'grpo'?"));
  EXPECT_THAT(load("rloo", Role::Objective).status().text(), testing::HasSubstr("no objective preset is named 'rloo'"));
  EXPECT_THAT(load("policy", Role::Objective).status().text(),
              testing::HasSubstr("no objective preset is named 'policy'"));
  EXPECT_THAT(load("missing.objective", Role::Objective).status().text(), testing::HasSubstr("missing.objective"));
}

// Tests that a file may use presets, and libraries that lie beside it.
TEST(Presets, FromAFile) {
  std::filesystem::path folder =
      std::filesystem::temp_directory_path() / ("graft_objective_" + std::to_string(::getpid()));
  std::filesystem::create_directories(folder);
  std::ofstream(folder / "mine.objective")
      << "objective mine\nuse dapo\nuse beside\ndefault clip_low = 0.1\nmetric extra = half * token_mean(ratio)\n";
  std::ofstream(folder / "beside.objective") << "library beside\nhalf = 0.5\n";
  std::string path = (folder / "mine.objective").string();
  auto mine = load(path, Role::Objective);
  ASSERT_TRUE(mine.isOk()) << mine.status().text();
  EXPECT_EQ(mine->metrics.size(), 8u);
  for (const Parameter &parameter : mine->parameters) {
    if (parameter.name == "clip_low")
      EXPECT_EQ(parameter.value, ParameterValue(0.1));
    if (parameter.name == "clip_high")
      EXPECT_EQ(parameter.value, ParameterValue(0.28));
  }
  EXPECT_THAT(load(path, Role::Advantages).status().text(), testing::HasSubstr("does not define advantages"));
  std::filesystem::remove_all(folder);
}

// Tests that the text that the documentation shows is a sound one.
TEST(Documentation, ExampleCompiles) {
  std::ifstream stream(GRAFT_SOURCE_DIR "/frontends/objective/README.md");
  std::string readme((std::istreambuf_iterator<char>(stream)), {});
  size_t begin = readme.find("```\n") + 4;
  Objective example = compiled(readme.substr(begin, readme.find("```", begin) - begin));
  EXPECT_EQ(example.name, "my_grpo");
  EXPECT_EQ(example.metrics.size(), 8u);
}

// Tests that the documentation names every function.
TEST(Documentation, NamesEveryFunction) {
  std::ifstream stream(GRAFT_SOURCE_DIR "/frontends/objective/README.md");
  std::string readme((std::istreambuf_iterator<char>(stream)), {});
  for (const Function &function : functions()) {
    std::string name(function.name);
    size_t underscore = name.find('_');
    bool reduction = name.starts_with("seq_") || name.starts_with("group_") || name.starts_with("batch_") ||
                     name.starts_with("token_") || name.starts_with("vocab_");
    EXPECT_NE(readme.find(reduction ? name.substr(underscore) : name), std::string::npos) << name;
  }
}

} // namespace
} // namespace graft::objective
