#include "runtime/exec/Optimizer.h"

#include "kernels/Dispatch.h"
#include "kernels/adamw/adamw.h"
#include "kernels/squared_norm/squared_norm.h"
#include "runtime/program/Layout.h"

#include <algorithm>
#include <atomic>
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
    firstSegment_.push_back(segments_.size());
    const schema::Parameter &parameter = *program.parameters()->Get(i);
    int64_t count = parameter.trained() ? storedElements(parameter) : 0;
    for (int64_t done = 0; done < count; done += kernels::squaredNormBlock)
      segments_.push_back({i, done, std::min(kernels::squaredNormBlock, count - done)});
  }
  firstSegment_.push_back(segments_.size());
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

const float *Optimizer::gradientOf(const Segment &segment) const {
  int64_t offset = program_.parameters()->Get(segment.parameter)->gradient_offset();
  return reinterpret_cast<const float *>(state_.gradients + offset) + segment.first;
}

kernels::AdamWArrays Optimizer::arrays(const Segment &segment, const float *gradient) const {
  const schema::Parameter &p = *program_.parameters()->Get(segment.parameter);
  auto narrow = [&](uint8_t *block, int64_t offset) {
    return reinterpret_cast<uint16_t *>(block + offset) + segment.first;
  };
  kernels::AdamWArrays arrays{nullptr, gradient};
  if (p.dtype() == schema::DType::BF16)
    arrays.narrow = narrow(state_.parameters, p.offset());
  else
    arrays.parameter = reinterpret_cast<float *>(state_.parameters + p.offset()) + segment.first;
  if (p.working_offset() >= 0)
    arrays.working = narrow(state_.working, p.working_offset());
  return arrays;
}

void Optimizer::setNumbers(double learningRate, int64_t step, double clipFactor) {
  const schema::Optimizer &numbers = *program_.optimizer();
  step_ = step;
  numbers_.clear();
  for (const schema::Parameter *parameter : *program_.parameters())
    numbers_.push_back(kernels::adamwNumbers(learningRate * parameter->learning_rate_scale(), numbers.beta1(),
                                             numbers.beta2(), numbers.epsilon(), parameter->weight_decay(), step,
                                             clipFactor));
}

void Optimizer::updateSegment(const Segment &segment, const float *gradient) {
  // Random bits of a step and a parameter; within it, of an element.
  uint32_t seed = static_cast<uint32_t>(step_) * 0x9e3779b9u ^ segment.parameter * 0x85ebca6bu;
  kernels::vectorFunctions().adamw(arrays(segment, gradient), moments(segment.parameter), segment.first, segment.count,
                                   numbers_[segment.parameter], seed);
}

double Optimizer::gradientNorm() const {
  double sum = 0;
  for (double part : sums_)
    sum += part;
  return std::sqrt(sum);
}

Result<ApplyReport> Optimizer::apply(WorkerPool &pool, double learningRate, int64_t step) {
  auto *squaredNorm = kernels::vectorFunctions().squaredNorm;
  auto forEachSegment = [&](auto f) {
    pool.parallel([&](int worker) {
      Share share = shareOf(static_cast<int64_t>(segments_.size()), worker, pool.workers());
      for (auto i = static_cast<size_t>(share.begin); i < static_cast<size_t>(share.end); ++i)
        f(i);
    });
  };
  forEachSegment([&](size_t i) { sums_[i] = squaredNorm(gradientOf(segments_[i]), segments_[i].count); });
  ApplyReport report{gradientNorm(), 1};
  if (!std::isfinite(report.gradientNorm))
    return Status::error(Code::Failed, "the gradient norm is not finite", "apply",
                         "weights were left as they were; lower the learning rate or look at the batch");
  if (double clip = program_.optimizer()->clip_grad_norm(); clip > 0)
    report.clipFactor = std::min(1.0, clip / (report.gradientNorm + 1e-6));
  setNumbers(learningRate, step, report.clipFactor);
  forEachSegment([&](size_t i) { updateSegment(segments_[i], gradientOf(segments_[i])); });
  return report;
}

void Optimizer::begin(double learningRate, int64_t step) {
  setNumbers(learningRate, step, 1);
  updated_ = 0;
}

Status Optimizer::update(WorkerPool &pool, unsigned parameter, const float *gradient) {
  auto *squaredNorm = kernels::vectorFunctions().squaredNorm;
  size_t first = firstSegment_[parameter], count = firstSegment_[parameter + 1] - first;
  std::atomic<bool> finite = true, changed = false;
  auto run = [&](Share share) {
    for (auto i = first + static_cast<size_t>(share.begin); i < first + static_cast<size_t>(share.end); ++i) {
      const float *part = gradient + segments_[i].first;
      sums_[i] = squaredNorm(part, segments_[i].count); // the part is in the cache then
      if (!std::isfinite(sums_[i])) {
        finite = false;
        continue;
      }
      updateSegment(segments_[i], part);
      changed = true;
    }
  };
  if (count <= 1)
    run({0, static_cast<int64_t>(count)});
  else
    pool.parallel([&](int worker) { run(shareOf(static_cast<int64_t>(count), worker, pool.workers())); });
  updated_ += changed;
  if (finite)
    return Status::ok();
  return Status::error(Code::Failed, "the gradient of '" +
                                         escaped(program_.parameters()->Get(parameter)->name()->string_view(), 200) +
                                         "' is not finite");
}

} // namespace graft
