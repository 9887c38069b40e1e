#include "runtime/observe/Metrics.h"

#include "test/runtime/base/TemporaryDirectory.h"

#include <cmath>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace graft {
namespace {

using test::TemporaryDirectory;

TEST(Metrics, WritesOneFlushedLinePerStepInTheOrderGiven) {
  TemporaryDirectory folder;
  auto writer = JsonLinesWriter::open(folder.path("m"));
  ASSERT_TRUE(writer.isOk());
  std::vector<Field> fields = {
      {"step", int64_t{1}}, {"loss", 0.1}, {"bad", std::nan("")}, {"name\n", std::string("a\"b")}, {"done", true}};
  ASSERT_TRUE(writer->write(fields).isOk());
  EXPECT_EQ(folder.read("m"), R"({"step": 1, "loss": 0.1, "bad": null, "name\u000a": "a\"b", "done": true})"
                              "\n")
      << "before the writer is closed";
}

TEST(Metrics, CountsAreAnObjectThatReadersPassOver) {
  TemporaryDirectory folder;
  auto writer = JsonLinesWriter::open(folder.path("m"));
  std::vector<Field> fields = {{"step", int64_t{1}}, {"memory", Counts{{"arena", 64}, {"other", 7}}}, {"loss", 2.0}};
  ASSERT_TRUE(writer->write(fields).isOk());
  EXPECT_EQ(folder.read("m"), "{\"step\": 1, \"memory\": {\"arena\": 64, \"other\": 7}, \"loss\": 2}\n");
  EXPECT_EQ((*readMetrics(folder.path("m")))[0], (MetricsRow{{"step", 1}, {"loss", 2}}));
}

TEST(Metrics, ReadsBackWhatItWrote) {
  TemporaryDirectory folder;
  {
    auto writer = JsonLinesWriter::open(folder.path("m"));
    for (int64_t step = 1; step <= 3; ++step) {
      std::vector<Field> fields = {
          {"step", step}, {"loss", 1.0 / static_cast<double>(step)}, {"text", std::string("x")}, {"nan", std::nan("")}};
      ASSERT_TRUE(writer->write(fields).isOk());
    }
  }
  auto rows = readMetrics(folder.path("m"));
  ASSERT_TRUE(rows.isOk()) << rows.status().text();
  ASSERT_EQ(rows->size(), 3u);
  EXPECT_EQ((*rows)[2][0], (std::pair<std::string, double>{"step", 3}));
  EXPECT_EQ((*rows)[2][1].second, 1.0 / 3);
  EXPECT_TRUE(std::isnan((*rows)[2][2].second));
}

TEST(Metrics, AppendsToWhatIsThere) {
  TemporaryDirectory folder;
  std::vector<Field> fields = {{"step", int64_t{1}}};
  for (int i = 0; i < 2; ++i)
    ASSERT_TRUE(JsonLinesWriter::open(folder.path("m"))->write(fields).isOk());
  EXPECT_EQ(readMetrics(folder.path("m"))->size(), 2u);
}

TEST(Metrics, LeavesOutALineThatWasCutOff) {
  TemporaryDirectory folder;
  folder.write("m", "{\"step\": 1}\n{\"step\": 2, \"lo");
  EXPECT_EQ(readMetrics(folder.path("m"))->size(), 1u);
  folder.write("m", "{\"step\": 1}\n{\"step\": 2, \"lo\n");
  EXPECT_THAT(readMetrics(folder.path("m")).status().text(), testing::HasSubstr("m:2: column"));
}

TEST(Metrics, IsCutBackToACheckpointsStep) {
  TemporaryDirectory folder;
  EXPECT_TRUE(truncateMetrics(folder.path("m"), 3).isOk()) << "no file yet";
  folder.write("m", "{\"step\": 1}\n{\"step\": 2}\n{\"step\": 3}\n{\"st");
  ASSERT_TRUE(truncateMetrics(folder.path("m"), 2).isOk());
  EXPECT_EQ(folder.read("m"), "{\"step\": 1}\n{\"step\": 2}\n");
}

TEST(Metrics, RefusesLinksAndMissingFolders) {
  TemporaryDirectory folder;
  std::filesystem::create_symlink("target", folder.path("link"));
  EXPECT_EQ(JsonLinesWriter::open(folder.path("link")).status().faults()[0].code, Code::Path);
  EXPECT_EQ(JsonLinesWriter::open(folder.path("no/m")).status().faults()[0].code, Code::Failed);
}

TEST(Metrics, ReportsAFullDisk) {
  auto writer = JsonLinesWriter::open("/dev/full");
  ASSERT_TRUE(writer.isOk());
  std::vector<Field> fields = {{"step", int64_t{1}}};
  EXPECT_EQ(writer->write(fields).faults().at(0).code, Code::Failed);
}

} // namespace
} // namespace graft
