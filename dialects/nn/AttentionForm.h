// Attention written with matrix products and a masked softmax: for its gradient, and for back ends without a kernel of
// their own.
#pragma once

#include "dialects/nn/Build.h"

namespace graft::nn {

/// The intermediate values of attention, heads grouped as [B, G = key heads, R = query heads per key head, S, T].
struct AttentionForm {
  mlir::Value query;         ///< [B, G, R, S, D]: a view, no copy
  mlir::Value cappedTanh;    ///< tanh(scale q k^T / softcap), null without soft-cap
  mlir::Value probabilities; ///< softmax of the scores, 0 where not allowed
};

/// Which keys a query may read, [B, G, R, S, T] i1; null when all may be read. Made of nn.iota and comparisons, so that
/// a fused kernel computes it from indices and no [S, T] tensor exists in memory.
mlir::Value buildAttentionMask(Build &build, AttentionOp op);
/// Everything up to the probabilities.
AttentionForm buildAttentionForm(Build &build, AttentionOp op);
/// The result [B, Hq, S, E] from the probabilities.
mlir::Value buildAttentionResult(Build &build, AttentionOp op, const AttentionForm &form);

} // namespace graft::nn
