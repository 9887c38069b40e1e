// Every file that test/bad_inputs writes gets the verdict that its manifest says: rejected with a fault that says
// something and names the file, of a class that means "your input", or accepted.
#include "frontends/weights/Checkpoint.h"
#include "runtime/io/Batch.h"
#include "test/runtime/base/TemporaryDirectory.h"

#include <cstdio>
#include <gtest/gtest.h>
#include <sys/resource.h>

namespace graft {
namespace {

template <typename T> Status statusOf(Result<T> result) {
  return result.isOk() ? Status::ok() : result.takeStatus();
}

Status judge(const std::string &kind, const std::string &path) {
  if (kind == "safetensors")
    return statusOf(Checkpoint::open(path));
  BatchOptions options;
  options.vocabulary = 100;
  options.used = {"advantages", "old_logprobs", "rewards", "group_ids"};
  options.required = {"input_ids", "loss_mask"};
  if (kind == "batch")
    return statusOf(loadBatch(path, options));
  auto rollouts = readRollouts({path});
  if (!rollouts.isOk())
    return rollouts.takeStatus();
  options.tokens = 6;
  return statusOf(batchFromRollouts(*rollouts, options));
}

/// Peak resident memory of this process so far, in bytes.
uint64_t peakMemory() {
  rusage usage;
  ::getrusage(RUSAGE_SELF, &usage);
  return static_cast<uint64_t>(usage.ru_maxrss) * 1024;
}

TEST(BadInputs, GetTheVerdictOfTheirManifest) {
  test::TemporaryDirectory folder;
  std::string command =
      std::string("python3 " GRAFT_SOURCE_DIR "/test/bad_inputs/emit_data_files.py ") + folder.path("files");
  FILE *manifest = ::popen(command.c_str(), "r");
  ASSERT_NE(manifest, nullptr);
  std::string text;
  char piece[4096];
  for (size_t got; (got = std::fread(piece, 1, sizeof piece, manifest)) > 0;)
    text.append(piece, got);
  ASSERT_EQ(::pclose(manifest), 0);
  int count = 0;
  std::istringstream lines(text);
  for (std::string expect, kind, id, path; std::getline(lines, expect, '\t') && std::getline(lines, kind, '\t') &&
                                           std::getline(lines, id, '\t') && std::getline(lines, path);
       ++count) {
    Status status = judge(kind, path);
    EXPECT_EQ(status.isOk(), expect == "ok") << id << "\n" << status.text();
    for (const Fault &fault : status.faults())
      EXPECT_FALSE(fault.message.empty()) << id;
    if (!status.isOk())
      EXPECT_NE(("|" + expect + "|").find("|" + std::string(name(status.faults()[0].code)) + "|"), std::string::npos)
          << id << ", expected " << expect << "\n"
          << status.text();
    if (!status.isOk()) {
      EXPECT_EQ(status.exitCode(), 3) << id << "\n" << status.text();
      EXPECT_NE(status.text().find(std::filesystem::path(path).filename().string()), std::string::npos)
          << id << "\n"
          << status.text();
      EXPECT_LE(status.faults().size(), 100u) << id;
    }
  }
  EXPECT_GE(count, 400);
  EXPECT_LE(peakMemory(), uint64_t{2} << 30);
}

} // namespace
} // namespace graft
