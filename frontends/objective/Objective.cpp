#include "frontends/objective/Objective.h"

#include "frontends/objective/Checker.h"
#include "runtime/base/File.h"

#include <algorithm>
#include <filesystem>

namespace graft::objective {

namespace {
constexpr size_t maxFiles = 64;
constexpr uint64_t maxBytes = uint64_t{1} << 20;
constexpr std::string_view extension = ".objective";

/// Reads the objective's text and, before it, everything it uses, each once.
class Reader {
public:
  Reader(Program &program, const Library &library, Diagnostics &diagnostics)
      : program_(program), library_(library), diagnostics_(diagnostics) {}

  void read(const std::string &name, std::string text, uint32_t depth) {
    uint32_t id = program_.sources.add(name, std::move(text));
    File file = parse(program_.sources, id, program_.exprs, diagnostics_);
    file.header.file = id;
    for (const Statement &s : file.statements)
      if (s.form == Statement::Form::Use && seen_.insert(s.name).second)
        use(s, depth);
    program_.files.push_back(std::move(file));
  }

private:
  void use(const Statement &s, uint32_t depth) {
    if (depth >= maxFiles || seen_.size() > maxFiles)
      return diagnostics_.error(s.span, "more than " + std::to_string(maxFiles) + " texts are used", "", Code::Limit);
    if (auto found = library_(s.name))
      return read(found->first, std::move(found->second), depth + 1);
    std::vector<std::string> names;
    for (const Preset &preset : presets())
      names.emplace_back(preset.name);
    diagnostics_.error(s.span, "no library or preset is named '" + escaped(s.name) + "'", didYouMean(s.name, names));
  }

  Program &program_;
  const Library &library_;
  Diagnostics &diagnostics_;
  std::set<std::string> seen_;
};

std::vector<Input> inputsOf(const Objective &objective, const std::vector<NodeId> &roots,
                            const std::vector<bool> &except) {
  std::vector<bool> reached = objective.graph.reachable(roots), wanted(objective.inputs.size());
  for (NodeId id = 0; id < objective.graph.size(); ++id)
    if (reached[id] && !except[id] && objective.graph[id].op == Op::Input)
      wanted[objective.graph[id].index] = true;
  std::vector<Input> inputs;
  for (size_t i = 0; i < wanted.size(); ++i)
    if (wanted[i])
      inputs.push_back(objective.inputs[i]);
  return inputs;
}

std::vector<NodeId> roots(const Objective &objective) {
  std::vector<NodeId> roots = {objective.result};
  for (const Metric &metric : objective.metrics)
    roots.push_back(metric.value);
  return roots;
}

/// Libraries beside the file first, then the built-in ones. `use` takes names only, so nothing outside of the folder is
/// read.
Library librariesBeside(const std::filesystem::path &folder) {
  return [folder](const std::string &name) -> std::optional<std::pair<std::string, std::string>> {
    std::string file = name + std::string(extension);
    std::error_code fault;
    if (std::filesystem::is_regular_file(folder / file, fault))
      if (auto text = readText((folder / file).string(), maxBytes); text.isOk())
        return std::pair(file, std::move(*text));
    return builtinLibrary(name);
  };
}
} // namespace

std::vector<Input> Objective::requiredInputs() const {
  return inputsOf(*this, {result}, std::vector<bool>(graph.size()));
}
std::vector<Input> Objective::metricInputs() const {
  return inputsOf(*this, roots(*this), graph.reachable({result}));
}
bool Objective::uses(std::initializer_list<Op> ops) const {
  std::vector<bool> reached = graph.reachable(roots(*this));
  for (NodeId id = 0; id < graph.size(); ++id)
    if (reached[id] && std::find(ops.begin(), ops.end(), graph[id].op) != ops.end())
      return true;
  return false;
}

Result<Objective> compile(std::string name, std::string text, const std::vector<Override> &overrides,
                          const Library &library) {
  Program program;
  Diagnostics diagnostics(program.sources);
  Reader(program, library, diagnostics).read(name, std::move(text), 0);
  const File &main = program.files.back();
  if (main.role == File::Role::Library)
    diagnostics.error(main.header, "a library computes nothing by itself",
                      "begin with 'objective NAME' or 'advantages NAME'");
  Objective objective;
  if (main.role != File::Role::None)
    check(program, overrides, objective, diagnostics);
  if (diagnostics.failed())
    return diagnostics.takeStatus();
  objective.warnings = diagnostics.warnings();
  return objective;
}

std::optional<std::pair<std::string, std::string>> builtinLibrary(const std::string &name) {
  for (const Preset &preset : presets())
    if (preset.name == name && preset.role != Role::Advantages)
      return std::pair(name + std::string(extension), std::string(preset.text));
  return std::nullopt;
}

Result<Objective> load(const std::string &nameOrFile, Role role, const std::vector<Override> &overrides) {
  std::string wanted = role == Role::Advantages ? "advantages" : "objective";
  std::vector<std::string> names;
  for (const Preset &preset : presets()) {
    if (preset.role != role || preset.library)
      continue;
    if (preset.name == nameOrFile)
      return compile(nameOrFile + std::string(extension), std::string(preset.text), overrides);
    names.emplace_back(preset.name);
  }
  if (!nameOrFile.ends_with(extension)) {
    std::string hint = didYouMean(nameOrFile, names);
    return Status::error(Code::Usage, "no " + wanted + " preset is named '" + escaped(nameOrFile) + "'", "",
                         hint.empty() ? "there are " + quotedList(names) + "; a file's name ends in .objective" : hint);
  }
  GRAFT_ASSIGN_OR_RETURN(Objective objective, loadFile(nameOrFile, overrides));
  if (objective.role != role)
    return Status::error(Code::Usage,
                         "the text does not define " + std::string(role == Role::Advantages ? "advantages" : "a loss"),
                         escaped(nameOrFile), "an " + wanted + " text is needed here");
  return objective;
}

Result<Objective> loadFile(const std::string &file, const std::vector<Override> &overrides) {
  std::filesystem::path path(file);
  GRAFT_ASSIGN_OR_RETURN(std::string text, readText(file, maxBytes));
  return compile(path.filename().string(), std::move(text), overrides, librariesBeside(path.parent_path()));
}

} // namespace graft::objective
