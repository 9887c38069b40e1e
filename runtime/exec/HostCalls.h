// Runs the functions that runtime/program/HostFunctions.h declares.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>

namespace graft {

/// What a call passes, as verified.
struct HostArguments {
  std::span<const int64_t> ints;
  std::span<const float> floats;
  void *const *operands;
  void *scratch; ///< the worker's, aligned to 64; nullptr if the kernel needs none
};

struct HostKernel {
  std::string_view name;
  /// Work items for these ints; `grain` of them belong to one worker.
  int64_t (*units)(std::span<const int64_t> ints);
  int64_t grain;
  /// Runs a share; the position in the index array (operand 0) of the first index outside of [0, limit), or -1.
  int64_t (*run)(const HostArguments &arguments, int64_t begin, int64_t end);
  /// nullptr: the kernel has no index array, run returns -1.
  int64_t (*limit)(std::span<const int64_t> ints);
  /// Bytes of scratch that each worker needs; nullptr: none.
  int64_t (*scratch)(const HostArguments &arguments) = nullptr;
};

/// nullptr if there is none of that name.
const HostKernel *findHostKernel(std::string_view name);

} // namespace graft
