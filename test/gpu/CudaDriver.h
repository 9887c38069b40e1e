// The part of the CUDA driver interface that the checks on a GPU need, opened when they run: neither a header nor a
// library of the toolkit is needed to build or to start them.
#pragma once

#include "runtime/base/Status.h"

#include <cstdint>
#include <span>
#include <string>
#include <vector>

namespace graft::test {

/// Memory of the device, as CUdeviceptr.
using DevicePointer = uint64_t;

/// The first GPU and its primary context, current on the calling thread. Ends with the process.
class CudaDriver {
public:
  /// Unsupported: there is no driver (libcuda.so.1) or no GPU.
  static Result<CudaDriver> open();

  const std::string &deviceName() const { return name_; }
  /// 10 * major + minor of its compute capability: 90 for sm_90.
  int capability() const { return capability_; }

  /// A cubin, or PTX with a zero behind it. The module stays loaded.
  Result<void *> load(const std::vector<uint8_t> &code) const;
  Result<void *> findKernel(void *module, const std::string &symbol) const;

  Result<DevicePointer> allocate(size_t bytes) const;
  Status free(DevicePointer memory) const;
  Status upload(DevicePointer to, std::span<const uint8_t> from) const;
  Status download(std::span<uint8_t> to, DevicePointer from) const;
  Status copy(DevicePointer to, DevicePointer from, size_t bytes) const;

  /// Starts a kernel of pointers and the units [0, units) on the default stream.
  Status launch(void *kernel, unsigned blocks, unsigned threads, std::vector<DevicePointer> operands,
                int64_t units) const;
  /// Waits for all that was started; the first error of it.
  Status synchronize() const;

private:
  struct Functions;
  Status check(int result, const char *call) const;

  const Functions *functions_ = nullptr;
  std::string name_;
  int capability_ = 0;
};

} // namespace graft::test
