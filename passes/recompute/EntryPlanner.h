// Memory of an entry under every plan, measured by lowering it, and the plan for a budget.
//
//   EntryPlanner planner(accumulate, others, /*adds=*/false);
//   auto measured = planner.fit(budget);
//   planner.apply((*measured)->plan);
#pragma once

#include "passes/lower/Lower.h"
#include "passes/recompute/FitBudget.h"
#include "passes/recompute/Recompute.h"
#include "runtime/program/Program_generated.h"

#include <map>

namespace graft {

/// Bytes of the device that a program needs: parameters, gradients, optimizer state, constants and the arena.
int64_t deviceBytes(const schema::ProgramT &program);

/// A step by fixed rates: what the budget trades with, not what a machine measures.
struct StepEstimate {
  double seconds = 0;      ///< forward, backward and optimizer, all micro-batches
  double againSeconds = 0; ///< of it, instructions that only compute again
  int64_t flops = 0;       ///< of products and attention
};
StepEstimate estimateStep(const schema::ProgramT &program, int64_t microBatches, const TargetRates &rates = {});

/// What a program is with a plan.
struct PlanFigures {
  int64_t deviceBytes = 0, arenaBytes = 0;
  StepEstimate step;
};

class EntryPlanner {
public:
  /// Requires a function that prepareEntry() has seen: what is chosen is what will run. `others` has the parameters
  /// with their offsets and all other entries, with which this one shares the arena. Both outlive this. With `adds` the
  /// entry that adds to gradients is measured, too.
  EntryPlanner(mlir::func::FuncOp function, LoweredEntries &others, bool adds, int64_t microBatches = 1,
               const TargetRates &rates = {});

  const recompute::Tradeoff &tradeoff() const { return tradeoff_; }
  const RecomputeGraph &graph() const { return graph_; }
  /// All entries, this one under a plan. Fails after an error was emitted.
  mlir::FailureOr<LoweredEntries> lowered(const recompute::Plan &plan);

  /// The fastest plan that fits, if there is one, and the smallest. Fails after an error was emitted.
  mlir::FailureOr<std::optional<recompute::Measured>> fit(int64_t budget) { return search_.fit(budget); }
  mlir::FailureOr<recompute::Measured> smallest() { return search_.smallest(); }
  /// The plan for any budget that is large enough.
  mlir::FailureOr<recompute::Measured> fastest() { return search_.measure(tradeoff_.fastest()); }
  /// Of a plan that was measured: of each that the functions above give.
  const PlanFigures &figures(const recompute::Plan &plan) const { return figures_.at(plan.replayed); }
  /// Puts the plan into effect in the function.
  void apply(const recompute::Plan &plan) { graph_.apply(function_, plan); }

private:
  mlir::FailureOr<int64_t> peak(const recompute::Plan &plan);
  mlir::LogicalResult lower(const recompute::Plan &plan);

  mlir::func::FuncOp function_;
  LoweredEntries &others_;
  bool adds_;
  int64_t microBatches_;
  RecomputeGraph graph_;
  recompute::Tradeoff tradeoff_;
  recompute::FitBudget search_;
  /// What the last lowering made of the function. Freed with the next: the very last goes with the planner.
  llvm::SmallVector<mlir::OwningOpRef<mlir::func::FuncOp>> rewritten_;
  std::optional<LoweredEntries> entries_;            ///< with the plan that was lowered last
  std::optional<recompute::Plan> last_;              ///< most often the one that is wanted
  std::map<std::vector<bool>, PlanFigures> figures_; ///< by what is replayed
};

} // namespace graft
