#include "test/frontends/weights/CheckpointFiles.h"

#include <gmock/gmock.h>

namespace graft {
namespace {

using namespace test;
namespace fs = std::filesystem;

/// Trained values from a table.
TrainedValues from(const std::map<std::string, std::vector<float>> &table) {
  return [&table](const std::string &name) -> std::optional<std::span<const float>> {
    auto found = table.find(name);
    return found == table.end() ? std::nullopt : std::optional(std::span<const float>(found->second));
  };
}

TEST(SaveCheckpoint, CopiesWhatWasNotTrainedByteForByte) {
  TemporaryDirectory source, target;
  writeCheckpointFile(source.path("weights.safetensors"), {{"a", {2}, {1, 2}}, {"b", {2, 1}, {3, 4}, DType::BF16}});
  ASSERT_TRUE(saveCheckpoint(*Checkpoint::open(source.path("weights.safetensors")), target.path(), from({})).isOk());
  EXPECT_EQ(target.read("model.safetensors"), source.read("weights.safetensors"));
  EXPECT_EQ(target.entries(), 1u);
}

TEST(SaveCheckpoint, StoresTrainedValuesInTheSourcesTypes) {
  TemporaryDirectory source, target;
  writeCheckpointFile(source.path("model.safetensors"), {{"a", {2}, {1, 2}}, {"b", {2}, {3, 4}, DType::BF16}});
  std::map<std::string, std::vector<float>> trained = {{"b", {1.00390625f, 5}}};
  ASSERT_TRUE(saveCheckpoint(*Checkpoint::open(source.path()), target.path(), from(trained)).isOk());
  auto saved = Checkpoint::open(target.path());
  EXPECT_EQ(readTensor(*saved, "a"), (std::vector<float>{1, 2}));
  EXPECT_EQ(readTensor(*saved, "b"), (std::vector<float>{1, 5})) << "1 + 2^-8 is a tie and rounds to even";
  EXPECT_EQ(saved->find("b")->info->dtype, DType::BF16);
  EXPECT_EQ(saved->shards()[0].file->metadata().at("format"), "pt");
}

TEST(SaveCheckpoint, KeepsShardsAndRewritesTheIndex) {
  TemporaryDirectory source, target;
  writeSharded(source);
  std::map<std::string, std::vector<float>> trained = {{"a", {9, 8, 7, 6}}};
  Status status = saveCheckpoint(*Checkpoint::open(source.path()), target.path(), from(trained));
  ASSERT_TRUE(status.isOk()) << status.text();
  auto saved = Checkpoint::open(target.path());
  ASSERT_TRUE(saved.isOk()) << saved.status().text();
  EXPECT_TRUE(saved->isSharded());
  EXPECT_EQ(readTensor(*saved, "a"), (std::vector<float>{9, 8, 7, 6}));
  EXPECT_EQ(readTensor(*saved, "b"), (std::vector<float>{5, 6, 7}));
  EXPECT_THAT(target.read("model.safetensors.index.json"), testing::HasSubstr("\"total_size\": 22"));
}

TEST(SaveCheckpoint, WritesTiedNamesAlike) {
  TemporaryDirectory source, target;
  std::vector<float> x = {1, 2, 3, 4};
  writeCheckpointFile(source.path("model.safetensors"), {{"embed", {2, 2}, x}, {"lm_head", {2, 2}, x}});
  std::map<std::string, std::vector<float>> trained = {{"lm_head", {5, 6, 7, 8}}};
  ASSERT_TRUE(saveCheckpoint(*Checkpoint::open(source.path()), target.path(), from(trained)).isOk());
  EXPECT_EQ(readTensor(*Checkpoint::open(target.path()), "embed"), trained["lm_head"]);
}

TEST(SaveCheckpoint, TakesConfigAndTokenizerAlongButNoLinksToElsewhere) {
  TemporaryDirectory source, target;
  writeCheckpointFile(source.path("model.safetensors"), {{"a", {1}, {1}}});
  source.write("config.json", "{}");
  source.write("notes.txt", "private");
  TemporaryDirectory elsewhere;
  fs::create_symlink(elsewhere.write("secret", "secret"), source.path("tokenizer.json"));
  ASSERT_TRUE(saveCheckpoint(*Checkpoint::open(source.path()), target.path(), from({})).isOk());
  EXPECT_EQ(target.read("config.json"), "{}");
  EXPECT_EQ(target.entries(), 2u);
}

TEST(SaveCheckpoint, CanReplaceItsOwnSource) {
  TemporaryDirectory folder;
  writeCheckpointFile(folder.path("model.safetensors"), {{"a", {1}, {1}}, {"b", {1}, {2}}});
  std::map<std::string, std::vector<float>> trained = {{"a", {7}}};
  ASSERT_TRUE(saveCheckpoint(*Checkpoint::open(folder.path()), folder.path(), from(trained)).isOk());
  EXPECT_EQ(readTensor(*Checkpoint::open(folder.path()), "a"), std::vector<float>{7});
  EXPECT_EQ(readTensor(*Checkpoint::open(folder.path()), "b"), std::vector<float>{2});
}

TEST(SaveCheckpoint, ReportsWrongSizesAndUnwritablePlaces) {
  TemporaryDirectory source, target;
  writeCheckpointFile(source.path("model.safetensors"), {{"a", {2}, {1, 2}}});
  std::map<std::string, std::vector<float>> trained = {{"a", {7}}};
  EXPECT_EQ(saveCheckpoint(*Checkpoint::open(source.path()), target.path(), from(trained)).faults()[0].code,
            Code::Internal);
  EXPECT_EQ(target.entries(), 0u);
  target.write("file", "");
  EXPECT_EQ(saveCheckpoint(*Checkpoint::open(source.path()), target.path("file"), from({})).faults()[0].code,
            Code::Failed);
  target.write("precious", "old");
  fs::create_symlink("precious", target.path("model.safetensors"));
  EXPECT_EQ(saveCheckpoint(*Checkpoint::open(source.path()), target.path(), from({})).faults()[0].code, Code::Path);
  EXPECT_EQ(target.read("precious"), "old");
}

} // namespace
} // namespace graft
