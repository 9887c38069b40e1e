// Runs of a tiny compiled model: what a run leaves behind, and that it can be stopped and continued.
#include "test/runtime/exec/TinyRun.h"

#include <cmath>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace graft::test {
namespace {

using testing::HasSubstr;

constexpr const char *grpo = "preset = \"grpo\"\nadvantages = \"grpo\"\nold_logprobs = \"initial\"";
constexpr const char *batchGrpo = "preset = \"grpo\"\nkl = \"k3\"\nkl_coef = 0.1\nadvantages = \"grpo\"";

class Trainer : public testing::Test {
protected:
  TinyRun runIn(const std::string &folder) { return {.directory = at.path(folder), .rollouts = rollouts}; }
  Result<TrainResult> complete(const std::string &folder, int64_t steps = 4) {
    TinyRun run = runIn(folder);
    run.steps = steps;
    return run.run(grpo);
  }
  void expectSameResults(const std::string &left, const std::string &right, int64_t step) {
    EXPECT_EQ(metricsOf(at.path(left)), metricsOf(at.path(right)));
    for (const char *file : {"model.safetensors", "optimizer.safetensors", "training.safetensors", "training.json"})
      EXPECT_EQ(checkpointBytes(at.path(left), step, file), checkpointBytes(at.path(right), step, file)) << file;
  }

