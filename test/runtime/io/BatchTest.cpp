#include "runtime/io/Batch.h"

#include "test/runtime/base/TemporaryDirectory.h"

#include <cmath>
#include <cstring>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace graft {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

class BatchFile : public testing::Test {
protected:
  template <typename T>
  void add(const std::string &name, DType dtype, std::vector<int64_t> shape, const std::vector<T> &values) {
    declarations.push_back({name, dtype, std::move(shape)});
    bytes[name] = std::string(reinterpret_cast<const char *>(values.data()), values.size() * sizeof(T));
  }
  void ids(std::vector<int32_t> values = {1, 2, 3, 4, 5, 6}) {
    add("input_ids", DType::I32, {2, static_cast<int64_t>(values.size()) / 2}, values);
  }
  void floats(const std::string &name, std::vector<int64_t> shape, const std::vector<float> &values) {
    add(name, DType::F32, std::move(shape), values);
  }
  void integers(const std::string &name, std::vector<int64_t> shape, const std::vector<int64_t> &values) {
    add(name, DType::I64, std::move(shape), values);
  }

  Result<LoadedBatch> load() {
    auto writer = SafetensorsWriter::create(folder.path("batch.safetensors"), declarations);
    EXPECT_TRUE(writer.isOk()) << writer.status().text();
    for (const TensorDeclaration &declaration : writer->tensors())
      EXPECT_TRUE(writer->append(std::as_bytes(std::span(bytes[declaration.name]))).isOk());
    EXPECT_TRUE(writer->commit().isOk());
    return loadBatch(folder.path("batch.safetensors"), options);
  }
  Batch good() {
    auto loaded = load();
    EXPECT_TRUE(loaded.isOk()) << loaded.status().text();
    notes = loaded->notes;
    return std::move(loaded->batch);
  }
  void expectFault(Code code, const std::string &text) {
    auto loaded = load();
    ASSERT_FALSE(loaded.isOk()) << text;
    EXPECT_EQ(loaded.status().faults()[0].code, code) << loaded.status().text();
    EXPECT_THAT(loaded.status().text(), HasSubstr(text));
    EXPECT_THAT(loaded.status().text(), HasSubstr("batch.safetensors"));
  }

  test::TemporaryDirectory folder;
  std::vector<TensorDeclaration> declarations;
  std::map<std::string, std::string> bytes;
  BatchOptions options;
  std::vector<std::string> notes;
};

TEST_F(BatchFile, FillsInMaskAndPositions) {
  ids();
  Batch batch = good();
  EXPECT_EQ(batch.sequences, 2);
  EXPECT_EQ(batch.tokens, 3);
  EXPECT_THAT(batch.integers("input_ids"), ElementsAre(1, 2, 3, 4, 5, 6));
  EXPECT_THAT(batch.integers("attention_mask"), ElementsAre(1, 1, 1, 1, 1, 1));
  EXPECT_THAT(batch.integers("position_ids"), ElementsAre(0, 1, 2, 0, 1, 2));
  EXPECT_EQ(batch.find("loss_mask"), nullptr);
  EXPECT_EQ(batch.find("input_ids")->dtype(), DType::I64);
  EXPECT_EQ(batch.find("input_ids")->bytes().size(), 48u);
}

TEST_F(BatchFile, CountsPositionsOverRealTokens) {
  ids({1, 2, 3, 4, 5, 6, 7, 8});
  add<uint8_t>("attention_mask", DType::Bool, {2, 4}, {0, 0, 1, 1, 1, 1, 0, 0});
  EXPECT_THAT(good().integers("position_ids"), ElementsAre(0, 0, 0, 1, 0, 1, 1, 1));
  EXPECT_TRUE(notes.empty());
}

TEST_F(BatchFile, KeepsGivenPositions) {
  ids();
  integers("position_ids", {2, 3}, {5, 6, 7, 0, 0, 1});
  EXPECT_THAT(good().integers("position_ids"), ElementsAre(5, 6, 7, 0, 0, 1));
}

TEST_F(BatchFile, ShiftsArraysThatSpeakOfTokensFromTheSecond) {
  ids();
  floats("loss_mask", {2, 2}, {0, 1, 1, 1});
  add<double>("old_logprobs", DType::F64, {2, 2}, {-1, -2, -3, -4});
  options.used = {"old_logprobs"};
  Batch batch = good();
  EXPECT_THAT(batch.floats("loss_mask"), ElementsAre(0, 0, 1, 0, 1, 1));
  EXPECT_THAT(batch.floats("old_logprobs"), ElementsAre(0, -1, -2, 0, -3, -4));
  options.float64 = true;
  EXPECT_THAT(good().doubles("old_logprobs"), ElementsAre(0, -1, -2, 0, -3, -4));
}

