#include "kernels/copy/copy.h"

#include <cstring>

namespace graft::kernels {

void copyReference(int64_t elementBytes, std::span<const int64_t> shape, std::span<const int64_t> dstStrides,
                   std::span<const int64_t> srcStrides, void *dst, const void *src) {
  int64_t count = 1;
  for (int64_t dim : shape)
    count *= dim;
  for (int64_t i = 0; i < count; ++i) {
    int64_t rest = i, to = 0, from = 0;
    for (size_t d = shape.size(); d-- > 0; rest /= shape[d]) {
      to += rest % shape[d] * dstStrides[d];
      from += rest % shape[d] * srcStrides[d];
    }
    std::memcpy(static_cast<char *>(dst) + to * elementBytes, static_cast<const char *>(src) + from * elementBytes,
                static_cast<size_t>(elementBytes));
  }
}

} // namespace graft::kernels
