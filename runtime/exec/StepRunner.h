// One training step on a session: from a batch to loss, metrics, log-probs, gradients or new weights.
//
// A program's entries see a micro-batch; a step is what the recipe calls one. This class fills in what a batch may
// leave open (advantages from rewards, old log-probs of the current weights, denominators over the whole step), splits
// rows into micro-batches, or packs them, and combines their metrics. It owns nothing but numbers; the session must
// outlive it. One thread.
#pragma once

#include "runtime/exec/Session.h"
#include "runtime/io/Batch.h"
#include "runtime/program/Instructions.h"

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

namespace graft {

/// What the compiler wrote into the program's settings.
struct StepSettings {
  int64_t sequences = 0, tokens = 0; ///< rows of a step and their width
  int64_t microBatches = 1;
  int64_t packed = 0;        ///< places of a packed row; 0: rows are padded
  bool sharePrompts = false; ///< packed: a prompt is computed once for all sequences that begin with it
  int64_t padId = 0, vocabulary = 0;
  std::vector<std::string> initial; ///< arrays that are log-probs under the initial weights
  bool updatesInBackward = false;   ///< the entry `step` trains, not `accumulate` and apply()
  bool skipNonfinite = false;       ///< a step whose loss or gradients are not finite is skipped, not the end
  std::string objective;
  std::map<std::string, std::string> combine; ///< metric -> exact, sum, max, min, whole

  /// Verify faults at the program's name for what it lacks.
  static Result<StepSettings> read(const Program &program);
};

/// Counts of a step that losses are divided by.
struct Denominators {
  double tokens = 0;    ///< loss tokens
  double sequences = 0; ///< rows with at least one of them
  double rows = 0;      ///< rows
};
Denominators denominatorsOf(const Batch &batch);

/// Tokens of a batch and what the trunk makes of them.
struct Extent {
  int64_t given = 0;    ///< real tokens of the batch
  int64_t computed = 0; ///< the same, shared prompts counted once
  int64_t places = 0;   ///< for which the trunk computes: with padding
};

struct StepResult {
  double loss = 0;
  std::vector<std::pair<std::string, double>> metrics; ///< in the order of the program's outputs
  std::vector<float> logprobs;                         ///< [B,S]
  Denominators denominators;
  Extent extent;
  ApplyReport update; ///< of step()
};

class StepRunner {
public:
  StepRunner(Session &session, StepSettings settings) : session_(session), settings_(std::move(settings)) {}

  const StepSettings &settings() const { return settings_; }
  /// Arrays of the batch that the entry reads and cannot do without; none if there is no such entry.
  std::vector<std::string> arraysOf(std::string_view entry) const;
  /// The entry that computes loss and gradients.
  std::string_view trainingEntry() const { return settings_.updatesInBackward ? updatingEntry : "accumulate"; }
  /// True if the program can compute advantages from rewards.
  bool computesAdvantages() const { return session_.inputs("advantages").isOk(); }
  /// True if the entry exists and reads this array.
  bool reads(std::string_view entry, std::string_view array) const;
  /// Arrays that a step can use: those of all entries, and what advantages are computed from.
  BatchOptions batchOptions() const;

  /// Adds `advantages` [B,S] if the loss reads them and the batch has none. Graph fault if they cannot be computed.
  Status completeAdvantages(Batch &batch);
  /// Arrays that the loss reads and that are log-probs under the initial weights, whatever a batch holds.
  std::vector<std::string> initialLogprobs() const;
  /// Puts log-probs [B,S] under the initial weights where the batch lacks them.
  void setInitialLogprobs(Batch &batch, const std::vector<float> &logprobs) const;
  /// [B,S] under the present weights.
  Result<std::vector<float>> logprobs(const Batch &batch);
  /// Sets gradients. The batch must be complete: Graph fault for each array that is missing. Usage error if parameters
  /// are updated in the backward pass.
  Result<StepResult> accumulate(const Batch &batch);
  /// accumulate() and Session::apply(), or both in one by Session::step(). `number` counts from 1.
  Result<StepResult> step(const Batch &batch, double learningRate, int64_t number);
  /// Where a step makes of the batch what is not finite (Session::findNonFinite); empty: nowhere. Slow.
  Result<std::string> whereNotFinite(const Batch &batch);

private:
  struct Run;
  struct Runs;
  /// The runs of an entry that a batch takes, with their inputs. The batch outlives them.
  Result<std::unique_ptr<Runs>> runsOf(std::string_view entry, const Batch &batch) const;
  Status cut(const Batch &batch, Runs &runs) const;
  Status tooManyRows(int64_t rows) const;
  /// The runs of the training entry, each by `call`, and what they give together.
  Result<StepResult> train(const Batch &batch, const std::function<Status(const Run &, const Outputs &)> &call);
  Result<std::vector<float>> advantages(const Batch &batch, std::vector<int64_t> &shape);

  Session &session_;
  StepSettings settings_;
};

/// Puts an array into a batch, in place of one of the same name.
void setArray(Batch &batch, BatchArray array);

} // namespace graft
