#include "runtime/base/AtomicFile.h"

#include "test/runtime/base/TemporaryDirectory.h"

#include <csignal>
#include <gtest/gtest.h>
#include <sys/resource.h>

namespace graft {
namespace {

using test::TemporaryDirectory;
namespace fs = std::filesystem;

TEST(AtomicFile, AppearsOnCommitAndLeavesNothingElse) {
  TemporaryDirectory folder;
  auto file = AtomicFile::create(folder.path("a"));
  ASSERT_TRUE(file.isOk());
  ASSERT_TRUE(file->write("new").isOk());
  EXPECT_FALSE(fs::exists(folder.path("a")));
  ASSERT_TRUE(file->commit().isOk());
  EXPECT_EQ(folder.read("a"), "new");
  EXPECT_EQ(folder.entries(), 1u);
}

TEST(AtomicFile, KeepsTheOldContentsWhenItIsAbandoned) {
  TemporaryDirectory folder;
  folder.write("a", "old");
  {
    auto file = AtomicFile::create(folder.path("a"));
    ASSERT_TRUE(file->write("new").isOk());
  }
  EXPECT_EQ(folder.read("a"), "old");
  EXPECT_EQ(folder.entries(), 1u);
}

TEST(AtomicFile, RefusesLinksAndFolders) {
  TemporaryDirectory folder;
  folder.write("target", "precious");
  fs::create_symlink("target", folder.path("symlink"));
  fs::create_symlink("absent", folder.path("dangling"));
  fs::create_directory(folder.path("folder"));
  for (const char *name : {"symlink", "dangling", "folder"})
    EXPECT_EQ(writeFileAtomically(folder.path(name), "new").faults().at(0).code, Code::Path) << name;
  fs::create_hard_link(folder.path("target"), folder.path("hard"));
  EXPECT_EQ(writeFileAtomically(folder.path("hard"), "new").faults().at(0).code, Code::Path);
  EXPECT_EQ(folder.read("target"), "precious");
}

TEST(AtomicFile, RefusesALinkThatAppearsBeforeCommit) {
  TemporaryDirectory folder;
  folder.write("target", "precious");
  auto file = AtomicFile::create(folder.path("a"));
  ASSERT_TRUE(file->write("new").isOk());
  fs::create_symlink("target", folder.path("a"));
  EXPECT_EQ(file->commit().faults().at(0).code, Code::Path);
  EXPECT_EQ(folder.read("target"), "precious");
}

TEST(AtomicFile, ReportsAFolderThatIsNotThere) {
  TemporaryDirectory folder;
  EXPECT_EQ(writeFileAtomically(folder.path("no/a"), "x").faults().at(0).code, Code::Failed);
  EXPECT_EQ(writeFileAtomically("", "x").faults().at(0).code, Code::Path);
}

TEST(AtomicFile, ReportsAWriteThatTheSystemRefuses) {
  // A limit on the size of files stands for a full disk: SIGXFSZ is ignored, so that write(2) says EFBIG.
  TemporaryDirectory folder;
  rlimit before;
  ASSERT_EQ(::getrlimit(RLIMIT_FSIZE, &before), 0);
  auto handler = std::signal(SIGXFSZ, SIG_IGN);
  auto file = AtomicFile::create(folder.path("a"));
  ASSERT_TRUE(file.isOk());
  std::string large(3 << 20, 'x');
  rlimit small = {1 << 20, before.rlim_max};
  ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &small), 0);
  Status status = file->write(large);
  ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &before), 0);
  std::signal(SIGXFSZ, handler);
  ASSERT_FALSE(status.isOk());
  EXPECT_EQ(status.faults()[0].code, Code::Failed);
  EXPECT_EQ(status.exitCode(), 5);
}

TEST(AtomicDirectory, AppearsAsAWhole) {
  TemporaryDirectory folder;
  auto directory = AtomicDirectory::create(folder.path("step-1/"));
  ASSERT_TRUE(directory.isOk());
  ASSERT_TRUE(writeFileAtomically(directory->temporaryPath() + "/a", "x").isOk());
  EXPECT_FALSE(fs::exists(folder.path("step-1")));
  ASSERT_TRUE(directory->commit().isOk());
  EXPECT_EQ(folder.read("step-1/a"), "x");
  EXPECT_EQ(folder.entries(), 1u);
}

TEST(AtomicDirectory, IsRemovedWhenAbandonedAndNeverReplacesAnother) {
  TemporaryDirectory folder;
  folder.write("full/a", "x");
  {
    ASSERT_TRUE(AtomicDirectory::create(folder.path("b")).isOk());
  }
  EXPECT_EQ(folder.entries(), 1u);
  EXPECT_EQ(AtomicDirectory::create(folder.path("full")).status().faults().at(0).code, Code::Path);
  fs::create_directory(folder.path("empty"));
  EXPECT_TRUE(AtomicDirectory::create(folder.path("empty"))->commit().isOk());
}

} // namespace
} // namespace graft
