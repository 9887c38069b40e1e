// The head and the objective, a chunk of tokens at a time: logits of all tokens never exist.
#pragma once

#include "mlir/Dialect/Func/IR/FuncOps.h"

#include <array>

namespace graft {

/// Rows of a chunk to choose from, by the budget. Beyond the first nothing is won; below the last, products read the
/// head's weights too often for the work that they do with them.
constexpr std::array<int64_t, 5> chunkSizes = {512, 256, 160, 128, 64};

struct HeadOptions {
  int64_t chunkRows = chunkSizes.front(); ///< at most: there may be fewer tokens
};

/// What became of the head of a function.
struct FusedHead {
  bool fused = false;
  int64_t chunkRows = 0;
  int loops = 0;      ///< 1: forward and backward in one, the formula between them looks at each token alone
  std::string reason; ///< why it was left as it is
};

/// Moves every operator on logits [B, S, V] of `function` (a forward function, or one with gradients) into an
/// rl.token_loop over the rows that rl.token_logprobs selects.
///   Requires  ordinary nn, rl, arith, math with at most one rl.token_logprobs.
///   Ensures   no value of the shape of the logits outside of a loop, the same results at selected tokens, and the same
///   sums; or the function as it was, with a reason: the logits have other users, are small, or something on the way
///   does not treat every token by itself.
/// The formula between logits and their gradient goes along where it treats each token alone; three matrix products
/// then do. Where it does not (sequence-level ratios), a loop ends, and the next computes the logits again.
FusedHead fuseHead(mlir::func::FuncOp function, const HeadOptions &options = {});

} // namespace graft
