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
//   scatter_add_rows      table[index[i], :] += values[i, :]; with overwrite = 1 the table is set to zero first. In
//   order
//                         of i whatever the number of threads (each owns columns): the gradient of an embedding
//     operands  index Read [count], values Read [count, width], table ReadWrite [rows, width] pitch (Write if
//     overwrite) ints      count, width, rows, pitch, index_bytes, overwrite
//   gather_elements       out[r, j] = source[r, index[r, j]]
//     operands  index Read [rows, picks], source Read [rows, columns] pitch, out Write [rows, picks]
//     ints      rows, picks, columns, pitch, index_bytes
//   scatter_add_elements  target[r, index[r, j]] += values[r, j]; overwrite as above
//     operands  index Read [rows, picks], values Read [rows, picks], target ReadWrite [rows, columns] pitch
//     ints      rows, picks, columns, pitch, index_bytes, overwrite
//
// Attention (kernels/attention/attention.h says what it computes). Its arrays are [batch, heads, positions, dim] with
// element strides for all but the last dimension, so that heads may lie before or after positions; no two elements of
// one array may share memory, reading or writing. Each worker gets scratch from the session, not from the program: its
// size depends on the call, the number of copies on the workers.
//
//   attention_forward     o, lse = attention(q, k, v)
//     operands  q, k, v Read; key_valid Read bool [batch, keys]; segments Read [batch, segment_rows, keys];
//               o Write; lse Write [batch, query_heads, queries]
//     ints      batch, query_heads, key_heads, queries, keys, query_dim, value_dim (0 to 6); causal 0 or 1 (7);
//               window, 0: none (8); has_key_valid 0 or 1 (9); segment_bytes 0: none, 4 or 8 (10);
//               segment_rows 0: none, 1 or 2 (11); skip_invalid_queries 0 or 1 (12);
//               batch, head and position strides of q, k, v, o (13 to 24)
//     floats    scale, softcap (0: none)
//   attention_backward    dq, dk, dv from do, with o and lse as the forward left them; everything is written
//     operands  q, k, v, o, do Read; lse Read; key_valid, segments Read as above; dq, dk, dv Write
//     ints      as above, then strides of do, dq, dk, dv (25 to 36)
//     floats    scale, softcap
//
// An operand that the ints say is absent (key_valid, segments) may be anything, best `q` with extent 0. query_heads is
// a multiple of key_heads, dims are 1 to 65536, segments and skip_invalid_queries need queries = keys.
#pragma once

#include "runtime/program/Program_generated.h"

#include <array>
#include <cstdint>
#include <optional>
#include <span>
#include <string_view>

namespace graft {

constexpr size_t maxHostOperands = 11;
/// One per operand, in order.
using HostAccess = std::array<schema::Access, maxHostOperands>;
using HostExtents = std::array<int64_t, maxHostOperands>;

struct HostFunction {
  std::string_view name;
  size_t operands, ints, floats;
  HostAccess access; ///< a ReadWrite target may be declared Write when the call overwrites
  /// Bytes that each operand must hold for these numbers; absent if one is out of range or a product overflows.
  std::optional<HostExtents> (*extents)(std::span<const int64_t> ints, std::span<const float> floats);
  bool mayOverwrite; ///< the last int is `overwrite`
};

std::span<const HostFunction> hostFunctions();
/// nullptr if there is none of that name.
const HostFunction *findHostFunction(std::string_view name);

} // namespace graft
