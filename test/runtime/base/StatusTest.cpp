#include "runtime/base/Status.h"

#include <gtest/gtest.h>

namespace graft {
namespace {

TEST(Status, IsOkWithoutFaults) {
  EXPECT_TRUE(Status::ok().isOk());
  EXPECT_EQ(Status::ok().exitCode(), 0);
  EXPECT_EQ(Status::ok().text(), "");
}

TEST(Status, KeepsAllFaultsAndTheFirstOnesExitCode) {
  Status status = Status::error(Code::Range, "one", "a");
  status.merge(Status::error(Code::DoesNotFit, "two", "b", "buy memory"));
  ASSERT_EQ(status.faults().size(), 2u);
  EXPECT_EQ(status.exitCode(), 3);
  EXPECT_EQ(status.text(), "error[range]: a: one\nerror[does-not-fit]: b: two\n  buy memory\n");
}

TEST(Status, PutsPlacesInFrontWhileItTravels) {
  Status status = Status::error(Code::Type, "wrong").at("tensor 'x'").at("file");
  EXPECT_EQ(status.faults()[0].place, "file: tensor 'x'");
}

TEST(Status, MapsEveryClassToItsExitCode) {
  EXPECT_EQ(exitCode(Code::Usage), 2);
  for (Code code : {Code::Format, Code::Limit, Code::Range, Code::Path, Code::Type, Code::Graph, Code::Unsupported,
                    Code::Verify, Code::Io})
    EXPECT_EQ(exitCode(code), 3) << name(code);
  EXPECT_EQ(exitCode(Code::DoesNotFit), 4);
  EXPECT_EQ(exitCode(Code::Failed), 5);
  EXPECT_EQ(exitCode(Code::Interrupted), 6);
  EXPECT_EQ(exitCode(Code::Internal), 70);
}

Result<int> half(int value) {
  if (value % 2 != 0)
    return Status::error(Code::Range, "odd");
  return value / 2;
}
Result<int> quarter(int value) {
  GRAFT_ASSIGN_OR_RETURN(int once, half(value));
  return half(once);
}

TEST(Result, TravelsThroughTheMacros) {
  EXPECT_EQ(*quarter(8), 2);
  EXPECT_EQ(quarter(6).status().faults()[0].message, "odd");
}

TEST(Escaped, ShowsWhatATerminalWouldHide) {
  EXPECT_EQ(escaped("plain µ 字"), "plain µ 字");
  EXPECT_EQ(escaped("a\nb\x1b[31m\x7f"), "a\\x0Ab\\x1B[31m\\x7F");
  EXPECT_EQ(escaped(std::string_view("\0x", 2)), "\\x00x");
  EXPECT_EQ(escaped("\xff\xc0\xaf"), "\\xFF\\xC0\\xAF");
  EXPECT_EQ(escaped("\xe2\x80\xae"), "\\xE2\\x80\\xAE") << "right-to-left override";
}

TEST(Escaped, CutsLongNames) {
  EXPECT_EQ(escaped(std::string(1000, 'x'), 10), std::string(10, 'x') + "...");
}

} // namespace
} // namespace graft
