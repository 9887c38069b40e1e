#include "runtime/exec/TrainData.h"

#include "runtime/program/Hash.h"

#include <algorithm>

namespace graft {

Result<TrainData> TrainData::read(const std::vector<std::string> &patterns, int64_t steps, const StepRunner &runner) {
  TrainData data(runner.settings(), runner.batchOptions());
  int64_t width = data.settings_.sequences, needed = 0;
  if (steps < 1 || __builtin_mul_overflow(steps, width, &needed))
    return Status::error(Code::Usage, std::to_string(steps) + " is no number of steps", "--steps");
  GRAFT_RETURN_IF_ERROR(data.load(patterns, needed));
  data.require(runner);
  if (data.sequences() < needed)
    data.note("the run takes " + std::to_string(needed) + " sequences, the rollouts hold " +
              std::to_string(data.sequences()) + ": they are used again from the start");
  Status status;
  int64_t distinct = std::min(steps, (data.sequences() + width - 1) / width);
  for (int64_t step = 1; step <= distinct; ++step) {
    auto batch = data.assemble(step);
    if (!batch.isOk())
      status.merge(batch.takeStatus());
    else
      for (std::string &note : batch->notes)
        data.note(std::move(note));
  }
  if (!status.isOk())
    return status;
  return data;
}

Status TrainData::load(const std::vector<std::string> &patterns, int64_t needed) {
  constexpr int64_t piece = 1024;
  RolloutOptions options;
  options.required = {};
  options.vocabulary = settings_.vocabulary;
  GRAFT_ASSIGN_OR_RETURN(RolloutStream stream, RolloutStream::open(patterns, options));
  while (sequences() < needed) {
    GRAFT_ASSIGN_OR_RETURN(std::vector<Rollout> more,
                           stream.next(static_cast<size_t>(std::min(piece, needed - sequences()))));
    if (more.empty())
      break;
    for (Rollout &rollout : more) { // texts are not needed, and larger than the rest
      rollout.prompt = rollout.completion = "";
      rollout.others.clear();
      rollouts_.push_back(std::move(rollout));
    }
  }
  if (rollouts_.empty())
    return Status::error(Code::Graph, "holds no rollouts", patterns.empty() ? "--rollouts" : escaped(patterns[0], 400));
  return Status::ok();
}

/// What every rollout must have: what the loss reads and nobody computes.
void TrainData::require(const StepRunner &runner) {
  auto hasAdvantages = [](const Rollout &rollout) {
    return rollout.advantage || rollout.tokens(TokenField::Advantages);
  };
  bool computed = runner.computesAdvantages() && std::ranges::none_of(rollouts_, hasAdvantages);
  std::vector<std::string> initial = runner.initialLogprobs();
  for (const std::string &name : runner.arraysOf(runner.trainingEntry()))
    if (!(name == "advantages" && computed) && std::ranges::find(initial, name) == initial.end())
      options_.required.push_back(name);
  if (computed && runner.reads(runner.trainingEntry(), "advantages"))
    for (const std::string &name : runner.arraysOf("advantages"))
      options_.required.push_back(name);
  for (const std::string &name : initial)
    std::erase(options_.used, name);
}

void TrainData::note(std::string text) {
  if (std::ranges::find(notes_, text) == notes_.end())
    notes_.push_back(std::move(text));
}

Result<LoadedBatch> TrainData::assemble(int64_t step) const {
  std::vector<Rollout> chosen;
  for (int64_t row = 0; row < settings_.sequences; ++row) {
    chosen.push_back(rollouts_[static_cast<size_t>(sequenceAt(step, row))]);
    if (int64_t pass = ((step - 1) * settings_.sequences + row) / sequences(); pass > 0 && !chosen.back().group.empty())
      chosen.back().group += " in pass " + std::to_string(pass + 1);
  }
  return batchFromRollouts(chosen, options_, settings_.padId);
}

Result<Batch> TrainData::batch(int64_t step) const {
  GRAFT_ASSIGN_OR_RETURN(LoadedBatch loaded, assemble(step));
  return std::move(loaded.batch);
}

std::optional<double> TrainData::meanReward(int64_t step) const {
  double sum = 0;
  for (int64_t row = 0; row < settings_.sequences; ++row) {
    const Rollout &rollout = rollouts_[static_cast<size_t>(sequenceAt(step, row))];
    if (!rollout.reward)
      return std::nullopt;
    sum += *rollout.reward;
  }
  return sum / static_cast<double>(settings_.sequences);
}

uint64_t TrainData::digest(int64_t count) const {
  std::string text;
  for (int64_t i = 0; i < std::min(count, sequences()); ++i) {
    const Rollout &rollout = rollouts_[static_cast<size_t>(i)];
    for (const std::vector<int32_t> *ids : {&rollout.promptIds, &rollout.completionIds}) {
      for (int32_t id : *ids)
        text += std::to_string(id) + ",";
      text += ";";
    }
    text += std::to_string(rollout.reward.value_or(0)) + ";" + rollout.group + "\n";
  }
  return hash64(text);
}

} // namespace graft
