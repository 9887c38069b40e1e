// `graft verify RECIPE [--batch B]`: the compiled program against the reference interpreter, gradient by gradient.
#include "passes/Compiler.h"
#include "runtime/base/Json.h"
#include "runtime/exec/StepRunner.h"
#include "runtime/program/Instructions.h"
#include "runtime/program/ProgramFile.h"
#include "tools/graft/Command.h"
#include "tools/graft/Interpret.h"

#include <cmath>
#include <map>
#include <optional>
#include <random>
#include <thread>

namespace graft::cli {

namespace {

struct VerifyFlags {
  std::string recipe, batch, weights;
  std::optional<double> tolerance; ///< absent: by the recipe's precision
};

/// Bounds on a sound program. float32: sums of some thousand terms, each rounded by 6e-8, through tens of layers.
/// bfloat16: inputs of products, or weights, are rounded by up to 2^-9, which tens of layers add up in quadrature, and
/// one activation at a kink may land on its other side.
double defaultTolerance(const Recipe::Precision &precision) {
  return precision == Recipe::Precision() ? 1e-4 : 0.15;
}

/// Tokens, masks, rewards and log-probs by a fixed seed; padded rows of several lengths.
Batch randomBatch(const StepSettings &settings, const std::vector<std::string> &used, bool wide) {
  Batch batch;
  batch.sequences = settings.sequences;
  batch.tokens = settings.tokens;
  int64_t rows = batch.sequences, width = batch.tokens;
  std::mt19937_64 random(20240607);
  std::vector<int64_t> ids, mask, positions, groups;
  std::vector<double> loss, noise, advantages, rewards;
  for (int64_t b = 0; b < rows; ++b) {
    int64_t length = std::max<int64_t>(2, width - b % 3 * (width / 4));
    rewards.push_back(static_cast<double>(random() % 3) / 2);
    groups.push_back(b / 4);
    double advantage = static_cast<double>(random() % 5) / 2 - 1;
    for (int64_t t = 0; t < width; ++t) {
      bool real = t < length;
      ids.push_back(real ? static_cast<int64_t>(random() % static_cast<uint64_t>(settings.vocabulary))
                         : settings.padId);
      mask.push_back(real);
      positions.push_back(std::min(t, length - 1));
      loss.push_back(real && t > 0 && t >= length / 3);
      noise.push_back(t == 0 ? 0.0
                             : -std::log(static_cast<double>(settings.vocabulary)) +
                                   static_cast<double>(random() % 1000) / 1000 - 0.5);
      advantages.push_back(advantage);
    }
  }
  auto numbers = [&](const std::string &name, std::vector<int64_t> shape, const std::vector<double> &values) {
    if (wide)
      setArray(batch, {name, std::move(shape), values});
    else
      setArray(batch, {name, std::move(shape), std::vector<float>(values.begin(), values.end())});
  };
  setArray(batch, {"input_ids", {rows, width}, ids});
  setArray(batch, {"attention_mask", {rows, width}, mask});
  setArray(batch, {"position_ids", {rows, width}, positions});
  setArray(batch, {"group_ids", {rows}, groups});
  numbers("loss_mask", {rows, width}, loss);
  numbers("rewards", {rows}, rewards);
  numbers("advantages", {rows, width}, advantages);
  for (const std::string &name : used)
    if (!batch.find(name))
      numbers(name, {rows, width}, noise);
  return batch;
}

struct Comparison {
  std::string name;
  double difference = 0; ///< logprobs: largest absolute; loss and gradients: relative
  bool good = false;
};

/// Squares of |a - b| and of |b|, L2.
struct Distance {
  double difference = 0, norm = 0;
  void add(const Distance &other) {
    difference += other.difference;
    norm += other.norm;
  }
};

Distance distanceOf(std::span<const float> values, const std::vector<double> &reference) {
  Distance distance;
  for (size_t i = 0; i < reference.size(); ++i) {
    double difference = static_cast<double>(values[i]) - reference[i];
    distance.add({difference * difference, reference[i] * reference[i]});
  }
  return distance;
}

/// What a parameter's layer is called, and its number to sort by: "model.layers.7.mlp.up_proj.weight" is of
/// {"model.layers.", 7}; a name without a number is a layer of its own.
std::pair<std::string, int64_t> layerOf(const std::string &parameter) {
  for (size_t dot = parameter.find('.'); dot != std::string::npos; dot = parameter.find('.', dot + 1)) {
    size_t end = parameter.find_first_not_of("0123456789", dot + 1);
    if (end != dot + 1 && end != std::string::npos && parameter[end] == '.')
      if (auto number = parseInteger(parameter.substr(dot + 1, end - dot - 1)))
        return {parameter.substr(0, dot + 1), *number};
  }
  return {parameter, -1};
}

class Verification {
public:
  Verification(const VerifyFlags &flags, const Shell &shell) : flags_(flags), shell_(shell) {}

