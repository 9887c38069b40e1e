#include "runtime/exec/Trainer.h"

#include "runtime/exec/OptimizerFile.h"

#include <chrono>
#include <cmath>
#include <cstdio>

namespace graft {

namespace {

double secondsSince(std::chrono::steady_clock::time_point start) { return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count(); }

template <typename... Arguments> std::string format(const char *pattern, Arguments... arguments) {
  char text[256];
  std::snprintf(text, sizeof text, pattern, arguments...);
  return text;
}

class Training {
public:
  Training(Session &session, const RunDirectory &directory, const TrainOptions &options, StepRunner runner)
      : session_(session), directory_(directory), options_(options), runner_(std::move(runner)) {}

  Result<TrainReport> run();

private:
  Status readData();
  Status bindInitial();
  Status resume();
  Status takeStep(int64_t step, JsonLinesWriter &metrics);
  Status writeLine(int64_t step, const StepResult &result, const ApplyReport &applied, double rate, double seconds, JsonLinesWriter &metrics);
  Status saveCheckpoint(int64_t step);
  Status measureEffect();
  Status finishReport();

  /// The rollouts of a step (from 1); indices wrap around.
  std::vector<Rollout> rolloutsOf(int64_t step) const;
  size_t indexOf(int64_t step, int64_t row) const { return static_cast<size_t>((step - 1) * settings().sequences + row) % rollouts_.size(); }
  Result<Batch> batchOf(int64_t step);
  Status computeOldLogprobs();
  void addOldLogprobs(Batch &batch, int64_t step) const;
  const StepSettings &settings() const { return runner_.settings(); }
  bool usesOld() const { return settings().oldPolicy == OldPolicy::Initial && runner_.reads("accumulate", "old_logprobs"); }
  void say(const std::string &line) const {
    if (options_.progress)
      options_.progress(line);
  }

