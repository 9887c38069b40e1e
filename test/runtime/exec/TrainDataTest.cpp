// How rollouts become steps, what losses are divided by, and the effect of a run.
#include "runtime/exec/TrainData.h"
#include "test/runtime/exec/TinyRun.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

namespace graft::test {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

class Data : public testing::Test {
protected:
  static constexpr const char *objective = "preset = \"grpo\"\nadvantages = \"grpo\"\nold_logprobs = \"initial\"";

  Data()
      : session(std::move(*Session::open(tinyProgram(objective), {.threads = 1}))),
        runner(*session, *StepSettings::read(session->program())) {}

  Result<TrainData> read(const std::vector<TinyRollout> &rollouts, int64_t steps) {
    return TrainData::read({at.write("rollouts.jsonl", tinyRollouts(rollouts))}, steps, runner);
  }

  TemporaryDirectory at;
  std::unique_ptr<Session> session;
  StepRunner runner;
};

TEST_F(Data, ReadsOnlyWhatTheStepsNeed) {
  auto data = read(std::vector<TinyRollout>(12, {0, 1}), 2);
  ASSERT_TRUE(data.isOk()) << data.status().text();
  EXPECT_EQ(data->sequences(), 8);
  EXPECT_THAT(data->notes(), ElementsAre());
  EXPECT_EQ(data->sequenceAt(2, 1), 5);
}

TEST_F(Data, BeginsAgainAtTheEndAndSaysSo) {
  std::vector<TinyRollout> six(6, {7, 1});
  six[5].reward = 0.5;
  auto data = read(six, 3);
  ASSERT_TRUE(data.isOk()) << data.status().text();
  EXPECT_EQ(data->sequences(), 6);
  EXPECT_THAT(data->notes(), ElementsAre(HasSubstr("12 sequences, the rollouts hold 6")));
  std::vector<int64_t> taken;
  for (int64_t row = 0; row < 4; ++row)
    taken.push_back(data->sequenceAt(2, row));
  EXPECT_THAT(taken, ElementsAre(4, 5, 0, 1));
  auto first = data->batch(1), second = data->batch(2);
  ASSERT_TRUE(first.isOk() && second.isOk());
  auto ids = [](const Batch &batch, size_t row) { return batch.integers("input_ids").subspan(row * 12, 12); };
  EXPECT_THAT(ids(*second, 2), testing::ElementsAreArray(ids(*first, 0)));
  // Sequences of the second pass are compared among themselves, not with those of the first.
  EXPECT_THAT(second->integers("group_ids"), ElementsAre(0, 0, 1, 1));
  EXPECT_DOUBLE_EQ(*data->meanReward(2), 3.5 / 4);
}

// Tests advantages of doubles, summed in pairs: in single precision, or summed one by one, the third would be 0.
TEST_F(Data, AdvantagesAreThoseOfFloat64) {
  auto data = read({{0, 0}, {0, 0.1}, {0, 0.2}, {0, 0.5}}, 1);
  ASSERT_TRUE(data.isOk()) << data.status().text();
  auto batch = data->batch(1);
  ASSERT_TRUE(batch.isOk());
  ASSERT_TRUE(bindTiny(*session, "").isOk());
  Status completed = runner.completeAdvantages(*batch);
  ASSERT_TRUE(completed.isOk()) << completed.text();
  const double rewards[] = {0, 0.1, 0.2, 0.5}, mean = ((0 + 0.1) + (0.2 + 0.5)) / 4;
  double squares = 0;
  for (double reward : rewards)
    squares += (reward - mean) * (reward - mean);
  double deviation = std::sqrt(squares / 3);
  for (size_t row = 0; row < 4; ++row)
    EXPECT_FLOAT_EQ(batch->floats("advantages")[row * 12],
                    static_cast<float>((rewards[row] - mean) / (deviation + 1e-4)));
  EXPECT_GT(batch->floats("advantages")[24], 0);
}

TEST_F(Data, ASequenceThatIsTooLongIsFoundBeforeTheFirstStep) {
  std::string longer = tinyRollouts(std::vector<TinyRollout>(8, {0, 1}));
  longer += "{\"prompt_ids\": [1,2,3,4,5,6,7], \"completion_ids\": [1,2,3,4,5,6,7], \"reward\": 1, \"group_id\": 2}\n";
  auto data = TrainData::read({at.write("rollouts.jsonl", longer)}, 3, runner);
  ASSERT_FALSE(data.isOk());
  EXPECT_THAT(data.status().text(), HasSubstr("rollouts.jsonl:9"));
  EXPECT_THAT(data.status().text(), HasSubstr("has 14 tokens"));
}

TEST_F(Data, NoRolloutsAndNoStepsAreFaults) {
  EXPECT_EQ(read({}, 1).status().exitCode(), 3);
  EXPECT_EQ(read({{0, 1}}, 0).status().exitCode(), 2);
  EXPECT_EQ(read({{0, 1}}, std::numeric_limits<int64_t>::max()).status().exitCode(), 2);
}

TEST_F(Data, TheDigestKnowsTokensRewardsAndGroups) {
  std::vector<TinyRollout> base(4, {0, 1});
  uint64_t digest = read(base, 1)->digest(4);
  EXPECT_EQ(read(base, 1)->digest(4), digest);
  auto changed = base;
  changed[3].reward = 0;
  EXPECT_NE(read(changed, 1)->digest(4), digest);
  EXPECT_EQ(read(changed, 1)->digest(3), read(base, 1)->digest(3));
  changed = base;
  changed[0].group = 1;
  EXPECT_NE(read(changed, 1)->digest(4), digest);
}

TEST(Denominators, CountTokensSequencesAndRows) {
  Batch batch;
  batch.sequences = 3;
  batch.tokens = 4;
  setArray(batch, {"loss_mask", {3, 4}, std::vector<float>{0, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 1}});
  Denominators counts = denominatorsOf(batch);
  EXPECT_EQ(counts.tokens, 3);
  EXPECT_EQ(counts.sequences, 2);
  EXPECT_EQ(counts.rows, 3);
}

TEST(Effect, IsAMeanOverTokensOfCompletionsByTheSignOfTheirAdvantage) {
  Batch batch;
  batch.sequences = 3;
  batch.tokens = 3;
  setArray(batch, {"loss_mask", {3, 3}, std::vector<float>{0, 1, 1, 0, 0, 1, 0, 1, 1}});
  setArray(batch, {"advantages", {3, 3}, std::vector<float>{2, 2, 2, 1, 1, 1, 0, 0, 0}});
  std::vector<float> before = {9, -1, -2, 9, 9, -3, 9, -9, -9}, after = {9, -1, -1, 9, 9, -1, 9, -9, -9};
  TrainEffect effect = effectOf(batch, before, after);
  ASSERT_TRUE(effect.positive);
  EXPECT_FALSE(effect.negative);
  EXPECT_EQ(effect.positive->completions, 2);
  EXPECT_DOUBLE_EQ(effect.positive->before, -2);
  EXPECT_DOUBLE_EQ(effect.positive->after, -1);
  EXPECT_THAT(effectLines(effect),
              ElementsAre("completions with positive advantage (2): mean log-prob -2.0000 before, -1.0000 after"));
}

} // namespace
} // namespace graft::test
