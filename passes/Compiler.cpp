#include "passes/Compiler.h"

#include "dialects/rl/RLDialect.h"
#include "frontends/mlir/Diagnostics.h"
#include "passes/codegen/Passes.h"
#include "passes/codegen/Ptxas.h"
#include "passes/recompute/DoesNotFit.h"
#include "runtime/base/AtomicFile.h"
#include "runtime/base/ByteSize.h"
#include "runtime/base/File.h"
#include "runtime/base/Stopwatch.h"
#include "runtime/device/cpu/Memory.h"
#include "runtime/observe/NumberText.h"

#include "llvm/Support/raw_ostream.h"

#include <algorithm>
#include <array>
#include <filesystem>

using namespace mlir;

namespace graft {

namespace {

constexpr std::array<std::string_view, 8> stages = {"import",    "objective", "autodiff", "loss",
                                                    "precision", "recompute", "lower",    "codegen"};

/// Says how long a stage took and writes its dump.
Status endStage(const CompileOptions &options, Stage stage, double seconds, ModuleOp module) {
  if (options.onStage)
    options.onStage(stage, seconds);
  for (const auto &[dumped, file] : options.dumps)
    if (dumped == stage) {
      std::string text;
      llvm::raw_string_ostream stream(text);
      module.print(stream, OpPrintingFlags().enableDebugInfo());
      GRAFT_RETURN_IF_ERROR(writeFileAtomically(file, text));
    }
  return Status::ok();
}

/// Measures a stage, and says whether the compile ends with it.
class StageEnd {
public:
  StageEnd(const CompileOptions &options, Stage stage) : options_(options), stage_(stage) {}

