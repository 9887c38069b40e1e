// graft: the command line. One file per command; this one only lets them be chosen.
#include "tools/graft/Command.h"
#include "tools/graft/Objective.h"

#include <iostream>

using namespace graft;
using namespace graft::cli;

namespace {

/// `graft help [COMMAND]`.
void addHelp(CLI::App &app, Shell &shell) {
  CLI::App *command = app.add_subcommand("help", "Explain graft, or one of its commands");
  auto topic = std::make_shared<std::string>();
  command->add_option("COMMAND", *topic, "What to explain");
  command->callback([&app, &shell, topic] {
    shell.action = [&app, topic]() -> Result<int> {
      CLI::App *chosen = topic->empty() ? &app : nullptr;
      for (CLI::App *candidate : app.get_subcommands([](CLI::App *) { return true; }))
        if (candidate->get_name() == *topic)
          chosen = candidate;
      if (!chosen)
        return Status::error(Code::Usage, "there is no command '" + escaped(*topic) + "'", "",
                             "'graft help' lists them");
      // App::help() would answer for the parsed subcommand, which is this one.
      std::cout << chosen->get_formatter()->make_help(chosen, chosen == &app ? "graft" : "graft " + chosen->get_name(),
                                                      CLI::AppFormatMode::Normal);
      return 0;
    };
  });
}

int run(int argc, char **argv) {
  CLI::App app{"Compiles the forward graph of a language model and a recipe into a training program, and runs it.",
               "graft"};
  app.set_version_flag("--version", "graft 0.1.0");
  app.require_subcommand(0, 1); // "graft help port" asks for help, it does not run port
  app.footer("graft COMMAND --help explains a command.");
  Shell shell;
  int objectiveExit = 0;
  addPort(app, shell);
  addPlan(app, shell);
  addCompile(app, shell);
  addExplain(app, shell);
  addRun(app, shell);
  addTrain(app, shell);
  addObjectiveCommand(app, objectiveExit);
  addVerify(app, shell);
  addDoctor(app, shell);
  addLater(app, shell);
  addHelp(app, shell);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError &error) {
    int code = app.exit(error, std::cout, std::cerr);
    return code == 0 ? 0 : exitCode(Code::Usage);
  }
  if (app.get_subcommands().empty())
    std::cout << app.help();
  if (!shell.action)
    return objectiveExit;
  Result<int> result = shell.action();
  return result.isOk() ? *result : shell.fail(result.status());
}

} // namespace

int main(int argc, char **argv) {
  try {
    return run(argc, argv);
  } catch (const std::bad_alloc &) {
    std::cerr << "error[does-not-fit]: memory ran out\n";
    return exitCode(Code::DoesNotFit);
  } catch (const std::exception &error) {
    std::cerr << "error[internal]: " << error.what()
              << "\n  this is a defect of Graft: please report it with the command line\n";
    return exitCode(Code::Internal);
  }
}
