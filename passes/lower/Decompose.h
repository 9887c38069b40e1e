// Structured operators as the primitives that kernels are made of.
#pragma once

#include "mlir/Dialect/Func/IR/FuncOps.h"

namespace graft {

/// Rewrites attention with a bias, softmax, norms, rotary embedding, log-probs, sigmoid and softplus of a function into
/// element-wise arithmetic, broadcasts, reductions along the last dimension first, and matrix products.
///   Requires  a function of nn, rl, arith, math operators.
///   Ensures   only element-wise operators, nn shape operators, nn.attention and its gradient, nn.reduce, nn.contract,
///   gathers, scatters, cumsum and rl.parameter are left;
///             a reduction over the last dimension and others is split into two.
/// `onlyAttention`: just attention with a bias, before autodiff, so that the probabilities of the forward pass are kept
/// for the backward pass.
mlir::LogicalResult decompose(mlir::func::FuncOp function, bool onlyAttention = false);

} // namespace graft
