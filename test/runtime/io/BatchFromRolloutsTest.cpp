#include "runtime/io/Batch.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace graft {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

Rollout rollout(std::vector<int32_t> prompt, std::vector<int32_t> completion, const std::string &place = "r.jsonl:1") {
  Rollout result;
  result.promptIds = std::move(prompt);
  result.completionIds = std::move(completion);
  result.place = place;
  return result;
}
std::vector<float> &field(Rollout &rollout, TokenField field) {
  return rollout.perToken[static_cast<size_t>(field)].emplace();
}

class FromRollouts : public testing::Test {
protected:
  FromRollouts() { options.tokens = 5; }
  Batch good() {
    auto loaded = batchFromRollouts(rollouts, options, 9);
    EXPECT_TRUE(loaded.isOk()) << loaded.status().text();
    notes = loaded->notes;
    return std::move(loaded->batch);
  }
  void expectFault(Code code, const std::string &text) {
    auto loaded = batchFromRollouts(rollouts, options, 9);
    ASSERT_FALSE(loaded.isOk()) << text;
    EXPECT_EQ(loaded.status().faults()[0].code, code) << loaded.status().text();
    EXPECT_THAT(loaded.status().text(), HasSubstr(text));
  }
  std::vector<Rollout> rollouts = {rollout({1, 2}, {3, 4}), rollout({5}, {6}, "r.jsonl:2")};
  BatchOptions options;
  std::vector<std::string> notes;
};

TEST_F(FromRollouts, PutsCompletionsBehindPromptsAndPadsOnTheRight) {
  Batch batch = good();
  EXPECT_EQ(batch.sequences, 2);
  EXPECT_EQ(batch.tokens, 5);
  EXPECT_THAT(batch.integers("input_ids"), ElementsAre(1, 2, 3, 4, 9, 5, 6, 9, 9, 9));
  EXPECT_THAT(batch.integers("attention_mask"), ElementsAre(1, 1, 1, 1, 0, 1, 1, 0, 0, 0));
  EXPECT_THAT(batch.integers("position_ids"), ElementsAre(0, 1, 2, 3, 3, 0, 1, 1, 1, 1));
  EXPECT_THAT(batch.floats("loss_mask"), ElementsAre(0, 0, 1, 1, 0, 0, 1, 0, 0, 0));
  EXPECT_TRUE(notes.empty());
}

TEST_F(FromRollouts, PutsNumbersAtTheirTokens) {
  field(rollouts[0], TokenField::SamplerLogprobs) = {-1, -2};
  field(rollouts[1], TokenField::SamplerLogprobs) = {-3};
  options.used = {"sampler_logprobs"};
  EXPECT_THAT(good().floats("sampler_logprobs"), ElementsAre(0, 0, -1, -2, 0, 0, -3, 0, 0, 0));
  options.used = {};
  EXPECT_EQ(good().find("sampler_logprobs"), nullptr);
  EXPECT_THAT(notes, ElementsAre(HasSubstr("'sampler_logprobs' is used neither")));
}

TEST_F(FromRollouts, TakesAdvantagesPerCompletionOrPerToken) {
  rollouts[0].advantage = 2;
  field(rollouts[1], TokenField::Advantages) = {-1};
  options.used = {"advantages"};
  EXPECT_THAT(good().floats("advantages"), ElementsAre(0, 0, 2, 2, 0, 0, -1, 0, 0, 0));
}

TEST_F(FromRollouts, NumbersGroupsInOrderOfAppearance) {
  rollouts.push_back(rollout({1}, {2}));
  rollouts[0].group = "17", rollouts[1].group = "\"x\"", rollouts[2].group = "17";
  for (Rollout &each : rollouts)
    each.reward = 0.5;
  options.used = {"rewards", "group_ids"};
  Batch batch = good();
  EXPECT_THAT(batch.integers("group_ids"), ElementsAre(0, 1, 0));
  EXPECT_THAT(batch.floats("rewards"), ElementsAre(0.5, 0.5, 0.5));
}

TEST_F(FromRollouts, AcceptsEmptyCompletionsAndFullRows) {
  rollouts = {rollout({1, 2, 3}, {4, 5}), rollout({1}, {})};
  Batch batch = good();
  EXPECT_THAT(batch.floats("loss_mask"), ElementsAre(0, 0, 0, 1, 1, 0, 0, 0, 0, 0));
}

TEST_F(FromRollouts, RefusesLongSequencesNamingTheLine) {
  rollouts[1] = rollout({1, 2, 3, 4}, {5, 6}, "r.jsonl:2");
  expectFault(Code::Range, "r.jsonl:2: has 6 tokens (prompt 4, completion 2), but a row has 5");
}

TEST_F(FromRollouts, RefusesIdsOutsideOfTheVocabulary) {
  options.vocabulary = 10;
  rollouts[1].completionIds = {10};
  expectFault(Code::Range, "r.jsonl:2: token id 10 does not lie in the vocabulary of 10");
}

TEST_F(FromRollouts, RefusesFieldsThatOnlySomeHave) {
  rollouts[0].reward = 1;
  options.used = {"rewards"};
  expectFault(Code::Graph, "r.jsonl:2: 'reward' is missing, which other rollouts of the batch have");
  options.used = {};
  good();
}

TEST_F(FromRollouts, RefusesMissingRequiredFields) {
  options.required = {"input_ids", "ref_logprobs", "advantages"};
  expectFault(Code::Graph, "r.jsonl:1: 'ref_logprobs' is missing");
  auto loaded = batchFromRollouts(rollouts, options, 9);
  EXPECT_EQ(loaded.status().faults().size(), 4u) << loaded.status().text();
}

TEST_F(FromRollouts, RefusesWhatRolloutsCannotHave) {
  options.required = {"input_ids", "pixel_values"};
  expectFault(Code::Unsupported, "pixel_values: cannot come from rollouts");
}

TEST_F(FromRollouts, RefusesBatchesWithoutSize) {
  options.tokens = std::nullopt;
  expectFault(Code::Usage, "[batch] tokens");
  options.tokens = 5;
  rollouts.clear();
  expectFault(Code::Range, "0 rollouts");
}

TEST_F(FromRollouts, RefusesArraysOfAnotherLength) {
  field(rollouts[0], TokenField::Values) = {1};
  field(rollouts[1], TokenField::Values) = {1};
  options.used = {"values"};
  expectFault(Code::Range, "r.jsonl:1: 'values' does not have the completion's length");
}

} // namespace
} // namespace graft
