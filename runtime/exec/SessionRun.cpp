#include "runtime/exec/SessionState.h"

#include "runtime/program/Instructions.h"
#include "runtime/program/Layout.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <set>

namespace graft {

// --- Running
// ----------------------------------------------------------------------------------------------------------

namespace {
/// Faults of one array against what the program wants; `exact`: no conversion.
template <typename Array>
void checkArray(const Array &array, const schema::Buffer &buffer, const std::string &place, bool exact,
                Status &status) {
  std::vector<int64_t> want = shapeOf(buffer.shape());
  if (array.shape != want) {
    status.merge(
        Status::error(Code::Range, "has shape " + shapeText(array.shape) + ", expected " + shapeText(want), place));
    return;
  }
  if (!array.data && *elementCount(want) > 0)
    status.merge(Status::error(Code::Range, "has no data", place));
  if (exact && array.dtype != buffer.dtype())
    status.merge(Status::error(
        Code::Type,
        "is " + std::string(dtypeName(array.dtype)) + ", expected " + std::string(dtypeName(buffer.dtype())), place));
}

std::string arrayPlace(const char *kind, std::string_view name) {
  return std::string(kind) + " '" + escaped(name) + "'";
}
} // namespace

Status Session::State::checkRun(int index, const Inputs &inputs, const Outputs &outputs) const {
  const schema::Entry &entry = *root().entries()->Get(static_cast<unsigned>(index));
  Status status;
  if (!entries[static_cast<size_t>(index)].available)
    status.merge(Status::error(Code::Usage, "trains, and this session was opened without training"));
  std::string unbound;
  for (size_t i = 0; i < parameters.size(); ++i)
    if (!bound[i])
      unbound += (unbound.empty() ? "" : ", ") + escaped(parameters[i].name);
  if (!unbound.empty())
    status.merge(Status::error(Code::Usage, "parameters have no weights: " + escaped(unbound, 1000)));

  std::set<std::string_view> known;
  for (unsigned i = 0; entry.inputs() && i < entry.inputs()->size(); ++i) {
    const schema::Binding &binding = *entry.inputs()->Get(i);
    std::string_view name = binding.name()->string_view();
    known.insert(name);
    auto given = inputs.find(name);
    if (given != inputs.end())
      checkArray(given->second, buffer(binding.buffer()), arrayPlace("input", name), false, status);
    else if (binding.required())
      status.merge(Status::error(Code::Graph, "is missing", arrayPlace("input", name)));
  }
  for (const auto &[name, array] : inputs)
    if (!known.contains(name))
      status.merge(Status::error(Code::Graph, "is none that this entry has", arrayPlace("input", name)));

  known.clear();
  for (unsigned i = 0; entry.outputs() && i < entry.outputs()->size(); ++i) {
    const schema::Binding &binding = *entry.outputs()->Get(i);
    std::string_view name = binding.name()->string_view();
    known.insert(name);
    if (auto wanted = outputs.find(name); wanted != outputs.end())
      checkArray(wanted->second, buffer(binding.buffer()), arrayPlace("output", name), true, status);
  }
  for (const auto &[name, array] : outputs)
    if (!known.contains(name))
      status.merge(Status::error(Code::Graph, "is none that this entry has", arrayPlace("output", name)));
  return status;
}

Status Session::State::loadInputs(const schema::Entry &entry, const Inputs &inputs) {
  Status status;
  for (unsigned i = 0; entry.inputs() && i < entry.inputs()->size(); ++i) {
    const schema::Binding &binding = *entry.inputs()->Get(i);
    const schema::Buffer &target = buffer(binding.buffer());
    uint8_t *to = arena.data() + target.offset();
    if (auto given = inputs.find(binding.name()->string_view()); given == inputs.end())
      std::fill_n(to, target.size(), uint8_t(0));
    else
      status.merge(
          convert(to, target.dtype(), given->second.data, given->second.dtype, *elementCount(shapeOf(target.shape())))
              .at(arrayPlace("input", given->first)));
  }
  return status;
}

Status Session::State::storeOutputs(const schema::Entry &entry, const Outputs &outputs) const {
  Status status;
  for (unsigned i = 0; entry.outputs() && i < entry.outputs()->size(); ++i) {
    const schema::Binding &binding = *entry.outputs()->Get(i);
    const schema::Buffer &source = buffer(binding.buffer());
    const uint8_t *from = arena.data() + source.offset();
    int64_t count = *elementCount(shapeOf(source.shape()));
    if (auto wanted = outputs.find(binding.name()->string_view()); wanted != outputs.end() && count > 0)
      std::memcpy(wanted->second.data, from, static_cast<size_t>(count * byteSize(source.dtype())));
    if (binding.name()->string_view() == "loss" && source.dtype() == schema::DType::F32 && count == 1) {
      float loss;
      std::memcpy(&loss, from, sizeof loss);
      if (!std::isfinite(loss))
        status.merge(Status::error(Code::Failed, "the loss is not finite"));
    }
  }
  return status;
}

Status Session::State::runSteps(int index, Use use, const std::function<Status(size_t)> &after) {
  const schema::Entry &entry = *root().entries()->Get(static_cast<unsigned>(index));
  // A packed row in whole parts, at least one: the first place is in use.
  int64_t parts = entry.parts(), part = use.of > 0 ? (use.places * parts + use.of - 1) / use.of : parts;
  workers->whole = Pass{true, std::clamp<int64_t>(part, 1, parts), parts};
  std::vector<TimedStep> &steps = entries[static_cast<size_t>(index)].steps;
  Status status;
  pool->drive([&] {
    LoopStep *loop = nullptr; // the one that is running
    size_t bodyBegin = 0;
    workers->pass = workers->whole;
    for (size_t number = 0; number < steps.size() && status.isOk();) {
      TimedStep &timed = steps[number];
      Clock::time_point start = options.profiling ? Clock::now() : Clock::time_point();
      if (timed.loop) {
        loop = &*timed.loop;
        bodyBegin = number + 1;
        loop->begin(workers->pass);
      } else {
        status = timed.step->run(*workers);
      }
      if (after && status.isOk())
        status = after(number);
      if (options.profiling) {
        timed.time += Clock::now() - start;
        ++timed.calls;
      }
      if (!status.isOk())
        status = std::move(status).at(
            "instruction " + std::to_string(number) + " (" +
            escaped(textOf(entry.instructions()->Get(static_cast<unsigned>(number))->origin())) + ")");
      ++number;
      if (loop && number == bodyBegin + loop->body()) {
        if (loop->next(workers->pass)) {
          number = bodyBegin;
        } else {
          loop = nullptr;
          workers->pass = workers->whole;
        }
      }
    }
  });
  return status;
}

Status Session::State::runEntry(std::string_view name, const Inputs &inputs, const Outputs &outputs, Use use) {
  GRAFT_ASSIGN_OR_RETURN(int index, findEntry(name));
  const schema::Entry &entry = *root().entries()->Get(static_cast<unsigned>(index));
  std::string place = "entry '" + escaped(name) + "'";
  Status status = checkRun(index, inputs, outputs);
  if (status.isOk())
    status = loadInputs(entry, inputs);
  if (status.isOk())
    status = runSteps(index, use);
  if (status.isOk())
    status = storeOutputs(entry, outputs);
  return std::move(status).at(place);
}

Status Session::run(std::string_view name, const Inputs &inputs, const Outputs &outputs, Use use) {
  GRAFT_RETURN_IF_ERROR(state_->checkWhole());
  if (updatesInBackward(state_->root()) && name == updatingEntry)
    return Status::error(Code::Usage, "updates parameters: Session::step() runs it, with a learning rate",
                         "entry '" + std::string(updatingEntry) + "'");
  return state_->runEntry(name, inputs, outputs, use);
}

// --- The optimizer
// ----------------------------------------------------------------------------------------------------

Status Session::State::checkWhole() const {
  if (failedStep == 0)
    return Status::ok();
  auto isTrained = [](const ParameterInfo &parameter) { return parameter.trained; };
  return Status::error(Code::Failed,
                       "weights and moments are between steps " + std::to_string(failedStep - 1) + " and " +
                           std::to_string(failedStep) + ": " + std::to_string(optimizer->updated()) + " of " +
                           std::to_string(std::ranges::count_if(parameters, isTrained)) +
                           " parameters were updated before it failed",
                       program.name(), "go on from a checkpoint, in another session");
}

/// Whether a step can be taken, by instructions or by apply().
Status Session::State::checkStep(bool inBackward, double learningRate, int64_t step) const {
  GRAFT_RETURN_IF_ERROR(checkWhole());
  if (!optimizer)
    return Status::error(Code::Usage, options.training ? "the program has no optimizer"
                                                       : "this session was opened without training");
  if (inBackward != updatesInBackward(root()))
    return Status::error(Code::Usage, inBackward ? "parameters are updated by apply(), when gradients are complete"
                                                 : "parameters are updated by step(), in the backward pass");
  if (!std::isfinite(learningRate) || learningRate < 0 || step < 1)
    return Status::error(Code::Usage, "the optimizer needs a learning rate of 0 or more and a step of 1 or more");
  return Status::ok();
}

Result<ApplyReport> Session::step(const Inputs &inputs, const Outputs &outputs, Use use, double learningRate,
                                  int64_t step) {
  GRAFT_RETURN_IF_ERROR(state_->checkStep(true, learningRate, step));
  state_->optimizer->begin(learningRate, step);
  state_->workers->updates = true;
  Status status = state_->runEntry(updatingEntry, inputs, outputs, use);
  state_->workers->updates = false;
  if (status.isOk())
    return state_->optimizer->finish();
  if (state_->optimizer->updated() > 0) {
    state_->failedStep = step;
    status.merge(state_->checkWhole());
  }
  return status;
}

bool Session::isBetweenSteps() const {
  return state_->failedStep != 0;
}

Result<ApplyReport> Session::apply(double learningRate, int64_t step) {
  GRAFT_RETURN_IF_ERROR(state_->checkStep(false, learningRate, step));
  Result<ApplyReport> report = ApplyReport();
  Clock::time_point start = Clock::now();
  state_->pool->drive([&] { report = state_->optimizer->apply(*state_->pool, learningRate, step); });
  if (state_->options.profiling) {
    state_->applyTime += Clock::now() - start;
    ++state_->applyCalls;
  }
  return report;
}

// --- Time
// -------------------------------------------------------------------------------------------------------------

void Session::setProfiling(bool on) {
  state_->options.profiling = on;
  state_->applyCalls = 0;
  state_->applyTime = {};
  for (PreparedEntry &entry : state_->entries)
    for (TimedStep &step : entry.steps) {
      step.calls = 0;
      step.time = {};
    }
}

std::vector<Timing> Session::timings() const {
  auto seconds = [](Clock::duration time) { return std::chrono::duration<double>(time).count(); };
  std::vector<Timing> timings;
  for (unsigned e = 0; e < state_->entries.size(); ++e) {
    const schema::Entry &entry = *state_->root().entries()->Get(e);
    for (unsigned i = 0; i < state_->entries[e].steps.size(); ++i) {
      const TimedStep &step = state_->entries[e].steps[i];
      const schema::Instruction &instruction = *entry.instructions()->Get(i);
      if (step.calls > 0)
        timings.push_back({entry.name()->str(), static_cast<int>(i), textOf(instruction.origin()),
                           textOf(instruction.category()), step.calls, seconds(step.time), instruction.flops(),
                           instruction.bytes()});
    }
  }
  if (state_->applyCalls > 0) {
    // The norm reads gradients; AdamW reads them, reads and writes weights and both moments, writes working copies.
    const schema::Program &program = state_->root();
    int64_t bytes = 4 * program.gradient_bytes() + 4 * program.state_bytes() + program.working_bytes();
    timings.push_back({"apply", 0, "adamw", "optimizer", state_->applyCalls, seconds(state_->applyTime), 0, bytes});
  }
  return timings;
}

std::vector<std::pair<std::string, double>> Session::secondsByCategory() const {
  std::map<std::string, double> sums;
  for (const Timing &timing : timings())
    sums[timing.category] += timing.seconds;
  std::vector<std::pair<std::string, double>> sorted(sums.begin(), sums.end());
  std::sort(sorted.begin(), sorted.end(),
            [](const auto &a, const auto &b) { return std::tie(b.second, a.first) < std::tie(a.second, b.first); });
  return sorted;
}

} // namespace graft
