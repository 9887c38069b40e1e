#include "frontends/weights/Checkpoint.h"

#include "test/frontends/weights/CheckpointFiles.h"

#include <gmock/gmock.h>

namespace graft {
namespace {

using namespace test;
using testing::ElementsAre;
using testing::HasSubstr;
namespace fs = std::filesystem;

Code codeOf(const Result<Checkpoint> &checkpoint) {
  return checkpoint.isOk() ? Code::Internal : checkpoint.status().faults()[0].code;
}

TEST(Checkpoint, OpensOneFileOrItsFolder) {
  TemporaryDirectory folder;
  writeCheckpointFile(folder.path("model.safetensors"), {{"b", {1}, {2}}, {"a", {1}, {1}}});
  for (const std::string &path : {folder.path("model.safetensors"), folder.path()}) {
    auto checkpoint = Checkpoint::open(path);
    ASSERT_TRUE(checkpoint.isOk()) << checkpoint.status().text();
    EXPECT_THAT(checkpoint->names(), ElementsAre("a", "b"));
    EXPECT_FALSE(checkpoint->isSharded());
    EXPECT_EQ(readTensor(*checkpoint, "b"), std::vector<float>{2});
    EXPECT_FALSE(checkpoint->find("c"));
    EXPECT_FALSE(checkpoint->tieWordEmbeddings());
  }
}

TEST(Checkpoint, OpensShardsByTheirIndex) {
  TemporaryDirectory folder;
  writeSharded(folder);
  for (const std::string &path : {folder.path(), folder.path("model.safetensors.index.json")}) {
    auto checkpoint = Checkpoint::open(path);
    ASSERT_TRUE(checkpoint.isOk()) << checkpoint.status().text();
    EXPECT_TRUE(checkpoint->isSharded());
    EXPECT_EQ(readTensor(*checkpoint, "a"), (std::vector<float>{1, 2, 3, 4}));
    EXPECT_EQ(readTensor(*checkpoint, "b"), (std::vector<float>{5, 6, 7}));
  }
}

TEST(Checkpoint, ReportsUnknownNamesAndWrongSizes) {
  TemporaryDirectory folder;
  writeSharded(folder);
  auto checkpoint = Checkpoint::open(folder.path());
  std::vector<float> values(3);
  EXPECT_EQ(checkpoint->read("c", values).faults()[0].code, Code::Graph);
  EXPECT_EQ(checkpoint->read("a", values).faults()[0].code, Code::Internal);
}

TEST(Checkpoint, RefusesPathsThatHoldNoWeights) {
  TemporaryDirectory folder;
  EXPECT_EQ(codeOf(Checkpoint::open(folder.path("absent"))), Code::Io);
  EXPECT_EQ(codeOf(Checkpoint::open(folder.path())), Code::Io);
  folder.write("pytorch_model.bin", "PK\x03\x04");
  EXPECT_EQ(codeOf(Checkpoint::open(folder.path())), Code::Unsupported);
  EXPECT_EQ(codeOf(Checkpoint::open(folder.path("pytorch_model.bin"))), Code::Unsupported);
}

class Index : public testing::Test {
protected:
  void expectFault(const std::string &weightMap, Code code, const std::string &text) {
    folder.write("model.safetensors.index.json", "{\"weight_map\":" + weightMap + "}");
    auto checkpoint = Checkpoint::open(folder.path());
    ASSERT_FALSE(checkpoint.isOk()) << text;
    EXPECT_EQ(checkpoint.status().faults()[0].code, code) << checkpoint.status().text();
    EXPECT_THAT(checkpoint.status().text(), HasSubstr(text));
  }
  void SetUp() override {
    writeCheckpointFile(folder.path("one"), {{"a", {1}, {1}}});
    writeCheckpointFile(folder.path("two"), {{"b", {1}, {1}}});
    writeCheckpointFile(folder.path("again"), {{"a", {1}, {1}}});
  }
  TemporaryDirectory folder;
};

TEST_F(Index, RefusesShardsThatLeaveTheFolder) {
  expectFault(R"({"a":"../x"})", Code::Path, "leaves its directory");
  expectFault(R"({"a":"/etc/passwd"})", Code::Path, "relative path");
  expectFault(R"({"a":""})", Code::Path, "empty file name");
  fs::create_symlink("one", folder.path("link"));
  expectFault(R"({"a":"link"})", Code::Path, "symbolic link");
  fs::create_hard_link(folder.path("one"), folder.path("hard"));
  expectFault(R"({"a":"hard"})", Code::Path, "hard links");
}

TEST_F(Index, ReportsMissingAndDuplicateTensors) {
  expectFault(R"({"a":"absent"})", Code::Io, "absent");
  expectFault(R"({"a":"one","c":"two"})", Code::Graph, "tensor 'c': the index places it in 'two', which lacks it");
  expectFault(R"({"a":"two","b":"two"})", Code::Graph, "tensor 'a'");
  expectFault(R"({"a":"one","a":"one"})", Code::Graph, "occurs twice");
  expectFault(R"({"a":"one","b":"two","c":"again"})", Code::Graph, "also stands in");
}

TEST_F(Index, ReportsEveryBadShardAtOnce) {
  folder.write("junk", "junk");
  expectFault(R"({"a":"../x","b":"absent","c":"junk","d":"one"})", Code::Path, "../x");
  auto status = Checkpoint::open(folder.path()).takeStatus();
  EXPECT_EQ(status.faults().size(), 4u) << status.text();
}

TEST_F(Index, RefusesOtherJson) {
  expectFault("1", Code::Format, "an object is expected");
  expectFault(R"({"a":1})", Code::Type, "must be a string");
  folder.write("model.safetensors.index.json", "{}");
  EXPECT_THAT(Checkpoint::open(folder.path()).status().text(), HasSubstr("'weight_map' is expected"));
  folder.write("model.safetensors.index.json", R"({"weight_map":{},"weight_map":{}})");
  EXPECT_THAT(Checkpoint::open(folder.path()).status().text(), HasSubstr("found 2"));
}

TEST(Checkpoint, FollowsLinksInsideAHubCacheOnly) {
  TemporaryDirectory cache;
  fs::create_directories(cache.path("models--x/blobs"));
  fs::create_directories(cache.path("models--x/snapshots/rev"));
  writeCheckpointFile(cache.path("models--x/blobs/hash"), {{"a", {1}, {1}}});
  fs::create_symlink("../../blobs/hash", cache.path("models--x/snapshots/rev/model.safetensors"));
  EXPECT_TRUE(Checkpoint::open(cache.path("models--x/snapshots/rev")).isOk());
  writeCheckpointFile(cache.path("outside"), {{"a", {1}, {1}}});
  fs::remove(cache.path("models--x/snapshots/rev/model.safetensors"));
  fs::create_symlink("../../../outside", cache.path("models--x/snapshots/rev/model.safetensors"));
  EXPECT_EQ(codeOf(Checkpoint::open(cache.path("models--x/snapshots/rev"))), Code::Path);
}

TEST(Checkpoint, FindsATensorByItsBytes) {
  TemporaryDirectory folder;
  writeCheckpointFile(folder.path("model.safetensors"), {{"a", {2}, {1, 2}}, {"empty", {0}, {}}, {"b", {1}, {3}}});
  auto checkpoint = Checkpoint::open(folder.path());
  uint64_t begin = checkpoint->find("b")->info->begin;
  ASSERT_TRUE(checkpoint->findByBytes("some/folder/model.safetensors", begin, 4));
  EXPECT_EQ(checkpoint->findByBytes("model.safetensors", begin, 4)->info->name, "b")
      << "not the empty tensor at the same place";
  EXPECT_FALSE(checkpoint->findByBytes("model.safetensors", begin, 8));
  EXPECT_FALSE(checkpoint->findByBytes("model.safetensors", begin - 4, 4));
  EXPECT_FALSE(checkpoint->findByBytes("other.safetensors", begin, 4));
}

TEST(Checkpoint, ReadsWhetherEmbeddingsAreTied) {
  TemporaryDirectory folder;
  EXPECT_FALSE(readTieWordEmbeddings(folder.path())->has_value());
  auto flag = [&](const std::string &text) {
    folder.write("config.json", text);
    return *readTieWordEmbeddings(folder.path());
  };
  EXPECT_EQ(flag(R"({"a":[1],"tie_word_embeddings":true})"), true);
  EXPECT_EQ(flag(R"({"tie_word_embeddings":false,"text_config":{"tie_word_embeddings":true}})"), false);
  EXPECT_EQ(flag(R"({"text_config":{"x":1,"tie_word_embeddings":true}})"), true);
  EXPECT_EQ(flag(R"({"tie_word_embeddings":null})"), std::nullopt);
  folder.write("config.json", R"({"tie_word_embeddings":"yes"})");
  EXPECT_THAT(readTieWordEmbeddings(folder.path()).status().text(), HasSubstr("config.json: byte"));
}

TEST(Checkpoint, KnowsTiedMatricesByTheirBytes) {
  TemporaryDirectory folder;
  std::vector<float> x = {1, 2, 3, 4}, y = {1, 2, 3, 5}, zeros(4);
  writeCheckpointFile(folder.path("model.safetensors"), {{"lm_head", {2, 2}, x},
                                                         {"embed", {2, 2}, x},
                                                         {"other", {2, 2}, y},
                                                         {"z1", {2, 2}, zeros},
                                                         {"z2", {2, 2}, zeros},
                                                         {"flat1", {4}, x},
                                                         {"flat2", {4}, x},
                                                         {"wide", {1, 4}, x}});
  EXPECT_THAT(*Checkpoint::open(folder.path())->tiedNames(), ElementsAre(ElementsAre("embed", "lm_head")))
      << "constant matrices and vectors are equal by chance";
  folder.write("config.json", R"({"tie_word_embeddings":true})");
  EXPECT_EQ(Checkpoint::open(folder.path())->tiedNames()->size(), 1u);
  folder.write("config.json", R"({"tie_word_embeddings":false})");
  EXPECT_TRUE(Checkpoint::open(folder.path())->tiedNames()->empty());
}

TEST(ContentHash, RecognisesTheTransposedMatrix) {
  std::vector<float> matrix(3 * 5), transposed(3 * 5);
  for (size_t row = 0; row < 3; ++row)
    for (size_t column = 0; column < 5; ++column)
      matrix[row * 5 + column] = transposed[column * 3 + row] = static_cast<float>(row * 10 + column) - 0.5f;
  ContentHash a = contentHash(matrix, std::vector<int64_t>{3, 5}),
              b = contentHash(transposed, std::vector<int64_t>{5, 3});
  EXPECT_EQ(a.rowMajor, b.transposed);
  EXPECT_EQ(a.transposed, b.rowMajor);
  EXPECT_NE(a.rowMajor, a.transposed);
  std::swap(matrix[0], matrix[1]);
  EXPECT_NE(contentHash(matrix, std::vector<int64_t>{3, 5}).rowMajor, a.rowMajor) << "positions count";
  EXPECT_EQ(contentHash(matrix, std::vector<int64_t>{15}).transposed, 0u);
}

TEST(ContentHash, IsTheSameWhateverTheStorageType) {
  TemporaryDirectory folder;
  std::vector<float> values(300'000);
  for (size_t i = 0; i < values.size(); ++i)
    values[i] = static_cast<float>(i % 128);
  writeCheckpointFile(folder.path("model.safetensors"),
                      {{"f32", {300, 1000}, values}, {"bf16", {300, 1000}, values, DType::BF16}});
  auto checkpoint = Checkpoint::open(folder.path());
  auto expected = contentHash(values, std::vector<int64_t>{300, 1000});
  EXPECT_EQ(*contentHash(*checkpoint->find("f32")), expected);
  EXPECT_EQ(*contentHash(*checkpoint->find("bf16")), expected);
}

} // namespace
} // namespace graft
