#include "runtime/exec/StepRunner.h"

#include "runtime/base/Json.h"
#include "runtime/io/Pack.h"

#include <algorithm>
#include <limits>
#include <optional>
#include <set>

namespace graft {

namespace {

// Inputs that no batch brings: StepRunner makes them.
constexpr std::string_view denominatorPrefix = "denominator.", packedPrefix = "packed.";

bool isMade(std::string_view name) {
  return name.starts_with(denominatorPrefix) || name.starts_with(packedPrefix);
}

schema::DType dtypeOf(const BatchArray &array) {
  return std::array{schema::DType::I64, schema::DType::F32, schema::DType::F64}[array.values.index()];
}

/// Arrays of some rows of a batch in the form that an entry reads them.
class EntryInputs {
public:
  EntryInputs(const std::vector<BindingInfo> &bindings, const Batch &batch, const Denominators &denominators)
      : bindings_(bindings), batch_(batch), denominators_(denominators) {}

  /// Rows [row, row + count) of every array, all missing ones reported.
  Status fill(int64_t row, int64_t count) {
    inputs_.clear();
    Status status;
    for (const BindingInfo &binding : bindings_) {
      if (binding.name.starts_with(denominatorPrefix)) {
        addDenominator(binding.name);
        continue;
      }
      const BatchArray *array = batch_.find(binding.name);
      if (array)
        addRows(binding, *array, row, count);
      else if (binding.required)
        status.merge(Status::error(Code::Graph,
                                   "the batch has no array '" + escaped(binding.name) + "', which the program reads",
                                   "", missingHint(binding.name)));
    }
    return status;
  }
  const Inputs &get() const { return inputs_; }

private:
  static std::string missingHint(std::string_view name) {
    if (name == "advantages")
      return "give advantages, or rewards and group_ids and compile with advantages = \"grpo\" in [objective]";
    if (name == "rewards" || name == "group_ids")
      return "advantages are computed from rewards and group_ids: add them to the batch, or give advantages instead";
    if (name == "old_logprobs")
      return "give them, or compile with old_logprobs = \"initial\" or \"current\" in [objective]";
    if (name == "ref_logprobs")
      return "give them, or compile with ref_logprobs = \"initial\" in [objective]";
    return "add it to the batch";
  }
  void addDenominator(const std::string &name) {
    std::string_view which = std::string_view(name).substr(denominatorPrefix.size());
    double value = which == "tokens"      ? denominators_.tokens
                   : which == "sequences" ? denominators_.sequences
                                          : denominators_.rows;
    scalars_[name] = static_cast<float>(value);
    inputs_[name] = ConstArray{&scalars_[name], schema::DType::F32, {}};
  }
  void addRows(const BindingInfo &binding, const BatchArray &array, int64_t row, int64_t count) {
    if (binding.name.starts_with(packedPrefix)) { // a row of its own, not rows of the batch
      inputs_[binding.name] = ConstArray{array.bytes().data(), dtypeOf(array), array.shape};
      return;
    }
    std::vector<int64_t> shape = array.shape;
    size_t perRow = 1;
    for (size_t i = 1; i < shape.size(); ++i)
      perRow *= static_cast<size_t>(shape[i]);
    size_t first = shape.empty() ? 0 : static_cast<size_t>(row) * perRow;
    if (!shape.empty())
      shape[0] = count;
    if (binding.dtype == schema::DType::Bool) {
      size_t elements = shape.empty() ? 1 : perRow * static_cast<size_t>(count);
      std::vector<int64_t> &truths = booleans_[binding.name];
      truths.resize(elements);
      for (size_t i = 0; i < elements; ++i)
        truths[i] = array.at(first + i) != 0;
      inputs_[binding.name] = ConstArray{truths.data(), schema::DType::I64, shape};
      return;
    }
    size_t width = dtypeOf(array) == schema::DType::F32 ? 4 : 8;
    inputs_[binding.name] = ConstArray{array.bytes().data() + first * width, dtypeOf(array), shape};
  }

