// Reverse-mode differentiation of a flat tensor program: one joint graph of forward and backward.
//
// The idea: walk the operators backwards once, keeping one cotangent per value; each operator turns the cotangents of
// its results into those of its operands (DifferentiableOpInterface). Only values that depend on what is asked for are
// visited, so gradients that nobody needs are never built; a value used twice (a tied weight) gets the sum.
#pragma once

#include "mlir/IR/Builders.h"

namespace graft {

/// Appends at the builder's insertion point (which all operators of the loss must precede) the gradient of the
/// one-element float tensor `loss` with respect to each of `inputs`, all defined in one block. The gradient has the
/// input's type; null where the loss does not depend on the input. Emits an error on each operator on the way that has
/// no gradient.
mlir::FailureOr<llvm::SmallVector<mlir::Value>> differentiate(mlir::OpBuilder &builder, mlir::Value loss,
                                                              mlir::ValueRange inputs);

} // namespace graft
