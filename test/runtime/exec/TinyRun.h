// A two-layer Llama compiled for small steps, made-up rollouts, and the parts of a run that tests compare.
#pragma once

#include "runtime/exec/Trainer.h"
#include "test/runtime/base/TemporaryDirectory.h"

#include <map>

namespace graft::test {

/// Rows per step and their width in every tiny program.
inline constexpr int64_t tinySequences = 4, tinyTokens = 12;

/// A learning rate at which four steps change much.
inline constexpr const char *tinyOptimizer = "lr = 1e-2";

/// Compiled once per process for each text of [objective], [optimizer] and [precision].
Program tinyProgram(const std::string &objective, const std::string &optimizer = tinyOptimizer,
                    const std::string &precision = "");

struct TinyRollout {
  int64_t group = 0;
  double reward = 0;
  std::string more = {}; ///< further fields: ", \"advantage\": 1.5"
  bool bare = false;     ///< without reward and group_id
};
/// JSON lines; token ids and lengths depend on the position only.
std::string tinyRollouts(const std::vector<TinyRollout> &rollouts);
/// Twelve sequences in three groups of four.
std::string twelveRollouts();

/// The model's own weights, and a folder that save() filled.
Status bindTiny(Session &session, const std::string &folder);
Status saveTiny(Session &session, const std::string &folder);

struct TinyRun {
  std::string directory;
  std::string rollouts;
  int64_t steps = 4;
  int64_t saveEvery = 0;
  int64_t stopAfter = 0; ///< asks for an end in good order after that many steps; 0: never
  bool resume = false;
  bool exactWeights = true;
  std::string optimizer = tinyOptimizer, precision = {};
  std::function<Status(Session &, const std::string &)> bind = bindTiny;
  std::vector<std::string> lines = {}; ///< what progress said

  /// A new session, as in a new process.
  Result<TrainResult> run(const std::string &objective);
};

/// Lines of metrics.jsonl without what may differ between equal runs.
std::vector<std::map<std::string, double>> metricsOf(const std::string &directory);
/// Bytes of a file of a checkpoint.
std::string checkpointBytes(const std::string &directory, int64_t step, const std::string &file);

} // namespace graft::test
