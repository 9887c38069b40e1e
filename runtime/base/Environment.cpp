#include "runtime/base/Environment.h"

#include <array>
#include <charconv>
#include <cstdlib>
#include <cstring>

namespace graft {

namespace {
constexpr std::array<EnvironmentVariable, 1> variables = {
    {{"GRAFT_THREADS", "worker threads of a session; default: the CPUs that affinity and cgroup quota grant"}}};
} // namespace

std::span<const EnvironmentVariable> environmentVariables() {
  return variables;
}

Result<Environment> Environment::read() {
  Environment environment;
  if (const char *text = std::getenv("GRAFT_THREADS"); text && *text) {
    int threads = 0;
    const char *end = text + std::strlen(text);
    auto [stop, error] = std::from_chars(text, end, threads);
    if (error != std::errc() || stop != end || threads < 1 || threads > 1024)
      return Status::error(Code::Usage, "'" + escaped(text) + "' is not a number from 1 to 1024", "GRAFT_THREADS");
    environment.threads = threads;
  }
  return environment;
}

} // namespace graft
