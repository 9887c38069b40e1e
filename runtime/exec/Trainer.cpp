#include "runtime/exec/Trainer.h"

#include "runtime/base/Stopwatch.h"
#include "runtime/exec/OptimizerFile.h"
#include "runtime/exec/TrainData.h"
#include "runtime/exec/TrainState.h"

#include <cmath>
#include <cstdio>
#include <filesystem>

namespace graft {

namespace {

/// Values of a step that go into its line besides the program's.
struct StepLine {
  int64_t step;
  double gradientNorm, rate, seconds;
  std::optional<double> reward;
};

class Training {
public:
  Training(Session &session, const RunDirectory &directory, const TrainOptions &options, StepRunner runner,
           TrainData data, JsonLinesWriter events)
      : session_(session), directory_(directory), options_(options), runner_(std::move(runner)), data_(std::move(data)),
        events_(std::move(events)) {}

  Result<TrainResult> run();

private:
  Status begin();
  Status restore();
  Status load(const std::string &folder, int64_t step);
  Status belongsHere(const TrainState &state, const std::string &folder) const;
  Status computeInitialLogprobs();
  Status loop();
  Status takeStep(int64_t step, JsonLinesWriter &metrics);
  /// What a step does that failed: says where a value is not finite; skips the step if the recipe says so.
  Status nonFinite(int64_t step, const Batch &batch, Status failure, JsonLinesWriter &metrics);
  /// What a step does that failed when some parameters were updated already: says where to go on from.
  Status betweenSteps(Status failure) const;
  Status writeLine(const StepResult &result, const StepLine &line, JsonLinesWriter &metrics);
  Status save(int64_t step);
  /// A step failed before it touched the weights: those of the last step are saved if they are not yet. They are gone
  /// if it failed later.
  void keepWhatIsGood(Status &failure);
  Status finish();

  Result<Batch> batchOf(int64_t step);
  /// Sequences whose log-probs under the initial weights are there.
  int64_t knownLogprobs() const { return static_cast<int64_t>(state_.initialLogprobs.size()) / settings().tokens; }
  const StepSettings &settings() const { return runner_.settings(); }
  bool interrupted() const { return options_.interrupted && options_.interrupted(); }
  Status stopped(int64_t step) const;
  void say(const std::string &line) const {
    if (options_.progress)
      options_.progress(line);
  }
  void note(const std::string &text);
  Status event(const std::string &name, std::vector<Field> fields);

