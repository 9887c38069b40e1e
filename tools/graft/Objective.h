// `graft objective list | show | check | evaluate`: the objective language without a model.
#pragma once

#include <CLI/CLI.hpp>

namespace graft {

/// Adds the command to `graft`. When it runs it prints results to stdout, talk to stderr, and sets `exitCode`.
void addObjectiveCommand(CLI::App &app, int &exitCode);

} // namespace graft
