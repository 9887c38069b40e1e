// The training loop: rollouts in, steps, metrics, checkpoints and a report out.
//
// Step s takes sequences (s-1) B .. s B - 1 of the rollouts in file order, from the start again at the end of the data.
// Each step: assemble the padded batch, advantages and old log-probs where the rollouts have none, accumulate, clip and
// apply. Deterministic: the same program, rollouts and thread count give the same bits, also when a run is interrupted
// and resumed. One thread, which owns the session meanwhile.
#pragma once

#include "runtime/exec/StepRunner.h"
#include "runtime/observe/Report.h"
#include "runtime/observe/RunDirectory.h"

#include <functional>

namespace graft {

struct TrainOptions {
  std::vector<std::string> rollouts; ///< files, globs, "-"
  int64_t steps = 1;                 ///< of the whole run, also of one that is resumed
  int64_t saveEvery = 0;             ///< checkpoints between; 0: only at the end
  std::string title;                 ///< of the report
  std::vector<std::pair<std::string, std::string>> facts; ///< of the report

  /// Fills the session's weights: from the initial checkpoint (empty path) or from a folder that `save` wrote.
  std::function<Status(Session &session, const std::string &folder)> bind;
  /// Writes the session's weights into an existing folder, in Hugging Face layout.
  std::function<Status(Session &session, const std::string &folder)> save;
  bool exactWeights = true; ///< whether `save` keeps float32; otherwise the optimizer's file holds the weights too

  std::function<void(const std::string &line)> progress;
  std::function<bool()> interrupted = [] { return false; }; ///< asked after every step
};

struct TrainReport {
  int64_t firstStep = 1, lastStep = 0;       ///< what this call did
  std::optional<EffectGroup> positive, negative; ///< on the completions of step 1
  std::string checkpoint;                    ///< folder of the trained weights
};

/// Trains in `directory`; with a checkpoint in it (resuming), from there. Errors: of the rollouts, all of them before
/// the first step; Failed with the step's number (non-finite numbers, disk); Interrupted after a checkpoint was saved.
Result<TrainReport> train(Session &session, const RunDirectory &directory, const TrainOptions &options);

} // namespace graft
