// How many threads this process should use, and where they may run.
#pragma once

#include <string_view>
#include <vector>

namespace graft {

/// CPUs of the process's affinity mask, ascending.
std::vector<int> allowedCpus();
/// CPUs that the cgroup's quota grants (v2 cpu.max, v1 cfs_quota), rounded down, at least 1; a large number without a
/// quota.
int cgroupCpuLimit();
/// The quota in the text of a v2 `cpu.max` file ("max 100000", "150000 100000"), as above.
int parseCpuMax(std::string_view text);
/// min(allowedCpus, cgroupCpuLimit).
int defaultThreadCount();

} // namespace graft