  Status dump(ModuleOp module) const { return endStage(options_, stage_, watch_.seconds(), module); }
  bool last() const { return options_.stopAfter == stage_; }

private:
  const CompileOptions &options_;
  Stage stage_;
  Stopwatch watch_;
};

bool isDumped(const CompileOptions &options, Stage stage) {
  return llvm::is_contained(llvm::make_first_range(options.dumps), stage);
}

void noteHead(const FusedHead &head, EntryModule &module) {
  if (!head.fused)
    module.graph.notes.push_back("the head is not fused with the loss: " + head.reason);
}

/// True if the compile does not go beyond `stage`.
bool stopped(const CompileOptions &options, Stage stage) {
  return options.stopAfter && *options.stopAfter <= stage;
}

std::vector<objective::Override> overridesOf(const Recipe &recipe) {
  std::vector<objective::Override> overrides;
  auto add = [&](const std::string &name, objective::ParameterValue value) {
    overrides.push_back({name, std::move(value), recipe.origin.place("objective." + name)});
  };
  if (recipe.objective.aggregation)
    add("aggregation", std::string(text(*recipe.objective.aggregation)));
  if (recipe.objective.kl)
    add("kl", std::string(text(*recipe.objective.kl)));
  for (const ObjectiveParameter &parameter : recipe.objective.parameters)
    std::visit([&](const auto &value) { add(parameter.name, value); }, parameter.value);
  return overrides;
}

/// An objective by preset or file, with its text for the program.
Result<objective::Objective> loadText(const std::string &nameOrFile, objective::Role role,
                                      const std::vector<objective::Override> &overrides, std::string &texts) {
  GRAFT_ASSIGN_OR_RETURN(objective::Objective loaded, objective::load(nameOrFile, role, overrides));
  for (const objective::Preset &preset : objective::presets())
    if (preset.name == nameOrFile && preset.role == role) {
      texts += preset.text;
      return loaded;
    }
  GRAFT_ASSIGN_OR_RETURN(std::string text, readText(nameOrFile, 1 << 20));
  texts += text;
  return loaded;
}

} // namespace

std::string_view text(Stage stage) {
  return stages[static_cast<size_t>(stage)];
}
std::optional<Stage> stageByName(std::string_view name) {
  for (size_t i = 0; i < stages.size(); ++i)
    if (stages[i] == name)
      return static_cast<Stage>(i);
  return std::nullopt;
}
std::vector<std::string_view> stageNames() {
  return {stages.begin(), stages.end()};
}

Compiler::Compiler() : context_(MLIRContext::Threading::DISABLED) {
  DialectRegistry registry;
  rl::registerDialects(registry);
  registerCodegenDialects(registry);
  context_.appendDialectRegistry(registry);
  context_.loadAllAvailableDialects();
}

Result<ImportedGraph> Compiler::import(const Recipe &recipe) {
  if (recipe.batch.microBatches == 0 || recipe.batch.sequences % recipe.batch.microBatches != 0)
    return Status::error(Code::Usage, "batch.sequences is no multiple of batch.micro_batches",
                         recipe.origin.place("batch.micro_batches"));
  if (recipe.batch.packed && recipe.batch.microBatches != 1)
    return Status::error(Code::Usage, "rows that are packed are not cut into micro-batches",
                         recipe.origin.place("batch.micro_batches"),
                         "leave micro_batches out: a step whose sequences need more than one row takes several");
  return importGraph(recipe, context_);
}

namespace {

/// A program reads no values per word: `computed` is what it has.
Status checkWordInputs(const objective::Objective &objective, std::string_view computed) {
  Status status;
  for (const objective::Input &input : objective.requiredInputs())
    if (input.kind == objective::Kind::Vocabulary && input.name != computed)
      status.merge(Status::error(Code::Unsupported,
                                 "'" + objective.name + "' needs '" + input.name +
                                     "', a value per word, which batches of a program do not hold",
                                 "", "only 'logits', those of the model, can be an input per word of a loss"));
  return status;
}

} // namespace

Status Compiler::addObjective(const Recipe &recipe, EntryModule &module) {
  using objective::Role;
  bool isFile = recipe.objective.file.isSet();
  Status status;
  auto loss = loadText(isFile ? recipe.objective.file.resolved : recipe.objective.preset, Role::Objective,
                       overridesOf(recipe), module.objectiveText);
  if (!loss.isOk())
    status.merge(loss.takeStatus().at(recipe.origin.place(isFile ? "objective.file" : "objective.preset")));
  std::optional<objective::Objective> advantages;
  if (!recipe.objective.advantages.empty()) {
    std::string name = recipe.objective.advantages;
    if (name.ends_with(".objective"))
      name = (std::filesystem::path(recipe.origin.file).parent_path() / name).string();
    auto loaded = loadText(name, Role::Advantages, {}, module.objectiveText);
    if (loaded.isOk())
      advantages = std::move(*loaded);
    else
      status.merge(loaded.takeStatus().at(recipe.origin.place("objective.advantages")));
  }
  GRAFT_RETURN_IF_ERROR(status);
  GRAFT_RETURN_IF_ERROR(
      checkWordInputs(*loss, "logits").at(recipe.origin.place(isFile ? "objective.file" : "objective.preset")));
  if (advantages)
    GRAFT_RETURN_IF_ERROR(checkWordInputs(*advantages, "").at(recipe.origin.place("objective.advantages")));
  module.splits = loss->splits();
  if (recipe.batch.microBatches > 1 && !loss->splits())
    return Status::error(Code::Usage,
                         "objective '" + loss->name +
                             "' cannot be computed in micro-batches: its loss is no sum over sequences",
                         recipe.origin.place("batch.micro_batches"), "set micro_batches = 1");
  for (const std::string &warning : loss->warnings)
    module.graph.notes.push_back(warning);
  DiagnosticCollector diagnostics(context_, Code::Unsupported, escaped(recipe.model.graph.resolved, 400));
  EntryPointOptions options;
  options.loss = &*loss;
  options.advantages = advantages ? &*advantages : nullptr;
  options.onPolicy = recipe.objective.oldLogprobs == OldLogprobs::Current;
  options.stepSequences = recipe.batch.sequences;
  auto entries = buildEntryPoints(*module.graph.module, options);
  if (failed(entries))
    return diagnostics.take("building the entry points");
  module.entries = std::move(*entries);
  return Status::ok();
}

Result<EntryModule> Compiler::buildEntries(const Recipe &recipe, const CompileOptions &options) {
  EntryModule module;
  StageEnd importEnd(options, Stage::Import);
  GRAFT_ASSIGN_OR_RETURN(module.graph, import(recipe));
  GRAFT_RETURN_IF_ERROR(importEnd.dump(*module.graph.module));
  if (importEnd.last())
    return module;
  StageEnd objectiveEnd(options, Stage::Objective);
  GRAFT_RETURN_IF_ERROR(addObjective(recipe, module));
  GRAFT_RETURN_IF_ERROR(objectiveEnd.dump(*module.graph.module));
  if (objectiveEnd.last())
    return module;
  StageEnd autodiffEnd(options, Stage::Autodiff);
  DiagnosticCollector diagnostics(context_, Code::Unsupported, escaped(recipe.model.graph.resolved, 400));
  if (failed(addGradients(*module.graph.module, module.entries)))
    return diagnostics.take("differentiation");
  for (ImportedParameter &parameter : module.graph.parameters)
    parameter.trained = std::ranges::binary_search(module.entries.trained, parameter.name);
  for (const std::string &name : module.entries.unreached)
    module.graph.notes.push_back("'" + escaped(name) + "' does not train: the loss does not depend on it");
  GRAFT_RETURN_IF_ERROR(autodiffEnd.dump(*module.graph.module));
  return module;
}

Status Compiler::fuseHeads(EntryModule &module, int64_t chunkRows, const CompileOptions &options) {
  StageEnd lossEnd(options, Stage::Loss);
  noteHead(fuseHeads(*module.graph.module, chunkRows), module);
  return lossEnd.dump(*module.graph.module);
}

Status Compiler::narrow(const Recipe &recipe, EntryModule &module, const CompileOptions &options) {
  StageEnd precisionEnd(options, Stage::Precision);
  narrow(recipe, *module.graph.module);
  return precisionEnd.dump(*module.graph.module);
}

Status Compiler::endHeadStages(const Recipe &recipe, EntryModule &module, const Candidate &chosen,
                               const CompileOptions &options) {
  ModuleOp functions = *module.graph.module;
  bool narrowed = isDumped(options, Stage::Precision);
  if (narrowed || isDumped(options, Stage::Loss))
    fuseHeads(functions, chosen.head.chunkRows);
  GRAFT_RETURN_IF_ERROR(endStage(options, Stage::Loss, chosen.lossSeconds, functions));
  if (narrowed)
    narrow(recipe, functions);
  return endStage(options, Stage::Precision, chosen.precisionSeconds, functions);
}

Result<LoweredEntries> Compiler::planMemory(const Recipe &recipe, EntryModule &module, const CompileOptions &options) {
  StageEnd recomputeEnd(options, Stage::Recompute);
  int64_t budget = recipe.memory.budget.value_or(hostMemoryBytes());
  GRAFT_ASSIGN_OR_RETURN(Planned planned, choosePlan(recipe, module, budget));
  Candidate &candidate = *planned.candidates[planned.best.candidate];
  if (!planned.best.point.fits)
    return doesNotFit({planned.best.plan, planned.best.point.deviceBytes}, planned.lowered.program, budget)
        .at(recipe.origin.place("memory.budget"));
  GRAFT_RETURN_IF_ERROR(endHeadStages(recipe, module, candidate, options));
  noteHead(candidate.head, module);
  std::string goal = "to need at most " + byteSizeText(budget);
  if (candidate.head.chunkRows < planned.candidates.front()->head.chunkRows)
    module.graph.notes.push_back(goal + ", logits are computed " + std::to_string(candidate.head.chunkRows) +
                                 " tokens at a time");
  EntryPlanner &planner = *candidate.planner;
  if (int64_t slower = planned.best.plan.cost - planner.tradeoff().fastest().cost; slower > 0)
    module.graph.notes.push_back(goal + ", the backward pass computes more again: about " +
                                 secondsText(static_cast<double>(slower) * 1e-12) + " of a step");
  if (isDumped(options, Stage::Recompute))
    planner.apply(planned.best.plan);
  GRAFT_RETURN_IF_ERROR(recomputeEnd.dump(*candidate.module));
  std::ranges::move(planned.candidates, std::back_inserter(done_.candidates));
  return std::move(planned.lowered);
}

Status Compiler::generateCode(LoweredEntries &lowered, const CompileOptions &options) {
  StageEnd codegenEnd(options, Stage::Codegen);
  CodegenOptions codegen;
  codegen.threads = options.threads;
  codegen.cuda = options.cuda;
  if (options.level)
    codegen.level = *options.level;
  else {
    GRAFT_ASSIGN_OR_RETURN(codegen.level, hostCpuLevel());
  }
  GRAFT_RETURN_IF_ERROR(compileKernels(*lowered.kernels, lowered.program, codegen));
  return codegenEnd.dump(*lowered.kernels);
}

Result<Compilation> Compiler::compile(Recipe recipe, const CompileOptions &options) {
  forGpu_ = !options.cuda.empty();
  if (recipe.batch.microBatches == 0) {
    GRAFT_ASSIGN_OR_RETURN(recipe.batch.microBatches, chooseMicroBatches(recipe));
  }
  GRAFT_ASSIGN_OR_RETURN(EntryModule module, buildEntries(recipe, options));
  Compilation compilation;
  if (options.stopAfter == Stage::Loss || options.stopAfter == Stage::Precision) {
    // Nothing is planned: the chunks of a budget that is large enough.
    GRAFT_RETURN_IF_ERROR(fuseHeads(module, chunkSizes.front(), options));
    if (!stopped(options, Stage::Loss))
      GRAFT_RETURN_IF_ERROR(narrow(recipe, module, options));
  }
  if (!stopped(options, Stage::Precision)) {
    GRAFT_ASSIGN_OR_RETURN(LoweredEntries lowered, planMemory(recipe, module, options));
    StageEnd lowerEnd(options, Stage::Lower); // what was measured is what is compiled
    if (!stopped(options, Stage::Recompute))
      GRAFT_RETURN_IF_ERROR(lowerEnd.dump(*lowered.kernels));
    if (!stopped(options, Stage::Lower))
      GRAFT_RETURN_IF_ERROR(generateCode(lowered, options));
    compilation.program = std::move(lowered.program);
    done_.modules.push_back(std::move(lowered.kernels));
  }
  done_.modules.push_back(std::move(module.graph.module));
  compilation.microBatches = recipe.batch.microBatches;
  compilation.notes = std::move(module.graph.notes);
  if (!options.cuda.empty() && !stopped(options, Stage::Lower) && !findPtxas())
    compilation.notes.push_back(
        "there is no ptxas in PATH or CUDA_HOME: the CUDA kernels are in the program as PTX only, "
        "which the driver compiles when it loads them");
  return compilation;
}

} // namespace graft
