#include "runtime/base/Checked.h"

#include <algorithm>

namespace graft {

std::optional<uint64_t> checkedMultiply(uint64_t a, uint64_t b) {
  uint64_t product;
  return __builtin_mul_overflow(a, b, &product) ? std::nullopt : std::optional(product);
}

std::optional<uint64_t> checkedAdd(uint64_t a, uint64_t b) {
  uint64_t sum;
  return __builtin_add_overflow(a, b, &sum) ? std::nullopt : std::optional(sum);
}

std::optional<uint64_t> elementCount(std::span<const int64_t> shape) {
  if (std::ranges::any_of(shape, [](int64_t dim) { return dim < 0; }))
    return std::nullopt;
  if (std::ranges::find(shape, 0) != shape.end())
    return 0;
  int64_t count = 1;
  for (int64_t dim : shape)
    if (__builtin_mul_overflow(count, dim, &count))
      return std::nullopt;
  return static_cast<uint64_t>(count);
}

} // namespace graft
