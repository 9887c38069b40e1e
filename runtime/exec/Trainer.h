// The training loop: rollouts in; metrics, checkpoints and a report out.
//
// Each step: the padded batch, advantages and old log-probs where the rollouts bring none, gradients, the optimizer.
// Deterministic: the same program, weights, rollouts and thread count give the same bits in every metric (but seconds
// and memory) and every saved weight, also when the run is interrupted and resumed. One thread, which owns the session
// meanwhile.
#pragma once

#include "runtime/exec/TrainReport.h"

#include <functional>

namespace graft {

struct TrainOptions {
  std::vector<std::string> rollouts; ///< files, globs, "-"
  int64_t steps = 1;                 ///< of the whole run, also of one that is resumed
  int64_t saveEvery = 0;             ///< a checkpoint after every that many steps, besides the last; 0: none
  std::string title;                 ///< of the report
  std::vector<std::pair<std::string, std::string>> facts; ///< of the report

  /// Fills the session's weights: the initial ones (empty folder), or those that `save` wrote to the folder.
  std::function<Status(Session &session, const std::string &folder)> bind;
  /// Writes the session's weights into an existing folder, in Hugging Face layout.
  std::function<Status(Session &session, const std::string &folder)> save;
  bool exactWeights = true; ///< whether `save` keeps float32; otherwise the optimizer's file holds the weights too

  std::function<void(const std::string &line)> progress; ///< a line per step, and what the user should know
  std::function<bool()> interrupted;                     ///< asked after every step: true ends the run in good order
};

struct TrainResult {
  int64_t firstStep = 1, lastStep = 0; ///< what this call did; firstStep > lastStep: nothing was left to do
  TrainEffect effect;                  ///< on the completions of step 1
  std::string checkpoint;              ///< folder of the trained weights
  std::vector<std::string> notes;
};

/// Trains in `directory`, where recipe.toml is written from the program as soon as the data are known to be sound; if
/// it holds checkpoints, on from the newest that is sound. Faults of the rollouts, all of them, before anything is
/// computed. Errors later: Usage (a run of other rollouts or another program), Failed with the step's number (numbers
/// that are not finite: the last step's weights are saved, unless it failed between two updates; disk), Interrupted
/// after a checkpoint was saved.
Result<TrainResult> train(Session &session, const RunDirectory &directory, const TrainOptions &options);

} // namespace graft
