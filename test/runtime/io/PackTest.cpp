#include "runtime/io/Pack.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <random>

namespace graft {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

/// A batch of sequences with a prompt and a completion each, padded on the right or on the left.
struct Sample {
  std::vector<int64_t> prompt, completion;
};

Batch batchOf(const std::vector<Sample> &samples, int64_t width, bool left = false) {
  Batch batch;
  batch.sequences = static_cast<int64_t>(samples.size());
  batch.tokens = width;
  size_t count = static_cast<size_t>(batch.sequences * width);
  std::vector<int64_t> ids(count), mask(count), positions(count);
  std::vector<float> loss(count);
  for (size_t b = 0; b < samples.size(); ++b) {
    std::vector<int64_t> tokens = samples[b].prompt;
    tokens.insert(tokens.end(), samples[b].completion.begin(), samples[b].completion.end());
    size_t at = b * static_cast<size_t>(width) + (left ? static_cast<size_t>(width) - tokens.size() : 0);
    for (size_t k = 0; k < tokens.size(); ++k) {
      ids[at + k] = tokens[k];
      mask[at + k] = 1;
      positions[at + k] = static_cast<int64_t>(k);
      loss[at + k] = k >= samples[b].prompt.size();
    }
  }
  std::vector<int64_t> shape = {batch.sequences, width};
  batch.arrays = {{"attention_mask", shape, mask},
                  {"input_ids", shape, ids},
                  {"loss_mask", shape, loss},
                  {"position_ids", shape, positions}};
  return batch;
}

const std::vector<int64_t> &integers(const PackedRow &row, const std::string &name) {
  for (const BatchArray &array : row.arrays)
    if (array.name == name)
      return std::get<0>(array.values);
  throw std::runtime_error(name);
}

/// What holds of every packing: each token of the batch stands at its place, with its position; each token may read
/// exactly the tokens of its own sequence.
void expectSound(const Batch &batch, const PackOptions &options, const std::vector<PackedRow> &rows) {
  std::vector<int> found(static_cast<size_t>(batch.sequences));
  for (const PackedRow &row : rows) {
    ASSERT_LE(row.places, options.capacity);
    const auto &ids = integers(row, "packed.input_ids"), &mask = integers(row, "packed.attention_mask"),
               &positions = integers(row, "packed.position_ids"), &segments = integers(row, "packed.segment_ids"),
               &places = integers(row, "packed.rows");
    for (int64_t p = 0; p < options.capacity; ++p)
      EXPECT_EQ(mask[static_cast<size_t>(p)], p < row.places);
    for (int64_t b = 0; b < batch.sequences; ++b) {
      if (!row.holds[static_cast<size_t>(b)])
        continue;
      ++found[static_cast<size_t>(b)];
      std::set<int64_t> own;
      int64_t last = -1;
      for (int64_t s = 0; s < batch.tokens; ++s) {
        auto at = static_cast<size_t>(b * batch.tokens + s);
        if (batch.integers("attention_mask")[at] == 0)
          continue;
        auto place = static_cast<size_t>(places[at]);
        EXPECT_EQ(ids[place], batch.integers("input_ids")[at]);
        EXPECT_EQ(positions[place], batch.integers("position_ids")[at]);
        EXPECT_GT(static_cast<int64_t>(place), last) << "a causal row keeps the order";
        last = static_cast<int64_t>(place);
        own.insert(last);
        for (int64_t j = 0; j <= last; ++j) { // what attention lets it read
          auto key = static_cast<size_t>(j);
          int64_t also =
              options.sharePrompts ? segments[static_cast<size_t>(options.capacity) + place] : segments[place];
          bool reads = segments[key] == segments[place] || segments[key] == also;
          EXPECT_EQ(reads, own.contains(j)) << "sequence " << b << ", token " << s << ", place " << j;
        }
      }
    }
  }
  for (int64_t b = 0; b < batch.sequences; ++b)
    EXPECT_EQ(found[static_cast<size_t>(b)], 1) << "sequence " << b;
}

/// The only row of a batch that needs no more.
PackedRow onlyRow(const Batch &batch, const PackOptions &options) {
  auto rows = packBatch(batch, options);
  EXPECT_TRUE(rows.isOk());
  if (!rows.isOk())
    return {};
  EXPECT_EQ(rows->size(), 1u);
  expectSound(batch, options, *rows);
  return rows->front();
}

TEST(Pack, SequencesSideBySide) {
  PackedRow row = onlyRow(batchOf({{{1, 2}, {3}}, {{1, 2}, {4, 5}}}, 6), {8, false});
  EXPECT_EQ(row.places, 7);
  EXPECT_THAT(integers(row, "packed.input_ids"), ElementsAre(1, 2, 3, 1, 2, 4, 5, 0));
  EXPECT_THAT(integers(row, "packed.position_ids"), ElementsAre(0, 1, 2, 0, 1, 2, 3, 0));
  EXPECT_THAT(integers(row, "packed.segment_ids"), ElementsAre(1, 1, 1, 2, 2, 2, 2, 0));
  EXPECT_THAT(integers(row, "packed.rows"), ElementsAre(0, 1, 2, 0, 0, 0, 3, 4, 5, 6, 0, 0));
}

TEST(Pack, PromptsOnce) {
  PackedRow row = onlyRow(batchOf({{{1, 2}, {3}}, {{9}, {8}}, {{1, 2}, {4, 5}}}, 6), {8, true});
  EXPECT_EQ(row.places, 7);
  EXPECT_THAT(integers(row, "packed.input_ids"), ElementsAre(1, 2, 3, 4, 5, 9, 8, 0));
  EXPECT_THAT(integers(row, "packed.position_ids"), ElementsAre(0, 1, 2, 2, 3, 0, 1, 0));
  EXPECT_THAT(integers(row, "packed.segment_ids"), ElementsAre(1, 1, 2, 3, 3, 4, 5, 0, 1, 1, 1, 1, 1, 4, 4, 0));
}

TEST(Pack, WithoutALossNothingIsShared) {
  Batch batch = batchOf({{{1, 2}, {3}}, {{1, 2}, {3}}}, 4);
  std::erase_if(batch.arrays, [](const BatchArray &array) { return array.name == "loss_mask"; });
  EXPECT_EQ(onlyRow(batch, {8, true}).places, 6);
}

TEST(Pack, SaysAllSequencesThatAreTooLong) {
  auto rows = packBatch(batchOf({{{1, 2}, {3, 4}}, {{1}, {2}}, {{5, 6, 7}, {8, 9}}}, 6), {3, true});
  ASSERT_FALSE(rows.isOk());
  EXPECT_EQ(rows.status().exitCode(), 3);
  EXPECT_EQ(rows.status().faults().size(), 2u);
  EXPECT_THAT(rows.status().text(), HasSubstr("sequence 0: has 4 tokens, a packed row holds 3"));
  EXPECT_THAT(rows.status().text(), HasSubstr("sequence 2: has 5 tokens"));
}

TEST(Pack, RandomBatchesKeepWhatHolds) {
  std::mt19937 random(3);
  auto some = [&](int64_t most) { return static_cast<int64_t>(random() % static_cast<unsigned>(most + 1)); };
  auto tokens = [&](int64_t count) {
    std::vector<int64_t> all(static_cast<size_t>(count));
    for (int64_t &token : all)
      token = 1 + some(3);
    return all;
  };
  for (int round = 0; round < 200; ++round) {
    std::vector<Sample> samples;
    std::vector<std::vector<int64_t>> prompts = {tokens(1 + some(4)), tokens(1 + some(4)), tokens(1)};
    for (int64_t i = 0; i <= some(9); ++i)
      samples.push_back({prompts[random() % prompts.size()], tokens(some(5))});
    Batch batch = batchOf(samples, 11, round % 2);
    PackOptions options{10 + some(30), round % 3 > 0};
    auto rows = packBatch(batch, options);
    ASSERT_TRUE(rows.isOk()) << rows.status().text();
    expectSound(batch, options, *rows);
  }
}

} // namespace
} // namespace graft
