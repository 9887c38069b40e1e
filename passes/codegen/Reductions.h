// What the kinds of reduction mean on values and on vectors.
#pragma once

#include "dialects/rt/RTOps.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"

namespace graft {

/// The kind in the vector dialect, for elements of `type`. Extrema of floats ignore NaN.
mlir::vector::CombiningKind combiningKind(rt::ReductionKind kind, mlir::Type type);

/// The value that changes nothing under the reduction.
mlir::TypedAttr neutralElement(mlir::OpBuilder &builder, rt::ReductionKind kind, mlir::Type type);

/// A vector of partial results after one more vector of values. Floating-point extrema compare and select, one
/// instruction that drops a NaN value.
mlir::Value combine(mlir::OpBuilder &builder, mlir::Location loc, rt::ReductionKind kind, mlir::Value partial,
                    mlir::Value value);

/// The value of a vector's elements; none of a partial maximum or minimum is NaN.
mlir::Value foldVector(mlir::OpBuilder &builder, mlir::Location loc, rt::ReductionKind kind, mlir::Value partial);

} // namespace graft