  TemporaryDirectory at;
  std::string rollouts = at.write("rollouts.jsonl", twelveRollouts());
};

TEST_F(Trainer, LeavesWhatARunDirectoryPromises) {
  auto result = complete("run");
  ASSERT_TRUE(result.isOk()) << result.status().text();
  EXPECT_EQ(result->firstStep, 1);
  EXPECT_EQ(result->lastStep, 4);
  EXPECT_EQ(result->checkpoint, at.path("run/checkpoints/step-4"));
  for (const char *file : {"recipe.toml", "report.html", "events.jsonl"})
    EXPECT_GT(at.read(std::string("run/") + file).size(), 20u) << file;

  std::string first = at.read("run/metrics.jsonl");
  first = first.substr(0, first.find('\n'));
  EXPECT_THAT(first, testing::StartsWith("{\"step\": 1, \"loss\": "));
  EXPECT_THAT(first, HasSubstr("\"memory\": {\"parameters\": "));
  auto rows = metricsOf(at.path("run"));
  ASSERT_EQ(rows.size(), 4u);
  for (const char *name : {"step", "loss", "grad_norm", "lr", "tokens", "mean_ratio", "min_ratio", "max_ratio",
                           "clip_fraction", "approx_kl", "entropy", "mean_logprob", "reward"})
    for (const auto &row : rows)
      EXPECT_TRUE(row.count(name) && std::isfinite(row.at(name))) << name;
  EXPECT_EQ(rows[0].at("tokens"), 3 + 4 + 5 + 6);
  EXPECT_NEAR(rows[0].at("mean_ratio"), 1, 1e-5); // old log-probs are those of the weights before step 1
  EXPECT_NEAR(rows[0].at("approx_kl"), 0, 1e-9);
  EXPECT_NEAR(rows[0].at("reward"), (0 + 0.25 + 0.5 + 0.75) / 4, 1e-6);
  EXPECT_GT(std::abs(rows[3].at("mean_ratio") - 1), 1e-3); // step 4 takes step 1's sequences again
  EXPECT_DOUBLE_EQ(rows[0].at("lr"), 1e-2);
  EXPECT_LT(rows[3].at("lr"), rows[2].at("lr"));
}

TEST_F(Trainer, RaisesGoodCompletionsAndLowersBadOnes) {
  auto result = complete("run", 4);
  ASSERT_TRUE(result.isOk()) << result.status().text();
  const TrainEffect &effect = result->effect;
  ASSERT_TRUE(effect.positive && effect.negative);
  EXPECT_EQ(effect.positive->completions, 2);
  EXPECT_EQ(effect.negative->completions, 2);
  double good = effect.positive->after - effect.positive->before,
         bad = effect.negative->after - effect.negative->before;
  EXPECT_GT(good, bad + 0.05);
  EXPECT_THAT(effectLines(effect)[0], HasSubstr("positive advantage (2)"));
  EXPECT_THAT(at.read("run/report.html"), HasSubstr("<svg"));
}

TEST_F(Trainer, SameInputsGiveTheSameBits) {
  ASSERT_TRUE(complete("one").isOk());
  ASSERT_TRUE(complete("two").isOk());
  expectSameResults("one", "two", 4);
}

// Tests that stopping changes nothing, wherever it happens: within the first pass over the data, and behind it.
TEST_F(Trainer, InterruptedAndResumedGivesTheBitsOfAnUninterruptedRun) {
  ASSERT_TRUE(complete("whole", 5).isOk());
  TinyRun run = runIn("parts");
  run.steps = 5;
  for (int64_t stop : {1, 3}) {
    run.stopAfter = stop;
    auto stopped = run.run(grpo);
    ASSERT_FALSE(stopped.isOk());
    EXPECT_EQ(stopped.status().exitCode(), 6);
    EXPECT_THAT(stopped.status().text(), HasSubstr("--resume"));
    EXPECT_GT(at.read("parts/report.html").size(), 1000u);
    run.resume = true;
  }
  run.stopAfter = 0;
  auto done = run.run(grpo);
  ASSERT_TRUE(done.isOk()) << done.status().text();
  EXPECT_EQ(done->firstStep, 5);
  EXPECT_EQ(metricsOf(at.path("parts")).size(), 5u);
  expectSameResults("whole", "parts", 5);
}

// Tests that the optimizer's file keeps what a checkpoint in bfloat16 would round.
TEST_F(Trainer, ResumesExactlyWhenTheWeightsFileRounds) {
  ASSERT_TRUE(complete("whole", 3).isOk());
  TinyRun run = runIn("parts");
  run.steps = 3;
  run.stopAfter = 2;
  run.exactWeights = false;
  EXPECT_FALSE(run.run(grpo).isOk());
  run.resume = true;
  run.stopAfter = 0;
  run.bind = [](Session &session, const std::string &) {
    return bindTiny(session, "");
  }; // as if all precision was lost
  auto done = run.run(grpo);
  ASSERT_TRUE(done.isOk()) << done.status().text();
  EXPECT_EQ(metricsOf(at.path("whole")), metricsOf(at.path("parts")));
}

// Tests that lines behind the checkpoint, as a killed run leaves them, are not written twice.
TEST_F(Trainer, MetricsHaveEachStepOnceAfterAKill) {
  TinyRun run = runIn("run");
  run.stopAfter = 2;
  EXPECT_FALSE(run.run(grpo).isOk());
  std::ofstream(at.path("run/metrics.jsonl"), std::ios::app) << "{\"step\": 3, \"loss\": 7}\n{\"step\": 4, \"lo";
  run.resume = true;
  run.stopAfter = 0;
  ASSERT_TRUE(run.run(grpo).isOk());
  ASSERT_TRUE(complete("whole").isOk());
  EXPECT_EQ(metricsOf(at.path("whole")), metricsOf(at.path("run")));
}

struct Form {
  const char *name, *optimizer, *precision;
};
class TrainerForms : public Trainer, public testing::WithParamInterface<Form> {};

// Tests that it makes no difference to a single bit when a parameter is updated, nor whether the run is interrupted.
TEST_P(TrainerForms, UpdatesInTheBackwardPassGiveTheBitsOfThoseAfterIt) {
  TinyRun after = runIn("after"), within = runIn("within"), parts = runIn("parts");
  for (TinyRun *run : {&after, &within, &parts}) {
    run->steps = 5;
    run->precision = GetParam().precision;
    run->optimizer = std::string(tinyOptimizer) + "\nclip_grad_norm = 0\n" + GetParam().optimizer;
    run->exactWeights = run->precision.empty();
  }
  within.optimizer += "\nin_backward = true";
  parts.optimizer = within.optimizer;
  ASSERT_TRUE(after.run(grpo).isOk());
  auto done = within.run(grpo);
  ASSERT_TRUE(done.isOk()) << done.status().text();
  EXPECT_EQ(metricsOf(at.path("after")), metricsOf(at.path("within")));
  for (const char *file : {"model.safetensors", "optimizer.safetensors"})
    EXPECT_EQ(checkpointBytes(at.path("after"), 5, file), checkpointBytes(at.path("within"), 5, file)) << file;
  EXPECT_THAT(at.read("within/metrics.jsonl"), HasSubstr("\"gradients\": 0,"));
  EXPECT_THAT(at.read("after/metrics.jsonl"), testing::Not(HasSubstr("\"gradients\": 0,")));

  parts.stopAfter = 2;
  EXPECT_EQ(parts.run(grpo).status().exitCode(), 6);
  parts.stopAfter = 0;
  parts.resume = true;
  ASSERT_TRUE(parts.run(grpo).isOk());
  expectSameResults("within", "parts", 5);
}

INSTANTIATE_TEST_SUITE_P(All, TrainerForms,
                         testing::Values(Form{"float32", "", ""},
                                         Form{"bfloat16_products", "state = \"8bit\"", "compute = \"bfloat16\""},
                                         Form{"bfloat16_weights", "state = \"bfloat16\"", "parameters = \"bfloat16\""}),
                         [](const auto &info) { return std::string(info.param.name); });

/// A large factor of what is always zero: nothing but the gradients through the first layer can overflow by it.
Status bindSteep(Session &session, const std::string &folder) {
  GRAFT_RETURN_IF_ERROR(bindTiny(session, folder));
  auto set = [&](const char *name, size_t rows, size_t columns, float value) -> Status {
    std::vector<float> values(rows * columns);
    GRAFT_RETURN_IF_ERROR(session.read(Block::Parameter, name, values));
    for (size_t row = 0; row < rows; ++row)
      values[row * columns] = value;
    return session.write(Block::Parameter, name, values);
  };
  GRAFT_RETURN_IF_ERROR(set("model.layers.0.input_layernorm.weight", 1, 32, 0));
  return set("model.layers.0.self_attn.v_proj.weight", 16, 32, 1e20f);
}

// Tests that a step which fails half-way ends the run, saves nothing, and says which weights are whole.
TEST_F(Trainer, AStepThatFailsInItsUpdatesPointsToTheLastCheckpoint) {
  std::vector<TinyRollout> data;
  for (int64_t i = 0; i < 12; ++i)
    data.push_back({.group = i / 4, .more = i < 4 ? ", \"advantage\": 0.5" : ", \"advantage\": 1e30", .bare = true});
  TinyRun run = runIn("run");
  run.rollouts = at.write("steep.jsonl", tinyRollouts(data));
  run.optimizer = "lr = 0\nclip_grad_norm = 0\nin_backward = true"; // what is zero stays so
  run.saveEvery = 1;
  run.bind = bindSteep;
  auto failed = run.run(grpo);
  EXPECT_EQ(failed.status().exitCode(), 5) << failed.status().text();
  std::string says = failed.status().text();
  EXPECT_THAT(says, HasSubstr("step 2"));
  EXPECT_THAT(says, HasSubstr("the gradient of 'model.layers.0.input_layernorm.weight' is not finite"));
  EXPECT_THAT(says, HasSubstr("weights and moments are between steps 1 and 2"));
  EXPECT_THAT(says, HasSubstr("the last weights that are whole are those of " + at.path("run/checkpoints/step-1")));
  EXPECT_THAT(says, HasSubstr("--resume"));
  EXPECT_FALSE(std::filesystem::exists(at.path("run/checkpoints/step-2")));
  EXPECT_EQ(metricsOf(at.path("run")).size(), 1u);

  run.directory = at.path("unsaved");
  run.saveEvery = 0;
  EXPECT_THAT(run.run(grpo).status().text(), HasSubstr("no weights were saved yet"));
  EXPECT_FALSE(std::filesystem::exists(at.path("unsaved/checkpoints/step-1")));
}

// Tests that a loss that is not finite is looked for as ever, and that the last step's weights are saved.
TEST_F(Trainer, AStepThatFailsBeforeItsUpdatesLosesNothing) {
  TinyRun run = runIn("run");
  run.optimizer = "lr = 0\nclip_grad_norm = 0\nin_backward = true";
  run.bind = [](Session &session, const std::string &folder) {
    GRAFT_RETURN_IF_ERROR(bindTiny(session, folder));
    return session.write(Block::Parameter, "model.norm.weight", std::vector<float>(32, NAN));
  };
  std::string says = run.run("preset = \"grpo\"\nadvantages = \"grpo\"\nold_logprobs = \"current\"").status().text();
  EXPECT_THAT(says, HasSubstr("the loss is not finite"));
  EXPECT_THAT(says, HasSubstr("weights 'model.norm.weight' are not finite in row 0, column 0"));
  EXPECT_THAT(says, testing::Not(HasSubstr("between steps")));
}

TEST_F(Trainer, PassesOverABrokenCheckpoint) {
  TinyRun run = runIn("run");
  run.saveEvery = 1;
  run.stopAfter = 3;
  EXPECT_FALSE(run.run(grpo).isOk());
  std::filesystem::resize_file(at.path("run/checkpoints/step-3/optimizer.safetensors"), 1000);
  run.resume = true;
  run.stopAfter = 0;
  auto done = run.run(grpo);
  ASSERT_TRUE(done.isOk()) << done.status().text();
  EXPECT_EQ(done->firstStep, 3);
  EXPECT_THAT(done->notes, testing::Contains(HasSubstr("was passed over")));
  EXPECT_TRUE(std::filesystem::exists(at.path("run/checkpoints/step-3.broken")));
  ASSERT_TRUE(complete("whole").isOk());
  expectSameResults("whole", "run", 4);
}

TEST_F(Trainer, RefusesWhenEveryCheckpointIsBroken) {
  TinyRun run = runIn("run");
  run.stopAfter = 1;
  EXPECT_FALSE(run.run(grpo).isOk());
  at.write("run/checkpoints/step-1/training.json", "{\"step\": 1}");
  run.resume = true;
  auto done = run.run(grpo);
  ASSERT_FALSE(done.isOk());
  EXPECT_EQ(done.status().exitCode(), 3);
  EXPECT_THAT(done.status().text(), HasSubstr("training.json"));
}

TEST_F(Trainer, RefusesToResumeOnOtherRolloutsOrAnotherProgram) {
  TinyRun run = runIn("run");
  run.stopAfter = 2;
  EXPECT_FALSE(run.run(grpo).isOk());
  run.resume = true;
  run.rollouts = at.write("others.jsonl", tinyRollouts(std::vector<TinyRollout>(12, {1, 0.5})));
  auto others = run.run(grpo);
  ASSERT_FALSE(others.isOk());
  EXPECT_EQ(others.status().exitCode(), 2);
  EXPECT_THAT(others.status().text(), HasSubstr("other rollouts"));
  run.rollouts = rollouts;
  auto program = run.run("preset = \"grpo\"\nadvantages = \"rloo\"\nold_logprobs = \"initial\"");
  ASSERT_FALSE(program.isOk());
  EXPECT_THAT(program.status().text(), HasSubstr("another program"));
  run.steps = 1;
  auto fewer = run.run(grpo);
  ASSERT_FALSE(fewer.isOk());
  EXPECT_EQ(fewer.status().exitCode(), 2);
  EXPECT_THAT(fewer.status().text(), HasSubstr("2 steps are done"));
}

// Tests that a longer run computes the old log-probs it lacks with the initial weights, not with the trained ones. Its
// first step is one of warm-up, which does not depend on the number of steps.
TEST_F(Trainer, AResumedRunMayBeLonger) {
  ASSERT_TRUE(complete("whole", 3).isOk());
  ASSERT_TRUE(complete("parts", 1).isOk());
  TinyRun parts = runIn("parts");
  parts.steps = 3;
  parts.resume = true;
  auto done = parts.run(grpo);
  ASSERT_TRUE(done.isOk()) << done.status().text();
  EXPECT_EQ(done->firstStep, 2);
  expectSameResults("whole", "parts", 3);
}

// Tests a reference policy that is the run's first: nothing lies between the two in step 1, something later, and a
// resumed run knows the same reference.
TEST_F(Trainer, ReferenceIsTheFirstPolicy) {
  const std::string withReference = "preset = \"grpo\"\nadvantages = \"grpo\"\nold_logprobs = \"current\"\nkl = "
                                    "\"k3\"\nkl_coef = 0.1\nref_logprobs = ";
  TinyRun whole = runIn("whole"), parts = runIn("parts");
  whole.steps = 3;
  ASSERT_TRUE(whole.run(withReference + "\"initial\"").isOk());
  parts.steps = 1;
  ASSERT_TRUE(parts.run(withReference + "\"initial\"").isOk());
  parts.steps = 3;
  parts.resume = true;
  ASSERT_TRUE(parts.run(withReference + "\"initial\"").isOk());
  expectSameResults("whole", "parts", 3);
  auto rows = metricsOf(at.path("whole"));
  EXPECT_NEAR(rows[0].at("kl"), 0, 1e-9);
  EXPECT_GT(rows[2].at("kl"), 1e-6);
  auto without = runIn("without").run(withReference + "\"batch\"");
  ASSERT_FALSE(without.isOk());
  EXPECT_THAT(without.status().text(), HasSubstr("ref_logprobs"));
}

TEST_F(Trainer, StopsAtNumbersThatAreNotFiniteAndSavesNothing) {
  TinyRun run = runIn("run");
  run.bind = [](Session &session, const std::string &folder) {
    GRAFT_RETURN_IF_ERROR(bindTiny(session, folder));
    return session.write(Block::Parameter, "model.norm.weight", std::vector<float>(32, std::nanf("")));
  };
  auto failed = run.run(grpo);
  ASSERT_FALSE(failed.isOk());
  EXPECT_EQ(failed.status().exitCode(), 5);
  EXPECT_THAT(failed.status().text(), HasSubstr("step 1"));
  EXPECT_EQ(at.entries("run/checkpoints"), 0u);
  EXPECT_TRUE(metricsOf(at.path("run")).empty());
}

// Tests that every rollout's missing arrays are said together, and that the folder stays free.
TEST_F(Trainer, ReportsAllMissingArraysAtOnceBeforeAnythingIsWritten) {
  TinyRun run = runIn("run");
  run.steps = 1;
  run.rollouts = at.write("bare.jsonl", tinyRollouts(std::vector<TinyRollout>(4, {.bare = true})));
  auto failed = run.run(batchGrpo);
  ASSERT_FALSE(failed.isOk());
  EXPECT_EQ(failed.status().exitCode(), 3);
  std::string text = failed.status().text();
  for (const char *name : {"reward", "group_id", "old_logprobs", "ref_logprobs"})
    EXPECT_THAT(text, HasSubstr(std::string("'") + name + "' is missing"));
  EXPECT_THAT(text, HasSubstr("bare.jsonl:4"));
  EXPECT_FALSE(std::filesystem::exists(at.path("run/recipe.toml")));
  EXPECT_TRUE(complete("run", 1).isOk());
}

TEST_F(Trainer, TakesAdvantagesFromRolloutsThatBringThem) {
  // Rewards 0, 1/4, 1/2, 3/4: mean 3/8, sample deviation sqrt(5/48).
  std::vector<TinyRollout> given, computed;
  for (int64_t i = 0; i < 4; ++i) {
    double reward = static_cast<double>(i) / 4, advantage = (reward - 0.375) / (std::sqrt(5.0 / 48) + 1e-4);
    given.push_back({0, 0, ", \"advantage\": " + std::to_string(advantage)});
    computed.push_back({0, reward});
  }
  TinyRun one = runIn("one"), two = runIn("two");
  one.steps = two.steps = 1;
  one.rollouts = at.write("given.jsonl", tinyRollouts(given));
  two.rollouts = at.write("computed.jsonl", tinyRollouts(computed));
  ASSERT_TRUE(one.run(grpo).isOk());
  ASSERT_TRUE(two.run(grpo).isOk());
  EXPECT_NEAR(metricsOf(one.directory)[0].at("loss"), metricsOf(two.directory)[0].at("loss"), 1e-5);
  EXPECT_NEAR(metricsOf(one.directory)[0].at("grad_norm") / metricsOf(two.directory)[0].at("grad_norm"), 1, 1e-5);
}

TEST_F(Trainer, TheCurrentPolicyAsOldOneHasRatioOne) {
  TinyRun run = runIn("run");
  ASSERT_TRUE(run.run("preset = \"grpo\"\nadvantages = \"grpo\"\nold_logprobs = \"current\"").isOk());
  for (const auto &row : metricsOf(run.directory))
    EXPECT_EQ(row.at("mean_ratio"), 1);
}

} // namespace
} // namespace graft::test