TEST_F(BatchFile, BroadcastsAdvantagesOfSequences) {
  ids();
  floats("advantages", {2}, {1, -0.5});
  options.used = {"advantages"};
  EXPECT_THAT(good().floats("advantages"), ElementsAre(1, 1, 1, -0.5, -0.5, -0.5));
}

TEST_F(BatchFile, TakesRewardsAndGroupsPerSequence) {
  ids();
  add<int32_t>("group_ids", DType::I32, {2}, {7, 7});
  integers("rewards", {2}, {1, 0});
  options.used = {"rewards", "group_ids"};
  Batch batch = good();
  EXPECT_THAT(batch.floats("rewards"), ElementsAre(1, 0)) << "integers are numbers, too";
  EXPECT_THAT(batch.integers("group_ids"), ElementsAre(7, 7));
}

TEST_F(BatchFile, IgnoresWhatNobodyUsesWithANote) {
  ids();
  floats("values", {7}, {1, 2, 3, 4, 5, 6, 7});
  EXPECT_EQ(good().find("values"), nullptr);
  EXPECT_THAT(notes, ElementsAre(HasSubstr("array 'values' is used neither")));
}

TEST_F(BatchFile, PassesUnknownArraysThatAreUsed) {
  ids();
  integers("cache_position", {3}, {0, 1, 2});
  floats("my_weights", {2, 2}, {1, 2, 3, 4});
  options.used = {"cache_position", "my_weights"};
  Batch batch = good();
  EXPECT_THAT(batch.integers("cache_position"), ElementsAre(0, 1, 2));
  EXPECT_THAT(batch.floats("my_weights"), ElementsAre(0, 1, 2, 0, 3, 4)) << "per token, shifted in";
}

TEST_F(BatchFile, NeedsNoIdsWhereTheCallerDoesNot) {
  options.required = {"logprobs"};
  options.used = {"advantages"};
  floats("logprobs", {2, 3}, {0, 1, 2, 3, 4, 5});
  floats("advantages", {2, 2}, {1, 2, 3, 4});
  Batch batch = good();
  EXPECT_EQ(batch.tokens, 3);
  EXPECT_THAT(batch.floats("advantages"), ElementsAre(0, 1, 2, 0, 3, 4));
  EXPECT_EQ(batch.find("attention_mask"), nullptr);
}

TEST_F(BatchFile, TakesWhatNothingPredictsOutOfTheLoss) {
  ids();
  integers("attention_mask", {2, 3}, {1, 1, 1, 0, 1, 1});
  add<uint8_t>("loss_mask", DType::Bool, {2, 3}, {1, 1, 1, 0, 1, 1});
  EXPECT_THAT(good().floats("loss_mask"), ElementsAre(0, 1, 1, 0, 0, 1));
  EXPECT_THAT(notes, ElementsAre(HasSubstr("first token of 2 rows")));
}

TEST_F(BatchFile, ForgivesNumbersOutsideOfTheLoss) {
  ids();
  float nan = std::nanf("");
  floats("loss_mask", {2, 3}, {0, 0, 1, 0, 1, 0});
  floats("old_logprobs", {2, 3}, {nan, -INFINITY, -1, 0, -2, nan});
  options.used = {"old_logprobs"};
  EXPECT_THAT(good().floats("old_logprobs"), ElementsAre(0, 0, -1, 0, -2, 0));
}

TEST_F(BatchFile, NotesPaddingBetweenTokens) {
  ids();
  integers("attention_mask", {2, 3}, {1, 0, 1, 0, 0, 0});
  good();
  EXPECT_THAT(notes, ElementsAre(HasSubstr("1 rows have padding between real tokens, the first is row 0")));
}

TEST_F(BatchFile, ReadsABatchThatPyTorchWrote) {
  options.used = {"advantages", "old_logprobs"};
  options.vocabulary = 256;
  auto loaded = loadBatch(std::string(GRAFT_SOURCE_DIR) + "/test/data/batch/llama.safetensors", options);
  ASSERT_TRUE(loaded.isOk()) << loaded.status().text();
  EXPECT_EQ(loaded->batch.sequences, 3);
  EXPECT_EQ(loaded->batch.tokens, 12);
  float sum = 0;
  for (float value : loaded->batch.floats("loss_mask"))
    sum += value;
  EXPECT_EQ(sum, 19);
}

TEST_F(BatchFile, RefusesIdsOutsideOfTheVocabulary) {
  ids({1, 2, 3, 4, 5, 9});
  options.vocabulary = 5;
  expectFault(Code::Range, "input_ids[1, 1]: is 5, a token id from 0 to 4 is expected (and 1 more like it)");
}

