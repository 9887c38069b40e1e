// The fastest plan whose memory, measured by lowering it, is within a budget.
#pragma once

#include "passes/recompute/Tradeoff.h"

#include "mlir/Support/LLVM.h"

#include <functional>
#include <map>
#include <optional>

namespace graft::recompute {

/// A plan and the bytes of the device that the program needs with it.
struct Measured {
  Plan plan;
  int64_t peak = 0;
};

/// Searches the plans of a Tradeoff. A plan's own bytes only order the search: what counts is `peak`, which lowers it.
class FitBudget {
public:
  /// `tradeoff` outlives this. `peak` fails after it has emitted an error.
  FitBudget(const Tradeoff &tradeoff, std::function<mlir::FailureOr<int64_t>(const Plan &)> peak)
      : tradeoff_(tradeoff), peak_(peak) {}

  /// The fastest plan whose peak is at most `budget`; absent if there is none.
  mlir::FailureOr<std::optional<Measured>> fit(int64_t budget);
  /// The plan with the smallest peak; of equal ones the fastest.
  mlir::FailureOr<Measured> smallest();
  /// Measures each plan once.
  mlir::FailureOr<Measured> measure(const Plan &plan);

private:
  mlir::FailureOr<size_t> firstWithin(int64_t budget, const Measured &fastest);
  mlir::FailureOr<Measured> between(const Plan &large, Measured small, int64_t budget);

  const Tradeoff &tradeoff_;
  std::function<mlir::FailureOr<int64_t>(const Plan &)> peak_;
  std::map<std::vector<bool>, int64_t> known_; ///< peaks by what is replayed
};

} // namespace graft::recompute
