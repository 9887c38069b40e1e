#include "runtime/device/cpu/Target.h"

namespace graft {

namespace {
constexpr std::string_view names[] = {"x86-64-v3", "x86-64-v4"};

bool hasV3() {
#if defined(__x86_64__)
  __builtin_cpu_init();
  return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("bmi") &&
         __builtin_cpu_supports("bmi2");
#else
  return false;
#endif
}

bool hasV4() {
#if defined(__x86_64__)
  return hasV3() && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
         __builtin_cpu_supports("avx512cd") && __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
#else
  return false;
#endif
}
} // namespace

std::span<const std::string_view> knownTargets() {
  return names;
}

bool isTargetAvailable(std::string_view target) {
  return target == names[0] ? hasV3() : target == names[1] ? hasV4() : false;
}

std::string_view bestTarget() {
  return hasV4() ? names[1] : hasV3() ? names[0] : std::string_view();
}

} // namespace graft