  Session &session_;
  const RunDirectory &directory_;
  const TrainOptions &options_;
  StepRunner runner_;
  TrainData data_;
  JsonLinesWriter events_;
  TrainState state_;
  TrainResult result_;
  int skippedInARow_ = 0;
};

void Training::note(const std::string &text) {
  result_.notes.push_back(text);
  say("note: " + text);
  (void)event("note", {{"text", text}}); // a full disk shows at the next metrics line
}

Status Training::event(const std::string &name, std::vector<Field> fields) {
  double now = std::chrono::duration<double>(std::chrono::system_clock::now().time_since_epoch()).count();
  fields.insert(fields.begin(), {{"time", now}, {"event", name}});
  return events_.write(fields);
}

Status Training::stopped(int64_t step) const {
  return Status::error(Code::Interrupted, "stopped " + (step ? "after step " + std::to_string(step) : "before step 1"),
                       escaped(directory_.path(), 400), "run the same command again with --resume to go on");
}

/// The batch with everything that a step reads.
Result<Batch> Training::batchOf(int64_t step) {
  GRAFT_ASSIGN_OR_RETURN(Batch batch, data_.batch(step));
  GRAFT_RETURN_IF_ERROR(runner_.completeAdvantages(batch));
  if (!runner_.initialLogprobs().empty()) {
    std::vector<float> rows;
    for (int64_t row = 0; row < batch.sequences; ++row) {
      auto from = state_.initialLogprobs.begin() + data_.sequenceAt(step, row) * batch.tokens;
      rows.insert(rows.end(), from, from + batch.tokens);
    }
    runner_.setInitialLogprobs(batch, rows);
  }
  return batch;
}

/// Log-probs of the sequences that have none yet; the session holds the initial weights.
Status Training::computeInitialLogprobs() {
  int64_t known = knownLogprobs();
  say("log-probs: " + std::to_string(data_.sequences() - known) + " sequences under the initial weights");
  Stopwatch watch;
  state_.initialLogprobs.resize(static_cast<size_t>(data_.sequences() * settings().tokens));
  int64_t firstStep = known / settings().sequences + 1;
  for (int64_t step = firstStep; (step - 1) * settings().sequences < data_.sequences(); ++step) {
    if (interrupted())
      return stopped(state_.step);
    GRAFT_ASSIGN_OR_RETURN(Batch batch, data_.batch(step));
    GRAFT_ASSIGN_OR_RETURN(std::vector<float> logprobs, runner_.logprobs(batch));
    for (int64_t row = 0; row < batch.sequences; ++row)
      if (int64_t sequence = (step - 1) * batch.sequences + row; sequence >= known && sequence < data_.sequences())
        std::copy_n(logprobs.begin() + row * batch.tokens, batch.tokens,
                    state_.initialLogprobs.begin() + sequence * batch.tokens);
  }
  return event("initial_logprobs", {{"sequences", data_.sequences() - known}, {"seconds", watch.seconds()}});
}

/// A checkpoint of other rollouts or of another program is none to go on from.
Status Training::belongsHere(const TrainState &state, const std::string &folder) const {
  Status status;
  std::string place = escaped(folder, 400);
  if (state.step > options_.steps)
    return Status::error(Code::Usage,
                         std::to_string(state.step) + " steps are done, more than " + std::to_string(options_.steps),
                         place, "--steps counts all steps of a run, also those before it was resumed");
  if (state.program != session_.program().fingerprint())
    status.merge(Status::error(Code::Usage, "was written by another program", place, "resume with the run's own"));
  bool wraps = state.sequences > data_.sequences();
  if (state.tokens != settings().tokens || state.data != data_.digest(state.sequences) ||
      (wraps && state.distinct != data_.sequences()))
    status.merge(Status::error(Code::Usage, "was trained on other rollouts than these", place,
                               "give the run's own rollouts, in the same order; new ones may follow"));
  return status;
}

Status Training::load(const std::string &folder, int64_t step) {
  GRAFT_ASSIGN_OR_RETURN(TrainState state, TrainState::read(folder));
  if (state.step != step)
    return Status::error(Code::Graph, "is of step " + std::to_string(state.step), escaped(folder, 400));
  GRAFT_RETURN_IF_ERROR(belongsHere(state, folder));
  GRAFT_RETURN_IF_ERROR(options_.bind(session_, folder));
  GRAFT_RETURN_IF_ERROR(readOptimizerState(session_, folder, step));
  state_ = std::move(state);
  size_t used = static_cast<size_t>(data_.sequences() * settings().tokens); // this run may be shorter
  state_.initialLogprobs.resize(std::min(state_.initialLogprobs.size(), used));
  return Status::ok();
}

/// Loads the newest sound checkpoint; broken ones are moved out of the way. No checkpoint: the initial weights stay.
Status Training::restore() {
  std::vector<int64_t> steps = directory_.checkpoints();
  Status faults;
  while (!steps.empty()) {
    int64_t step = steps.back();
    std::string folder = directory_.checkpointPath(step);
    Status loaded = load(folder, step);
    if (loaded.isOk()) {
      result_.checkpoint = folder;
      for (const Fault &fault : faults.faults())
        note("a checkpoint is broken and was passed over: " + fault.place + ": " + fault.message);
      say("resumed after step " + std::to_string(step));
      return event("resumed", {{"step", step}});
    }
    if (loaded.faults()[0].code == Code::Usage)
      return loaded;
    faults.merge(std::move(loaded));
    steps.pop_back();
  }
  return faults;
}

Status Training::begin() {
  GRAFT_RETURN_IF_ERROR(
      event("started",
            {{"steps", options_.steps}, {"sequences", data_.sequences()}, {"threads", int64_t{session_.threads()}}}));
  for (const std::vector<std::string> &notes : {session_.notices(), data_.notes()})
    for (const std::string &text : notes)
      note(text);
  state_.tokens = settings().tokens;
  GRAFT_RETURN_IF_ERROR(restore());
  bool computes = !runner_.initialLogprobs().empty() && knownLogprobs() < data_.sequences();
  if (state_.step == 0 || computes)
    GRAFT_RETURN_IF_ERROR(options_.bind(session_, ""));
  if (computes)
    GRAFT_RETURN_IF_ERROR(computeInitialLogprobs());
  if (state_.step > 0 && computes) // the checkpoint's weights again
    GRAFT_RETURN_IF_ERROR(options_.bind(session_, result_.checkpoint));
  result_.firstStep = state_.step + 1;
  result_.lastStep = state_.step;
  return truncateMetrics(directory_.metricsPath(), state_.step);
}

Status Training::takeStep(int64_t step, JsonLinesWriter &metrics) {
  Stopwatch watch;
  GRAFT_ASSIGN_OR_RETURN(Batch batch, batchOf(step));
  double rate = scheduledLearningRate(*session_.program().root().optimizer(), step, options_.steps);
  Result<StepResult> result = runner_.step(batch, rate, step);
  if (session_.isBetweenSteps())
    return betweenSteps(result.takeStatus());
  if (!result.isOk())
    return nonFinite(step, batch, result.takeStatus(), metrics);
  skippedInARow_ = 0;
  if (step == 1)
    state_.firstLogprobs = result->logprobs;
  state_.step = step;
  StepLine line{step, result->update.gradientNorm, rate, watch.seconds(), data_.meanReward(step)};
  return writeLine(*result, line, metrics);
}

Status Training::nonFinite(int64_t step, const Batch &batch, Status failure, JsonLinesWriter &metrics) {
  if (failure.faults()[0].code != Code::Failed)
    return failure;
  GRAFT_ASSIGN_OR_RETURN(std::string where, runner_.whereNotFinite(batch));
  if (where.empty())
    return failure;
  failure.merge(Status::error(Code::Failed, where, "the first value that is not finite",
                              "weights and moments are those of step " + std::to_string(step - 1)));
  constexpr int mostSkippedInARow = 10;
  if (!settings().skipNonfinite)
    return failure;
  if (++skippedInARow_ > mostSkippedInARow) {
    failure.merge(Status::error(Code::Failed, "every one of the last " + std::to_string(mostSkippedInARow) +
                                                  " steps was skipped, too: weights or data are at fault"));
    return failure;
  }
  state_.step = step;
  note("step " + std::to_string(step) + " is skipped: " + where);
  std::vector<Field> line = {{"step", step}, {"skipped", true}, {"reason", where}};
  return metrics.write(line);
}

Status Training::betweenSteps(Status failure) const {
  bool saved = !result_.checkpoint.empty();
  failure.merge(Status::error(
      Code::Failed,
      saved ? "the last weights that are whole are those of " + result_.checkpoint : "no weights were saved yet",
      escaped(directory_.path(), 400),
      saved ? "run the same command again with --resume to go on from there"
            : "begin again in another folder, with --save-every, or with optimizer.in_backward = false"));
  return failure;
}

Status Training::writeLine(const StepResult &result, const StepLine &line, JsonLinesWriter &metrics) {
  double tokens = result.denominators.tokens;
  std::vector<Field> fields = {{"step", line.step},
                               {"loss", result.loss},
                               {"grad_norm", line.gradientNorm},
                               {"lr", line.rate},
                               {"tokens", static_cast<int64_t>(tokens)},
                               {"seconds", line.seconds},
                               {"tokens_per_second", tokens / line.seconds},
                               {"tokens_given", result.extent.given},
                               {"tokens_computed", result.extent.computed},
                               {"places", result.extent.places},
                               {"memory", memoryByCategory(session_)}};
  for (const auto &[name, value] : result.metrics) {
    fields.push_back({name, value});
    if (!std::isfinite(value))
      note("step " + std::to_string(line.step) + ": metric '" + escaped(name) + "' is not finite");
  }
  if (line.reward)
    fields.push_back({"reward", *line.reward});
  GRAFT_RETURN_IF_ERROR(metrics.write(fields));
  char text[200];
  std::snprintf(text, sizeof text, "step %lld/%lld  loss %.6f  grad_norm %.4f  lr %.3g  tokens %.0f  %.2f s",
                static_cast<long long>(line.step), static_cast<long long>(options_.steps), result.loss,
                line.gradientNorm, line.rate, tokens, line.seconds);
  say(text);
  return event("step", {{"step", line.step}, {"seconds", line.seconds}});
}

Status Training::save(int64_t step) {
  Stopwatch watch;
  state_.sequences = step * settings().sequences;
  state_.distinct = data_.sequences();
  state_.data = data_.digest(state_.sequences);
  state_.program = session_.program().fingerprint();
  std::string path = directory_.checkpointPath(step);
  std::error_code error;
  if (std::filesystem::exists(path, error)) // one that was passed over
    std::filesystem::rename(path, path + ".broken", error);
  GRAFT_ASSIGN_OR_RETURN(AtomicDirectory folder, directory_.beginCheckpoint(step));
  GRAFT_RETURN_IF_ERROR(options_.save(session_, folder.temporaryPath()));
  GRAFT_RETURN_IF_ERROR(writeOptimizerState(session_, folder.temporaryPath(), step, !options_.exactWeights));
  GRAFT_RETURN_IF_ERROR(state_.write(folder.temporaryPath()));
  GRAFT_RETURN_IF_ERROR(folder.commit());
  result_.checkpoint = path;
  return event("checkpoint", {{"step", step}, {"seconds", watch.seconds()}});
}

void Training::keepWhatIsGood(Status &failure) {
  int64_t last = result_.lastStep;
  if (failure.faults()[0].code != Code::Failed || session_.isBetweenSteps() || last < result_.firstStep ||
      result_.checkpoint == directory_.checkpointPath(last))
    return;
  if (Status saved = save(last); !saved.isOk())
    failure.merge(std::move(saved));
  else
    say("the weights of step " + std::to_string(last) + " are in " + result_.checkpoint);
}

Status Training::loop() {
  GRAFT_ASSIGN_OR_RETURN(JsonLinesWriter metrics, directory_.openMetrics());
  for (int64_t step = result_.firstStep; step <= options_.steps; ++step) {
    GRAFT_RETURN_IF_ERROR(takeStep(step, metrics).at("step " + std::to_string(step)));
    result_.lastStep = step;
    bool last = step == options_.steps, stop = !last && interrupted();
    if (last || stop || (options_.saveEvery > 0 && step % options_.saveEvery == 0))
      GRAFT_RETURN_IF_ERROR(save(step));
    if (stop)
      return stopped(step);
  }
  return Status::ok();
}

/// Effect, if all steps are done, and report.
Status Training::finish() {
  if (result_.lastStep >= options_.steps) {
    GRAFT_ASSIGN_OR_RETURN(Batch batch, batchOf(1));
    if (batch.find("advantages") && state_.firstLogprobs.size() == batch.floats("advantages").size()) {
      GRAFT_ASSIGN_OR_RETURN(std::vector<float> after, runner_.logprobs(batch));
      result_.effect = effectOf(batch, state_.firstLogprobs, after);
    }
  }
  ReportInput input;
  input.title = options_.title;
  input.facts = options_.facts;
  input.positive = result_.effect.positive;
  input.negative = result_.effect.negative;
  input.notes = result_.notes;
  return writeTrainReport(directory_, session_, std::move(input));
}

Result<TrainResult> Training::run() {
  GRAFT_RETURN_IF_ERROR(begin());
  session_.setProfiling(true);
  Status status = loop();
  if (!status.isOk() && status.faults()[0].code != Code::Interrupted) {
    (void)event("failed", {{"text", status.text()}});
    keepWhatIsGood(status);
    return status;
  }
  GRAFT_RETURN_IF_ERROR(event(status.isOk() ? "finished" : "interrupted", {{"step", result_.lastStep}}));
  GRAFT_RETURN_IF_ERROR(finish());
  if (!status.isOk())
    return status;
  return result_;
}

} // namespace

Result<TrainResult> train(Session &session, const RunDirectory &directory, const TrainOptions &options) {
  GRAFT_ASSIGN_OR_RETURN(StepSettings settings, StepSettings::read(session.program()));
  if (!session.program().root().optimizer())
    return Status::error(Code::Usage, "the program has no optimizer: nothing trains");
  StepRunner runner(session, std::move(settings));
  GRAFT_ASSIGN_OR_RETURN(TrainData data, TrainData::read(options.rollouts, options.steps, runner));
  // From here on the folder holds a run: a fault of the data leaves it free for the next attempt.
  if (const auto *recipe = session.program().root().recipe())
    GRAFT_RETURN_IF_ERROR(directory.writeRecipe(recipe->string_view()));
  GRAFT_ASSIGN_OR_RETURN(JsonLinesWriter events, directory.openEvents());
  return Training(session, directory, options, std::move(runner), std::move(data), std::move(events)).run();
}

} // namespace graft
