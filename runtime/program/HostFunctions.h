// The hand-written kernels that a HostCall may name, and what each requires of its operands, ints and floats. The
// verifier checks a call against this table; runtime/exec/HostCalls.cpp runs it. Both hold the same names, a test
// proves it.
//
// All values are float32, all arrays start at their operand and are dense unless a pitch is given (in elements). Index
// arrays are int32 or int64 as `index_bytes` says (4 or 8); an index outside of its range fails the run and names the
// call.
//
//   gather_rows           out[i, :] = table[index[i], :]
//     operands  index Read [count], table Read [rows, width] pitch, out Write [count, width]
//     ints      count, width, rows, pitch, index_bytes
//   scatter_add_rows      table[index[i], :] += values[i, :]; with overwrite = 1 the table is set to zero first. In the
//   order
//                         of i whatever the number of threads (each owns columns): the gradient of an embedding
//     operands  index Read [count], values Read [count, width], table ReadWrite [rows, width] pitch (Write when
//     overwrite) ints      count, width, rows, pitch, index_bytes, overwrite
//   gather_elements       out[r, j] = source[r, index[r, j]]
//     operands  index Read [rows, picks], source Read [rows, columns] pitch, out Write [rows, picks]
//     ints      rows, picks, columns, pitch, index_bytes
//   scatter_add_elements  target[r, index[r, j]] += values[r, j]; overwrite as above
//     operands  index Read [rows, picks], values Read [rows, picks], target ReadWrite [rows, columns] pitch
//     ints      rows, picks, columns, pitch, index_bytes, overwrite
#pragma once

#include "runtime/program/Program_generated.h"

#include <array>
#include <cstdint>
#include <optional>
#include <span>
#include <string_view>

namespace graft {

struct HostFunction {
  std::string_view name;
  size_t operands;
  size_t ints;
  std::array<schema::Access, 3> access; ///< a ReadWrite target may be declared Write when the call overwrites
  /// Bytes that each operand must hold for these ints; absent if an int is out of range or a product overflows.
  std::optional<std::array<int64_t, 3>> (*extents)(std::span<const int64_t> ints);
  bool mayOverwrite; ///< the last int is `overwrite`
};

std::span<const HostFunction> hostFunctions();
/// nullptr if there is none of that name.
const HostFunction *findHostFunction(std::string_view name);

} // namespace graft
