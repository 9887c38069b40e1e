// A joint graph, forward and backward, as a problem of what to keep (Tradeoff.h), and a plan put into effect.
#pragma once

#include "passes/recompute/Tradeoff.h"

#include "mlir/Dialect/Func/IR/FuncOps.h"

namespace graft {

/// What running an operator again is taken to cost. Fixed numbers, not measured ones: the same recipe gives the same
/// program everywhere. Only their ratio matters to the choice; it is that of a CPU with two AVX-512 cores.
struct TargetRates {
  double flopsPerSecond = 400e9; ///< of matrix products
  double bytesPerSecond = 25e9;  ///< of memory

  double seconds(double flops, double bytes) const { return flops / flopsPerSecond + bytes / bytesPerSecond; }
};

/// The forward pass of a function as a problem: an operator per operator, a value per result. Refers to the function by
/// positions of operators, so a plan can be applied to any clone of it.
class RecomputeGraph {
public:
  /// Requires a function whose results that are no gradients (`rl.name` "grad.*") depend on the forward pass alone.
  /// What they depend on is the forward pass, everything else the backward pass.
  explicit RecomputeGraph(mlir::func::FuncOp function, const TargetRates &rates = {});

  const recompute::Problem &problem() const { return problem_; }
  /// Clones what the plan replays in front of its first user in the backward pass, and marks every operator of the
  /// backward pass and every clone with rl.phase. `function` equals the one of the constructor.
  void apply(mlir::func::FuncOp function, const recompute::Plan &plan) const;

private:
  recompute::Problem problem_;
  std::vector<int> operatorAt_; ///< per operator of the block in order: its index in the problem, -1 for backward
};

} // namespace graft
