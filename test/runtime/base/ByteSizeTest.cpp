#include "runtime/base/ByteSize.h"

#include <gtest/gtest.h>

namespace graft {
namespace {

TEST(ByteSize, ReadsNumbersWithUnits) {
  EXPECT_EQ(parseByteSize("1B"), 1);
  EXPECT_EQ(parseByteSize("6GiB"), int64_t(6) << 30);
  EXPECT_EQ(parseByteSize("512 MB"), 512000000);
  EXPECT_EQ(parseByteSize("1.5TiB"), (int64_t(3) << 40) / 2);
  EXPECT_EQ(parseByteSize("0.0001KB"), std::nullopt); // less than a byte
  EXPECT_EQ(parseByteSize("1.0009KB"), 1000);
}

TEST(ByteSize, RefusesEverythingElse) {
  for (const char *text : {"",      "6",  "GiB",    "6 ",   "6gib", "6Gi",   "6GiB ",      "6  GiB",  "-1GiB",  "+1GiB",
                           " 1GiB", "0B", "1e3GiB", "nanB", "infB", "0x10B", "4194304TiB", "6GiBGiB", "1,5GiB", "-0B"})
    EXPECT_EQ(parseByteSize(text), std::nullopt) << text;
}

TEST(ByteSize, PrintsWhatItReads) {
  EXPECT_EQ(byteSizeText(int64_t(6) << 30), "6GiB");
  EXPECT_EQ(byteSizeText(1536), "1536B");
  EXPECT_EQ(byteSizeText(int64_t(3) << 20), "3MiB");
  for (int64_t bytes : {int64_t(1), int64_t(1024), int64_t(999), (int64_t(1) << 61) + 4096, int64_t(5) << 42})
    EXPECT_EQ(parseByteSize(byteSizeText(bytes)), bytes);
}

} // namespace
} // namespace graft
