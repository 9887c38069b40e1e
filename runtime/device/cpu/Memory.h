// Host memory for blocks and arenas: page-aligned, zeroed, on huge pages where the system has them.
#pragma once

#include "runtime/base/Status.h"

#include <cstddef>
#include <cstdint>
#include <string_view>
#include <utility>

namespace graft {

/// Owns one anonymous mapping. Movable; unmapped by the destructor. Pages are zero and untouched until first written,
/// so that each page lands on the NUMA node of the worker that touches it first.
class HostBlock {
public:
  HostBlock() = default;
  HostBlock(HostBlock &&other) noexcept { *this = std::move(other); }
  HostBlock &operator=(HostBlock &&other) noexcept;
  ~HostBlock();

  /// `what` names the block in the message ("arena"). 0 bytes give an empty block. DoesNotFit if the system refuses.
  static Result<HostBlock> allocate(size_t bytes, std::string_view what);

  uint8_t *data() { return data_; }
  const uint8_t *data() const { return data_; }
  size_t size() const { return size_; } ///< exactly what was asked for

private:
  uint8_t *data_ = nullptr;
  size_t size_ = 0;
};

/// Bytes that this process may use: physical memory, or less by cgroup limit (v2 memory.max, v1 limit_in_bytes).
int64_t hostMemoryBytes();

/// Gives what was freed back to the system, where the C library would keep it for later (glibc). After a compile that
/// is a part of the device's memory that nobody planned.
void releaseFreedMemory();

/// Largest resident set that this process has had, in bytes (VmHWM).
int64_t peakResidentBytes();

} // namespace graft
