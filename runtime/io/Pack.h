// A batch of sequences as packed rows: tokens side by side, prompts that several sequences share once.
//
// The batch keeps its form [B, S]; a row adds what the trunk of a packed program reads (T places):
//   packed.input_ids, packed.attention_mask (1: a place in use), packed.position_ids     [1, T]
//   packed.segment_ids   [1, T]: 1, 2, ... per sequence, 0: not in use. With shared prompts [1, 2, T]: a prompt is a
//                        segment of its own, and the second half says which segment a token may read besides its own
//   packed.rows          [B, S]: the place of the batch's token (b, s); 0 where there is none
// Positions are the batch's: those of a completion continue its prompt's.
#pragma once

#include "runtime/io/Batch.h"

namespace graft {

struct PackOptions {
  int64_t capacity = 0;      ///< T
  bool sharePrompts = false; ///< the tokens before a sequence's first loss token, once for all that have the same
};

struct PackedRow {
  std::vector<bool> holds;        ///< [B]: is this sequence in the row?
  std::vector<BatchArray> arrays; ///< as above, sorted by name
  int64_t places = 0;             ///< in use
};

/// Every sequence that has tokens is in exactly one row; sequences that share a prompt are in one row as far as they
/// fit. Deterministic: rows are filled in the order of the batch, each group into the first row with room for it.
/// Requires input_ids, attention_mask and position_ids; without loss_mask nothing is shared. Range faults for all
/// sequences that are longer than a row.
Result<std::vector<PackedRow>> packBatch(const Batch &batch, const PackOptions &options);

} // namespace graft
