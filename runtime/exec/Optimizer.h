// AdamW over trained parameters: all of them when the gradients are complete (`apply`: global norm, clip, two passes
// over memory), or each in the backward pass, when its own gradient is (`begin`, `update` for each, `finish`).
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

  /// Begins a step whose parameters are updated one by one.
  void begin(double learningRate, int64_t step);
  /// One parameter by a gradient of its layout, which is read once. Runs on worker 0 within drive. Failed if the
  /// gradient is not finite: the blocks of squaredNormBlock elements that are not were left as they were.
  Status update(WorkerPool &pool, unsigned parameter, const float *gradient);
  /// Parameters that differ from what they were at begin().
  int updated() const { return updated_; }
  /// When every parameter was updated.
  ApplyReport finish() const { return {gradientNorm(), 1}; }

  /// Where the moments of a trained parameter lie, and how.
  kernels::Moments moments(unsigned parameter) const;

private:
  /// A part of a trained parameter, at most squaredNormBlock elements.
  struct Segment {
    unsigned parameter;
    int64_t first, count;
  };
  kernels::AdamWArrays arrays(const Segment &segment, const float *gradient) const;
  const float *gradientOf(const Segment &segment) const;
  void setNumbers(double learningRate, int64_t step, double clipFactor);
  /// By its part of the gradient and the numbers that were set.
  void updateSegment(const Segment &segment, const float *gradient);
  double gradientNorm() const;

  const schema::Program &program_;
  State state_;
  std::vector<Segment> segments_;
  std::vector<size_t> firstSegment_;           // by parameter, and one past the last
  std::vector<double> sums_;                   // of squares of gradients, by segment
  std::vector<kernels::AdamWNumbers> numbers_; // by parameter, of the step
  int64_t step_ = 0;
  int updated_ = 0;
};

} // namespace graft
