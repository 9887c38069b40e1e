// Offsets in the arena from lifetimes: every buffer that is live at the same time as another gets other bytes. Memory
// of others that they do not need yet is used, too.
#pragma once

#include <cstdint>
#include <vector>

namespace graft {

/// A buffer's size in bytes and the times of its first write and last read, both inclusive.
struct Lifetime {
  int64_t size = 0;
  int first = 0, last = 0;
  bool lendable = false; ///< may lie in lent memory
  int inPlaceOf = -1;    ///< index of a lifetime of the same size that ends when this one begins, and whose memory this
                         ///< one may take over; each is taken over once at most
};

/// A block beside the arena that belongs to others, each of whom needs a part of it from some time on.
struct LentMemory {
  struct Owner {
    int64_t offset = 0, size = 0;
    int from = 0; ///< time
  };
  int64_t bytes = 0;
  std::vector<Owner> owners; ///< do not overlap
};

struct ArenaPlan {
  std::vector<int64_t> offsets; ///< multiples of `arenaAlignment`, in the order of the lifetimes
  std::vector<bool> lent;       ///< is the offset one in lent memory?
  int64_t bytes = 0;            ///< size of the arena
  int64_t lowerBound = 0;       ///< the largest sum of sizes that live in it at one time: it cannot be smaller
};

constexpr int64_t arenaAlignment = 64;

/// Greedy by size: the largest buffer first, each at the lowest offset that is free for its whole life (the order that
/// Pisarchyk and Lee 2020 found best for networks), in lent memory where it fits there. Lifetimes in place of each
/// other are placed as one, unless the arena is smaller without. Deterministic; ties keep the given order.
ArenaPlan planArena(const std::vector<Lifetime> &lifetimes, const LentMemory &lent = {});

} // namespace graft
