// Arithmetic on untrusted shapes and strides: every result is exact or absent.
#pragma once

#include "runtime/program/Program_generated.h"

#include <cstdint>
#include <optional>
#include <span>

namespace graft {

/// True for buffers that one entry writes and reads, and that nothing outlives.
constexpr bool isTransient(schema::Storage storage) {
  return storage == schema::Storage::Arena || storage == schema::Storage::Lent;
}

/// What instructions must not write.
constexpr bool isReadOnly(schema::Storage storage) {
  return storage == schema::Storage::Parameter || storage == schema::Storage::Constant ||
         storage == schema::Storage::Working;
}

/// Bytes per element; 0 for a value outside of the enumeration.
constexpr int64_t byteSize(schema::DType dtype) {
  constexpr int64_t sizes[] = {4, 2, 2, 8, 4, 8, 1, 1, 1};
  auto index = static_cast<size_t>(dtype);
  return index < std::size(sizes) ? sizes[index] : 0;
}

inline std::optional<int64_t> checkedMultiply(int64_t a, int64_t b) {
  int64_t product;
  return __builtin_mul_overflow(a, b, &product) ? std::nullopt : std::optional(product);
}
inline std::optional<int64_t> checkedAdd(int64_t a, int64_t b) {
  int64_t sum;
  return __builtin_add_overflow(a, b, &sum) ? std::nullopt : std::optional(sum);
}

/// Number of elements of a shape; absent if a dimension is negative or the product overflows.
template <typename Shape> std::optional<int64_t> elementCount(const Shape &shape) {
  int64_t count = 1;
  bool empty = false;
  for (int64_t dim : shape) {
    if (dim < 0)
      return std::nullopt;
    if (dim == 0)
      empty = true;
    else if (auto product = checkedMultiply(count, dim))
      count = *product;
    else
      return std::nullopt;
  }
  return empty ? 0 : count;
}

/// Elements from the first to one past the last that indices within `dims` reach with `strides`: 1 + sum (dim - 1)
/// stride, 0 if a dimension is 0. Absent if something is negative or overflows.
inline std::optional<int64_t> stridedExtent(std::span<const int64_t> dims, std::span<const int64_t> strides) {
  int64_t extent = 1;
  bool empty = false;
  for (size_t i = 0; i < dims.size(); ++i) {
    if (dims[i] < 0 || strides[i] < 0)
      return std::nullopt;
    if (dims[i] == 0) {
      empty = true;
      continue;
    }
    auto reach = checkedMultiply(dims[i] - 1, strides[i]);
    auto sum = reach ? checkedAdd(extent, *reach) : std::nullopt;
    if (!sum)
      return std::nullopt;
    extent = *sum;
  }
  return empty ? 0 : extent;
}

/// Whether different indices reach different elements: sorted by stride, each stride is at least the extent of those
/// below.
bool isInjective(std::span<const int64_t> dims, std::span<const int64_t> strides);

/// Elements that share a scale in moments of a byte each.
constexpr int64_t momentBlockElements = 256;

/// Bytes of one moment of so many elements: F32, BF16, or U8, where bytes of whole blocks come first and then a float32
/// for each; absent for other types.
std::optional<int64_t> momentBytes(schema::DType form, int64_t elements);
/// Where the scales of a U8 moment begin.
constexpr int64_t momentScales(int64_t elements) {
  int64_t blocks = elements / momentBlockElements + (elements % momentBlockElements != 0);
  return blocks * momentBlockElements;
}

/// Bytes of a parameter's rows with their pitch; absent when the shape is impossible.
std::optional<int64_t> parameterBytes(const schema::Parameter &parameter);
/// Elements of a verified parameter's memory, padding included.
int64_t storedElements(const schema::Parameter &parameter);

} // namespace graft
