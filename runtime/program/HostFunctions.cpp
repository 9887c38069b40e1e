#include "runtime/program/HostFunctions.h"

#include "runtime/program/Layout.h"

#include <cmath>

namespace graft {

namespace {
using schema::Access;
using Extents = std::optional<HostExtents>;
using Ints = std::span<const int64_t>;
using Floats = std::span<const float>;

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
Extents rowsExtents(Ints ints, bool scatter) {
  bool sound = (ints[4] == 4 || ints[4] == 8) && (ints.size() < 6 || ints[5] == 0 || ints[5] == 1);
  auto index = product(ints[0], ints[4], 1), values = product(ints[0], ints[1], 4);
  auto table = pitchedBytes(ints[2], ints[1], ints[3]);
  if (!sound || !index || !values || !table)
    return std::nullopt;
  return scatter ? HostExtents{*index, *values, *table} : HostExtents{*index, *table, *values};
}

/// ints: rows, picks, columns, pitch, index_bytes [, overwrite]
Extents elementsExtents(Ints ints, bool scatter) {
  bool sound = (ints[4] == 4 || ints[4] == 8) && (ints.size() < 6 || ints[5] == 0 || ints[5] == 1);
  auto index = product(ints[0], ints[1], ints[4]), values = product(ints[0], ints[1], 4);
  auto table = pitchedBytes(ints[0], ints[2], ints[3]);
  if (!sound || !index || !values || !table)
    return std::nullopt;
  return scatter ? HostExtents{*index, *values, *table} : HostExtents{*index, *table, *values};
}

// --- Attention: the ints by name ---

enum AttentionInt : size_t {
  Batch,
  QueryHeads,
  KeyHeads,
  Queries,
  Keys,
  QueryDim,
  ValueDim,
  Causal,
  Window,
  HasKeyValid,
  SegmentBytes,
  SegmentRows,
  SkipInvalidQueries,
  FirstStride
};

bool isFlag(int64_t value) {
  return value == 0 || value == 1;
}

/// What neither sizes nor strides say.
bool isSoundAttention(Ints i, Floats floats) {
  constexpr int64_t maxPositions = int64_t(1) << 30, maxDim = 65536; // positions are counted in int32
  bool sizes = i[Batch] >= 0 && i[KeyHeads] >= 1 && i[QueryHeads] >= 1 && i[QueryHeads] % i[KeyHeads] == 0 &&
               i[Queries] >= 0 && i[Queries] <= maxPositions && i[Keys] >= 0 && i[Keys] <= maxPositions &&
               i[QueryDim] >= 1 && i[QueryDim] <= maxDim && i[ValueDim] >= 1 && i[ValueDim] <= maxDim;
  bool flags = isFlag(i[Causal]) && i[Window] >= 0 && isFlag(i[HasKeyValid]) && isFlag(i[SkipInvalidQueries]) &&
               (i[SegmentBytes] == 0 || i[SegmentBytes] == 4 || i[SegmentBytes] == 8);
  bool rows = i[SegmentBytes] == 0 ? i[SegmentRows] == 0 : i[SegmentRows] == 1 || i[SegmentRows] == 2;
  bool square = i[Queries] == i[Keys] || (i[SegmentBytes] == 0 && i[SkipInvalidQueries] == 0);
  bool numbers = std::isfinite(floats[0]) && std::isfinite(floats[1]) && floats[1] >= 0;
  return sizes && flags && rows && square && numbers;
}

/// Bytes of array number `which` in the order of strides; absent if two of its elements meet.
std::optional<int64_t> headsBytes(Ints i, size_t which, bool ofKeys, AttentionInt dim) {
  const int64_t dims[] = {i[Batch], i[ofKeys ? KeyHeads : QueryHeads], i[ofKeys ? Keys : Queries], i[dim]};
  Ints s = i.subspan(FirstStride + 3 * which, 3);
  const int64_t strides[] = {s[0], s[1], s[2], 1};
  auto extent = stridedExtent(dims, strides);
  return extent && isInjective(dims, strides) ? checkedMultiply(*extent, 4) : std::nullopt;
}

/// The operands' bytes in the order given; absent if one is.
Extents together(std::span<const std::optional<int64_t>> parts) {
  HostExtents extents = {};
  for (size_t i = 0; i < parts.size(); ++i) {
    if (!parts[i])
      return std::nullopt;
    extents[i] = *parts[i];
  }
  return extents;
}

Extents attentionExtents(Ints i, Floats floats, bool backward) {
  if (!isSoundAttention(i, floats))
    return std::nullopt;
  auto q = headsBytes(i, 0, false, QueryDim), k = headsBytes(i, 1, true, QueryDim),
       v = headsBytes(i, 2, true, ValueDim), o = headsBytes(i, 3, false, ValueDim);
  auto valid = product(i[Batch], i[Keys], i[HasKeyValid]),
       segments = product(i[Batch], i[Keys], i[SegmentRows] * i[SegmentBytes]);
  auto rows = product(i[Batch], i[QueryHeads], i[Queries]), lse = rows ? checkedMultiply(*rows, 4) : std::nullopt;
  if (!backward)
    return together(std::array{q, k, v, valid, segments, o, lse});
  return together(std::array{q, k, v, o, headsBytes(i, 4, false, ValueDim), lse, valid, segments,
                             headsBytes(i, 5, false, QueryDim), headsBytes(i, 6, true, QueryDim),
                             headsBytes(i, 7, true, ValueDim)});
}

constexpr HostAccess access(size_t reads, size_t writes, Access target) {
  HostAccess all = {};
  for (size_t i = 0; i < reads + writes; ++i)
    all[i] = i < reads ? Access::Read : target;
  return all;
}
constexpr HostAccess gatherAccess = access(2, 1, Access::Write), scatterAccess = access(2, 1, Access::ReadWrite);

constexpr HostFunction table[] = {
    {"gather_rows", 3, 5, 0, gatherAccess, [](Ints i, Floats) { return rowsExtents(i, false); }, false},
    {"scatter_add_rows", 3, 6, 0, scatterAccess, [](Ints i, Floats) { return rowsExtents(i, true); }, true},
    {"gather_elements", 3, 5, 0, gatherAccess, [](Ints i, Floats) { return elementsExtents(i, false); }, false},
    {"scatter_add_elements", 3, 6, 0, scatterAccess, [](Ints i, Floats) { return elementsExtents(i, true); }, true},
    {"attention_forward", 7, 25, 2, access(5, 2, Access::Write),
     [](Ints i, Floats f) { return attentionExtents(i, f, false); }, false},
    {"attention_backward", 11, 37, 2, access(8, 3, Access::Write),
     [](Ints i, Floats f) { return attentionExtents(i, f, true); }, false},
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
