#include "passes/schedule/Arena.h"

#include <algorithm>
#include <limits>
#include <numeric>

namespace graft {

namespace {

int64_t aligned(int64_t bytes) {
  return (bytes + arenaAlignment - 1) / arenaAlignment * arenaAlignment;
}

/// Largest sum of aligned sizes at any time, less what is free of lent memory then.
int64_t peakOfLive(const std::vector<Lifetime> &lifetimes, const LentMemory &lent = {}) {
  std::vector<std::pair<int, int64_t>> changes;
  for (const LentMemory::Owner &owner : lent.owners)
    changes.push_back({owner.from, owner.size});
  for (const Lifetime &life : lifetimes) {
    changes.push_back({life.first, aligned(life.size)});
    changes.push_back({life.last + 1, -aligned(life.size)});
  }
  std::sort(changes.begin(), changes.end()); // at one time, frees come before allocations
  int64_t live = -lent.bytes, peak = 0;
  for (auto [time, change] : changes)
    peak = std::max(peak, live += change);
  return peak;
}

/// A block of memory and who has which bytes when.
class Block {
public:
  /// The lowest offset at which the lifetime fits.
  int64_t lowest(const Lifetime &life) const {
    int64_t offset = 0, size = aligned(life.size);
    for (const Tenant &tenant : tenants_) {
      if (life.first > tenant.last || tenant.first > life.last)
        continue;
      if (tenant.offset >= offset + size)
        break;
      offset = std::max(offset, tenant.offset + tenant.size);
    }
    return offset;
  }
  void place(int64_t offset, int64_t size, int first, int last) {
    Tenant tenant{offset, aligned(size), first, last};
    tenants_.insert(std::ranges::upper_bound(tenants_, offset, {}, &Tenant::offset), tenant);
  }

private:
  struct Tenant {
    int64_t offset, size;
    int first, last;
  };
  std::vector<Tenant> tenants_; ///< by offset
};

/// Greedy by size, each lifetime by itself.
ArenaPlan placeAll(const std::vector<Lifetime> &lifetimes, const LentMemory &lent) {
  std::vector<size_t> order(lifetimes.size());
  std::iota(order.begin(), order.end(), 0);
  std::sort(order.begin(), order.end(),
            [&](size_t a, size_t b) { return std::pair(-lifetimes[a].size, a) < std::pair(-lifetimes[b].size, b); });
  Block arena, borrowed;
  for (const LentMemory::Owner &owner : lent.owners)
    borrowed.place(owner.offset, owner.size, owner.from, std::numeric_limits<int>::max());

  ArenaPlan plan;
  plan.offsets.assign(lifetimes.size(), 0);
  plan.lent.assign(lifetimes.size(), false);
  std::vector<Lifetime> own;
  for (size_t i : order) {
    const Lifetime &life = lifetimes[i];
    int64_t offset = life.lendable && lent.bytes > 0 ? borrowed.lowest(life) : lent.bytes;
    plan.lent[i] = offset + aligned(life.size) <= lent.bytes && life.size > 0;
    if (!plan.lent[i]) {
      offset = arena.lowest(life);
      plan.bytes = std::max(plan.bytes, offset + aligned(life.size));
      own.push_back(life);
    }
    (plan.lent[i] ? borrowed : arena).place(offset, life.size, life.first, life.last);
    plan.offsets[i] = offset;
  }
  plan.lowerBound = peakOfLive(own);
  return plan;
}

/// Which lifetimes share their memory in place, each chain of them as one.
struct Chains {
  std::vector<Lifetime> whole;
  std::vector<size_t> chainOf; ///< per lifetime

  explicit Chains(const std::vector<Lifetime> &lifetimes) : chainOf(lifetimes.size()) {
    std::vector<size_t> byTime(lifetimes.size());
    std::iota(byTime.begin(), byTime.end(), 0);
    std::ranges::stable_sort(byTime, {}, [&](size_t i) { return lifetimes[i].first; });
    for (size_t i : byTime) {
      const Lifetime &life = lifetimes[i];
      if (life.inPlaceOf < 0) {
        chainOf[i] = whole.size();
        whole.push_back(life);
        continue;
      }
      chainOf[i] = chainOf[static_cast<size_t>(life.inPlaceOf)];
      Lifetime &chain = whole[chainOf[i]];
      chain.last = life.last;
      chain.lendable &= life.lendable;
    }
  }

  ArenaPlan place(const LentMemory &lent) const {
    ArenaPlan chains = placeAll(whole, lent), plan = chains;
    plan.offsets.clear();
    plan.lent.clear();
    for (size_t chain : chainOf) {
      plan.offsets.push_back(chains.offsets[chain]);
      plan.lent.push_back(chains.lent[chain]);
    }
    return plan;
  }
};

} // namespace

ArenaPlan planArena(const std::vector<Lifetime> &lifetimes, const LentMemory &lent) {
  // A chain lives longer than its parts, and may fit where they do worse than they do.
  ArenaPlan inPlace = Chains(lifetimes).place(lent);
  if (inPlace.bytes <= peakOfLive(lifetimes, lent)) // apart, they need as much at least
    return inPlace;
  ArenaPlan apart = placeAll(lifetimes, lent);
  return inPlace.bytes <= apart.bytes ? inPlace : apart;
}

} // namespace graft
