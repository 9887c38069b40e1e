// From a graph over one row of T tokens to one that takes a batch of sequences packed into that row.
//
// The trunk sees the row: tokens of all sequences side by side, positions that restart, attention within a sequence.
// The head and everything after it see the batch as it was, [B, S]: for every place of the batch, the row of logits of
// the token that stands there. So objectives, log-probs and the loop over the head know nothing of packing.
#pragma once

#include "mlir/Dialect/Func/IR/FuncOps.h"

#include <string>

namespace graft {

struct PackOptions {
  int64_t sequences = 0, tokens = 0; ///< B and S of the batch
  bool sharePrompts = false;         ///< a prompt stands in the row once for all sequences that begin with it
};

struct PackedForward {
  bool sharesPrompts = false;
  std::string note; ///< why not, if it was asked for
};

/// Requires @forward after the import passes, with `input_ids` [1, T] and one result, logits [1, T, V].
/// Ensures  arguments `packed.NAME` [1, T] for every NAME before; `packed.segment_ids` [1, T], or [1, 2, T] where
/// prompts
///          are shared (nn.attention says what the rows mean); `packed.rows` [B, S]: the place in the row of the
///          batch's token (b, s); `input_ids` [B, S], which only names the targets; and logits [B, S, V].
/// Fails, with an error on every operator that mixes tokens of a row and is no attention, or that depends on a place in
/// the row instead of `position_ids`.
mlir::FailureOr<PackedForward> packForward(mlir::func::FuncOp forward, const PackOptions &options);

} // namespace graft
