// `graft run P.graft --entry E --batch B --weights W --out O`: one entry point, once, or again and again to be timed.
#include "runtime/exec/StepRunner.h"
#include "runtime/io/Safetensors.h"
#include "runtime/program/Instructions.h"
#include "tools/graft/Command.h"
#include "tools/graft/Interpret.h"
#include "tools/graft/Weights.h"

#include <chrono>
#include <cmath>

namespace graft::cli {

namespace {

struct RunFlags {
  std::string program, entry = "accumulate", batch, weights, out;
  bool gradients = false, interpret = false;
  int repeat = 0;
};

/// Named results, written when all are known; large ones are read at the end, one at a time.
class Results {
public:
  using Source = std::function<Status(std::span<float>)>;

  void add(const std::string &name, std::vector<int64_t> shape, Source source) {
    tensors_.push_back({name, DType::F32, std::move(shape)});
    sources_[name] = std::move(source);
  }
  void add(const std::string &name, std::vector<int64_t> shape, std::vector<float> values) {
    add(name, std::move(shape), [values = std::move(values)](std::span<float> out) {
      std::copy(values.begin(), values.end(), out.begin());
      return Status::ok();
    });
  }
  void addNumber(const std::string &name, double value) {
    numbers_[name] = value;
    add(name, {}, std::vector<float>{static_cast<float>(value)});
  }
  void setSeconds(std::vector<double> seconds) { seconds_ = std::move(seconds); }
  Status write(const std::string &path) {
    GRAFT_ASSIGN_OR_RETURN(SafetensorsWriter writer, SafetensorsWriter::create(path, tensors_));
    std::vector<float> values;
    for (const TensorDeclaration &tensor : writer.tensors()) {
      size_t count = 1;
      for (int64_t size : tensor.shape)
        count *= static_cast<size_t>(size);
      values.resize(count);
      GRAFT_RETURN_IF_ERROR(sources_[tensor.name](values));
      GRAFT_RETURN_IF_ERROR(writer.append(std::span<const float>(values)));
    }
    return writer.commit();
  }
  void print(const Shell &shell, const std::string &path) const {
    Json json;
    std::string text;
    for (const auto &[name, value] : numbers_) {
      json[name] = value;
      text += format("%-24s %.8g\n", name.c_str(), value);
    }
    for (double seconds : seconds_)
      text += format("%-24s %.4f\n", "seconds", seconds);
    if (!seconds_.empty())
      json["seconds"] = seconds_;
    json["out"] = path;
    shell.print(text + "wrote " + path);
    shell.print(json);
  }

private:
  std::vector<TensorDeclaration> tensors_;
  std::map<std::string, Source> sources_;
  std::map<std::string, double> numbers_;
  std::vector<double> seconds_;
};

double squares(std::span<const float> values) {
  double sum = 0;
  for (float value : values)
    sum += static_cast<double>(value) * static_cast<double>(value);
  return sum;
}

/// Puts results [B, S] where their tokens stood in a packed file.
void addTokens(const LoadedBatch &loaded, Results &results, const std::string &name, std::vector<float> values) {
  const auto &packed = loaded.packed;
  if (packed.tokens == 0)
    return results.add(name, {loaded.batch.sequences, loaded.batch.tokens}, std::move(values));
  std::vector<float> row(static_cast<size_t>(packed.tokens));
  for (size_t i = 0; i < values.size(); ++i)
    if (packed.places[i] >= 0)
      row[static_cast<size_t>(packed.places[i])] = values[i];
  results.add(name, {1, packed.tokens}, std::move(row));
}

Status addGradients(Session &session, const RunFlags &flags, Results &results) {
  double sum = 0;
  std::vector<float> values;
  for (const ParameterInfo &parameter : session.parameters()) {
    if (!parameter.trained)
      continue;
    values.resize(static_cast<size_t>(parameter.elements));
    GRAFT_RETURN_IF_ERROR(session.read(Block::Gradient, parameter.name, values));
    sum += squares(values);
    if (flags.gradients)
      results.add("grad." + parameter.name, parameter.shape, [&session, name = parameter.name](std::span<float> out) {
        return session.read(Block::Gradient, name, out);
      });
  }
  results.addNumber("grad_norm", std::sqrt(sum));
  return Status::ok();
}

void addStep(const StepResult &step, Results &results) {
  results.addNumber("loss", step.loss);
  for (const auto &[name, value] : step.metrics)
    results.addNumber("metric." + name, value);
}

void addParameters(Session &session, Results &results) {
  for (const ParameterInfo &parameter : session.parameters())
    if (parameter.trained)
      results.add("parameter." + parameter.name, parameter.shape,
                  [&session, name = parameter.name](std::span<float> out) {
                    return session.read(Block::Parameter, name, out);
                  });
}

double firstLearningRate(const Session &session) {
  const schema::Optimizer *optimizer = session.program().root().optimizer();
  return optimizer ? scheduledLearningRate(*optimizer, 1, 1) : 0;
}

/// `step` is accumulate and apply, or both in one, with the first step's learning rate; it also gives the new weights.
/// `apply` is a step the first time.
Result<StepResult> train(Session &session, StepRunner &runner, const Batch &batch, const RunFlags &flags,
                         Results &results) {
  bool updates = flags.entry != "accumulate";
  GRAFT_ASSIGN_OR_RETURN(StepResult step,
                         updates ? runner.step(batch, firstLearningRate(session), 1) : runner.accumulate(batch));
  addStep(step, results);
  if (runner.settings().updatesInBackward)
    results.addNumber("grad_norm", step.update.gradientNorm);
  else
    GRAFT_RETURN_IF_ERROR(addGradients(session, flags, results));
  if (updates)
    results.addNumber("clip_factor", step.update.clipFactor);
  if (flags.entry == "step")
    addParameters(session, results);
  return step;
}

Status runCompiled(Session &session, StepRunner &runner, LoadedBatch &loaded, const RunFlags &flags, Results &results) {
  Batch &batch = loaded.batch;
  if (flags.entry == "logprobs") {
    GRAFT_ASSIGN_OR_RETURN(std::vector<float> logprobs, runner.logprobs(batch));
    addTokens(loaded, results, "logprobs", std::move(logprobs));
    return Status::ok();
  }
  GRAFT_RETURN_IF_ERROR(runner.completeAdvantages(batch));
  if (flags.entry == "advantages") {
    const BatchArray *advantages = batch.find("advantages");
    if (!advantages)
      return Status::error(Code::Usage, "the program computes no advantages", "--entry");
    addTokens(loaded, results, "advantages", std::get<std::vector<float>>(advantages->values));
    return Status::ok();
  }
  // A step computes the log-probs of its loss tokens; those of the others come from a forward pass.
  GRAFT_ASSIGN_OR_RETURN(std::vector<float> logprobs, runner.logprobs(batch));
  runner.setInitialLogprobs(batch, logprobs);
  GRAFT_ASSIGN_OR_RETURN(StepResult step, train(session, runner, batch, flags, results));
  std::span<const float> mask = batch.floats("loss_mask");
  for (size_t i = 0; i < mask.size(); ++i)
    if (mask[i] != 0)
      logprobs[i] = step.logprobs[i];
  addTokens(loaded, results, "logprobs", std::move(logprobs));
  return Status::ok();
}

/// Runs the entry again, as often as asked for; the seconds that each run took. Later runs are those of a training
/// loop: all memory was touched before.
Result<std::vector<double>> timed(Session &session, StepRunner &runner, Batch &batch, const RunFlags &flags) {
  using Clock = std::chrono::steady_clock;
  double rate = firstLearningRate(session);
  auto once = [&](int step) -> Status {
    if (flags.entry == "logprobs")
      return runner.logprobs(batch).takeStatus();
    if (flags.entry == "accumulate")
      return runner.accumulate(batch).takeStatus();
    return flags.entry == "apply" ? session.apply(rate, step).takeStatus()
                                  : runner.step(batch, rate, step).takeStatus();
  };
  std::vector<double> seconds;
  for (int i = 0; i < flags.repeat; ++i) {
    auto start = Clock::now();
    GRAFT_RETURN_IF_ERROR(once(i + 2));
    seconds.push_back(std::chrono::duration<double>(Clock::now() - start).count());
  }
  return seconds;
}

/// What a program cannot do whose optimizer works in the backward pass.
Status checkInBackward(const RunFlags &flags, const Program &program) {
  Status status;
  if (!updatesInBackward(program.root()))
    return status;
  std::string why = "the program was compiled with optimizer.in_backward: its parameters are updated in the backward "
                    "pass, and no gradients are left";
  if (flags.entry == "accumulate" || flags.entry == "apply")
    status.merge(Status::error(Code::Usage, why, "--entry", "use --entry step, which also gives the new weights"));
  if (flags.gradients)
    status.merge(
        Status::error(Code::Usage, why, "--gradients", "compile with in_backward = false, or use --interpret"));
  return status;
}

Result<int> compiled(const RunFlags &flags, const Shell &shell, Program program, Weights weights) {
  GRAFT_RETURN_IF_ERROR(checkInBackward(flags, program));
  Session::Options options;
  options.training = flags.entry == "accumulate" || flags.entry == "step" || flags.entry == "apply";
  GRAFT_ASSIGN_OR_RETURN(std::unique_ptr<Session> session, Session::open(std::move(program), options));
  for (const std::string &notice : session->notices())
    shell.say("note: " + notice);
  GRAFT_ASSIGN_OR_RETURN(StepSettings settings, StepSettings::read(session->program()));
  StepRunner runner(*session, std::move(settings));
  GRAFT_ASSIGN_OR_RETURN(LoadedBatch loaded, loadBatch(flags.batch, runner.batchOptions()));
  for (const std::string &note : loaded.notes)
    shell.say("note: " + note);
  GRAFT_RETURN_IF_ERROR(weights.bind(*session).at(escaped(flags.program, 400)));
  Results results;
  GRAFT_RETURN_IF_ERROR(runCompiled(*session, runner, loaded, flags, results)
                            .at(escaped(flags.program, 400) + ", " + escaped(flags.batch, 400)));
  GRAFT_RETURN_IF_ERROR(results.write(flags.out));
  GRAFT_ASSIGN_OR_RETURN(std::vector<double> seconds, timed(*session, runner, loaded.batch, flags));
  results.setSeconds(std::move(seconds));
  results.print(shell, flags.out);
  return 0;
}

Result<int> interpreted(const RunFlags &flags, const Shell &shell, const Recipe &recipe, Weights weights) {
  if (flags.entry == "step" || flags.entry == "apply" || flags.repeat > 0)
    return Status::error(Code::Usage, "the reference interpreter has no optimizer and is not timed", "--interpret",
                         "use --entry accumulate without --repeat");
  GRAFT_ASSIGN_OR_RETURN(std::unique_ptr<Interpreted> reference, Interpreted::build(recipe));
  BatchOptions options;
  options.used = reference->inputs();
  options.vocabulary = reference->module().graph.vocabulary;
  options.sequences = recipe.batch.sequences;
  options.tokens = recipe.batch.tokens;
  options.float64 = true;
  GRAFT_ASSIGN_OR_RETURN(LoadedBatch loaded, loadBatch(flags.batch, options));
  for (const std::string &note : loaded.notes)
    shell.say("note: " + note);
  GRAFT_ASSIGN_OR_RETURN(auto values, reference->run(flags.entry, loaded.batch, weights));
  if (flags.entry == "accumulate") { // which has those of its loss tokens only
    GRAFT_ASSIGN_OR_RETURN(auto forward, reference->run("logprobs", loaded.batch, weights));
    values["logprobs"] = forward["logprobs"];
  }
  Results results;
  double sum = 0;
  for (const auto &[name, tensor] : values) {
    std::vector<float> narrow(tensor.f().begin(), tensor.f().end());
    bool gradient = name.starts_with("grad.");
    if (gradient)
      for (double value : tensor.f())
        sum += value * value;
    if (tensor.rank() == 0)
      results.addNumber(name, tensor.at(0));
    else if (!gradient && tensor.size() == loaded.batch.sequences * loaded.batch.tokens)
      addTokens(loaded, results, name, std::move(narrow));
    else if (!gradient || flags.gradients)
      results.add(name, tensor.shape(), std::move(narrow));
  }
  if (flags.entry == "accumulate")
    results.addNumber("grad_norm", std::sqrt(sum));
  GRAFT_RETURN_IF_ERROR(results.write(flags.out));
  results.print(shell, flags.out);
  return 0;
}

Result<int> runEntry(const RunFlags &flags, const Shell &shell) {
  const char *entries[] = {"logprobs", "accumulate", "step", "apply", "advantages"};
  if (std::ranges::find(entries, flags.entry) == std::end(entries))
    return Status::error(Code::Usage, "there is no entry '" + escaped(flags.entry) + "'", "--entry",
                         "entries are logprobs, accumulate, step, apply, advantages");
  if (flags.entry == "advantages" && flags.repeat > 0)
    return Status::error(Code::Usage, "advantages are not timed", "--repeat");
  GRAFT_ASSIGN_OR_RETURN(Program program, Program::open(flags.program));
  GRAFT_ASSIGN_OR_RETURN(Recipe recipe, recipeOf(program, flags.program));
  GRAFT_ASSIGN_OR_RETURN(Weights weights, Weights::open(recipe, flags.weights));
  if (flags.interpret)
    return interpreted(flags, shell, recipe, std::move(weights));
  return compiled(flags, shell, std::move(program), std::move(weights));
}

} // namespace

void addRun(CLI::App &app, Shell &shell) {
  CLI::App *command = app.add_subcommand("run", "Run one entry point of a program once");
  auto flags = std::make_shared<RunFlags>();
  command->add_option("PROGRAM", flags->program, "Program file")->required();
  command->add_option(
      "--entry", flags->entry,
      "logprobs, accumulate, step (accumulate and apply), apply (step, but only the optimizer runs again), advantages");
  command->add_option("--repeat", flags->repeat, "Run it so many times more and say how many seconds each run took")
      ->check(CLI::Range(1, 1000000));
  command->add_option("--batch", flags->batch, "Batch (safetensors)")->required();
  command->add_option("--weights", flags->weights, "Checkpoint; default: the recipe's");
  command->add_option("--out", flags->out, "Results (safetensors)")->required();
  command->add_flag("--gradients", flags->gradients, "Write grad.PARAMETER for every trained parameter");
  command->add_flag("--interpret", flags->interpret, "By the reference interpreter, in float64");
  shell.addFlags(*command);
  command->callback([flags, &shell] { shell.action = [flags, &shell] { return runEntry(*flags, shell); }; });
}

} // namespace graft::cli
