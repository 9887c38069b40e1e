#include "passes/recompute/FitBudget.h"

#include <algorithm>

using namespace mlir;

namespace graft::recompute {

FailureOr<Measured> FitBudget::measure(const Plan &plan) {
  auto known = known_.find(plan.replayed);
  if (known == known_.end()) {
    FailureOr<int64_t> peak = peak_(plan);
    if (failed(peak))
      return failure();
    known = known_.emplace(plan.replayed, *peak).first;
  }
  return Measured{plan, known->second};
}

FailureOr<Measured> FitBudget::smallest() {
  std::optional<Measured> best;
  for (const Plan &corner : tradeoff_.corners()) {
    FailureOr<Measured> measured = measure(corner);
    if (failed(measured))
      return failure();
    if (!best || measured->peak < best->peak)
      best = *measured;
  }
  return *best;
}

/// Between a plan that fits and a corner that does not: keeps as many bytes more as are left of the budget, measures,
/// and halves what is open.
FailureOr<Measured> FitBudget::between(const Plan &large, Measured small, int64_t budget) {
  int64_t tooMany = large.bytes;
  for (int64_t target = small.plan.bytes + budget - small.peak; small.plan.bytes + 1 < tooMany;) {
    target = std::clamp(target, small.plan.bytes + 1, tooMany - 1);
    Plan plan = tradeoff_.within(target);
    if (plan.bytes <= small.plan.bytes) { // nothing lies between
      if (target == tooMany - 1)
        break;
      target = tooMany - 1;
      continue;
    }
    FailureOr<Measured> measured = measure(plan);
    if (failed(measured))
      return failure();
    if (measured->peak <= budget)
      small = *measured;
    else
      tooMany = plan.bytes;
    target = small.plan.bytes + (tooMany - small.plan.bytes) / 2;
  }
  return small;
}

/// The first corner whose peak is within a budget that the fastest exceeds; the number of corners if there is none.
/// Peaks fall from corner to corner, by about as many bytes as fewer are kept: that says where to look first, and then
/// its neighbours are asked.
FailureOr<size_t> FitBudget::firstWithin(int64_t budget, const Measured &fastest) {
  const std::vector<Plan> &corners = tradeoff_.corners();
  int64_t others = fastest.peak - fastest.plan.bytes;
  size_t exceeds = 0, fits = corners.size(), next = 1;
  while (next + 1 < fits && corners[next].bytes + others > budget)
    ++next;
  while (exceeds + 1 < fits) {
    FailureOr<Measured> measured = measure(corners[next]);
    if (failed(measured))
      return failure();
    bool within = measured->peak <= budget;
    (within ? fits : exceeds) = next;
    next = within ? fits - 1 : exceeds + 1;
  }
  return fits;
}

FailureOr<std::optional<Measured>> FitBudget::fit(int64_t budget) {
  FailureOr<Measured> fastest = measure(tradeoff_.fastest());
  if (failed(fastest))
    return failure();
  if (fastest->peak <= budget)
    return std::optional(*fastest);
  FailureOr<size_t> first = firstWithin(budget, *fastest);
  if (failed(first))
    return failure();
  const std::vector<Plan> &corners = tradeoff_.corners();
  if (*first == corners.size())
    return std::optional<Measured>();
  FailureOr<Measured> found = between(corners[*first - 1], *measure(corners[*first]), budget);
  if (failed(found))
    return failure();
  return std::optional(*found);
}

} // namespace graft::recompute
