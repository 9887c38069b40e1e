#include "tools/graft/Objective.h"

#include "frontends/objective/Objective.h"
#include "passes/objective/EvaluateFiles.h"

#include <nlohmann/json.hpp>

#include <charconv>
#include <cmath>
#include <iostream>
#include <memory>

namespace graft {

namespace {
using namespace objective;
using nlohmann::json;

struct Options {
  std::string what; ///< a preset, "advantages/PRESET", or a file
  std::vector<std::string> set;
  std::string inputs, out;
  bool json = false;
};

/// "0.2", "inf", "true", "k3" or "\"k3\"", as on a command line.
ParameterValue parseValue(std::string_view text) {
  if (text == "true" || text == "false")
    return text == "true";
  double number = 0;
  auto [end, fault] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (fault == std::errc() && end == text.data() + text.size())
    return number;
  if (text.size() >= 2 && text.front() == '"' && text.back() == '"')
    text = text.substr(1, text.size() - 2);
  return std::string(text);
}

Result<std::vector<Override>> parseOverrides(const std::vector<std::string> &set) {
  std::vector<Override> overrides;
  Status status;
  for (const std::string &item : set) {
    size_t equals = item.find('=');
    std::string place = "--set " + escaped(item);
    if (equals == std::string::npos || equals == 0)
      status.merge(Status::error(Code::Usage, "expected NAME=VALUE", place));
    else
      overrides.push_back({item.substr(0, equals), parseValue(std::string_view(item).substr(equals + 1)), place});
  }
  if (!status.isOk())
    return status;
  return overrides;
}

bool isPreset(const std::string &name, Role role) {
  for (const Preset &preset : presets())
    if (preset.name == name && preset.role == role && !preset.library)
      return true;
  return false;
}

/// An objective, or advantages: by "advantages/NAME", where only they have the name, or by what the file says it is.
Result<Objective> find(const std::string &what, const std::vector<std::string> &set) {
  GRAFT_ASSIGN_OR_RETURN(std::vector<Override> overrides, parseOverrides(set));
  if (what.starts_with("advantages/") && !what.ends_with(".objective"))
    return load(what.substr(11), Role::Advantages, overrides);
  bool onlyAdvantages = !isPreset(what, Role::Objective) && isPreset(what, Role::Advantages);
  if (onlyAdvantages)
    return load(what, Role::Advantages, overrides);
  return what.ends_with(".objective") || what.find('/') != std::string::npos ? loadFile(what, overrides)
                                                                             : load(what, Role::Objective, overrides);
}

std::string firstSentence(const std::string &text) {
  size_t end = text.find(". ");
  std::string sentence = text.substr(0, end == std::string::npos ? text.find(".\n") : end);
  std::replace(sentence.begin(), sentence.end(), '\n', ' ');
  return sentence.ends_with('.') ? sentence : sentence + ".";
}

json toJson(const ParameterValue &value) {
  if (const double *number = std::get_if<double>(&value); number && !std::isfinite(*number))
    return print(value);
  return std::visit([](const auto &v) { return json(v); }, value);
}

json describe(const Objective &objective) {
  json parameters = json::array(), metrics = json::array();
  for (const Parameter &p : objective.parameters) {
    json entry = {{"name", p.name},
                  {"value", toJson(p.value)},
                  {"default", toJson(p.defaultValue)},
                  {"documentation", p.documentation}};
    for (const ParameterValue &choice : p.choices)
      entry["choices"].push_back(toJson(choice));
    parameters.push_back(entry);
  }
  auto inputs = [](const std::vector<Input> &list) {
    json array = json::array();
    for (const Input &i : list)
      array.push_back({{"name", i.name}, {"kind", name(i.kind)}, {"documentation", i.documentation}});
    return array;
  };
  for (const Metric &m : objective.metrics)
    metrics.push_back({{"name", m.name}, {"combine", name(m.combine)}});
  return {{"name", objective.name},
          {"role", objective.role == Role::Advantages ? "advantages" : "objective"},
          {"description", objective.description},
          {"sources", objective.sources},
          {"parameters", parameters},
          {"inputs", inputs(objective.requiredInputs())},
          {"metric_inputs", inputs(objective.metricInputs())},
          {"metrics", metrics},
          {"uses_groups", objective.usesGroups()},
          {"splits", objective.splits()},
          {"splits_groups", objective.splitsGroups()},
          {"warnings", objective.warnings}};
}

int report(const Status &status) {
  std::cerr << status.text();
  return status.exitCode();
}

int list(const Options &options) {
  json all = json::array();
  for (const Preset &preset : presets()) {
    if (preset.library)
      continue;
    auto objective = load(std::string(preset.name), preset.role);
    if (!objective.isOk())
      return report(objective.status());
    std::string name = (preset.role == Role::Advantages ? "advantages/" : "") + std::string(preset.name);
    if (options.json)
      all.push_back({{"name", name},
                     {"role", preset.role == Role::Advantages ? "advantages" : "objective"},
                     {"description", objective->description}});
    else
      std::cout << name << std::string(name.size() < 22 ? 22 - name.size() : 1, ' ')
                << firstSentence(objective->description) << "\n";
  }
  if (options.json)
    std::cout << all.dump(2) << "\n";
  return 0;
}

void printNames(const char *title, const std::vector<Input> &inputs) {
  std::cout << title;
  for (const Input &input : inputs)
    std::cout << " " << input.name;
  std::cout << "\n";
}

/// The parameters with the values they have, then what is needed and what comes out.
void summarize(const Objective &objective) {
  std::cout << "parameters\n";
  for (const Parameter &p : objective.parameters) {
    std::cout << "  " << p.name << " = " << print(p.value);
    for (size_t i = 0; i < p.choices.size(); ++i)
      std::cout << (i ? ", " : "  in [") << print(p.choices[i]) << (i + 1 == p.choices.size() ? "]" : "");
    std::cout << "\n";
  }
  printNames("needs       ", objective.requiredInputs());
  if (objective.usesGroups())
    std::cout << "             group_ids\n";
  if (!objective.metricInputs().empty())
    printNames("metrics use ", objective.metricInputs());
  if (!objective.metrics.empty())
    std::cout << "metrics     ";
  for (const Metric &metric : objective.metrics)
    std::cout << " " << metric.name;
  std::cout << (objective.metrics.empty() ? "" : "\n");
  for (const std::string &warning : objective.warnings)
    std::cerr << "warning: " << warning << "\n";
}

int show(const Options &options) {
  auto objective = find(options.what, options.set);
  if (!objective.isOk())
    return report(objective.status());
  if (options.json) {
    std::cout << describe(*objective).dump(2) << "\n";
    return 0;
  }
  for (const Preset &preset : presets())
    if (!preset.library && preset.name == objective->name && preset.role == objective->role)
      std::cout << preset.text << "\n";
  summarize(*objective);
  for (const std::string &source : objective->sources)
    std::cout << "source       " << source << "\n";
  return 0;
}

int check(const Options &options) {
  auto objective = find(options.what, options.set);
  if (!objective.isOk())
    return report(objective.status());
  if (options.json)
    std::cout << describe(*objective).dump(2) << "\n";
  else {
    std::cout << objective->name << ": sound\n";
    summarize(*objective);
  }
  return 0;
}

int evaluate(const Options &options) {
  auto objective = find(options.what, options.set);
  if (!objective.isOk())
    return report(objective.status());
  Status status = evaluateFiles(*objective, options.inputs, options.out);
  if (!status.isOk())
    return report(status);
  if (options.json)
    std::cout << json{{"objective", objective->name}, {"out", options.out}}.dump() << "\n";
  return 0;
}
} // namespace

void addObjectiveCommand(CLI::App &app, int &exitCode) {
  auto options = std::make_shared<Options>();
  CLI::App *command =
      app.add_subcommand("objective", "the objective language: what there is, what it means, its value and gradient");
  command->require_subcommand(1);
  auto add = [&](const char *name, const char *help, int (*run)(const Options &)) {
    CLI::App *sub = command->add_subcommand(name, help);
    sub->add_flag("--json", options->json, "machine-readable results");
    sub->callback([options, run, &exitCode] { exitCode = run(*options); });
    return sub;
  };
  auto named = [&](CLI::App *sub, const char *argument) {
    sub->add_option(argument, options->what, "a preset (see list), advantages/PRESET, or a file")->required();
    sub->add_option("--set", options->set, "NAME=VALUE: a parameter")->allow_extra_args(false);
    return sub;
  };
  add("list", "presets, one per line", list);
  named(add("show", "text, parameters, inputs and metrics of an objective", show), "NAME");
  named(add("check", "whether a file is sound", check), "FILE");
  CLI::App *sub = named(add("evaluate", "loss, gradients and metrics on given arrays, in float64", evaluate), "NAME");
  sub->add_option("--inputs", options->inputs, "safetensors with logprobs, loss_mask, ...")->required();
  sub->add_option("--out", options->out, "safetensors: loss, grad.NAME, metric.NAME, or advantages")->required();
}

} // namespace graft
