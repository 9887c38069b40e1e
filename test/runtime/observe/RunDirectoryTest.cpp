#include "runtime/observe/RunDirectory.h"

#include "test/runtime/base/TemporaryDirectory.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace graft {
namespace {

using Mode = RunDirectory::Mode;
using test::TemporaryDirectory;
namespace fs = std::filesystem;

TEST(RunDirectory, HoldsARun) {
  TemporaryDirectory folder;
  auto run = RunDirectory::open(folder.path("a/b/run/"), Mode::Fresh);
  ASSERT_TRUE(run.isOk()) << run.status().text();
  folder.write("p", std::string(3 << 20, 'p'));
  ASSERT_TRUE(run->writeRecipe("x = 1\n").isOk());
  ASSERT_TRUE(run->copyProgram(folder.path("p")).isOk());
  ASSERT_TRUE(run->openMetrics()->write({}).isOk());
  ASSERT_TRUE(run->openEvents()->write({}).isOk());
  EXPECT_EQ(folder.read("a/b/run/recipe.toml"), "x = 1\n");
  EXPECT_EQ(folder.read("a/b/run/program.graft"), folder.read("p"));
  EXPECT_EQ(folder.read("a/b/run/metrics.jsonl"), "{}\n");
  EXPECT_EQ(folder.read("a/b/run/events.jsonl"), "{}\n");
}

TEST(RunDirectory, CommitsCheckpointsAsAWhole) {
  TemporaryDirectory folder;
  auto run = RunDirectory::open(folder.path("run"), Mode::Fresh);
  EXPECT_FALSE(run->latestCheckpoint());
  for (int64_t step : {10, 9}) {
    auto checkpoint = run->beginCheckpoint(step);
    ASSERT_TRUE(writeFileAtomically(checkpoint->temporaryPath() + "/x", "x").isOk());
    ASSERT_TRUE(checkpoint->commit().isOk());
  }
  auto abandoned = run->beginCheckpoint(11);
  for (const char *other : {"step-", "step-012", "step--1", "step-x", "latest"})
    fs::create_directory(folder.path("run/checkpoints/") + other);
  folder.write("run/checkpoints/step-99", "a file");
  EXPECT_THAT(run->checkpoints(), testing::ElementsAre(9, 10));
  EXPECT_EQ(run->latestCheckpoint(), 10);
  EXPECT_EQ(run->beginCheckpoint(10).status().faults()[0].code, Code::Path);
}

TEST(RunDirectory, IsNeverSharedByTwoRuns) {
  TemporaryDirectory folder;
  {
    auto first = RunDirectory::open(folder.path("run"), Mode::Fresh);
    ASSERT_TRUE(first.isOk());
    auto second = RunDirectory::open(folder.path("run"), Mode::Fresh);
    EXPECT_THAT(second.status().text(), testing::HasSubstr("in use by another run"));
  }
  EXPECT_TRUE(RunDirectory::open(folder.path("run"), Mode::Fresh).isOk()) << "the lock goes with its holder";
}

TEST(RunDirectory, DistinguishesFreshRunsFromResumedOnes) {
  TemporaryDirectory folder;
  EXPECT_EQ(RunDirectory::open(folder.path("run"), Mode::Resume).status().faults()[0].code, Code::Usage);
  ASSERT_TRUE(RunDirectory::open(folder.path("run"), Mode::Fresh)->writeRecipe("").isOk());
  auto again = RunDirectory::open(folder.path("run"), Mode::Fresh);
  EXPECT_EQ(again.status().faults()[0].code, Code::Usage);
  EXPECT_THAT(again.status().text(), testing::HasSubstr("--resume"));
  EXPECT_TRUE(RunDirectory::open(folder.path("run"), Mode::Resume).isOk());
}

TEST(RunDirectory, RemovesWhatAnInterruptedRunLeft) {
  TemporaryDirectory folder;
  ASSERT_TRUE(RunDirectory::open(folder.path("run"), Mode::Fresh)->writeRecipe("").isOk());
  folder.write("run/checkpoints/.step-3.tmp-1-0/model.safetensors", "half");
  folder.write("run/.recipe.toml.tmp-1-0", "half");
  folder.write("run/.mine", "kept");
  ASSERT_TRUE(RunDirectory::open(folder.path("run"), Mode::Resume).isOk());
  EXPECT_EQ(folder.entries("run/checkpoints"), 0u);
  EXPECT_FALSE(fs::exists(folder.path("run/.recipe.toml.tmp-1-0")));
  EXPECT_EQ(folder.read("run/.mine"), "kept");
}

TEST(RunDirectory, ReportsPlacesThatCannotHoldARun) {
  TemporaryDirectory folder;
  folder.write("file", "");
  EXPECT_EQ(RunDirectory::open(folder.path("file"), Mode::Fresh).status().faults()[0].code, Code::Failed);
  EXPECT_EQ(RunDirectory::open("", Mode::Fresh).status().faults()[0].code, Code::Usage);
}

} // namespace
} // namespace graft
