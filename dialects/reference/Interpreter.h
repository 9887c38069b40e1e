// The reference interpreter: runs a function of nn, rl, arith and math operators in float64, operator by operator,
// through EvaluateOpInterface. It is the oracle of every pass: run a function before and after, compare.
#pragma once

#include "dialects/reference/Tensor.h"

#include "mlir/Dialect/Func/IR/FuncOps.h"

#include <functional>

namespace graft {

/// Gives the value of a parameter by name; null when there is none (the interpreter then reports the operator).
using ParameterSource = std::function<std::optional<Tensor>(llvm::StringRef name)>;

/// Called after each operator with its results, in program order: for comparisons operator by operator.
using Observer = std::function<void(mlir::Operation *op, llvm::ArrayRef<Tensor> results)>;

/// Runs the single block of `function`. `arguments` have the shapes of the function's arguments (float tensors for
/// float types, integer tensors for integers and booleans). Values are freed after their last use. Errors are emitted
/// as diagnostics on the operator.
mlir::FailureOr<llvm::SmallVector<Tensor>> interpret(mlir::func::FuncOp function, llvm::ArrayRef<Tensor> arguments,
                                                     const ParameterSource &parameters = {},
                                                     const Observer &observer = {});

/// Evaluates one operator whose operands are all arith.constant; fails silently if one is not, if the operator has no
/// reference semantics, or if a result has more than `maxElements` elements. The attributes have the results' types
/// (rounded to them).
mlir::FailureOr<llvm::SmallVector<mlir::Attribute>> foldToConstants(mlir::Operation *op, int64_t maxElements);

} // namespace graft
