// `graft compile RECIPE -o P.graft`: the whole compiler.
#include "passes/Compiler.h"
#include "passes/codegen/Ptxas.h"
#include "runtime/program/ProgramFile.h"
#include "tools/graft/Command.h"
#include "tools/graft/Summary.h"

#include <algorithm>
#include <sstream>
#include <thread>

namespace graft::cli {

namespace {

struct CompileFlags {
  std::string recipe, output, stopAfter;
  std::vector<std::string> dumps, targets;
  bool printRecipe = false;
};

std::string stageList() {
  std::string list;
  for (std::string_view stage : stageNames())
    list += (list.empty() ? "" : ", ") + std::string(stage);
  return list;
}

Status unknownStage(const std::string &name, const std::string &flag) {
  return Status::error(Code::Usage, "there is no stage '" + escaped(name) + "'", flag, "stages are " + stageList());
}

constexpr const char *targetList = "cpu (this machine's), x86-64-v3, x86-64-v4, cuda:ARCHITECTURE,...";

/// "sm_80,sm_90": more architectures for CUDA code.
Status addArchitectures(const std::string &list, CompileOptions &options) {
  Status status;
  std::span<const std::string_view> known = cudaArchitectures();
  std::string names;
  for (std::string_view name : known)
    names += (names.empty() ? "" : ", ") + std::string(name);
  std::stringstream stream(list + ",");
  for (std::string name; std::getline(stream, name, ',');)
    if (std::find(known.begin(), known.end(), name) == known.end())
      status.merge(Status::error(Code::Usage, "there is no CUDA architecture '" + escaped(name) + "'", "--target",
                                 "architectures are " + names));
    else if (std::find(options.cuda.begin(), options.cuda.end(), name) == options.cuda.end())
      options.cuda.push_back(name);
  return status;
}

Status addTarget(const std::string &target, CompileOptions &options) {
  constexpr std::string_view cuda = "cuda:";
  if (target == "x86-64-v3")
    options.level = CpuLevel::X86_64_V3;
  else if (target == "x86-64-v4")
    options.level = CpuLevel::X86_64_V4;
  else if (target.starts_with(cuda))
    return addArchitectures(target.substr(cuda.size()), options);
  else if (target != "cpu")
    return Status::error(Code::Usage, "there is no target '" + escaped(target) + "'", "--target",
                         std::string("targets are ") + targetList);
  return Status::ok();
}

Result<CompileOptions> optionsOf(const CompileFlags &flags) {
  CompileOptions options;
  Status status;
  if (!flags.stopAfter.empty() && !(options.stopAfter = stageByName(flags.stopAfter)))
    status.merge(unknownStage(flags.stopAfter, "--stop-after"));
  for (const std::string &dump : flags.dumps) {
    size_t equals = dump.find('=');
    auto stage = stageByName(dump.substr(0, equals));
    if (equals == std::string::npos || equals + 1 == dump.size())
      status.merge(Status::error(Code::Usage, "expected STAGE=FILE, found '" + escaped(dump) + "'", "--dump"));
    else if (!stage)
      status.merge(unknownStage(dump.substr(0, equals), "--dump"));
    else
      options.dumps.push_back({*stage, dump.substr(equals + 1)});
  }
  for (const std::string &target : flags.targets)
    status.merge(addTarget(target, options));
  options.threads = std::max(1u, std::thread::hardware_concurrency());
  if (!status.isOk())
    return status;
  return options;
}

Result<int> compile(const CompileFlags &flags, const Shell &shell) {
  GRAFT_ASSIGN_OR_RETURN(CompileOptions options, optionsOf(flags));
  GRAFT_ASSIGN_OR_RETURN(Recipe recipe, loadRecipe(flags.recipe));
  if (flags.printRecipe) {
    shell.print(printRecipe(recipe));
    shell.print(Json{{"recipe", printRecipe(recipe)}});
    return 0;
  }
  if (flags.output.empty() && !options.stopAfter)
    return Status::error(Code::Usage, "where should the program go?", "-o", "graft compile RECIPE -o P.graft");
  Json seconds;
  options.onStage = [&](Stage stage, double time) {
    seconds[std::string(text(stage))] = time;
    shell.detail(format("%-10s %.2f s", std::string(text(stage)).c_str(), time));
  };
  // The process ends with them: to free hundreds of thousands of small pieces takes a twentieth of the time.
  static Compiler &compiler = *new Compiler;
  static Compilation &compilation = *new Compilation;
  GRAFT_ASSIGN_OR_RETURN(compilation, compiler.compile(recipe, options));
  for (const std::string &note : compilation.notes)
    shell.say("note: " + note);
  if (options.stopAfter && *options.stopAfter != Stage::Codegen) {
    shell.say("stopped after " + flags.stopAfter + ": no program was written");
    shell.print(Json{{"stopped_after", flags.stopAfter}, {"seconds", seconds}, {"notes", compilation.notes}});
    return 0;
  }
  if (!flags.output.empty())
    GRAFT_RETURN_IF_ERROR(writeProgram(compilation.program, flags.output));
  PlanSummary summary = PlanSummary::of(compilation.program);
  shell.print(summary.text() + (flags.output.empty() ? "" : "wrote " + flags.output + "\n"));
  Json value = summary.json();
  value["output"] = flags.output;
  value["seconds"] = seconds;
  value["notes"] = compilation.notes;
  shell.print(value);
  return 0;
}

} // namespace

void addCompile(CLI::App &app, Shell &shell) {
  CLI::App *command = app.add_subcommand("compile", "Compile a recipe to a training program");
  auto flags = std::make_shared<CompileFlags>();
  command->add_option("RECIPE", flags->recipe, "Recipe (TOML)")->required();
  command->add_option("-o,--output", flags->output, "Program file to write");
  command->add_option("--stop-after", flags->stopAfter, "Stop after a stage: " + stageList());
  command->add_option("--dump", flags->dumps, "STAGE=FILE: write the IR after a stage")->type_name("STAGE=FILE");
  command
      ->add_option("--target", flags->targets,
                   std::string(targetList) + "; cuda:sm_80,sm_90 adds the same kernels as CUDA code. May be repeated")
      ->type_name("TARGET")
      ->allow_extra_args(false);
  command->add_flag("--print-recipe", flags->printRecipe, "Print the recipe with every default spelled out, and stop");
  shell.addFlags(*command);
  command->callback([flags, &shell] { shell.action = [flags, &shell] { return compile(*flags, shell); }; });
}

} // namespace graft::cli
