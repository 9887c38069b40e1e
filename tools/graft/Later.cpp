// Commands that belong to the command line but that Graft does not have yet.
#include "tools/graft/Command.h"

namespace graft::cli {

void addLater(CLI::App &app, Shell &shell) {
  const std::pair<const char *, const char *> commands[] = {{"bench", "Measure one thing"},
                                                            {"profile", "Profile a run"},
                                                            {"canary", "Run and judge test jobs"},
                                                            {"diagnose", "Explain a run that got slower"}};
  for (auto [name, description] : commands) {
    CLI::App *command = app.add_subcommand(name, std::string(description) + " (not yet)");
    command->allow_extras();
    command->callback([&shell, name = std::string(name)] {
      shell.action = [name]() -> Result<int> {
        return Status::error(Code::Usage, "'graft " + name + "' does not exist yet");
      };
    });
  }
}

} // namespace graft::cli
