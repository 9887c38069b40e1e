// Runs the functions that runtime/program/HostFunctions.h declares.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>

namespace graft {

struct HostKernel {
  std::string_view name;
  /// Work items for these ints; `grain` of them belong to one worker.
  int64_t (*units)(std::span<const int64_t> ints);
  int64_t grain;
  /// Runs a share; the position in the index array (operand 0) of the first index outside of [0, limit), or -1.
  int64_t (*run)(std::span<const int64_t> ints, void *const *operands, int64_t begin, int64_t end);
  int64_t (*limit)(std::span<const int64_t> ints);
};

/// nullptr if there is none of that name.
const HostKernel *findHostKernel(std::string_view name);

} // namespace graft
