// Small graphs whose best plans are known: those of PyTorch's own tests of its partitioner, as data, and knapsacks.
// A unit of memory is one matrix, a unit of cost one product of two; an element-wise operator costs a millionth.
#include "passes/recompute/Tradeoff.h"

#include <gtest/gtest.h>

#include <numeric>
#include <random>

namespace graft::recompute {
namespace {

constexpr int64_t product = 1000000;

/// Builds a Problem. Values are numbered from 0; -1 stands for an input that is there anyway.
struct Net {
  Problem problem;

  int op(std::vector<int> inputs, int64_t bytes, int64_t cost, bool needed) {
    std::erase(inputs, -1);
    int value = static_cast<int>(problem.values.size());
    problem.values.push_back({bytes, 0, false, needed});
    problem.operators.push_back({std::move(inputs), {value}, cost, true});
    return value;
  }
  int cos(int x, int64_t bytes, bool needed) { return op({x}, bytes, 1, needed); }
  int view(int x) {
    int value = op({x}, problem.values[x].bytes, 0, false);
    problem.values[value].view = true;
    return value;
  }
};

int64_t productsOf(const Plan &plan) {
  return plan.cost / product;
}

/// The least bytes for which there is a plan of each cost, by trying all.
void expectOptimal(const Problem &problem) {
  Tradeoff tradeoff(problem);
  std::vector<Plan> all;
  for (unsigned bits = 0; bits < 1u << problem.operators.size(); ++bits) {
    std::vector<bool> replayed;
    bool allowed = true;
    for (size_t i = 0; i < problem.operators.size(); ++i) {
      replayed.push_back(bits >> i & 1);
      allowed &= !replayed[i] || problem.operators[i].replayable;
    }
    if (allowed)
      all.push_back(tradeoff.planOf(replayed));
  }
  for (const Plan &corner : tradeoff.corners())
    for (const Plan &plan : all)
      EXPECT_FALSE(plan.bytes <= corner.bytes && plan.cost < corner.cost)
          << plan.bytes << " bytes for " << plan.cost << " are better than " << corner.bytes << " for " << corner.cost;
  int64_t least = tradeoff.corners().back().bytes;
  for (const Plan &plan : all)
    EXPECT_GE(plan.bytes, least);
}

TEST(Tradeoff, KeepsAllThatIsReadFirst) {
  Net net;
  int c = net.cos(-1, 1, true);
  net.op({c}, 1, product, false);
  Tradeoff tradeoff(net.problem);
  EXPECT_EQ(tradeoff.corners().front().bytes, 1);
  EXPECT_EQ(tradeoff.corners().front().cost, 0);
  EXPECT_EQ(tradeoff.within(1).bytes, 1);
  EXPECT_EQ(tradeoff.within(0).bytes, 0);
  EXPECT_EQ(tradeoff.within(0).cost, 1); // the cosine, no product
}

TEST(Tradeoff, ChainsOfProducts) {
  Net net;
  int x = net.cos(-1, 1, true);
  for (int i = 0; i < 5; ++i) {
    x = net.op({x}, 1, product, true);
    x = net.cos(x, 1, i < 4);
  }
  Tradeoff tradeoff(net.problem);
  for (int budget = 0; budget <= 10; ++budget) {
    Plan plan = tradeoff.within(budget);
    EXPECT_EQ(plan.bytes, budget);
    EXPECT_EQ(productsOf(plan), std::max(0, 5 - budget)) << budget;
  }
}

class Widths : public testing::Test {
protected:
  /// Products of one input, each under a cosine.
  static Tradeoff of(const std::vector<int64_t> &widths) {
    Net net;
    for (int64_t width : widths)
      net.cos(net.op({-1}, width, width * product, true), width, false);
    return Tradeoff(net.problem);
  }
};

TEST_F(Widths, FillBudgetsExactly) {
  Tradeoff small = of({11, 3, 4, 2}), large = of({3, 5, 11, 17, 14});
  for (int64_t budget : {18, 17, 16, 15, 14, 13, 11, 7, 6, 5})
    EXPECT_EQ(small.within(budget).bytes, budget);
  EXPECT_EQ(small.within(12).bytes, 11);
  for (int64_t budget : {42, 30, 19, 8, 3})
    EXPECT_EQ(large.within(budget).bytes, budget);
}

TEST_F(Widths, FillRandomSumsExactly) {
  std::mt19937 random(7);
  for (int round = 0; round < 50; ++round) {
    std::vector<int64_t> widths(10);
    int64_t sum = 0;
    for (int64_t &width : widths) {
      width = std::uniform_int_distribution<int64_t>(1, 1000)(random);
      sum += random() % 2 ? width : 0;
    }
    EXPECT_EQ(of(widths).within(sum).bytes, sum);
  }
}

/// Products [a, a] x [a, b] under cosines.
Tradeoff products(std::vector<std::pair<int64_t, int64_t>> sizes) {
  Net net;
  for (auto [a, b] : sizes)
    net.cos(net.op({-1}, a * b, a * a * b * product, true), a * b, false);
  return Tradeoff(net.problem);
}

TEST(Tradeoff, DropsTheCheaperOfTwoProducts) {
  Plan plan = products({{1, 4}, {2, 2}}).within(4);
  EXPECT_EQ(plan.bytes, 4);
  EXPECT_EQ(productsOf(plan), 4);
}

TEST(Tradeoff, DropsTheBetterTwoOfThree) {
  Tradeoff tradeoff = products({{4, 4}, {6, 2}, {2, 6}});
  EXPECT_EQ(tradeoff.corners().front().bytes, 40);
  EXPECT_EQ(tradeoff.within(28).bytes, 28);
  EXPECT_EQ(productsOf(tradeoff.within(28)), 24);
  EXPECT_EQ(tradeoff.within(16).bytes, 12);
  EXPECT_EQ(productsOf(tradeoff.within(16)), 24 + 64);
}

TEST(Tradeoff, AttentionOrProduct) {
  auto recomputed = [](int64_t s, int64_t d) {
    Net net;
    int attention = net.op({-1}, s * d, 2 * s * s * d * product, true);
    net.cos(net.op({attention}, s * d, s * d * d * product, true), s * d, false);
    Plan plan = Tradeoff(net.problem).within(s * d * 12 / 10);
    EXPECT_EQ(plan.bytes, s * d);
    return plan.replayed[0] ? "attention" : "product";
  };
  EXPECT_STREQ(recomputed(1, 1), "product");
  EXPECT_STREQ(recomputed(1, 3), "attention");
  EXPECT_STREQ(recomputed(2, 2), "product");
  EXPECT_STREQ(recomputed(2, 1), "product");
  EXPECT_STREQ(recomputed(2, 5), "attention");
  EXPECT_STREQ(recomputed(4, 7), "product");
  EXPECT_STREQ(recomputed(4, 9), "attention");
}

TEST(Tradeoff, ViewsAreNeverKept) {
  Net net;
  int x = net.op({-1}, 8, product, false);
  int view = net.view(x);
  net.problem.values[view].needed = true;
  Tradeoff tradeoff(net.problem);
  EXPECT_EQ(tradeoff.corners().front().bytes, 8); // what it looks at is kept instead
  EXPECT_TRUE(tradeoff.corners().front().kept[x]);
  EXPECT_FALSE(tradeoff.corners().front().kept[view]);
  EXPECT_EQ(tradeoff.corners().back().bytes, 0);
}

TEST(Tradeoff, ChoicesAreNeverReplayed) {
  Net net;
  int x = net.op({-1}, 8, product, true);
  int choice = net.op({x}, 2, product, true);
  net.problem.operators[choice].replayable = false;
  Tradeoff tradeoff(net.problem);
  EXPECT_EQ(tradeoff.corners().back().bytes, 2);
  for (const Plan &plan : tradeoff.corners())
    EXPECT_FALSE(plan.replayed[choice]);
}

TEST(Tradeoff, AnInputThatOnlyTwoReplaysAskForIsPaidOnce) {
  // Two small results of one large value that nobody else needs: kept once, or replayed once, for both.
  Net net;
  int large = net.op({-1}, 10, 4 * product, false);
  net.op({large}, 8, product, true);
  net.op({large}, 8, product, true);
  expectOptimal(net.problem);
  Tradeoff tradeoff(net.problem);
  EXPECT_EQ(tradeoff.within(10).bytes, 10);
  EXPECT_EQ(productsOf(tradeoff.within(10)), 2);
  EXPECT_EQ(tradeoff.within(15).bytes, 10);
  EXPECT_EQ(productsOf(tradeoff.within(0)), 6);
}

TEST(Tradeoff, NoPlanIsBetterThanACorner) {
  std::mt19937 random(11);
  auto pick = [&](int least, int most) { return std::uniform_int_distribution<int>(least, most)(random); };
  for (int round = 0; round < 40; ++round) {
    Net net;
    for (int i = 0; i < 10; ++i) {
      std::vector<int> inputs = {i ? pick(-1, i - 1) : -1, i ? pick(-1, i - 1) : -1};
      net.op(inputs, pick(1, 9), pick(1, 9) * product, pick(0, 2) > 0);
      net.problem.operators.back().replayable = pick(0, 9) > 0;
    }
    expectOptimal(net.problem);
  }
}

TEST(Tradeoff, WithinKeepsItsPromise) {
  std::mt19937 random(5);
  auto pick = [&](int least, int most) { return std::uniform_int_distribution<int>(least, most)(random); };
  for (int round = 0; round < 40; ++round) {
    Net net;
    for (int i = 0; i < 30; ++i)
      net.op({i ? pick(-1, i - 1) : -1, i ? pick(-1, i - 1) : -1}, pick(1, 9), pick(1, 3) * product, pick(0, 2) > 0);
    Tradeoff tradeoff(net.problem);
    int64_t last = -1;
    for (int64_t bytes = tradeoff.corners().front().bytes; bytes >= 0; --bytes) {
      Plan plan = tradeoff.within(bytes);
      EXPECT_LE(plan.bytes, std::max(bytes, tradeoff.corners().back().bytes));
      EXPECT_GE(plan.cost, last); // fewer bytes never cost less
      last = plan.cost;
    }
  }
}

} // namespace
} // namespace graft::recompute
