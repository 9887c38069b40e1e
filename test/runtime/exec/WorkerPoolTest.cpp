#include "runtime/device/cpu/WorkerPool.h"

#include "runtime/device/cpu/Memory.h"
#include "runtime/device/cpu/Target.h"
#include "runtime/device/cpu/Threads.h"

#include <algorithm>
#include <gtest/gtest.h>
#include <set>

namespace graft {
namespace {

TEST(WorkerPool, EveryWorkerRunsEveryTime) {
  for (int workers : {1, 2, 3, 7}) {
    WorkerPool pool(workers);
    std::vector<int> counts(static_cast<size_t>(workers) * 64);
    pool.drive([&] {
      for (int round = 0; round < 1000; ++round)
        pool.parallel([&](int worker) { ++counts[static_cast<size_t>(worker) * 64]; });
    });
    for (size_t i = 0; i < counts.size(); i += 64)
      EXPECT_EQ(counts[i], 1000);
  }
}

// Tests that workers which went to sleep wake up, and that what the driver wrote before is seen.
TEST(WorkerPool, WakesSleepers) {
  WorkerPool pool(3);
  for (int round = 0; round < 20; ++round) {
    std::this_thread::sleep_for(std::chrono::milliseconds(2));
    int value = 0;
    std::atomic<int> sum = 0;
    pool.drive([&] {
      value = round;
      pool.parallel([&](int) { sum += value; });
    });
    EXPECT_EQ(sum, 3 * round);
  }
}

TEST(WorkerPool, CallersTakeTurns) {
  WorkerPool pool(2);
  int running = 0, most = 0, done = 0;
  std::vector<std::thread> callers;
  for (int i = 0; i < 4; ++i)
    callers.emplace_back([&] {
      for (int j = 0; j < 50; ++j)
        pool.drive([&] {
          most = std::max(most, ++running);
          pool.parallel([](int) {});
          --running;
          ++done;
        });
    });
  for (std::thread &caller : callers)
    caller.join();
  EXPECT_EQ(most, 1);
  EXPECT_EQ(done, 200);
}

TEST(WorkerPool, StartsAndStopsWithoutWork) {
  std::atomic<int> started = 0;
  {
    WorkerPool pool(4, [&](int) { ++started; });
  }
  EXPECT_EQ(started, 4);
}

TEST(Share, CoversEverythingOnceInMultiplesOfTheGrain) {
  for (int64_t items : {0, 1, 5, 16, 17, 100, 1000})
    for (int workers : {1, 2, 3, 8})
      for (int64_t grain : {1, 16}) {
        int64_t next = 0;
        for (int worker = 0; worker < workers; ++worker) {
          Share share = shareOf(items, worker, workers, grain);
          EXPECT_EQ(share.begin, next);
          EXPECT_TRUE(share.end == items || share.end % grain == 0);
          EXPECT_LE(share.end - share.begin, items / workers + grain);
          next = share.end;
        }
        EXPECT_EQ(next, items);
      }
}

TEST(Threads, ReadsTheQuota) {
  EXPECT_GT(parseCpuMax("max 100000"), 1000);
  EXPECT_GT(parseCpuMax(""), 1000);
  EXPECT_GT(parseCpuMax("-1 100000"), 1000);
  EXPECT_EQ(parseCpuMax("200000 100000\n"), 2);
  EXPECT_EQ(parseCpuMax("150000 100000"), 1);
  EXPECT_EQ(parseCpuMax("1000 100000"), 1);
  EXPECT_GE(defaultThreadCount(), 1);
}

TEST(HostBlock, IsZeroAlignedAndMovable) {
  auto block = HostBlock::allocate(10000, "test");
  ASSERT_TRUE(block.isOk());
  EXPECT_EQ(block->size(), 10000u);
  EXPECT_EQ(reinterpret_cast<uintptr_t>(block->data()) % 4096, 0u);
  EXPECT_TRUE(std::all_of(block->data(), block->data() + 10000, [](uint8_t byte) { return byte == 0; }));
  HostBlock other = std::move(*block);
  EXPECT_EQ(block->data(), nullptr);
  EXPECT_EQ(other.size(), 10000u);
  EXPECT_EQ(HostBlock::allocate(0, "nothing")->data(), nullptr);
  EXPECT_EQ(HostBlock::allocate(size_t(1) << 62, "everything").status().exitCode(), 4);
}

TEST(Target, BestIsAvailable) {
  EXPECT_FALSE(isTargetAvailable("x86-64-v9"));
  if (!bestTarget().empty()) {
    EXPECT_TRUE(isTargetAvailable(bestTarget()));
    EXPECT_NE(std::find(knownTargets().begin(), knownTargets().end(), bestTarget()), knownTargets().end());
  }
}

} // namespace
} // namespace graft
