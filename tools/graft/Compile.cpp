// `graft compile RECIPE -o P.graft`: the whole compiler.
#include "passes/Compiler.h"
#include "runtime/program/ProgramFile.h"
#include "tools/graft/Command.h"
#include "tools/graft/Summary.h"

#include <thread>

namespace graft::cli {

namespace {

struct CompileFlags {
  std::string recipe, output, stopAfter, target = "cpu";
  std::vector<std::string> dumps;
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
  if (flags.target == "x86-64-v3")
    options.level = CpuLevel::X86_64_V3;
  else if (flags.target == "x86-64-v4")
    options.level = CpuLevel::X86_64_V4;
  else if (flags.target.starts_with("cuda"))
    status.merge(Status::error(Code::Usage, "GPUs are not supported yet", "--target", "use --target cpu"));
  else if (flags.target != "cpu")
    status.merge(Status::error(Code::Usage, "there is no target '" + escaped(flags.target) + "'", "--target",
                               "targets are cpu (this machine's), x86-64-v3, x86-64-v4"));
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
  Compiler compiler;
  GRAFT_ASSIGN_OR_RETURN(Compilation compilation, compiler.compile(recipe, options));
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
  command->add_option("--target", flags->target, "cpu (this machine's), x86-64-v3, x86-64-v4");
  command->add_flag("--print-recipe", flags->printRecipe, "Print the recipe with every default spelled out, and stop");
  shell.addFlags(*command);
  command->callback([flags, &shell] { shell.action = [flags, &shell] { return compile(*flags, shell); }; });
}

} // namespace graft::cli
