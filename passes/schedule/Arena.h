// Offsets in the arena from lifetimes: every buffer that is live at the same time as another gets other bytes.
#pragma once

#include <cstdint>
#include <vector>

namespace graft {

/// A buffer's size in bytes and the times of its first write and last read, both inclusive.
struct Lifetime {
  int64_t size = 0;
  int first = 0, last = 0;
};

struct ArenaPlan {
  std::vector<int64_t> offsets; ///< multiples of `arenaAlignment`, in the order of the lifetimes
  int64_t bytes = 0;            ///< size of the arena
  int64_t lowerBound = 0;       ///< the largest sum of sizes that live at one time: no plan can be smaller
};

constexpr int64_t arenaAlignment = 64;

/// Greedy by size: the largest buffer first, each at the lowest offset that is free for its whole life (the order that
/// Pisarchyk and Lee 2020 found best for networks). Deterministic; ties keep the given order.
ArenaPlan planArena(const std::vector<Lifetime> &lifetimes);

} // namespace graft
