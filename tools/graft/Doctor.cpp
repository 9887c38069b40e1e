// `graft doctor`: what this machine has for compiling and training, line by line, with what to do.
#include "kernels/gemm/MatrixLibrary.h"
#include "runtime/base/Environment.h"
#include "runtime/device/cpu/Memory.h"
#include "runtime/device/cpu/Target.h"
#include "runtime/device/cpu/Threads.h"
#include "tools/graft/Command.h"

#include "llvm/Config/llvm-config.h"

#include <climits>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <sys/statvfs.h>
#include <unistd.h>

extern char **environ;

namespace graft::cli {

namespace {

enum class Verdict { Ok, Warn, Fail };

struct Finding {
  Verdict verdict = Verdict::Ok;
  std::string what, found, todo;
};

constexpr int64_t gibibyte = int64_t{1} << 30;

/// The value of the first line "key : value" of a file of /proc; "" if there is none.
std::string valueIn(const char *file, std::string_view key) {
  std::ifstream in(file);
  for (std::string line; std::getline(in, line);)
    if (size_t colon = line.find(':'); line.starts_with(key) && colon != std::string::npos) {
      size_t begin = line.find_first_not_of(" \t", colon + 1);
      return begin == std::string::npos ? "" : escaped(std::string_view(line).substr(begin));
    }
  return "";
}

Finding processor() {
  std::string model = valueIn("/proc/cpuinfo", "model name");
  return {Verdict::Ok, "processor", model.empty() ? "unknown" : model, ""};
}

Finding instructionSet() {
  std::string target(bestTarget());
  if (target.empty())
    return {Verdict::Fail, "instruction set", "neither AVX2 with FMA nor AVX-512",
            "Graft's programs need x86-64-v3: use another machine"};
  return {Verdict::Ok, "instruction set", target + (target == "x86-64-v4" ? " (AVX-512)" : " (AVX2)"), ""};
}

Finding cores() {
  long online = sysconf(_SC_NPROCESSORS_ONLN);
  size_t allowed = allowedCpus().size();
  int quota = cgroupCpuLimit();
  bool limited = quota < static_cast<int>(allowed);
  return {limited ? Verdict::Warn : Verdict::Ok, "cores",
          format("%ld online, %zu allowed, quota of the control group: ", online, allowed) +
              (quota >= static_cast<int>(allowed) ? "none below that" : std::to_string(quota)),
          limited ? "the quota is below the allowed cores: threads are limited to it" : ""};
}

Finding threads() {
  Result<Environment> environment = Environment::read();
  if (!environment.isOk())
    return {Verdict::Fail, "threads", environment.status().faults()[0].message,
            "set GRAFT_THREADS to a number from 1 to 1024, or unset it"};
  int granted = defaultThreadCount(), chosen = environment->threads.value_or(granted);
  bool over = chosen > granted;
  return {over ? Verdict::Warn : Verdict::Ok, "threads",
          std::to_string(chosen) + (environment->threads ? " (GRAFT_THREADS)" : ""),
          over ? "more threads than cores granted (" + std::to_string(granted) + ") are slower" : ""};
}

Finding memory() {
  int64_t bytes = hostMemoryBytes();
  long long available = std::atoll(valueIn("/proc/meminfo", "MemAvailable").c_str()) * 1024;
  bool little = bytes < 2 * gibibyte || (available > 0 && available < 2 * gibibyte);
  return {
      little ? Verdict::Warn : Verdict::Ok, "memory",
      bytesText(static_cast<double>(bytes)) + ", " + bytesText(static_cast<double>(available)) + " available now",
      little
          ? "training takes 16 bytes per parameter and some GiB of arena: 'graft explain P.graft memory' says how much"
          : ""};
}

Finding hugePages() {
  std::ifstream in("/sys/kernel/mm/transparent_hugepage/enabled");
  std::string modes;
  std::getline(in, modes);
  size_t begin = modes.find('['), end = modes.find(']');
  std::string mode =
      begin != std::string::npos && end != std::string::npos ? modes.substr(begin + 1, end - begin - 1) : "unknown";
  bool off = mode == "never";
  return {off ? Verdict::Warn : Verdict::Ok, "huge pages", mode,
          off ? "as root: echo madvise > /sys/kernel/mm/transparent_hugepage/enabled" : ""};
}

Finding matrixLibrary() {
  auto library = kernels::MatrixLibrary::open();
  if (library.isOk())
    return {Verdict::Ok, "oneDNN", (*library)->version(), ""};
  const Fault &fault = library.status().faults()[0];
  return {Verdict::Warn, "oneDNN", fault.message,
          fault.hint.empty() ? "matrix products run on Graft's own, slower kernels: install libdnnl2" : fault.hint};
}

/// lld is linked from LLVM's own folder, so it is of the same version.
Finding compiler() {
  return {Verdict::Ok, "compiler", "LLVM, MLIR and lld " LLVM_VERSION_STRING, ""};
}

Finding folder() {
  std::error_code error;
  std::string path = std::filesystem::current_path(error).string();
  struct statvfs space{};
  if (error || access(path.c_str(), W_OK) != 0)
    return {Verdict::Warn, "folder", escaped(path, 200) + " cannot be written", "give -o and --out a folder that can"};
  if (statvfs(path.c_str(), &space) != 0)
    return {Verdict::Ok, "folder", escaped(path, 200) + " can be written", ""};
  double bytes = static_cast<double>(space.f_bavail) * static_cast<double>(space.f_frsize);
  bool little = bytes < static_cast<double>(gibibyte);
  return {little ? Verdict::Warn : Verdict::Ok, "folder",
          escaped(path, 200) + " can be written, " + bytesText(bytes) + " free",
          little ? "trained weights and checkpoints may not fit" : ""};
}

/// The variables that Graft reads, then those that look like them and that nobody reads.
std::vector<Finding> environmentFindings() {
  std::vector<Finding> out;
  for (const EnvironmentVariable &variable : environmentVariables()) {
    const char *value = std::getenv(std::string(variable.name).c_str());
    out.push_back({Verdict::Ok, std::string(variable.name),
                   (value && *value ? escaped(value) : "not set") + ": " + std::string(variable.meaning), ""});
  }
  for (char **entry = environ; entry && *entry; ++entry) {
    std::string_view text(*entry), name = text.substr(0, text.find('='));
    bool known = false;
    for (const EnvironmentVariable &variable : environmentVariables())
      known |= variable.name == name;
    if (name.starts_with("GRAFT_") && !known)
      out.push_back({Verdict::Warn, escaped(name), "set, but nothing reads it", "unset it, or mend its name"});
  }
  return out;
}

std::vector<Finding> examine() {
  std::vector<Finding> findings = {processor(), instructionSet(), cores(),    threads(), memory(),
                                   hugePages(), matrixLibrary(),  compiler(), folder()};
  for (Finding &finding : environmentFindings())
    findings.push_back(std::move(finding));
  return findings;
}

Result<int> doctor(const Shell &shell) {
  constexpr const char *names[] = {"ok", "warn", "FAIL"};
  std::string text;
  Json lines = Json::array();
  bool good = true;
  for (const Finding &finding : examine()) {
    const char *verdict = names[static_cast<size_t>(finding.verdict)];
    good &= finding.verdict != Verdict::Fail;
    text += format("%-5s %-16s ", verdict, finding.what.c_str()) + finding.found + "\n" +
            (finding.todo.empty() ? "" : "      -> " + finding.todo + "\n");
    lines.push_back({{"what", finding.what},
                     {"verdict", finding.verdict == Verdict::Fail ? "fail" : verdict},
                     {"found", finding.found},
                     {"todo", finding.todo}});
  }
  shell.print(text);
  shell.print(Json{{"ok", good}, {"findings", lines}});
  return good ? 0 : exitCheckFailed;
}

} // namespace

void addDoctor(CLI::App &app, Shell &shell) {
  CLI::App *command =
      app.add_subcommand("doctor", "Check what this machine has, and say what to do about what it lacks");
  shell.addFlags(*command);
  command->callback([&shell] { shell.action = [&shell] { return doctor(shell); }; });
}

} // namespace graft::cli
