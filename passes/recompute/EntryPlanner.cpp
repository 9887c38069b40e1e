#include "passes/recompute/EntryPlanner.h"

#include "runtime/program/Instructions.h"

using namespace mlir;

namespace graft {

int64_t deviceBytes(const schema::ProgramT &program) {
  return program.parameter_bytes + program.gradient_bytes + 2 * program.state_bytes + program.working_bytes +
         program.arena_bytes + static_cast<int64_t>(program.constants.size());
}

StepEstimate estimateStep(const schema::ProgramT &program, int64_t microBatches, const TargetRates &rates) {
  StepEstimate step;
  for (const auto &entry : program.entries) {
    bool once = entry->name == "accumulate" || entry->name == updatingEntry;
    int64_t times = once ? 1 : entry->name == "accumulate_more" ? microBatches - 1 : 0;
    std::vector<double> passes = mostPasses(*entry);
    for (size_t i = 0; i < passes.size(); ++i) {
      const auto &instruction = entry->instructions[i];
      double seconds = static_cast<double>(times) * passes[i] *
                       rates.seconds(static_cast<double>(instruction->flops), static_cast<double>(instruction->bytes));
      step.seconds += seconds;
      step.againSeconds += instruction->phase == schema::Phase::Recompute ? seconds : 0;
    }
    step.flops += times * mostFlops(*entry);
  }
  if (updatesInBackward(program))
    return step; // updates are instructions
  // The optimizer: the norm reads gradients; AdamW reads them, reads and writes weights and both moments, writes
  // copies.
  int64_t optimizer = 4 * program.gradient_bytes + 4 * program.state_bytes + program.working_bytes;
  step.seconds += rates.seconds(0, static_cast<double>(optimizer));
  return step;
}

EntryPlanner::EntryPlanner(func::FuncOp function, LoweredEntries &others, bool adds, const TargetRates &rates)
    : function_(function), others_(others), adds_(adds), graph_(function, rates), tradeoff_(graph_.problem()),
      search_(tradeoff_, [this](const recompute::Plan &plan) { return peak(plan); }) {}

FailureOr<LoweredEntries> EntryPlanner::lower(const recompute::Plan &plan) {
  LoweredEntries entries = others_.clone();
  for (bool adds : {false, true})
    if (!adds || adds_) {
      OwningOpRef<func::FuncOp> clone = function_.clone();
      graph_.apply(*clone, plan);
      if (failed(lowerEntry(*clone, entries.program, *entries.kernels, adds)))
        return failure();
    }
  return entries;
}

FailureOr<LoweredEntries> EntryPlanner::lowered(const recompute::Plan &plan) {
  if (last_ && last_->plan == plan) {
    LoweredEntries entries = std::move(last_->lowered);
    last_.reset();
    return entries;
  }
  return lower(plan);
}

FailureOr<int64_t> EntryPlanner::peak(const recompute::Plan &plan) {
  last_.reset();
  FailureOr<LoweredEntries> entries = lower(plan);
  if (failed(entries))
    return failure();
  int64_t bytes = deviceBytes(entries->program);
  last_ = Last{plan, std::move(*entries)};
  return bytes;
}

} // namespace graft