  Result<int> run() {
    GRAFT_ASSIGN_OR_RETURN(Recipe recipe, loadRecipe(flags_.recipe));
    if (recipe.optimizer.inBackward && recipe.optimizer.state != StateType::Float32) {
      recipe.optimizer.state = StateType::Float32;
      shell_.say("note: gradients are read off the moments, which are float32 for that");
    }
    tolerance_ = flags_.tolerance.value_or(defaultTolerance(recipe.precision));
    GRAFT_RETURN_IF_ERROR(openSession(recipe));
    GRAFT_ASSIGN_OR_RETURN(Weights weights, Weights::open(recipe, flags_.weights));
    GRAFT_RETURN_IF_ERROR(weights.bind(*session_));
    GRAFT_ASSIGN_OR_RETURN(StepSettings settings, StepSettings::read(session_->program()));
    StepRunner runner(*session_, settings);
    GRAFT_ASSIGN_OR_RETURN(Batch narrow, batch(runner, false));
    GRAFT_ASSIGN_OR_RETURN(Batch wide, batch(runner, true));
    GRAFT_RETURN_IF_ERROR(runner.completeAdvantages(narrow));
    if (!runner.initialLogprobs().empty()) {
      GRAFT_ASSIGN_OR_RETURN(std::vector<float> logprobs, runner.logprobs(narrow));
      runner.setInitialLogprobs(narrow, logprobs);
    }
    bool updates = runner.settings().updatesInBackward;
    GRAFT_ASSIGN_OR_RETURN(StepResult step,
                           updates ? runner.step(narrow, recipe.optimizer.lr, 1) : runner.accumulate(narrow));
    shell_.say("interpreting in float64");
    GRAFT_ASSIGN_OR_RETURN(std::unique_ptr<Interpreted> reference, Interpreted::build(recipe));
    GRAFT_ASSIGN_OR_RETURN(auto expected, reference->run("accumulate", wide, weights));
    compareStep(step, narrow, expected);
    GRAFT_RETURN_IF_ERROR(compareGradients(expected));
    return report();
  }

private:
  Status openSession(const Recipe &recipe) {
    Compiler compiler;
    CompileOptions options;
    options.threads = std::max(1u, std::thread::hardware_concurrency());
    GRAFT_ASSIGN_OR_RETURN(Compilation compilation, compiler.compile(recipe, options));
    for (const std::string &note : compilation.notes)
      shell_.detail("note: " + note);
    GRAFT_ASSIGN_OR_RETURN(std::vector<uint8_t> bytes, serializeProgram(compilation.program));
    GRAFT_ASSIGN_OR_RETURN(Program program, Program::fromBytes(bytes));
    GRAFT_ASSIGN_OR_RETURN(session_, Session::open(std::move(program), {}));
    return Status::ok();
  }

  Result<Batch> batch(const StepRunner &runner, bool wide) const {
    BatchOptions options = runner.batchOptions();
    options.float64 = wide;
    if (flags_.batch.empty())
      return randomBatch(runner.settings(), options.used, wide);
    GRAFT_ASSIGN_OR_RETURN(LoadedBatch loaded, loadBatch(flags_.batch, options));
    return std::move(loaded.batch);
  }

  void compareStep(const StepResult &step, const Batch &batch, const std::map<std::string, Tensor> &expected) {
    auto add = [&](const std::string &name, double difference) {
      comparisons_.push_back({name, difference, difference <= tolerance_});
    };
    double worst = 0, sum = 0, count = 0;
    const std::vector<double> &logprobs = expected.at("logprobs").f();
    const BatchArray *mask = batch.find("loss_mask");
    for (size_t i = 0; i < logprobs.size(); ++i)
      if (!mask || mask->at(i) != 0) {
        double difference = std::abs(static_cast<double>(step.logprobs[i]) - logprobs[i]);
        worst = difference <= worst ? worst : difference; // NaN stays
        sum += difference;
        count += 1;
      }
    add("logprobs", worst);
    add("logprobs, mean", sum / std::max(1.0, count));
    auto relative = [](double value, double reference) {
      return std::abs(value - reference) / std::max(std::abs(reference), 1e-3);
    };
    add("loss", relative(step.loss, expected.at("loss").at(0)));
    for (const auto &[name, value] : step.metrics)
      add("metric." + name, relative(value, expected.at("metric." + name).at(0)));
  }

