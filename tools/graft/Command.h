// What the commands of `graft` share: flags, talk, exit codes.
//
// Results go to stdout, talk to stderr. A command is a function that adds a subcommand to the command line and sets
// Shell::action when that subcommand was chosen; main() runs it and turns its result into the exit code.
#pragma once

#include "runtime/base/Status.h"
#include "runtime/observe/NumberText.h"

#include <CLI/CLI.hpp>
#include <nlohmann/json.hpp>

#include <functional>
#include <string>

namespace graft::cli {

/// Keeps the order in which keys were added.
using Json = nlohmann::ordered_json;

/// Exit code of a check that ran and did not hold.
constexpr int exitCheckFailed = 1;

/// Talk to the person in front of the terminal, and results in the form that was asked for.
class Shell {
public:
  bool json = false, quiet = false, verbose = false;
  std::function<Result<int>()> action; ///< returns the exit code

  /// Results: text to stdout, unless --json.
  void print(const std::string &text) const;
  /// Results with --json.
  void print(const Json &value) const;
  /// Progress and notes, a line on stderr; not with --quiet.
  void say(const std::string &line) const;
  /// Only with --verbose.
  void detail(const std::string &line) const;
  /// Faults: text to stderr; with --json also {"errors": [...]} to stdout. Returns the exit code.
  int fail(const Status &status) const;

  /// Adds --json, --quiet and --verbose to a command.
  void addFlags(CLI::App &command);
};

// One per file.
void addPort(CLI::App &app, Shell &shell);
void addPlan(CLI::App &app, Shell &shell);
void addCompile(CLI::App &app, Shell &shell);
void addExplain(CLI::App &app, Shell &shell);
void addRun(CLI::App &app, Shell &shell);
void addTrain(CLI::App &app, Shell &shell);
void addVerify(CLI::App &app, Shell &shell);
void addDoctor(CLI::App &app, Shell &shell);
void addLater(CLI::App &app, Shell &shell); ///< bench, profile, canary, diagnose: not yet

/// Left-justified columns, two spaces apart; the first row is the header.
std::string tableText(const std::vector<std::vector<std::string>> &rows);
/// printf into a string.
template <typename... Arguments> std::string format(const char *pattern, Arguments... arguments) {
  int size = std::snprintf(nullptr, 0, pattern, arguments...);
  std::string text(static_cast<size_t>(std::max(size, 0)) + 1, '\0');
  std::snprintf(text.data(), text.size(), pattern, arguments...);
  text.pop_back();
  return text;
}

} // namespace graft::cli
