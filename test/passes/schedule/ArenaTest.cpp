#include "passes/schedule/Arena.h"

#include <gtest/gtest.h>

#include <random>

namespace graft {
namespace {

void expectNoOverlap(const std::vector<Lifetime> &lifetimes, const ArenaPlan &plan) {
  for (size_t a = 0; a < lifetimes.size(); ++a) {
    EXPECT_EQ(plan.offsets[a] % arenaAlignment, 0);
    EXPECT_LE(plan.offsets[a] + lifetimes[a].size, plan.bytes);
    for (size_t b = 0; b < a; ++b)
      if (lifetimes[a].first <= lifetimes[b].last && lifetimes[b].first <= lifetimes[a].last)
        EXPECT_TRUE(plan.offsets[a] + lifetimes[a].size <= plan.offsets[b] ||
                    plan.offsets[b] + lifetimes[b].size <= plan.offsets[a])
            << a << " and " << b;
  }
}

TEST(Arena, ReusesMemoryOfDeadBuffers) {
  ArenaPlan plan = planArena({{1024, 0, 1}, {512, 1, 2}, {1024, 2, 3}});
  EXPECT_EQ(plan.offsets[0], plan.offsets[2]);
  EXPECT_EQ(plan.bytes, 1536);
  EXPECT_EQ(plan.lowerBound, 1536);
}

TEST(Arena, KeepsBuffersThatMeetInOneInstructionApart) {
  ArenaPlan plan = planArena({{64, 0, 3}, {64, 3, 4}});
  EXPECT_NE(plan.offsets[0], plan.offsets[1]);
}

TEST(Arena, NothingNeedsNothing) {
  EXPECT_EQ(planArena({}).bytes, 0);
}

TEST(Arena, RandomLifetimesNeverOverlap) {
  std::mt19937 random(3);
  std::vector<Lifetime> lifetimes;
  for (int i = 0; i < 300; ++i) {
    int first = static_cast<int>(random() % 100);
    lifetimes.push_back({static_cast<int64_t>(random() % 5000), first, first + static_cast<int>(random() % 20)});
  }
  ArenaPlan plan = planArena(lifetimes);
  expectNoOverlap(lifetimes, plan);
  EXPECT_GE(plan.bytes, plan.lowerBound);
  EXPECT_EQ(planArena(lifetimes).offsets, plan.offsets);
}

} // namespace
} // namespace graft
