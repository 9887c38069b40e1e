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

std::optional<int64_t> momentBytes(schema::DType form, int64_t elements) {
  if (form == schema::DType::F32 || form == schema::DType::BF16)
    return checkedMultiply(elements, byteSize(form));
  int64_t blocks = elements / momentBlockElements + (elements % momentBlockElements != 0);
  return form == schema::DType::U8 ? checkedMultiply(blocks, momentBlockElements + 4) : std::nullopt; // values, scales
}

std::optional<int64_t> parameterBytes(const schema::Parameter &parameter) {
  std::vector<int64_t> shape;
  if (parameter.shape())
    shape.assign(parameter.shape()->begin(), parameter.shape()->end());
  int64_t columns = shape.empty() ? 1 : shape.back();
  std::span<const int64_t> outer(shape.data(), shape.empty() ? 0 : shape.size() - 1);
  auto rows = elementCount(outer);
  if (!rows || columns < 0 || parameter.row_pitch() < columns)
    return std::nullopt;
  auto elements = checkedMultiply(*rows, parameter.row_pitch());
  return elements ? checkedMultiply(*elements, byteSize(parameter.dtype())) : std::nullopt;
}

int64_t storedElements(const schema::Parameter &parameter) {
  return *parameterBytes(parameter) / byteSize(parameter.dtype());
}

} // namespace graft
