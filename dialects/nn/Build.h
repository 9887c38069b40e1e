// Expressions over tensors, for everyone who writes nn IR in C++: gradients, importer, objectives, rewrites.
//
// A Build is a builder with a location; each function appends one operator (folding identities) and returns its value.
// Operands of binary functions must have equal types, as arith demands: nothing is broadcast implicitly.
#pragma once

#include "dialects/nn/NNDialect.h"

namespace graft::nn {

struct Build {
  mlir::OpBuilder &builder;
  mlir::Location loc;
  using Value = mlir::Value;
  using Shape = llvm::ArrayRef<int64_t>;

  Build(mlir::OpBuilder &builder, mlir::Location loc) : builder(builder), loc(loc) {}

  /// A splat constant of the type of `like`, or of the given tensor type.
  Value splat(mlir::RankedTensorType type, double value);
  Value like(Value like, double value) { return splat(typeOf(like), value); }

  Value add(Value a, Value b); ///< float or integer, by type; so are sub and mul
  Value sub(Value a, Value b);
  Value mul(Value a, Value b);
  Value div(Value a, Value b); ///< floats
  Value neg(Value a);
  Value scale(Value a, double factor) { return mul(a, like(a, factor)); }
  Value max(Value a, Value b);
  Value min(Value a, Value b);
  Value exp(Value a);
  Value log(Value a);
  Value sqrt(Value a);
  Value rsqrt(Value a);
  Value tanh(Value a);
  Value sigmoid(Value a);
  Value compare(mlir::arith::CmpFPredicate predicate, Value a, Value b);
  Value compare(mlir::arith::CmpIPredicate predicate, Value a, Value b);
  Value logicalAnd(Value a, Value b);
  Value logicalOr(Value a, Value b);
  Value select(Value condition, Value a, Value b);
  /// `a` where the condition holds, 0 elsewhere.
  Value selectOrZero(Value condition, Value a) { return select(condition, a, like(a, 0.0)); }
  /// To another element type: float to float, integer to float, boolean to either, float to integer (truncating).
  Value cast(Value a, mlir::Type elementType);

  Value reshape(Value a, Shape shape);
  Value transpose(Value a, llvm::ArrayRef<int64_t> permutation);
  Value broadcast(Value a, Shape shape, llvm::ArrayRef<int64_t> dimensions);
  /// Repeats `a`, which lacks the dimensions `axes` of `shape`, along them: undoes a reduction.
  Value broadcastAlong(Value a, Shape shape, llvm::ArrayRef<int64_t> axes);
  /// numpy's rules: dimensions of size 1, and missing leading dimensions, are repeated. Shapes must be compatible.
  Value broadcastTo(Value a, Shape shape);
  Value slice(Value a, llvm::ArrayRef<int64_t> starts, Shape sizes);
  /// Elements [start, start + size) of one dimension.
  Value sliceAxis(Value a, int64_t axis, int64_t start, int64_t size);
  Value concat(mlir::ValueRange inputs, int64_t axis);
  Value iota(Shape shape, int64_t axis, mlir::Type elementType);
  Value reduce(ReduceKind kind, Value a, llvm::ArrayRef<int64_t> axes);
  Value sum(Value a, llvm::ArrayRef<int64_t> axes) { return reduce(ReduceKind::Sum, a, axes); }
  /// Sum over the last dimension, repeated along it again: what row formulas need.
  Value rowSum(Value a);
  Value contract(llvm::StringRef equation, Value lhs, Value rhs);
};

} // namespace graft::nn