TEST_F(BatchFile, RefusesNegativeIds) {
  ids({1, 2, -100, 4, 5, 6});
  expectFault(Code::Range, "input_ids[0, 2]: is -100");
}

TEST_F(BatchFile, RefusesMasksThatAreNone) {
  ids();
  integers("attention_mask", {2, 3}, {1, 1, 2, 1, 1, -1});
  expectFault(Code::Range, "attention_mask[0, 2]: is 2, 0 or 1 is expected (and 1 more like it)");
}

TEST_F(BatchFile, RefusesNegativePositions) {
  ids();
  integers("position_ids", {2, 3}, {0, 1, 2, 0, -1, 2});
  expectFault(Code::Range, "position_ids[1, 1]: is -1");
}

TEST_F(BatchFile, RefusesLossOnPadding) {
  ids();
  integers("attention_mask", {2, 3}, {1, 1, 0, 1, 1, 1});
  floats("loss_mask", {2, 3}, {0, 1, 1, 0, 1, 1});
  expectFault(Code::Graph, "loss_mask[0, 2]: is 1, but attention_mask says that this is padding");
}

TEST_F(BatchFile, RefusesLossWeightsThatAreNone) {
  ids();
  floats("loss_mask", {2, 3}, {0, -1, NAN, 0, 1, 1});
  expectFault(Code::Range, "loss_mask[0, 1]: is -1");
  EXPECT_EQ(load().status().faults().size(), 2u);
}

TEST_F(BatchFile, RefusesInfiniteNumbersInTheLoss) {
  ids();
  floats("loss_mask", {2, 3}, {0, 0, 1, 0, 1, 0});
  floats("old_logprobs", {2, 3}, {0, 0, -INFINITY, 0, -2, 0});
  floats("rewards", {2}, {0, NAN});
  options.used = {"old_logprobs", "rewards"};
  expectFault(Code::Range, "old_logprobs[0, 2]: is -inf");
  EXPECT_THAT(load().status().text(), HasSubstr("rewards[1]: is nan"));
}

TEST_F(BatchFile, RefusesNumbersThatFloat32CannotHold) {
  ids();
  add<double>("rewards", DType::F64, {2}, {1e300, 0});
  options.used = {"rewards"};
  expectFault(Code::Range, "rewards[0]: is 1e+300");
  options.float64 = true;
  EXPECT_EQ(good().doubles("rewards")[0], 1e300);
}

TEST_F(BatchFile, RefusesWrongShapes) {
  ids();
  integers("attention_mask", {2, 2}, {1, 1, 1, 1});
  floats("advantages", {3}, {1, 1, 1});
  floats("values", {3, 2}, {1, 1, 1, 1, 1, 1});
  floats("rewards", {2, 1}, {1, 1});
  options.used = {"advantages", "values", "rewards"};
  expectFault(Code::Range, "advantages: has shape [3], [2, 3], [2, 2] (tokens 1 to S-1) or [2] is expected");
  std::string text = load().status().text();
  EXPECT_EQ(load().status().faults().size(), 4u) << text;
  EXPECT_THAT(text, HasSubstr("attention_mask: has shape [2, 2], [2, 3] is expected"));
  EXPECT_THAT(text, HasSubstr("rewards: has shape [2, 1], [2] is expected"));
}

TEST_F(BatchFile, RefusesWrongTypes) {
  floats("input_ids", {2, 3}, {1, 2, 3, 4, 5, 6});
  expectFault(Code::Type, "input_ids: has dtype F32, an integer or boolean type is expected");
}

TEST_F(BatchFile, RefusesComplexNumbers) {
  ids();
  add<float>("values", DType::C64, {2, 3}, std::vector<float>(12));
  options.used = {"values"};
  expectFault(Code::Type, "values: has dtype C64");
}

TEST_F(BatchFile, RefusesMissingArrays) {
  ids();
  options.required = {"input_ids", "loss_mask", "ref_logprobs"};
  expectFault(Code::Graph, "loss_mask: is missing");
  EXPECT_EQ(load().status().faults().size(), 2u);
}

TEST_F(BatchFile, RefusesABatchWithoutSize) {
  options.required = {};
  floats("rewards", {2}, {1, 1});
  expectFault(Code::Graph, "tells the size");
}

TEST_F(BatchFile, RefusesEmptyAndOddBatches) {
  integers("input_ids", {0, 3}, {});
  expectFault(Code::Range, "there are no tokens");
  declarations.clear();
  integers("input_ids", {3}, {1, 2, 3});
  expectFault(Code::Range, "[sequences, tokens] is expected");
}