  /// The gradient in memory; of a parameter that was updated, its mean after the first step, which is 1 - beta1 of the
  /// gradient.
  Status readGradient(const ParameterInfo &parameter, std::span<float> values) const {
    const schema::Program &program = session_->program().root();
    if (!updatesInBackward(program))
      return session_->read(Block::Gradient, parameter.name, values);
    GRAFT_RETURN_IF_ERROR(session_->read(Block::Mean, parameter.name, values));
    for (float &value : values)
      value = static_cast<float>(static_cast<double>(value) / (1 - program.optimizer()->beta1()));
    return Status::ok();
  }

  Status compareGradients(const std::map<std::string, Tensor> &expected) {
    double all = 0;
    for (const auto &[name, tensor] : expected)
      if (name.starts_with("grad."))
        for (double value : tensor.f())
          all += value * value;
    std::vector<float> values;
    for (const ParameterInfo &parameter : session_->parameters()) {
      if (!parameter.trained)
        continue;
      std::string name = "grad." + parameter.name;
      auto found = expected.find(name);
      if (found == expected.end())
        return Status::error(Code::Internal, "the interpreter has no '" + escaped(name) + "'");
      values.resize(static_cast<size_t>(parameter.elements));
      GRAFT_RETURN_IF_ERROR(readGradient(parameter, values));
      Distance distance = distanceOf(values, found->second.f());
      double relative = std::sqrt(distance.difference) / (std::sqrt(distance.norm) + 1e-3 * std::sqrt(all) + 1e-30);
      comparisons_.push_back({name, relative, relative <= tolerance_});
      layers_[layerOf(parameter.name)].add(distance);
    }
    return Status::ok();
  }

  int report() const {
    std::vector<std::vector<std::string>> rows = {{"", "what", "difference"}};
    Json lines = Json::array();
    size_t bad = 0;
    for (const Comparison &comparison : comparisons_) {
      bad += !comparison.good;
      rows.push_back(
          {comparison.good ? "ok" : "FAIL", escaped(comparison.name), format("%.1e", comparison.difference)});
      lines.push_back({{"name", comparison.name}, {"difference", comparison.difference}, {"ok", comparison.good}});
    }
    std::vector<std::vector<std::string>> byLayer = {{"gradients of", "difference"}};
    Json layers = Json::array();
    for (const auto &[layer, distance] : layers_) {
      std::string name = layer.first + (layer.second < 0 ? "" : std::to_string(layer.second));
      double relative = std::sqrt(distance.difference) / (std::sqrt(distance.norm) + 1e-30);
      byLayer.push_back({escaped(name), format("%.1e", relative)});
      layers.push_back({{"name", name}, {"difference", relative}});
    }
    shell_.print(tableText(rows) + "\n" + tableText(byLayer) +
                 format("\n%zu of %zu within %g\n", comparisons_.size() - bad, comparisons_.size(), tolerance_));
    shell_.print(Json{{"tolerance", tolerance_}, {"failed", bad}, {"comparisons", lines}, {"layers", layers}});
    return bad ? exitCheckFailed : 0;
  }

  const VerifyFlags &flags_;
  const Shell &shell_;
  double tolerance_ = 0;
  std::unique_ptr<Session> session_;
  std::vector<Comparison> comparisons_;
  std::map<std::pair<std::string, int64_t>, Distance> layers_;
};

} // namespace

void addVerify(CLI::App &app, Shell &shell) {
  CLI::App *command = app.add_subcommand("verify", "Compare the compiled program with the reference interpreter");
  auto flags = std::make_shared<VerifyFlags>();
  command->add_option("RECIPE", flags->recipe, "Recipe (TOML)")->required();
  command->add_option("--batch", flags->batch, "Batch (safetensors); default: random tokens by a fixed seed");
  command->add_option("--weights", flags->weights, "Checkpoint; default: the recipe's");
  command->add_option("--tolerance", flags->tolerance,
                      "Log-probs absolute, the rest relative; default: 1e-4, or 0.15 where the recipe says bfloat16");
  shell.addFlags(*command);
  command->callback([flags, &shell] { shell.action = [flags, &shell] { return Verification(*flags, shell).run(); }; });
}

} // namespace graft::cli
