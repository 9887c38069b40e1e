// The operators of rl that objectives are made of, as the primitives of kernels (padded form).
#pragma once

namespace mlir {
class RewritePatternSet;
}

namespace graft {

/// Patterns that rewrite rl.sequence_*, rl.group_reduce, rl.batch_* and rl.stop_gradient into element-wise operators,
/// nn.broadcast and nn.reduce. Run after autodiff: rl.stop_gradient disappears. Groups are compared pairwise, B x B.
void populateObjectiveDecompositions(mlir::RewritePatternSet &patterns);

} // namespace graft