TEST_F(BatchFile, RefusesAnotherSizeThanCompiledFor) {
  ids();
  options.sequences = 4;
  options.tokens = 5;
  expectFault(Code::Range, "has 2 sequences, 4 are expected");
  EXPECT_THAT(load().status().text(), HasSubstr("has 3 tokens per sequence, 5 are expected"));
}

// Tests a row of two sequences, the second first, with a hole: arrays of tokens are taken apart, also those that speak
// of tokens 1 to T-1; arrays of sequences stay.
TEST_F(BatchFile, TakesPackedRowsApart) {
  add<int32_t>("input_ids", DType::I32, {1, 7}, {20, 21, 22, 0, 10, 11, 0});
  integers("segment_ids", {1, 7}, {2, 2, 2, 0, 1, 1, 0});
  floats("loss_mask", {1, 7}, {0, 1, 1, 0, 0, 1, 0});
  floats("old_logprobs", {1, 6}, {-1, -2, 9, 9, -3, 9});
  floats("rewards", {2}, {0.5, 1.5});
  floats("advantages", {2}, {-1, 1});
  options.used = {"old_logprobs", "rewards", "advantages"};
  auto loaded = load();
  ASSERT_TRUE(loaded.isOk()) << loaded.status().text();
  const Batch &batch = loaded->batch;
  EXPECT_EQ(batch.sequences, 2);
  EXPECT_EQ(batch.tokens, 3);
  EXPECT_THAT(batch.integers("input_ids"), ElementsAre(10, 11, 0, 20, 21, 22));
  EXPECT_THAT(batch.integers("attention_mask"), ElementsAre(1, 1, 0, 1, 1, 1));
  EXPECT_THAT(batch.integers("position_ids"), ElementsAre(0, 1, 1, 0, 1, 2));
  EXPECT_THAT(batch.floats("loss_mask"), ElementsAre(0, 1, 0, 0, 1, 1));
  EXPECT_THAT(batch.floats("old_logprobs"), ElementsAre(9, -3, 0, 0, -1, -2));
  EXPECT_THAT(batch.floats("rewards"), ElementsAre(0.5, 1.5));
  EXPECT_THAT(batch.floats("advantages"), ElementsAre(-1, -1, -1, 1, 1, 1));
  EXPECT_EQ(loaded->packed.tokens, 7);
  EXPECT_THAT(loaded->packed.places, ElementsAre(4, 5, -1, 0, 1, 2));
}

TEST_F(BatchFile, RefusesSegmentsThatAreNone) {
  add<int32_t>("input_ids", DType::I32, {1, 6}, {1, 2, 3, 4, 5, 6});
  struct {
    std::vector<int64_t> segments;
    Code code;
    const char *says;
  } cases[] = {{{1, 1, 2, 2, 1, 1}, Code::Graph, "segment_ids[0, 4]: is 1 again: tokens of a sequence stand together"},
               {{1, 1, 3, 3, 0, 0}, Code::Graph, "segment_ids: goes up to 3, but has 2 sequences"},
               {{1, 1, -1, 2, 0, 0}, Code::Range, "segment_ids[0, 2]: is -1, 0 or the number of a sequence"},
               {{0, 0, 0, 0, 0, 0}, Code::Range, "segment_ids: has no sequence"}};
  for (const auto &test : cases) {
    integers("segment_ids", {1, 6}, test.segments);
    expectFault(test.code, test.says);
    declarations.pop_back();
  }
  options.tokens = 3;
  integers("segment_ids", {1, 6}, {1, 1, 1, 1, 2, 2});
  expectFault(Code::Range, "segment_ids: has a sequence of 4 tokens, at most 3 are expected");
}

TEST_F(BatchFile, RefusesSegmentsOfPaddedRows) {
  ids();
  integers("segment_ids", {1, 6}, {1, 1, 1, 2, 2, 2});
  expectFault(Code::Range, "segment_ids: says that the batch is packed, but it has 2 rows");
}

TEST_F(BatchFile, CountsFaultsAboveTheLimit) {
  ids(std::vector<int32_t>(100, 1));
  floats("loss_mask", {2, 50}, std::vector<float>(100, -1));
  options.faults = 3;
  EXPECT_EQ(load().status().faults().size(), 4u);
  EXPECT_THAT(load().status().text(), HasSubstr("and 97 more faults"));
}

TEST(Batch, ReportsAFileThatIsNone) {
  test::TemporaryDirectory folder;
  EXPECT_EQ(loadBatch(folder.path("absent")).status().faults()[0].code, Code::Io);
  EXPECT_EQ(loadBatch(folder.write("f", "x")).status().faults()[0].code, Code::Format);
}

} // namespace
} // namespace graft
