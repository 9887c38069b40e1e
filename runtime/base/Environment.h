// The one place that reads environment variables of ours (they all begin with GRAFT_). `graft doctor` lists them.
#pragma once

#include "runtime/base/Status.h"

#include <optional>
#include <span>
#include <string_view>

namespace graft {

struct EnvironmentVariable {
  std::string_view name;
  std::string_view meaning;
};
/// All variables that Graft reads, in the order they are documented.
std::span<const EnvironmentVariable> environmentVariables();

struct Environment {
  std::optional<int> threads; ///< GRAFT_THREADS: worker threads, 1 to 1024; absent: what the machine grants

  /// Usage errors name the variable. Call once, from main or when a session opens.
  static Result<Environment> read();
};

} // namespace graft
