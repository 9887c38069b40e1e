// The rollouts of a run, cut into steps.
//
// Step s (from 1) takes sequences (s-1) B .. s B - 1 in file order, from the start again at the end of the data. A
// group that comes again in a later pass over the data is another group. Immutable after read(); one thread.
#pragma once

#include "runtime/exec/StepRunner.h"
#include "runtime/io/Rollouts.h"

namespace graft {

class TrainData {
public:
  /// Reads what `steps` steps need, and assembles every batch once, so that whatever is wrong with the data is found,
  /// all of it, before the first step. Graph fault for each rollout without an array that the program reads.
  static Result<TrainData> read(const std::vector<std::string> &patterns, int64_t steps, const StepRunner &runner);

  /// Distinct sequences that the run uses.
  int64_t sequences() const { return static_cast<int64_t>(rollouts_.size()); }
  /// Which sequence stands in a row of a step's batch.
  int64_t sequenceAt(int64_t step, int64_t row) const { return ((step - 1) * settings_.sequences + row) % sequences(); }
  /// Everything that the rollouts bring, without advantages and old log-probs that are computed.
  Result<Batch> batch(int64_t step) const;
  /// Mean reward of a step's sequences; nothing if one has none.
  std::optional<double> meanReward(int64_t step) const;
  /// Depends on the token ids, rewards and groups of the first `count` sequences.
  uint64_t digest(int64_t count) const;
  /// For the user: what was ignored, that data are used again.
  const std::vector<std::string> &notes() const { return notes_; }

private:
  TrainData(StepSettings settings, BatchOptions options)
      : settings_(std::move(settings)), options_(std::move(options)) {}
  Status load(const std::vector<std::string> &patterns, int64_t needed);
  Result<LoadedBatch> assemble(int64_t step) const;
  void require(const StepRunner &runner);
  void note(std::string text);

  StepSettings settings_;
  BatchOptions options_;
  std::vector<Rollout> rollouts_;
  std::vector<std::string> notes_;
};

} // namespace graft
