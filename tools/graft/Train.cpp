// `graft train RECIPE | P.graft --rollouts R --steps N --out DIR`: the training loop with its run directory.
#include "passes/Compiler.h"
#include "runtime/device/cpu/Memory.h"
#include "runtime/exec/Trainer.h"
#include "runtime/program/ProgramFile.h"
#include "tools/graft/Command.h"
#include "tools/graft/Summary.h"
#include "tools/graft/Weights.h"

#include <atomic>
#include <csignal>
#include <filesystem>
#include <thread>
#include <unistd.h>

namespace graft::cli {

namespace {

struct TrainFlags {
  std::string what, out, weights;
  std::vector<std::string> rollouts;
  int64_t steps = 0, saveEvery = 0;
  int threads = 0;
  bool resume = false;
};

std::atomic<bool> interruptRequested = false;

/// The first signal ends the run after the step; any second one ends the process as if there were no handler.
void onInterrupt(int) {
  interruptRequested = true;
  std::signal(SIGINT, SIG_DFL);
  std::signal(SIGTERM, SIG_DFL);
  constexpr char text[] = "stopping after this step, then saving (once more: stop at once, without saving)\n";
  (void)!write(2, text, sizeof text - 1);
}

bool isProgram(const std::string &path) {
  return std::filesystem::path(path).extension() == ".graft";
}

/// Compiles the recipe and writes program.graft of the run.
Status compileInto(const RunDirectory &directory, const std::string &recipePath, const Shell &shell) {
  GRAFT_ASSIGN_OR_RETURN(Recipe recipe, loadRecipe(recipePath));
  CompileOptions options;
  options.threads = std::max(1u, std::thread::hardware_concurrency());
  options.onStage = [&](Stage stage, double seconds) {
    shell.detail(format("%-10s %.2f s", std::string(text(stage)).c_str(), seconds));
  };
  shell.say("compiling " + recipePath);
  Compiler compiler;
  GRAFT_ASSIGN_OR_RETURN(Compilation compilation, compiler.compile(recipe, options));
  for (const std::string &note : compilation.notes)
    shell.say("note: " + note);
  shell.detail(PlanSummary::of(compilation.program).text());
  return writeProgram(compilation.program, directory.programPath());
}

/// Before a run goes on: what was given must be what it was started with.
Status checkSame(const RunDirectory &directory, const TrainFlags &flags) {
  GRAFT_ASSIGN_OR_RETURN(Program stored, Program::open(directory.programPath()));
  if (isProgram(flags.what)) {
    GRAFT_ASSIGN_OR_RETURN(Program given, Program::open(flags.what));
    if (given.fingerprint() == stored.fingerprint())
      return Status::ok();
  } else {
    GRAFT_ASSIGN_OR_RETURN(Recipe recipe, loadRecipe(flags.what));
    if (stored.root().recipe() && printRecipe(recipe, RecipePaths::Absolute) == stored.root().recipe()->str())
      return Status::ok();
  }
  return Status::error(Code::Usage, "is not what this run was started with", escaped(flags.what, 400),
                       "resume with the same recipe, or begin another run in another folder");
}

Json effectJson(const std::optional<EffectGroup> &group) {
  if (!group)
    return nullptr;
  return {{"completions", group->completions}, {"before", group->before}, {"after", group->after}};
}

void printResult(const TrainResult &result, const RunDirectory &directory, const Shell &shell) {
  std::string text;
  for (const std::string &line : effectLines(result.effect))
    text += line + "\n";
  shell.print(text + "metrics  " + directory.metricsPath() + "\nreport   " + directory.reportPath() + "\nweights  " +
              result.checkpoint);
  shell.print(Json{{"first_step", result.firstStep},
                   {"last_step", result.lastStep},
                   {"positive", effectJson(result.effect.positive)},
                   {"negative", effectJson(result.effect.negative)},
                   {"notes", result.notes},
                   {"metrics", directory.metricsPath()},
                   {"report", directory.reportPath()},
                   {"checkpoint", result.checkpoint}});
}

TrainOptions trainOptions(const TrainFlags &flags, const Recipe &recipe, Weights &weights, const Session &session,
                          const Shell &shell) {
  TrainOptions options;
  options.rollouts = flags.rollouts;
  options.steps = flags.steps;
  options.saveEvery = flags.saveEvery;
  std::string objective = recipe.objective.preset.empty() ? recipe.objective.file.written : recipe.objective.preset;
  std::string model = std::filesystem::path(recipe.model.graph.resolved).filename().string();
  options.title = model + ", " + objective;
  options.facts = {{"graph", recipe.model.graph.resolved},
                   {"weights", weights.path()},
                   {"objective", objective},
                   {"batch", format("%lld sequences of %lld tokens", static_cast<long long>(recipe.batch.sequences),
                                    static_cast<long long>(recipe.batch.tokens))},
                   {"learning rate", format("%g", recipe.optimizer.lr)},
                   {"threads", std::to_string(session.threads())},
                   {"matrix library", session.matrixLibrary()}};
  options.bind = [&weights, &recipe](Session &target, const std::string &folder) -> Status {
    if (folder.empty())
      return weights.bind(target);
    GRAFT_ASSIGN_OR_RETURN(Weights trained, Weights::open(recipe, folder));
    return trained.bind(target);
  };
  options.save = [&weights](Session &source, const std::string &folder) { return weights.save(source, folder); };
  options.exactWeights = weights.savesExactly();
  options.progress = [&shell](const std::string &line) { shell.say(line); };
  options.interrupted = [] { return interruptRequested.load(); };
  return options;
}

/// The program of the run, in its folder: compiled, copied, or, when resuming, the one that is there.
Result<Program> programOf(const RunDirectory &directory, const TrainFlags &flags, const Shell &shell) {
  if (flags.resume)
    GRAFT_RETURN_IF_ERROR(checkSame(directory, flags));
  else if (isProgram(flags.what))
    GRAFT_RETURN_IF_ERROR(directory.copyProgram(flags.what));
  else
    GRAFT_RETURN_IF_ERROR(compileInto(directory, flags.what, shell));
  releaseFreedMemory(); // the compiler's
  return Program::open(directory.programPath());
}

Result<int> runTraining(const TrainFlags &flags, const Shell &shell) {
  Status status;
  if (flags.steps < 1)
    status.merge(Status::error(Code::Usage, "at least one step is needed", "--steps"));
  if (flags.saveEvery < 0)
    status.merge(Status::error(Code::Usage, "is a number of steps, 0 or more", "--save-every"));
  if (flags.threads < 0 || flags.threads > 1024)
    status.merge(Status::error(Code::Usage, "is a number from 1 to 1024", "--threads"));
  GRAFT_RETURN_IF_ERROR(status);
  GRAFT_ASSIGN_OR_RETURN(
      RunDirectory directory,
      RunDirectory::open(flags.out, flags.resume ? RunDirectory::Mode::Resume : RunDirectory::Mode::Fresh));
  GRAFT_ASSIGN_OR_RETURN(Program program, programOf(directory, flags, shell));
  GRAFT_ASSIGN_OR_RETURN(Recipe recipe, recipeOf(program, directory.programPath()));
  GRAFT_ASSIGN_OR_RETURN(Weights weights, Weights::open(recipe, flags.weights));
  Session::Options options;
  options.threads = flags.threads;
  GRAFT_ASSIGN_OR_RETURN(std::unique_ptr<Session> session, Session::open(std::move(program), options));
  std::signal(SIGINT, onInterrupt);
  std::signal(SIGTERM, onInterrupt);
  GRAFT_ASSIGN_OR_RETURN(TrainResult result,
                         train(*session, directory, trainOptions(flags, recipe, weights, *session, shell)));
  printResult(result, directory, shell);
  return 0;
}

} // namespace

void addTrain(CLI::App &app, Shell &shell) {
  CLI::App *command = app.add_subcommand("train", "Train with a recipe or a program on rollouts");
  auto flags = std::make_shared<TrainFlags>();
  command->add_option("RECIPE|PROGRAM", flags->what, "Recipe (.toml) or program (.graft)")->required();
  command->add_option("--rollouts", flags->rollouts, "Rollouts (JSON lines): files, globs, - for standard input")
      ->required();
  command->add_option("--steps", flags->steps, "Steps of the whole run")->required();
  command->add_option("--out", flags->out, "Folder of the run")->required();
  command->add_option("--weights", flags->weights, "Initial checkpoint; default: the recipe's");
  command->add_option("--save-every", flags->saveEvery, "Steps between checkpoints; default: one at the end");
  command->add_option("--threads", flags->threads,
                      "Worker threads; default: GRAFT_THREADS, else what the machine grants");
  command->add_flag("--resume", flags->resume, "Go on from the folder's last checkpoint");
  shell.addFlags(*command);
  command->callback([flags, &shell] { shell.action = [flags, &shell] { return runTraining(*flags, shell); }; });
}

} // namespace graft::cli
