// What every recognition asks of a value: is it a number, is it a product with a number, is it the mean of a row.
#pragma once

#include "dialects/nn/Build.h"

#include <optional>

namespace graft {

/// The number that all elements of a constant are, also through views.
std::optional<double> splatNumber(mlir::Value value);

/// x and factor of `x * factor`, `x / divisor` or `-x`; the value itself and 1 if it is none of these.
struct Scaled {
  mlir::Value value;
  double factor = 1;
};
/// Strips all factors that are numbers.
Scaled stripFactors(mlir::Value value);

/// The same element-wise operator on other operands, with results of their shape.
mlir::Value cloneElementwise(mlir::OpBuilder &builder, mlir::Operation *op, mlir::ValueRange operands);

/// A constant of the same number and element type in another shape.
mlir::Value splatOfShape(mlir::OpBuilder &builder, mlir::Location loc, mlir::Value splat,
                         llvm::ArrayRef<int64_t> shape);

} // namespace graft
