// What a checkpoint holds besides weights, so that a resumed run gives the bits of one that was never interrupted.
//
//   optimizer.safetensors   "mean.NAME", "square.NAME" of every trained parameter; "parameter.NAME" where the weights'
//                           own file rounds them (OptimizerFile.h)
//   training.safetensors    "old_logprobs" [N,S] of the run's sequences under the initial weights, if the run uses
//   them;
//                           "first_logprobs" [B,S] of step 1's batch before step 1
//   training.json           {"step": 4, "sequences": 64, "distinct": 128, "data": "9f..", "program": "04.."}
#pragma once

#include "runtime/base/Status.h"

#include <cstdint>
#include <string>
#include <vector>

namespace graft {

struct TrainState {
  int64_t step = 0;                   ///< done
  int64_t sequences = 0;              ///< position in the data: taken so far, counting repetitions
  int64_t distinct = 0;               ///< of the data when this was written
  uint64_t data = 0;                  ///< TrainData::digest of the sequences taken so far
  uint64_t program = 0;               ///< fingerprint
  int64_t tokens = 0;                 ///< S
  std::vector<float> initialLogprobs; ///< [distinct,S]; empty if the run does not use them
  std::vector<float> firstLogprobs;   ///< [B,S]

  /// Into an existing folder. Failed if the disk refuses.
  Status write(const std::string &folder) const;
  /// Format, Type, Graph: a checkpoint that is broken or is none of a run.
  static Result<TrainState> read(const std::string &folder);
};

} // namespace graft
