#include "passes/schedule/Arena.h"

#include <gtest/gtest.h>

#include <random>

namespace graft {
namespace {

bool takesOver(const std::vector<Lifetime> &lifetimes, size_t later, size_t earlier, const ArenaPlan &plan) {
  return lifetimes[later].inPlaceOf == static_cast<int>(earlier) && plan.offsets[later] == plan.offsets[earlier];
}

void expectNoOverlap(const std::vector<Lifetime> &lifetimes, const ArenaPlan &plan) {
  for (size_t a = 0; a < lifetimes.size(); ++a) {
    EXPECT_EQ(plan.offsets[a] % arenaAlignment, 0);
    EXPECT_LE(plan.offsets[a] + lifetimes[a].size, plan.bytes);
    for (size_t b = 0; b < a; ++b)
      if (lifetimes[a].first <= lifetimes[b].last && lifetimes[b].first <= lifetimes[a].last)
        EXPECT_TRUE(plan.offsets[a] + lifetimes[a].size <= plan.offsets[b] ||
                    plan.offsets[b] + lifetimes[b].size <= plan.offsets[a] || takesOver(lifetimes, a, b, plan) ||
                    takesOver(lifetimes, b, a, plan))
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

TEST(Arena, TakesOverTheMemoryOfAnOperand) {
  ArenaPlan plan = planArena({{64, 0, 3}, {64, 3, 4, false, 0}, {64, 4, 6, false, 1}});
  EXPECT_EQ(plan.bytes, 64);
  EXPECT_EQ(plan.lowerBound, 64);
}

TEST(Arena, StaysApartWhereAChainLivesTooLongToBeLent) {
  std::vector<Lifetime> lifetimes = {{128, 0, 3, true}, {128, 3, 9, true, 0}};
  LentMemory lent{256, {{0, 128, 5}, {128, 128, 20}}};
  EXPECT_EQ(planArena(lifetimes, lent).bytes, 0); // the second part is free for all of it
  lent.owners[1].from = 8;
  lifetimes[1].last = 7;
  lifetimes.push_back({128, 0, 7, true});
  EXPECT_EQ(planArena(lifetimes, lent).bytes, 128); // as a chain or apart
}

TEST(Arena, RandomChainsNeverOverlap) {
  std::mt19937 random(5);
  std::vector<Lifetime> lifetimes;
  for (int i = 0; i < 300; ++i) {
    int first = static_cast<int>(random() % 100), last = first + static_cast<int>(random() % 20);
    lifetimes.push_back({static_cast<int64_t>(random() % 5000), first, last});
    for (int links = static_cast<int>(random() % 3); links > 0; --links) {
      first = lifetimes.back().last;
      last = first + 1 + static_cast<int>(random() % 20);
      lifetimes.push_back({lifetimes.back().size, first, last, false, static_cast<int>(lifetimes.size()) - 1});
    }
  }
  ArenaPlan plan = planArena(lifetimes);
  expectNoOverlap(lifetimes, plan);
  for (Lifetime &life : lifetimes)
    life.inPlaceOf = -1;
  EXPECT_LT(plan.bytes, planArena(lifetimes).bytes);
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

TEST(Arena, BorrowsWhatOthersDoNotNeedYet) {
  LentMemory lent{320, {{0, 128, 2}, {128, 192, 9}}};
  ArenaPlan plan =
      planArena({{128, 0, 1, true}, {128, 1, 2, true}, {192, 3, 8, true}, {64, 3, 8, true}, {64, 0, 1, false}}, lent);
  EXPECT_EQ(plan.lent, (std::vector<bool>{true, true, true, false, false}));
  EXPECT_EQ(plan.offsets[0], 0);   // gone when its owner comes
  EXPECT_EQ(plan.offsets[1], 128); // the owner of the first part comes at 2
  EXPECT_EQ(plan.offsets[2], 128);
  EXPECT_EQ(plan.bytes, 64); // two that do not meet
  EXPECT_EQ(plan.lowerBound, 64);
}

TEST(Arena, RandomLifetimesRespectOwners) {
  std::mt19937 random(9);
  LentMemory lent;
  for (int i = 0; i < 20; ++i) {
    lent.owners.push_back({lent.bytes, static_cast<int64_t>(random() % 4000), static_cast<int>(random() % 100)});
    lent.bytes += (lent.owners.back().size + 63) / 64 * 64;
  }
  std::vector<Lifetime> lifetimes;
  for (int i = 0; i < 300; ++i) {
    int first = static_cast<int>(random() % 100);
    lifetimes.push_back(
        {static_cast<int64_t>(1 + random() % 5000), first, first + static_cast<int>(random() % 20), random() % 4 > 0});
  }
  ArenaPlan plan = planArena(lifetimes, lent);
  int borrowed = 0;
  for (size_t a = 0; a < lifetimes.size(); ++a) {
    borrowed += plan.lent[a];
    EXPECT_LE(plan.offsets[a] + lifetimes[a].size, plan.lent[a] ? lent.bytes : plan.bytes);
    EXPECT_TRUE(!plan.lent[a] || lifetimes[a].lendable);
    for (size_t b = 0; b < a; ++b)
      if (plan.lent[a] == plan.lent[b] && lifetimes[a].first <= lifetimes[b].last &&
          lifetimes[b].first <= lifetimes[a].last)
        EXPECT_TRUE(plan.offsets[a] + lifetimes[a].size <= plan.offsets[b] ||
                    plan.offsets[b] + lifetimes[b].size <= plan.offsets[a]);
    for (const LentMemory::Owner &owner : lent.owners)
      if (plan.lent[a] && lifetimes[a].last >= owner.from)
        EXPECT_TRUE(plan.offsets[a] + lifetimes[a].size <= owner.offset ||
                    owner.offset + owner.size <= plan.offsets[a]);
  }
  EXPECT_GT(borrowed, 10);
  EXPECT_LT(plan.bytes, planArena(lifetimes).bytes);
}

} // namespace
} // namespace graft
