#include "runtime/device/cpu/Threads.h"

#include <algorithm>
#include <fstream>
#include <sched.h>
#include <sstream>
#include <string>

namespace graft {

namespace {
constexpr int unlimited = 1 << 20;

std::string readFile(const char *path) {
  std::ifstream file(path);
  std::stringstream text;
  text << file.rdbuf();
  return text.str();
}
} // namespace

std::vector<int> allowedCpus() {
  std::vector<int> cpus;
  cpu_set_t set;
  CPU_ZERO(&set);
  if (::sched_getaffinity(0, sizeof set, &set) == 0)
    for (int i = 0; i < CPU_SETSIZE; ++i)
      if (CPU_ISSET(i, &set))
        cpus.push_back(i);
  return cpus;
}

int parseCpuMax(std::string_view text) {
  std::istringstream in{std::string(text)};
  double quota = 0, period = 0;
  if (!(in >> quota >> period) || quota <= 0 || period <= 0) // "max" is no number
    return unlimited;
  return static_cast<int>(std::clamp(quota / period, 1.0, double(unlimited)));
}

int cgroupCpuLimit() {
  int limit = parseCpuMax(readFile("/sys/fs/cgroup/cpu.max"));
  if (limit == unlimited)
    limit = parseCpuMax(readFile("/sys/fs/cgroup/cpu/cpu.cfs_quota_us") + " " +
                        readFile("/sys/fs/cgroup/cpu/cpu.cfs_period_us"));
  return limit;
}

int defaultThreadCount() {
  return std::max(1, std::min(static_cast<int>(allowedCpus().size()), cgroupCpuLimit()));
}

} // namespace graft
