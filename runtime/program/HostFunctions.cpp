#include "runtime/program/HostFunctions.h"

#include "runtime/program/Layout.h"

namespace graft {

namespace {
using schema::Access;
using Extents = std::optional<std::array<int64_t, 3>>;

/// Bytes of a [rows, width] float array with rows `pitch` elements apart.
std::optional<int64_t> pitchedBytes(int64_t rows, int64_t width, int64_t pitch) {
  int64_t dims[] = {rows, width}, strides[] = {pitch, 1};
  auto extent = stridedExtent(dims, strides);
  return extent && pitch >= width ? checkedMultiply(*extent, 4) : std::nullopt;
}

std::optional<int64_t> product(int64_t a, int64_t b, int64_t c) {
  int64_t dims[] = {a, b, c};
  return elementCount(dims);
}

/// ints: count, width, rows, pitch, index_bytes [, overwrite]
Extents rowsExtents(std::span<const int64_t> ints, bool scatter) {
  bool sound = (ints[4] == 4 || ints[4] == 8) && (ints.size() < 6 || ints[5] == 0 || ints[5] == 1);
  auto index = product(ints[0], ints[4], 1), values = product(ints[0], ints[1], 4);
  auto table = pitchedBytes(ints[2], ints[1], ints[3]);
  if (!sound || !index || !values || !table)
    return std::nullopt;
  return scatter ? std::array{*index, *values, *table} : std::array{*index, *table, *values};
}

/// ints: rows, picks, columns, pitch, index_bytes [, overwrite]
Extents elementsExtents(std::span<const int64_t> ints, bool scatter) {
  bool sound = (ints[4] == 4 || ints[4] == 8) && (ints.size() < 6 || ints[5] == 0 || ints[5] == 1);
  auto index = product(ints[0], ints[1], ints[4]), values = product(ints[0], ints[1], 4);
  auto table = pitchedBytes(ints[0], ints[2], ints[3]);
  if (!sound || !index || !values || !table)
    return std::nullopt;
  return scatter ? std::array{*index, *values, *table} : std::array{*index, *table, *values};
}

constexpr std::array gatherAccess = {Access::Read, Access::Read, Access::Write};
constexpr std::array scatterAccess = {Access::Read, Access::Read, Access::ReadWrite};

constexpr HostFunction table[] = {
    {"gather_rows", 3, 5, gatherAccess, [](std::span<const int64_t> i) { return rowsExtents(i, false); }, false},
    {"scatter_add_rows", 3, 6, scatterAccess, [](std::span<const int64_t> i) { return rowsExtents(i, true); }, true},
    {"gather_elements", 3, 5, gatherAccess, [](std::span<const int64_t> i) { return elementsExtents(i, false); },
     false},
    {"scatter_add_elements", 3, 6, scatterAccess, [](std::span<const int64_t> i) { return elementsExtents(i, true); },
     true},
};
} // namespace

std::span<const HostFunction> hostFunctions() {
  return table;
}

const HostFunction *findHostFunction(std::string_view name) {
  for (const HostFunction &function : table)
    if (function.name == name)
      return &function;
  return nullptr;
}

} // namespace graft
