// `graft doctor`: what this machine has for compiling and training.
#include "kernels/gemm/MatrixLibrary.h"
#include "runtime/base/Environment.h"
#include "runtime/device/cpu/Memory.h"
#include "runtime/device/cpu/Target.h"
#include "runtime/device/cpu/Threads.h"
#include "tools/graft/Command.h"

#include <cstdlib>

namespace graft::cli {

namespace {

struct Finding {
  bool good;
  std::string what, found, todo;
};

std::vector<Finding> examine() {
  std::vector<Finding> findings;
  std::string target(bestTarget());
  findings.push_back({!target.empty(), "instruction set", target.empty() ? "neither AVX2 nor AVX-512" : target, target.empty() ? "Graft needs a CPU with AVX2 and FMA" : ""});
  auto environment = Environment::read();
  int granted = defaultThreadCount();
  findings.push_back({environment.isOk(), "threads",
                      environment.isOk() ? format("%d (of %zu CPUs allowed)", environment->threads.value_or(granted), allowedCpus().size()) : environment.status().text(),
                      environment.isOk() ? "" : "set GRAFT_THREADS to a number, or unset it"});
  auto library = kernels::MatrixLibrary::open();
  findings.push_back({library.isOk(), "matrix library", library.isOk() ? (*library)->version() : library.status().faults()[0].message,
                      library.isOk() ? "" : library.status().faults()[0].hint});
  int64_t memory = hostMemoryBytes();
  findings.push_back({memory >= (int64_t{2} << 30), "memory", bytesText(static_cast<double>(memory)), memory >= (int64_t{2} << 30) ? "" : "training a small language model takes some GiB"});
  return findings;
}

Result<int> doctor(const Shell &shell) {
  std::vector<Finding> findings = examine();
  std::vector<std::vector<std::string>> rows = {{"", "what", "found", ""}};
  Json lines = Json::array();
  bool good = true;
  for (const Finding &finding : findings) {
    good &= finding.good;
    rows.push_back({finding.good ? "ok" : "FAIL", finding.what, finding.found, finding.todo});
    lines.push_back({{"what", finding.what}, {"ok", finding.good}, {"found", finding.found}, {"todo", finding.todo}});
  }
  std::vector<std::vector<std::string>> variables = {{"environment", "value", "meaning"}};
  for (const EnvironmentVariable &variable : environmentVariables()) {
    const char *value = std::getenv(std::string(variable.name).c_str());
    variables.push_back({std::string(variable.name), value ? escaped(value) : "-", std::string(variable.meaning)});
  }
  shell.print(tableText(rows) + "\n" + tableText(variables));
  shell.print(Json{{"findings", lines}});
  return good ? 0 : exitCheckFailed;
}

} // namespace

void addDoctor(CLI::App &app, Shell &shell) {
  CLI::App *command = app.add_subcommand("doctor", "Check what this machine has");
  shell.addFlags(*command);
  command->callback([&shell] { shell.action = [&shell] { return doctor(shell); }; });
}

} // namespace graft::cli
