#include "runtime/exec/Optimizer.h"

#include "kernels/Dispatch.h"
#include "kernels/adamw/adamw.h"
#include "kernels/squared_norm/squared_norm.h"
#include "runtime/program/Layout.h"

#include <algorithm>
#include <cmath>
#include <numbers>

namespace graft {

double scheduledLearningRate(const schema::Optimizer &optimizer, int64_t step, int64_t totalSteps) {
  double base = optimizer.learning_rate();
  int64_t warmup = optimizer.warmup_steps();
  if (step <= warmup)
    return base * double(step) / double(warmup);
  double rest = double(std::max<int64_t>(1, totalSteps - warmup));
  double progress = std::min(1.0, double(step - warmup - 1) / rest);
  switch (optimizer.schedule()) {
  case schema::Schedule::Linear:
    return base * (1 - progress);
  case schema::Schedule::Cosine:
    return base * 0.5 * (1 + std::cos(std::numbers::pi * progress));
  default:
    return base;
  }
}

Optimizer::Optimizer(const schema::Program &program, State state) : program_(program), state_(state) {
  for (unsigned i = 0; program.parameters() && i < program.parameters()->size(); ++i) {
    const schema::Parameter &parameter = *program.parameters()->Get(i);
    int64_t count = parameter.trained() ? storedElements(parameter) : 0;
    for (int64_t done = 0; done < count; done += kernels::squaredNormBlock)
      segments_.push_back({i, done, std::min(kernels::squaredNormBlock, count - done)});
  }
  sums_.resize(segments_.size());
}

kernels::Moments Optimizer::moments(unsigned parameter) const {
  const schema::Parameter &p = *program_.parameters()->Get(parameter);
  schema::DType stored = program_.optimizer()->state();
  static_assert(kernels::momentBlock == momentBlockElements);
  auto moment = [&](uint8_t *block) {
    uint8_t *at = block + p.state_offset();
    return kernels::Moment{at, reinterpret_cast<float *>(at + momentScales(storedElements(p)))};
  };
  auto form = stored == schema::DType::F32    ? kernels::MomentForm::F32
              : stored == schema::DType::BF16 ? kernels::MomentForm::BF16
                                              : kernels::MomentForm::Blocks8;
  return {form, moment(state_.means), moment(state_.squares)};
}

kernels::AdamWArrays Optimizer::arrays(const Segment &segment) const {
  const schema::Parameter &p = *program_.parameters()->Get(segment.parameter);
  auto floats = [&](uint8_t *block, int64_t offset) {
    return reinterpret_cast<float *>(block + offset) + segment.first;
  };
  auto narrow = [&](uint8_t *block, int64_t offset) {
    return reinterpret_cast<uint16_t *>(block + offset) + segment.first;
  };
  kernels::AdamWArrays arrays{nullptr, floats(state_.gradients, p.gradient_offset())};
  if (p.dtype() == schema::DType::BF16)
    arrays.narrow = narrow(state_.parameters, p.offset());
  else
    arrays.parameter = floats(state_.parameters, p.offset());
  if (p.working_offset() >= 0)
    arrays.working = narrow(state_.working, p.working_offset());
  return arrays;
}

double Optimizer::gradientNorm(WorkerPool &pool) {
  auto *squaredNorm = kernels::vectorFunctions().squaredNorm;
  pool.parallel([&](int worker) {
    Share share = shareOf(static_cast<int64_t>(segments_.size()), worker, pool.workers());
    for (auto i = static_cast<size_t>(share.begin); i < static_cast<size_t>(share.end); ++i)
      sums_[i] = squaredNorm(arrays(segments_[i]).gradient, segments_[i].count);
  });
  double sum = 0;
  for (double part : sums_)
    sum += part;
  return std::sqrt(sum);
}

Result<ApplyReport> Optimizer::apply(WorkerPool &pool, double learningRate, int64_t step) {
  const schema::Optimizer &numbers = *program_.optimizer();
  ApplyReport report;
  report.gradientNorm = gradientNorm(pool);
  if (!std::isfinite(report.gradientNorm))
    return Status::error(Code::Failed, "the gradient norm is not finite", "apply",
                         "weights were left as they were; lower the learning rate or look at the batch");
  if (numbers.clip_grad_norm() > 0)
    report.clipFactor = std::min(1.0, numbers.clip_grad_norm() / (report.gradientNorm + 1e-6));

  std::vector<kernels::AdamWNumbers> byParameter;
  for (const schema::Parameter *parameter : *program_.parameters())
    byParameter.push_back(kernels::adamwNumbers(learningRate * parameter->learning_rate_scale(), numbers.beta1(),
                                                numbers.beta2(), numbers.epsilon(), parameter->weight_decay(), step,
                                                report.clipFactor));
  auto *adamw = kernels::vectorFunctions().adamw;
  pool.parallel([&](int worker) {
    Share share = shareOf(static_cast<int64_t>(segments_.size()), worker, pool.workers());
    for (auto i = static_cast<size_t>(share.begin); i < static_cast<size_t>(share.end); ++i) {
      const Segment &segment = segments_[i];
      // Random bits of a step and a parameter; within it, of an element.
      uint32_t seed = static_cast<uint32_t>(step) * 0x9e3779b9u ^ segment.parameter * 0x85ebca6bu;
      adamw(arrays(segment), moments(segment.parameter), segment.first, segment.count, byParameter[segment.parameter],
            seed);
    }
  });
  return report;
}

} // namespace graft
