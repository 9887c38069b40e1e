#include "runtime/base/File.h"

#include "test/runtime/base/TemporaryDirectory.h"

#include <cstring>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

namespace graft {
namespace {

using test::TemporaryDirectory;
namespace fs = std::filesystem;

Code codeOf(const Status &status) {
  return status.isOk() ? Code::Internal : status.faults()[0].code;
}
template <typename T> Code codeOf(const Result<T> &result) {
  return result.isOk() ? Code::Internal : codeOf(result.status());
}

std::string readAll(const InputFile &file) {
  std::string text(file.size(), '\0');
  EXPECT_TRUE(file.read(0, std::as_writable_bytes(std::span(text))).isOk());
  return text;
}

TEST(InputFile, ReadsARegularFile) {
  TemporaryDirectory folder;
  auto file = InputFile::open(folder.write("a", "hello"));
  ASSERT_TRUE(file.isOk());
  EXPECT_EQ(file->size(), 5u);
  EXPECT_EQ(readAll(*file), "hello");
}

TEST(InputFile, RefusesWhatIsNoRegularFileWithoutBlocking) {
  TemporaryDirectory folder;
  ASSERT_EQ(::mkfifo(folder.path("fifo").c_str(), 0600), 0);
  EXPECT_EQ(codeOf(InputFile::open(folder.path())), Code::Io);
  EXPECT_EQ(codeOf(InputFile::open(folder.path("fifo"))), Code::Io);
  EXPECT_EQ(codeOf(InputFile::open("/dev/zero")), Code::Io);
  EXPECT_EQ(codeOf(InputFile::open(folder.path("absent"))), Code::Io);
  EXPECT_EQ(codeOf(InputFile::open("")), Code::Io);
  EXPECT_EQ(codeOf(InputFile::open(std::string("a\0b", 3))), Code::Io);
}

TEST(InputFile, RefusesRangesOutsideOfTheFile) {
  TemporaryDirectory folder;
  auto file = InputFile::open(folder.write("a", "hello"));
  std::byte buffer[8];
  EXPECT_EQ(codeOf(file->read(6, {buffer, 0})), Code::Range);
  EXPECT_EQ(codeOf(file->read(0, {buffer, 6})), Code::Range);
  EXPECT_EQ(codeOf(file->read(UINT64_MAX, {buffer, 2})), Code::Range) << "the sum wraps";
  EXPECT_TRUE(file->read(5, {buffer, 0}).isOk());
}

TEST(InputFile, ReportsAFileThatWasTruncatedAfterItWasOpened) {
  TemporaryDirectory folder;
  auto file = InputFile::open(folder.write("a", std::string(10000, 'x')));
  fs::resize_file(folder.path("a"), 100);
  std::vector<std::byte> buffer(10000);
  EXPECT_EQ(codeOf(file->read(0, buffer)), Code::Io);
}

TEST(OpenBeneath, OpensPlainNamesAndSubfolders) {
  TemporaryDirectory folder;
  folder.write("in/a", "A");
  folder.write("in/sub/b", "B");
  EXPECT_EQ(readAll(*InputFile::openBeneath(folder.path("in"), "a")), "A");
  EXPECT_EQ(readAll(*InputFile::openBeneath(folder.path("in"), "./sub//b")), "B");
  EXPECT_EQ(codeOf(InputFile::openBeneath(folder.path("in"), "c")), Code::Io);
}

TEST(OpenBeneath, RefusesNamesThatLeaveTheDirectory) {
  TemporaryDirectory folder;
  folder.write("secret", "S");
  folder.write("in/a", "A");
  std::string longName(5000, 'x');
  for (const std::string &name :
       {std::string("../secret"), std::string("a/../../secret"), std::string("./../secret"),
        std::string("a//../../secret"), folder.path("secret"), std::string("C:\\x"), std::string("\\\\host\\share"),
        std::string(), std::string("a\0", 2), std::string("a\n"), longName})
    EXPECT_EQ(codeOf(InputFile::openBeneath(folder.path("in"), name)), Code::Path) << escaped(name);
  for (const char *name : {"~/secret", "$HOME/secret", "file:///etc/passwd"})
    EXPECT_EQ(codeOf(InputFile::openBeneath(folder.path("in"), name)), Code::Io)
        << name << " is an ordinary name that does not exist";
}

TEST(OpenBeneath, RefusesLinksAtEveryComponent) {
  TemporaryDirectory folder;
  folder.write("secret/file", "S");
  folder.write("in/real", "R");
  fs::create_symlink("../secret/file", folder.path("in/final"));
  fs::create_symlink("../secret", folder.path("in/parent"));
  fs::create_symlink("real", folder.path("in/inside"));
  fs::create_symlink("loop2", folder.path("in/loop1"));
  fs::create_symlink("loop1", folder.path("in/loop2"));
  fs::create_hard_link(folder.path("secret/file"), folder.path("in/hard"));
  for (const char *name : {"final", "parent/file", "inside", "loop1", "hard"})
    EXPECT_EQ(codeOf(InputFile::openBeneath(folder.path("in"), name)), Code::Path) << name;
}

TEST(OpenBeneath, FollowsLinksUnderAnExplicitRoot) {
  TemporaryDirectory folder;
  folder.write("hub/blobs/hash", "weights");
  folder.write("outside", "S");
  fs::create_directories(folder.path("hub/snapshots/rev"));
  fs::create_symlink("../../blobs/hash", folder.path("hub/snapshots/rev/model"));
  fs::create_symlink("../../../outside", folder.path("hub/snapshots/rev/evil"));
  std::string snapshot = folder.path("hub/snapshots/rev"), root = folder.path("hub");
  EXPECT_EQ(codeOf(InputFile::openBeneath(snapshot, "model")), Code::Path);
  EXPECT_EQ(readAll(*InputFile::openBeneath(snapshot, "model", root)), "weights");
  EXPECT_EQ(codeOf(InputFile::openBeneath(snapshot, "evil", root)), Code::Path);
  EXPECT_EQ(codeOf(InputFile::openBeneath(folder.path(), "outside", root)), Code::Path)
      << "the directory lies outside of the root";
}

TEST(MappedFile, GivesTheBytesAndRefusesLargeFilesBeforeReading) {
  TemporaryDirectory folder;
  auto file = MappedFile::open(folder.write("a", "hello"));
  ASSERT_TRUE(file.isOk());
  EXPECT_EQ(std::memcmp(file->bytes().data(), "hello", 5), 0);
  fs::resize_file(folder.path("a"), 2);
  EXPECT_EQ(std::memcmp(file->bytes().data(), "hello", 5), 0) << "small files are copies";
  EXPECT_TRUE(file->stillWhole().isOk());
  fs::resize_file(folder.path("a"), 1ull << 40); // sparse
  EXPECT_EQ(codeOf(MappedFile::open(folder.path("a"), 1u << 30)), Code::Limit);
}

TEST(MappedFile, MapsLargeFilesAndNoticesTruncation) {
  TemporaryDirectory folder;
  folder.write("a", "begin");
  fs::resize_file(folder.path("a"), MappedFile::copyUpTo + 4096);
  auto file = MappedFile::open(folder.path("a"));
  ASSERT_TRUE(file.isOk());
  EXPECT_EQ(file->bytes().size(), MappedFile::copyUpTo + 4096);
  EXPECT_EQ(std::memcmp(file->bytes().data(), "begin", 5), 0);
  MappedFile moved = std::move(*file);
  EXPECT_EQ(std::memcmp(moved.bytes().data(), "begin", 5), 0);
  fs::resize_file(folder.path("a"), 10);
  EXPECT_EQ(codeOf(moved.stillWhole()), Code::Io);
  std::byte buffer[16];
  EXPECT_EQ(codeOf(moved.read(4096, buffer)), Code::Io);
}

TEST(ReadText, ReadsUpToItsLimit) {
  TemporaryDirectory folder;
  folder.write("a", "text");
  EXPECT_EQ(*readText(folder.path("a"), 4), "text");
  EXPECT_EQ(codeOf(readText(folder.path("a"), 3)), Code::Limit);
}

} // namespace
} // namespace graft