  const std::vector<BindingInfo> &bindings_;
  const Batch &batch_;
  const Denominators &denominators_;
  std::map<std::string, float, std::less<>> scalars_;
  std::map<std::string, std::vector<int64_t>, std::less<>> booleans_;
  Inputs inputs_;
};

/// Combines the values that micro-batches give for a metric.
void combineMetric(double &total, double value, std::string_view rule, bool first) {
  if (first || rule == "exact" || rule == "whole")
    total = value;
  else if (rule == "max")
    total = std::max(total, value);
  else if (rule == "min")
    total = std::min(total, value);
  else
    total += value;
}

Status wrongRows(int64_t have, int64_t want) {
  return Status::error(Code::Range, "the batch has " + std::to_string(have) +
                                        " sequences, the program was compiled for " + std::to_string(want));
}

} // namespace

Result<StepSettings> StepSettings::read(const Program &program) {
  std::map<std::string, std::string> values;
  if (const auto *settings = program.root().settings())
    for (const schema::Setting *setting : *settings)
      values[setting->key()->str()] = setting->value()->str();
  StepSettings settings;
  int64_t sharePrompts = 0;
  Status status;
  auto number = [&](const char *key, int64_t &value, int64_t low) {
    auto parsed = values.count(key) ? parseInteger(values[key]) : std::nullopt;
    if (!parsed || *parsed < low)
      status.merge(Status::error(Code::Verify, std::string("setting '") + key + "' is missing or no number", "",
                                 "compile the program again"));
    else
      value = *parsed;
  };
  number("batch.sequences", settings.sequences, 1);
  number("batch.tokens", settings.tokens, 1);
  number("batch.micro_batches", settings.microBatches, 1);
  number("batch.packed", settings.packed, 0);
  number("batch.share_prompts", sharePrompts, 0);
  settings.sharePrompts = sharePrompts != 0;
  number("batch.pad_id", settings.padId, 0);
  number("batch.vocabulary", settings.vocabulary, 1);
  for (const char *name : {"old_logprobs", "ref_logprobs"})
    if (values["objective." + std::string(name)] == "initial")
      settings.initial.push_back(name);
  settings.updatesInBackward = graft::updatesInBackward(program.root());
  settings.skipNonfinite = values["optimizer.on_nonfinite"] == "skip";
  settings.objective = values["objective.name"];
  for (const auto &[key, value] : values)
    if (key.starts_with("metric."))
      settings.combine[key.substr(7)] = value;
  if (status.isOk() && settings.sequences % settings.microBatches != 0)
    status = Status::error(Code::Verify, "batch.sequences is no multiple of batch.micro_batches");
  if (!status.isOk())
    return std::move(status).at(program.name());
  return settings;
}

Denominators denominatorsOf(const Batch &batch) {
  Denominators counts;
  counts.rows = static_cast<double>(batch.sequences);
  const BatchArray *mask = batch.find("loss_mask");
  if (!mask)
    return counts;
  for (int64_t b = 0; b < batch.sequences; ++b) {
    double row = 0;
    for (int64_t t = 0; t < batch.tokens; ++t)
      row += mask->at(static_cast<size_t>(b * batch.tokens + t)) != 0;
    counts.tokens += row;
    counts.sequences += row > 0;
  }
  return counts;
}

void setArray(Batch &batch, BatchArray array) {
  auto at = std::ranges::lower_bound(batch.arrays, array.name, {}, &BatchArray::name);
  if (at != batch.arrays.end() && at->name == array.name)
    *at = std::move(array);
  else
    batch.arrays.insert(at, std::move(array));
}

bool StepRunner::reads(std::string_view entry, std::string_view array) const {
  auto bindings = session_.inputs(entry);
  return bindings.isOk() &&
         std::ranges::any_of(*bindings, [&](const BindingInfo &binding) { return binding.name == array; });
}

std::vector<std::string> StepRunner::arraysOf(std::string_view entry) const {
  std::vector<std::string> names;
  if (auto bindings = session_.inputs(entry); bindings.isOk())
    for (const BindingInfo &binding : *bindings)
      if (binding.required && !isMade(binding.name))
        names.push_back(binding.name);
  return names;
}

BatchOptions StepRunner::batchOptions() const {
  BatchOptions options;
  std::set<std::string> used;
  for (std::string_view entry : {std::string_view("logprobs"), trainingEntry(), std::string_view("advantages")})
    if (auto bindings = session_.inputs(entry); bindings.isOk())
      for (const BindingInfo &binding : *bindings)
        if (!isMade(binding.name)) {
          used.insert(binding.name);
          if (binding.dtype == schema::DType::F64)
            options.wide.insert(binding.name);
        }
  options.used.assign(used.begin(), used.end());
  options.vocabulary = settings_.vocabulary;
  options.sequences = settings_.sequences;
  options.tokens = settings_.tokens;
  return options;
}

Result<std::vector<float>> StepRunner::advantages(const Batch &batch, std::vector<int64_t> &shape) {
  GRAFT_ASSIGN_OR_RETURN(std::vector<BindingInfo> bindings, session_.inputs("advantages"));
  GRAFT_ASSIGN_OR_RETURN(std::vector<BindingInfo> outputs, session_.outputs("advantages"));
  Denominators denominators = denominatorsOf(batch);
  EntryInputs inputs(bindings, batch, denominators);
  GRAFT_RETURN_IF_ERROR(inputs.fill(0, batch.sequences));
  shape = outputs[0].shape;
  size_t count = 1;
  for (int64_t size : shape)
    count *= static_cast<size_t>(size);
  std::vector<double> values(count);
  GRAFT_RETURN_IF_ERROR(session_.run("advantages", inputs.get(),
                                     {{"advantages", MutableArray{values.data(), schema::DType::F64, shape}}}));
  return std::vector<float>(values.begin(), values.end());
}

Status StepRunner::completeAdvantages(Batch &batch) {
  if (!reads(trainingEntry(), "advantages") || batch.find("advantages"))
    return Status::ok();
  if (!computesAdvantages())
    return Status::error(
        Code::Graph, "the batch has no advantages", "",
        "give them, or compile with advantages = \"grpo\" in [objective] and give rewards and group_ids");
  std::vector<int64_t> shape;
  GRAFT_ASSIGN_OR_RETURN(std::vector<float> values, advantages(batch, shape));
  if (shape.size() == 1) {
    std::vector<float> perToken(static_cast<size_t>(batch.sequences * batch.tokens));
    for (size_t i = 0; i < perToken.size(); ++i)
      perToken[i] = values[i / static_cast<size_t>(batch.tokens)];
    values = std::move(perToken);
  }
  setArray(batch, {"advantages", {batch.sequences, batch.tokens}, std::move(values)});
  return Status::ok();
}

std::vector<std::string> StepRunner::initialLogprobs() const {
  std::vector<std::string> names = settings_.initial;
  std::erase_if(names, [&](const std::string &name) { return !reads(trainingEntry(), name); });
  return names;
}

void StepRunner::setInitialLogprobs(Batch &batch, const std::vector<float> &logprobs) const {
  for (const std::string &name : initialLogprobs())
    if (!batch.find(name))
      setArray(batch, {name, {batch.sequences, batch.tokens}, logprobs});
}

namespace {

/// The sequences that a row holds: all others are out of the loss.
void keepOnly(BatchArray &lossMask, const std::vector<bool> &holds, int64_t tokens) {
  std::visit(
      [&](auto &values) {
        for (size_t i = 0; i < values.size(); ++i)
          if (!holds[i / static_cast<size_t>(tokens)])
            values[i] = 0;
      },
      lossMask.values);
}

} // namespace

/// One run of an entry: what it sees of a batch.
struct StepRunner::Run {
  std::string_view entry;
  int64_t row = 0, rows = 0;         ///< of the batch
  std::optional<Batch> own;          ///< packed: the batch with the arrays of a packed row
  std::vector<bool> holds;           ///< packed: the sequences that the row holds
  Session::Use use;                  ///< packed: the places in use
  std::optional<EntryInputs> inputs; ///< refer to `own` or the batch, and to Runs
};

/// The runs that a batch takes: micro-batches, or packed rows.
struct StepRunner::Runs {
  std::vector<BindingInfo> bindings;
  Denominators denominators; ///< of the whole batch
  Extent extent;
  std::vector<std::unique_ptr<Run>> list;
};

Status StepRunner::cut(const Batch &batch, Runs &runs) const {
  for (int64_t real : batch.integers("attention_mask"))
    runs.extent.given += real != 0;
  if (settings_.packed == 0) {
    int64_t rows = settings_.sequences / settings_.microBatches;
    for (int64_t row = 0; row < batch.sequences; row += rows)
      runs.list.push_back(std::make_unique<Run>(Run{"", row, rows, {}, {}, {}, {}}));
    runs.extent.computed = runs.extent.given;
    runs.extent.places = batch.sequences * batch.tokens;
    return Status::ok();
  }
  GRAFT_ASSIGN_OR_RETURN(std::vector<PackedRow> packed, packBatch(batch, {settings_.packed, settings_.sharePrompts}));
  for (PackedRow &row : packed) {
    auto run = std::make_unique<Run>(
        Run{"", 0, batch.sequences, batch, std::move(row.holds), {row.places, settings_.packed}, {}});
    for (BatchArray &array : row.arrays)
      setArray(*run->own, std::move(array));
    for (BatchArray &array : run->own->arrays)
      if (array.name == "loss_mask")
        keepOnly(array, run->holds, batch.tokens);
    runs.extent.computed += row.places;
    runs.extent.places += settings_.packed;
    runs.list.push_back(std::move(run));
  }
  return Status::ok();
}

/// Gradients that nobody holds are not added to, and some losses are no sums over sequences.
Status StepRunner::tooManyRows(int64_t rows) const {
  std::string why = settings_.updatesInBackward ? "parameters are updated in the backward pass of one"
                                                : "this objective needs them all in one";
  return Status::error(Code::Range,
                       "the step's sequences need " + std::to_string(rows) + " packed rows of " +
                           std::to_string(settings_.packed) + " tokens, but " + why,
                       "", "compile with a larger batch.packed");
}

Result<std::unique_ptr<StepRunner::Runs>> StepRunner::runsOf(std::string_view entry, const Batch &batch) const {
  if (batch.sequences != settings_.sequences)
    return wrongRows(batch.sequences, settings_.sequences);
  auto runs = std::make_unique<Runs>();
  GRAFT_ASSIGN_OR_RETURN(runs->bindings, session_.inputs(entry));
  runs->denominators = denominatorsOf(batch);
  GRAFT_RETURN_IF_ERROR(cut(batch, *runs));
  std::string_view more = entry == trainingEntry() ? "accumulate_more" : entry; // from the second run on
  if (runs->list.size() > 1 && !session_.inputs(more).isOk())
    return tooManyRows(static_cast<int64_t>(runs->list.size()));
  for (const auto &run : runs->list) {
    run->entry = run == runs->list.front() ? entry : more;
    run->inputs.emplace(runs->bindings, run->own ? *run->own : batch, runs->denominators);
    GRAFT_RETURN_IF_ERROR(run->inputs->fill(run->row, run->rows));
  }
  return runs;
}

namespace {

/// Where a run writes log-probs of [B,S]: straight into the step's, or, packed, aside, from where the sequences of the
/// row are taken.
class LogprobTarget {
public:
  LogprobTarget(std::vector<float> &all, int64_t tokens) : all_(all), tokens_(tokens) {}

