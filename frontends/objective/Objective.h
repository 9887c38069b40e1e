// The objective language: one text file is one algorithm, as a paper prints it. README.md has the grammar and the
// meaning.
//
//   auto grpo = load("grpo", Role::Objective, {{"clip_high", 0.28, "recipe.toml:9:13"}});
//
// An Objective is immutable after it is made and owns everything it refers to; it may be read from several threads.
#pragma once

#include "frontends/objective/Functions.h"
#include "frontends/objective/Graph.h"
#include "frontends/objective/Syntax.h"

#include <functional>

namespace graft::objective {

/// What a text computes: `loss`, or `advantages`.
enum class Role { Objective, Advantages };

struct Parameter {
  std::string name;
  ParameterValue value; ///< after overrides
  ParameterValue defaultValue;
  std::vector<ParameterValue> choices; ///< allowed values; empty: any (inside the bounds)
  std::optional<double> low, high;     ///< inclusive
  std::string documentation;
};

struct Input {
  std::string name;
  Kind kind = Kind::Token; ///< Token: [B,S] (a [B] array is broadcast); Sequence: [B]; Scalar: []
  std::string documentation;
};

struct Metric {
  std::string name;
  NodeId value = 0;
  Combine combine = Combine::Sum; ///< how micro-batches' values become the step's
  std::string documentation;
};

/// A value for a parameter, from the recipe or the command line.
struct Override {
  std::string name;
  ParameterValue value;
  std::string place; ///< "recipe.toml:9:13", for messages
};

struct Objective {
  Role role = Role::Objective;
  std::string name;
  std::string description;
  std::vector<std::string> sources; ///< framework, version and function of every convention it reproduces
  std::vector<Parameter> parameters;
  std::vector<Input> inputs; ///< all that are declared; Op::Input's index
  Graph graph;
  NodeId result = 0; ///< `loss` (a scalar), or `advantages` (per sequence or per token)
  std::vector<Metric> metrics;
  std::vector<std::string> warnings;

  /// What `result` depends on with these parameters: ref_logprobs is not in it when kl = "none". Order of declaration.
  std::vector<Input> requiredInputs() const;
  /// What metrics use beyond that. A metric whose input is not given is left out.
  std::vector<Input> metricInputs() const;
  /// Whether group_ids are needed ([B] i32).
  bool usesGroups() const { return uses({Op::GroupSum, Op::GroupMax, Op::GroupMin}); }
  /// Whether the words that the tokens are matter: labels ([B,S] integers) are needed.
  bool usesLabels() const { return uses({Op::AtToken}); }
  /// Whether the result or a metric depends on one of these operations.
  bool uses(std::initializer_list<Op> ops) const;
  /// Whether a step may be split into micro-batches whose results are added, and if so, whether groups may be split
  /// too.
  bool splits() const { return role == Role::Objective && graph[result].combine == Combine::Sum; }
  bool splitsGroups() const { return splits() && !graph[result].wholeGroups; }
};

/// Finds the text that `use NAME` means: its display name and contents. Nothing if there is none.
using Library = std::function<std::optional<std::pair<std::string, std::string>>(const std::string &name)>;
/// The libraries and presets that are built in.
std::optional<std::pair<std::string, std::string>> builtinLibrary(const std::string &name);

/// Compiles a text. `name` is what messages call it. Faults (Code::Usage; Code::Limit where a bound is exceeded): all
/// at once, of the texts and of the overrides.
Result<Objective> compile(std::string name, std::string text, const std::vector<Override> &overrides = {},
                          const Library &library = builtinLibrary);

/// Compiles the preset `name`, or reads the file of that name if it ends in ".objective"; such a file may also use
/// libraries that lie beside it. Refuses a text of the other role.
Result<Objective> load(const std::string &nameOrFile, Role role, const std::vector<Override> &overrides = {});
/// The same for a file of any name and either role.
Result<Objective> loadFile(const std::string &file, const std::vector<Override> &overrides = {});

struct Preset {
  std::string_view name;
  Role role;
  bool library; ///< not for itself, only for `use`
  std::string_view text;
};
/// All presets and libraries, sorted by folder and name; their texts are compiled into the program.
const std::vector<Preset> &presets();

} // namespace graft::objective
