// Conversion between how operands are stored and what row programs compute with, on scalars and vectors alike.
//
// bf16 travels as i16 and is converted with integer arithmetic where the target has no instruction that rounds to it:
// without AVX512-BF16, LLVM would call a function per element and split every load. i1 travels as a byte.
#pragma once

#include "mlir/IR/Builders.h"

namespace graft {

/// The element type of the buffer that holds `elementType`: i16 for bf16, i8 for i1, otherwise itself.
mlir::Type bufferType(mlir::Type elementType);

/// The compute value (f32 for floats) of a value loaded from a buffer of `elementType`.
mlir::Value fromBuffer(mlir::OpBuilder &builder, mlir::Location loc, mlir::Type elementType, mlir::Value stored);

/// The value to store for a compute value; floats are rounded to nearest even, NaN stays NaN. `roundsToBf16`: the
/// target has an instruction for it.
mlir::Value toBuffer(mlir::OpBuilder &builder, mlir::Location loc, mlir::Type elementType, mlir::Value computed,
                     bool roundsToBf16);

/// `type`, or a vector of it with the shape of `like` when that is a vector.
mlir::Type withShapeOf(mlir::Type like, mlir::Type type);

/// A constant of the given scalar or vector type, every element `value` (converted to the element type).
mlir::Value splatConstant(mlir::OpBuilder &builder, mlir::Location loc, mlir::Type type, double value);
mlir::Value splatConstant(mlir::OpBuilder &builder, mlir::Location loc, mlir::Type type, mlir::TypedAttr element);

} // namespace graft