  Session &session_;
  const RunDirectory &directory_;
  const TrainOptions &options_;
  StepRunner runner_;
  std::vector<Rollout> rollouts_;
  std::vector<std::vector<float>> old_; ///< per rollout: a row of log-probs under the initial weights
  std::vector<std::string> notes_;
  std::vector<float> before_;           ///< log-probs of step 1's batch before it
  TrainReport report_;
};

std::vector<Rollout> Training::rolloutsOf(int64_t step) const {
  std::vector<Rollout> chosen;
  for (int64_t row = 0; row < settings().sequences; ++row)
    chosen.push_back(rollouts_[indexOf(step, row)]);
  return chosen;
}

/// Reads what the run needs, and checks every step's batch before the first runs.
Status Training::readData() {
  RolloutOptions options;
  options.required = {};
  options.vocabulary = settings().vocabulary;
  GRAFT_ASSIGN_OR_RETURN(RolloutStream stream, RolloutStream::open(options_.rollouts, options));
  int64_t needed = 0;
  if (__builtin_mul_overflow(options_.steps, settings().sequences, &needed))
    return Status::error(Code::Usage, "too many steps", "--steps");
  constexpr int64_t piece = 4096;
  while (static_cast<int64_t>(rollouts_.size()) < needed) {
    GRAFT_ASSIGN_OR_RETURN(std::vector<Rollout> more, stream.next(static_cast<size_t>(std::min(piece, needed - static_cast<int64_t>(rollouts_.size())))));
    if (more.empty())
      break;
    std::move(more.begin(), more.end(), std::back_inserter(rollouts_));
  }
  if (rollouts_.empty())
    return Status::error(Code::Graph, "there are no rollouts", options_.rollouts.empty() ? "" : escaped(options_.rollouts[0]));
  if (static_cast<int64_t>(rollouts_.size()) < needed)
    notes_.push_back(format("%zu rollouts for %lld: the data is used again from its start", rollouts_.size(), static_cast<long long>(needed)));
  Status status;
  int64_t distinct = std::min(options_.steps, (static_cast<int64_t>(rollouts_.size()) + settings().sequences - 1) / settings().sequences);
  for (int64_t step = 1; step <= distinct; ++step)
    if (auto batch = batchOf(step); !batch.isOk())
      status.merge(batch.takeStatus());
  return status;
}

/// A step's batch but for advantages and old log-probs that are computed.
Result<Batch> Training::batchOf(int64_t step) {
  GRAFT_ASSIGN_OR_RETURN(LoadedBatch loaded, batchFromRollouts(rolloutsOf(step), runner_.batchOptions(), settings().padId));
  for (std::string &note : loaded.notes)
    if (std::ranges::find(notes_, note) == notes_.end())
      notes_.push_back(std::move(note));
  return std::move(loaded.batch);
}

Status Training::computeOldLogprobs() {
  old_.assign(rollouts_.size(), {});
  int64_t batches = (static_cast<int64_t>(rollouts_.size()) + settings().sequences - 1) / settings().sequences;
  say("old log-probs of " + std::to_string(rollouts_.size()) + " sequences under the initial weights");
  for (int64_t step = 1; step <= batches; ++step) {
    GRAFT_ASSIGN_OR_RETURN(Batch batch, batchOf(step));
    GRAFT_ASSIGN_OR_RETURN(std::vector<float> logprobs, runner_.logprobs(batch));
    for (int64_t row = 0; row < settings().sequences; ++row)
      if (std::vector<float> &old = old_[indexOf(step, row)]; old.empty())
        old.assign(logprobs.begin() + row * settings().tokens, logprobs.begin() + (row + 1) * settings().tokens);
  }
  return Status::ok();
}

void Training::addOldLogprobs(Batch &batch, int64_t step) const {
  std::vector<float> rows;
  for (int64_t row = 0; row < settings().sequences; ++row) {
    const std::vector<float> &old = old_[indexOf(step, row)];
    rows.insert(rows.end(), old.begin(), old.end());
  }
  setArray(batch, {"old_logprobs", {settings().sequences, settings().tokens}, std::move(rows)});
}

Status Training::bindInitial() {
  GRAFT_RETURN_IF_ERROR(options_.bind(session_, ""));
  if (usesOld())
    GRAFT_RETURN_IF_ERROR(computeOldLogprobs());
  return Status::ok();
}

/// Weights and state of the last checkpoint, if there is one.
Status Training::resume() {
  std::optional<int64_t> step = directory_.latestCheckpoint();
  if (!step)
    return truncateMetrics(directory_.metricsPath(), 0);
  GRAFT_ASSIGN_OR_RETURN(Batch batch, batchOf(1));
  GRAFT_ASSIGN_OR_RETURN(before_, runner_.logprobs(batch));
  std::string folder = directory_.checkpointPath(*step);
  GRAFT_RETURN_IF_ERROR(options_.bind(session_, folder));
  GRAFT_RETURN_IF_ERROR(readOptimizerState(session_, folder, *step));
  report_.firstStep = *step + 1;
  report_.checkpoint = folder;
  say("resumed after step " + std::to_string(*step));
  return truncateMetrics(directory_.metricsPath(), *step);
}

Status Training::takeStep(int64_t step, JsonLinesWriter &metrics) {
  auto start = std::chrono::steady_clock::now();
  GRAFT_ASSIGN_OR_RETURN(Batch batch, batchOf(step));
  GRAFT_RETURN_IF_ERROR(runner_.completeAdvantages(batch));
  if (usesOld())
    addOldLogprobs(batch, step);
  GRAFT_ASSIGN_OR_RETURN(StepResult result, runner_.accumulate(batch));
  for (const auto &[name, value] : result.metrics)
    if (!std::isfinite(value))
      notes_.push_back(format("step %lld: metric '%s' is not finite", static_cast<long long>(step), name.c_str()));
  if (step == 1)
    before_ = result.logprobs;
  double rate = scheduledLearningRate(*session_.program().root().optimizer(), step, options_.steps);
  GRAFT_ASSIGN_OR_RETURN(ApplyReport applied, session_.apply(rate, step));
  return writeLine(step, result, applied, rate, secondsSince(start), metrics);
}

Status Training::writeLine(int64_t step, const StepResult &result, const ApplyReport &applied, double rate, double seconds, JsonLinesWriter &metrics) {
  double tokens = result.denominators.tokens;
  std::vector<Field> fields = {{"step", step},
                               {"loss", result.loss},
                               {"grad_norm", applied.gradientNorm},
                               {"lr", rate},
                               {"tokens", static_cast<int64_t>(tokens)},
                               {"seconds", seconds},
                               {"tokens_per_second", tokens / seconds},
                               {"memory", session_.memory().processPeak}};
  for (const auto &[name, value] : result.metrics)
    fields.push_back({name, value});
  GRAFT_RETURN_IF_ERROR(metrics.write(fields));
  std::string line = format("step %lld/%lld  loss %.6f  grad_norm %.4f  lr %.3g  tokens %.0f  %.2f s", static_cast<long long>(step),
                            static_cast<long long>(options_.steps), result.loss, applied.gradientNorm, rate, tokens, seconds);
  say(line);
  return Status::ok();
}

Status Training::saveCheckpoint(int64_t step) {
  GRAFT_ASSIGN_OR_RETURN(AtomicDirectory folder, directory_.beginCheckpoint(step));
  GRAFT_RETURN_IF_ERROR(options_.save(session_, folder.temporaryPath()));
  GRAFT_RETURN_IF_ERROR(writeOptimizerState(session_, folder.temporaryPath(), step, !options_.exactWeights));
  GRAFT_RETURN_IF_ERROR(folder.commit());
  report_.checkpoint = directory_.checkpointPath(step);
  return Status::ok();
}

/// Mean log-prob of step 1's completions by the sign of their advantage, before the run and now.
Status Training::measureEffect() {
  GRAFT_ASSIGN_OR_RETURN(Batch batch, batchOf(1));
  GRAFT_RETURN_IF_ERROR(runner_.completeAdvantages(batch));
  const BatchArray *advantages = batch.find("advantages");
  if (!advantages || before_.empty())
    return Status::ok();
  GRAFT_ASSIGN_OR_RETURN(std::vector<float> after, runner_.logprobs(batch));
  EffectGroup groups[2];
  double tokens[2] = {0, 0};
  std::span<const float> mask = batch.floats("loss_mask"), signs = batch.floats("advantages");
  for (int64_t row = 0; row < batch.sequences; ++row) {
    double advantage = 0, before = 0, now = 0, count = 0;
    for (int64_t i = row * batch.tokens; i < (row + 1) * batch.tokens; ++i)
      if (mask[i] != 0) {
        advantage += signs[i], before += before_[i], now += after[i], count += 1;
      }
    if (advantage == 0 || count == 0)
      continue;
    EffectGroup &group = groups[advantage < 0];
    group.completions += 1;
    group.before += before;
    group.after += now;
    tokens[advantage < 0] += count;
  }
  for (int sign = 0; sign < 2; ++sign)
    if (tokens[sign] > 0) {
      groups[sign].before /= tokens[sign];
      groups[sign].after /= tokens[sign];
      (sign ? report_.negative : report_.positive) = groups[sign];
    }
  return Status::ok();
}

Status Training::finishReport() {
  ReportInput input;
  input.title = options_.title;
  input.facts = options_.facts;
  GRAFT_ASSIGN_OR_RETURN(input.metrics, readMetrics(directory_.metricsPath()));
  MemoryUse memory = session_.memory();
  input.memory = {{"parameters", static_cast<double>(memory.parameters)}, {"gradients", static_cast<double>(memory.gradients)},
                  {"optimizer state", static_cast<double>(memory.state)}, {"arena", static_cast<double>(memory.arena)},
                  {"constants", static_cast<double>(memory.constants)}};
  double rest = static_cast<double>(memory.processPeak - memory.parameters - memory.gradients - memory.state - memory.arena - memory.constants);
  if (rest > 0)
    input.memory.push_back({"everything else", rest});
  input.time = session_.secondsByCategory();
  input.positive = report_.positive;
  input.negative = report_.negative;
  input.notes = notes_;
  return writeReport(directory_.reportPath(), input);
}

Result<TrainReport> Training::run() {
  GRAFT_RETURN_IF_ERROR(readData());
  for (const std::string &note : notes_)
    say("note: " + note);
  GRAFT_RETURN_IF_ERROR(bindInitial());
  GRAFT_RETURN_IF_ERROR(resume());
  GRAFT_ASSIGN_OR_RETURN(JsonLinesWriter metrics, directory_.openMetrics());
  int64_t saved = report_.firstStep - 1;
  report_.lastStep = saved;
  for (int64_t step = report_.firstStep; step <= options_.steps; ++step) {
    GRAFT_RETURN_IF_ERROR(takeStep(step, metrics).at("step " + std::to_string(step)));
    report_.lastStep = step;
    bool stop = options_.interrupted();
    if (stop || step == options_.steps || (options_.saveEvery > 0 && step % options_.saveEvery == 0)) {
      GRAFT_RETURN_IF_ERROR(saveCheckpoint(step));
      saved = step;
    }
    if (stop && step < options_.steps)
      return Status::error(Code::Interrupted, "stopped after step " + std::to_string(step), directory_.path(), "run the same command with --resume to go on");
  }
  GRAFT_RETURN_IF_ERROR(measureEffect());
  GRAFT_RETURN_IF_ERROR(finishReport());
  return report_;
}

} // namespace

Result<TrainReport> train(Session &session, const RunDirectory &directory, const TrainOptions &options) {
  GRAFT_ASSIGN_OR_RETURN(StepSettings settings, StepSettings::read(session.program()));
  if (!session.program().root().optimizer())
    return Status::error(Code::Usage, "the program has no optimizer: nothing trains");
  return Training(session, directory, options, StepRunner(session, std::move(settings))).run();
}

} // namespace graft
