#include "passes/ProgramTables.h"

#include "runtime/base/File.h"
#include "runtime/base/Json.h"
#include "runtime/program/Hash.h"

#include <filesystem>
#include <map>

namespace graft {

namespace {

/// pad_token_id of FOLDER/config.json, if there is such a file and it says a number.
std::optional<int64_t> padToken(const std::filesystem::path &folder) {
  auto text = readText((folder / "config.json").string(), 16 << 20);
  if (!text.isOk())
    return std::nullopt;
  JsonReader json(*text);
  std::optional<int64_t> id;
  if (json.enterObject())
    for (std::string key; json.nextKey(key);) {
      std::string_view spelling;
      if (key == "pad_token_id" && json.peek() == JsonKind::Number && json.readNumber(spelling))
        id = parseInteger(spelling);
      else
        json.skip();
    }
  return json.failed() || id.value_or(0) < 0 ? std::nullopt : id;
}

int64_t padId(const Recipe &recipe, int64_t vocabulary) {
  std::filesystem::path graph = recipe.model.graph.resolved, weights = recipe.model.weights.resolved;
  for (const std::filesystem::path &folder : {graph.parent_path(), weights.parent_path(), weights})
    if (!folder.empty())
      if (auto id = padToken(folder); id && *id < vocabulary)
        return *id;
  return 0;
}

std::map<std::string, std::string> settings(const Recipe &recipe, const EntryModule &module) {
  std::map<std::string, std::string> settings = {
      {"batch.sequences", std::to_string(recipe.batch.sequences)},
      {"batch.tokens", std::to_string(recipe.batch.tokens)},
      {"batch.micro_batches", std::to_string(recipe.batch.microBatches)},
      {"batch.packed", std::to_string(recipe.batch.packed.value_or(0))},
      {"batch.share_prompts", module.graph.sharesPrompts ? "1" : "0"},
      {"batch.pad_id", std::to_string(padId(recipe, module.graph.vocabulary))},
      {"batch.vocabulary", std::to_string(module.graph.vocabulary)},
      {"optimizer.on_nonfinite", std::string(text(recipe.optimizer.onNonfinite))},
      {"objective.old_logprobs", std::string(text(recipe.objective.oldLogprobs))},
      {"objective.ref_logprobs", std::string(text(recipe.objective.refLogprobs))},
      {"objective.name", recipe.objective.preset.empty() ? recipe.objective.file.written : recipe.objective.preset}};
  for (const EntryPoints::Metric &metric : module.entries.metrics)
    settings["metric." + metric.name] = std::string(name(metric.combine));
  return settings;
}

std::unique_ptr<schema::ParameterT> parameterTable(const ImportedParameter &parameter,
                                                   const Recipe::Optimizer &optimizer) {
  auto table = std::make_unique<schema::ParameterT>();
  table->name = parameter.name;
  table->aliases = parameter.aliases;
  table->shape = parameter.shape;
  table->dtype = schema::DType::F32; // those of [precision] parameters: Compiler::candidate
  table->trained = parameter.trained;
  bool decays = parameter.trained && (optimizer.decay == Decay::All || parameter.shape.size() >= 2);
  table->weight_decay = decays ? static_cast<float>(optimizer.weightDecay) : 0.0f;
  return table;
}

std::unique_ptr<schema::OptimizerT> optimizerTable(const Recipe::Optimizer &optimizer) {
  auto table = std::make_unique<schema::OptimizerT>();
  table->name = std::string(text(optimizer.name));
  table->beta1 = optimizer.betas[0];
  table->beta2 = optimizer.betas[1];
  table->epsilon = optimizer.eps;
  table->clip_grad_norm = optimizer.clipGradNorm;
  table->state = optimizer.state == StateType::Float32    ? schema::DType::F32
                 : optimizer.state == StateType::BFloat16 ? schema::DType::BF16
                                                          : schema::DType::U8;
  table->learning_rate = optimizer.lr;
  table->schedule = optimizer.schedule.kind == ScheduleKind::Constant ? schema::Schedule::Constant
                    : optimizer.schedule.kind == ScheduleKind::Linear ? schema::Schedule::Linear
                                                                      : schema::Schedule::Cosine;
  table->warmup_steps = optimizer.schedule.warmupSteps;
  table->in_backward = optimizer.inBackward;
  return table;
}

} // namespace

void fillTables(const Recipe &recipe, const EntryModule &module, schema::ProgramT &program) {
  program.graft_version = "0.1.0";
  program.target = "cpu";
  program.recipe = printRecipe(recipe, RecipePaths::Absolute);
  program.objective = module.objectiveText;
  program.fingerprints = std::make_unique<schema::FingerprintsT>();
  program.fingerprints->graph = module.graph.fingerprint;
  program.fingerprints->recipe = hash64(printRecipe(recipe));
  program.fingerprints->objective = hash64(module.objectiveText);
  for (auto &[key, value] : settings(recipe, module)) {
    auto setting = std::make_unique<schema::SettingT>();
    setting->key = key;
    setting->value = value;
    program.settings.push_back(std::move(setting));
  }
  for (const ImportedParameter &parameter : module.graph.parameters)
    program.parameters.push_back(parameterTable(parameter, recipe.optimizer));
  program.optimizer = optimizerTable(recipe.optimizer);
}

} // namespace graft
