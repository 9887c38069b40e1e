#include "passes/schedule/Arena.h"

#include <algorithm>
#include <numeric>

namespace graft {

namespace {

int64_t aligned(int64_t bytes) {
  return (bytes + arenaAlignment - 1) / arenaAlignment * arenaAlignment;
}

bool meet(const Lifetime &a, const Lifetime &b) {
  return a.first <= b.last && b.first <= a.last;
}

/// Largest sum of aligned sizes at any time.
int64_t peakOfLive(const std::vector<Lifetime> &lifetimes) {
  std::vector<std::pair<int, int64_t>> changes;
  for (const Lifetime &life : lifetimes) {
    changes.push_back({life.first, aligned(life.size)});
    changes.push_back({life.last + 1, -aligned(life.size)});
  }
  std::sort(changes.begin(), changes.end()); // at one time, frees come before allocations
  int64_t live = 0, peak = 0;
  for (auto [time, change] : changes)
    peak = std::max(peak, live += change);
  return peak;
}

} // namespace

ArenaPlan planArena(const std::vector<Lifetime> &lifetimes) {
  std::vector<size_t> order(lifetimes.size());
  std::iota(order.begin(), order.end(), 0);
  std::sort(order.begin(), order.end(),
            [&](size_t a, size_t b) { return std::pair(-lifetimes[a].size, a) < std::pair(-lifetimes[b].size, b); });

  ArenaPlan plan;
  plan.offsets.assign(lifetimes.size(), 0);
  plan.lowerBound = peakOfLive(lifetimes);
  std::vector<size_t> placed; // by offset
  for (size_t buffer : order) {
    int64_t offset = 0, size = aligned(lifetimes[buffer].size);
    for (size_t other : placed) {
      if (!meet(lifetimes[buffer], lifetimes[other]))
        continue;
      if (plan.offsets[other] >= offset + size)
        break;
      offset = std::max(offset, plan.offsets[other] + aligned(lifetimes[other].size));
    }
    plan.offsets[buffer] = offset;
    plan.bytes = std::max(plan.bytes, offset + size);
    placed.insert(std::upper_bound(placed.begin(), placed.end(), buffer,
                                   [&](size_t a, size_t b) { return plan.offsets[a] < plan.offsets[b]; }),
                  buffer);
  }
  return plan;
}

} // namespace graft
