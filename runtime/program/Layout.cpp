#include "runtime/program/Layout.h"

#include <algorithm>
#include <utility>
#include <vector>

namespace graft {

bool isInjective(std::span<const int64_t> dims, std::span<const int64_t> strides) {
  std::vector<std::pair<int64_t, int64_t>> sorted; // (stride, dim) of dimensions that matter
  for (size_t i = 0; i < dims.size(); ++i)
    if (dims[i] > 1)
      sorted.emplace_back(strides[i], dims[i]);
  std::sort(sorted.begin(), sorted.end());
  int64_t extent = 1;
  for (auto [stride, dim] : sorted) {
    if (stride < extent)
      return false;
    auto reach = checkedMultiply(dim - 1, stride);
    auto sum = reach ? checkedAdd(extent, *reach) : std::nullopt;
    if (!sum)
      return false;
    extent = *sum;
  }
  return true;
}

} // namespace graft