  MutableArray array(int64_t row, int64_t rows, bool packed) {
    aside_.resize(packed ? all_.size() : 0);
    float *to = packed ? aside_.data() : all_.data() + row * tokens_;
    return {to, schema::DType::F32, {rows, tokens_}};
  }
  void take(const std::vector<bool> &holds) {
    for (size_t i = 0; i < aside_.size(); ++i)
      if (holds[i / static_cast<size_t>(tokens_)])
        all_[i] = aside_[i];
  }

private:
  std::vector<float> &all_;
  std::vector<float> aside_;
  int64_t tokens_;
};

} // namespace

Result<std::vector<float>> StepRunner::logprobs(const Batch &batch) {
  GRAFT_ASSIGN_OR_RETURN(auto runs, runsOf("logprobs", batch));
  std::vector<float> values(static_cast<size_t>(batch.sequences * batch.tokens));
  LogprobTarget target(values, batch.tokens);
  for (const auto &run : runs->list) {
    Outputs outputs = {{"logprobs", target.array(run->row, run->rows, run->own.has_value())}};
    GRAFT_RETURN_IF_ERROR(session_.run(run->entry, run->inputs->get(), outputs, run->use));
    target.take(run->holds);
  }
  return values;
}

Result<StepResult> StepRunner::train(const Batch &batch,
                                     const std::function<Status(const Run &, const Outputs &)> &call) {
  GRAFT_ASSIGN_OR_RETURN(auto runs, runsOf(trainingEntry(), batch));
  GRAFT_ASSIGN_OR_RETURN(std::vector<BindingInfo> results, session_.outputs(trainingEntry()));
  StepResult step;
  step.extent = runs->extent;
  step.denominators = runs->denominators;
  step.logprobs.resize(static_cast<size_t>(batch.sequences * batch.tokens));
  LogprobTarget target(step.logprobs, batch.tokens);
  std::vector<float> scalars(results.size());
  for (const auto &run : runs->list) {
    bool first = run == runs->list.front();
    Outputs outputs;
    for (size_t i = 0; i < results.size(); ++i)
      outputs[results[i].name] = results[i].name == "logprobs"
                                     ? target.array(run->row, run->rows, run->own.has_value())
                                     : MutableArray{&scalars[i], schema::DType::F32, results[i].shape};
    GRAFT_RETURN_IF_ERROR(call(*run, outputs));
    target.take(run->holds);
    for (size_t i = 0, metric = 0; i < results.size(); ++i) {
      if (results[i].name == "loss")
        step.loss += static_cast<double>(scalars[i]);
      if (!results[i].name.starts_with("metric."))
        continue;
      std::string name = results[i].name.substr(7);
      if (first)
        step.metrics.push_back({name, 0});
      auto rule = settings_.combine.find(name);
      combineMetric(step.metrics[metric++].second, static_cast<double>(scalars[i]),
                    rule == settings_.combine.end() ? "sum" : rule->second, first);
    }
  }
  return step;
}

Result<StepResult> StepRunner::accumulate(const Batch &batch) {
  if (settings_.updatesInBackward)
    return Status::error(Code::Usage, "the program keeps no gradients: parameters are updated in the backward pass",
                         session_.program().name(), "run a whole step, or compile with optimizer.in_backward = false");
  return train(batch, [&](const Run &run, const Outputs &outputs) {
    return session_.run(run.entry, run.inputs->get(), outputs, run.use);
  });
}

Result<StepResult> StepRunner::step(const Batch &batch, double learningRate, int64_t number) {
  if (!settings_.updatesInBackward) {
    GRAFT_ASSIGN_OR_RETURN(StepResult result, accumulate(batch));
    GRAFT_ASSIGN_OR_RETURN(result.update, session_.apply(learningRate, number));
    return result;
  }
  ApplyReport update;
  auto call = [&](const Run &run, const Outputs &outputs) -> Status {
    GRAFT_ASSIGN_OR_RETURN(update, session_.step(run.inputs->get(), outputs, run.use, learningRate, number));
    return Status::ok();
  };
  GRAFT_ASSIGN_OR_RETURN(StepResult result, train(batch, call));
  result.update = update;
  return result;
}

Result<std::string> StepRunner::whereNotFinite(const Batch &batch) {
  GRAFT_ASSIGN_OR_RETURN(auto runs, runsOf(trainingEntry(), batch));
  for (const auto &run : runs->list) {
    GRAFT_ASSIGN_OR_RETURN(auto found, session_.findNonFinite(run->entry, run->inputs->get()));
    if (found)
      return *found;
  }
  return std::string();
}

} // namespace graft
