#include "runtime/device/cpu/Memory.h"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <fstream>
#include <malloc.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

namespace graft {

HostBlock &HostBlock::operator=(HostBlock &&other) noexcept {
  std::swap(data_, other.data_);
  std::swap(size_, other.size_);
  return *this;
}

HostBlock::~HostBlock() {
  if (data_)
    ::munmap(data_, size_);
}

Result<HostBlock> HostBlock::allocate(size_t bytes, std::string_view what) {
  HostBlock block;
  if (bytes == 0)
    return block;
  void *data = ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (data == MAP_FAILED)
    return Status::error(Code::DoesNotFit, "the system refuses " + std::to_string(bytes) + " bytes for the " +
                                               std::string(what) + ": " + std::strerror(errno));
  constexpr size_t hugePage = size_t(2) << 20;
  if (bytes >= 4 * hugePage) // a refusal only costs speed
    (void)::madvise(data, bytes, MADV_HUGEPAGE);
  block.data_ = static_cast<uint8_t *>(data);
  block.size_ = bytes;
  return block;
}

void releaseFreedMemory() {
#ifdef __GLIBC__
  (void)::malloc_trim(0);
#endif
}

int64_t hostMemoryBytes() {
  int64_t bytes = int64_t(::sysconf(_SC_PHYS_PAGES)) * ::sysconf(_SC_PAGESIZE);
  for (const char *path : {"/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"}) {
    int64_t limit = 0;
    if (std::ifstream(path) >> limit && limit > 0) // "max" is no number
      bytes = std::min(bytes, limit);
  }
  return bytes;
}

int64_t peakResidentBytes() {
  rusage usage{};
  return ::getrusage(RUSAGE_SELF, &usage) == 0 ? int64_t(usage.ru_maxrss) * 1024 : 0;
}

} // namespace graft
