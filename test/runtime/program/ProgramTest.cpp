#include "runtime/program/Program.h"

#include "runtime/program/Hash.h"
#include "runtime/program/ProgramFile.h"
#include "test/runtime/program/SampleProgram.h"

#include <cstdio>
#include <filesystem>
#include <fstream>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace graft {
namespace {
using test::sampleFile;
using testing::HasSubstr;

std::string textOf(const std::vector<uint8_t> &file) {
  auto program = Program::fromBytes(file);
  return program.isOk() ? "ok" : program.status().text();
}

// Tests the published values of XXH64.
TEST(Hash, KnownValues) {
  EXPECT_EQ(hash64("", 0), 0xEF46DB3751D8E999u);
  EXPECT_EQ(hash64("a"), 0xD24EC4F1A98C6E5Bu);
  EXPECT_EQ(hash64("abc"), 0x44BC2CF5AD770999u);
  EXPECT_NE(hash64("The quick brown fox jumps over the lazy dog"),
            hash64("The quick brown fox jumps over the lazy cog"));
}

TEST(ProgramFile, SameProgramSameBytes) {
  EXPECT_EQ(sampleFile(), sampleFile());
}

TEST(Program, OpensWhatWasWritten) {
  std::string path = testing::TempDir() + "sample.graft";
  schema::ProgramT sample = test::sampleProgram();
  ASSERT_TRUE(writeProgram(sample, path).isOk());
  auto program = Program::open(path);
  ASSERT_TRUE(program.isOk()) << program.status().text();
  EXPECT_EQ(program->findEntry("accumulate"), 1);
  EXPECT_EQ(program->findEntry("apply"), -1);
  EXPECT_EQ(program->findParameter("weight"), 1);
  EXPECT_EQ(program->findParameter("tied"), 1);
  EXPECT_EQ(program->findParameter("nothing"), -1);
  ASSERT_NE(program->object(), nullptr);
  EXPECT_EQ(reinterpret_cast<uintptr_t>(program->root().constants()->data()) % 64, 0u);
  EXPECT_FALSE(std::filesystem::exists(path + ".tmp"));
}

TEST(Program, OutlivesCopies) {
  auto program = Program::fromBytes(sampleFile());
  ASSERT_TRUE(program.isOk());
  Program copy = *program;
  program = Status::error(Code::Internal, "gone");
  EXPECT_EQ(copy.root().entries()->size(), 3u);
}

TEST(Program, RejectsWhatIsNotAFile) {
  for (const char *path : {"/nonexistent/x.graft", "/tmp", "/dev/zero"}) {
    auto program = Program::open(path);
    ASSERT_FALSE(program.isOk());
    EXPECT_EQ(program.status().exitCode(), 3);
    EXPECT_THAT(program.status().text(), HasSubstr(path));
  }
}

TEST(Program, WriterReportsWhereItCannotWrite) {
  schema::ProgramT sample = test::sampleProgram();
  Status status = writeProgram(sample, "/nonexistent/folder/x.graft");
  EXPECT_EQ(status.exitCode(), 5);
  EXPECT_THAT(status.text(), HasSubstr("/nonexistent/folder/x.graft"));
}

TEST(Program, RejectsEveryTruncation) {
  std::vector<uint8_t> file = sampleFile();
  for (size_t size = 0; size < file.size(); size += size < 200 ? 1 : 97)
    EXPECT_NE(textOf({file.begin(), file.begin() + static_cast<ptrdiff_t>(size)}), "ok") << size;
}

TEST(Program, ChecksumFindsEveryFlippedByte) {
  std::vector<uint8_t> file = sampleFile();
  for (size_t i = 0; i < file.size(); i += i < 200 ? 1 : 53) {
    file[i] ^= 1;
    EXPECT_NE(textOf(file), "ok") << i;
    file[i] ^= 1;
  }
  EXPECT_EQ(textOf(file), "ok");
}

// Tests that a file whose checksum was recomputed after the change never crashes the verifier, whatever the change.
TEST(Program, SurvivesFlippedBytesWithRightChecksum) {
  const std::vector<uint8_t> file = sampleFile();
  int accepted = 0;
  for (size_t i = 64; i < file.size(); i += i < 8000 ? 1 : 31)
    for (uint8_t flip : {0x01, 0x80, 0xFF}) {
      std::vector<uint8_t> broken = file;
      broken[i] ^= flip;
      uint64_t checksum = hash64(broken.data() + 64, broken.size() - 64);
      std::memcpy(broken.data() + 24, &checksum, sizeof checksum);
      accepted += textOf(broken) == "ok";
    }
  EXPECT_GT(accepted, 0) << "names, fingerprints and costs may change";
}

TEST(Program, PreambleFaultsSayWhatIsWrong) {
  std::vector<uint8_t> file = sampleFile();
  auto broken = [&](size_t at, uint8_t value) {
    std::vector<uint8_t> copy = file;
    copy[at] = value;
    return textOf(copy);
  };
  EXPECT_THAT(broken(0, 'X'), HasSubstr("GRAFTPRG"));
  EXPECT_THAT(broken(8, 9), HasSubstr("format version 9"));
  EXPECT_THAT(broken(12, 1), HasSubstr("reserved"));
  EXPECT_THAT(broken(16, 1), HasSubstr("announces"));
  EXPECT_THAT(broken(24, 1), HasSubstr("checksum"));
  EXPECT_THAT(broken(40, 1), HasSubstr("reserved"));
}

} // namespace
} // namespace graft
