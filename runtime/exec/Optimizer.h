// `apply`: global norm, clip, AdamW over all trained parameters, in two passes over memory.
#pragma once

#include "kernels/adamw/adamw.h"
#include "runtime/base/Status.h"
#include "runtime/device/cpu/WorkerPool.h"
#include "runtime/program/Program.h"

#include <cstdint>
#include <vector>

namespace graft {

struct ApplyReport {
  double gradientNorm = 0; ///< of all gradients together, before clipping
  double clipFactor = 1;   ///< what gradients were multiplied by
};

/// Learning rate of `step` (from 1) of `totalSteps`: linear warm-up over warmup_steps, then constant, linear or cosine
/// decay to 0 at the end of totalSteps.
double scheduledLearningRate(const schema::Optimizer &optimizer, int64_t step, int64_t totalSteps);

class Optimizer {
public:
  /// The blocks a program describes; they must outlive the optimizer.
  struct State {
    uint8_t *parameters, *gradients, *means, *squares, *working;
  };
  Optimizer(const schema::Program &program, State state);

  /// Runs on worker 0 within drive. Clips as torch.nn.utils.clip_grad_norm_ does: factor = min(1, clip / (norm +
  /// 1e-6)). Failed if the norm is not finite; nothing is changed then.
  Result<ApplyReport> apply(WorkerPool &pool, double learningRate, int64_t step);

  /// Where the moments of a trained parameter lie, and how.
  kernels::Moments moments(unsigned parameter) const;

private:
  /// A part of a trained parameter, at most squaredNormBlock elements.
  struct Segment {
    unsigned parameter;
    int64_t first, count;
  };
  kernels::AdamWArrays arrays(const Segment &segment) const;
  double gradientNorm(WorkerPool &pool);

  const schema::Program &program_;
  State state_;
  std::vector<Segment> segments_;
  std::vector<double> sums_; // by segment
};

} // namespace graft
