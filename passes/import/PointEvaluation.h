// Evaluates single elements of an integer or boolean computation, and finds out what each of them depends on.
//
// The idea: masks among the arguments of a function hold 0 or 1. An element that depends on at most one element of them
// is a function of one bit, and two evaluations, with 0 and with 1 everywhere, determine it completely. So next to
// these two values each point carries its source: the one argument element that it depends on, followed through every
// operator.
//
// An argument counts as bits if its type is boolean, if its name ("rl.name") contains "mask", or where it is only
// compared with 0. Views, gathers and concatenations only map points to points of their operands; element-wise
// operators are computed by their reference semantics (EvaluateOpInterface). Nothing is computed at points that nobody
// asks for.
#pragma once

#include "dialects/nn/NNDialect.h"

#include "llvm/ADT/DenseMap.h"
#include "llvm/ADT/SmallBitVector.h"

#include <string>

namespace graft {

/// Elements of an argument, numbered through all arguments.
namespace source {
inline constexpr int64_t none = -1; ///< the value is a constant
inline constexpr int64_t many = -2; ///< depends on several elements, or in a way that two evaluations do not determine
/// Element `element` (row-major) of argument `argument`.
inline int64_t of(unsigned argument, int64_t element) {
  return (int64_t{argument} << 48) | element;
}
inline unsigned argument(int64_t source) {
  return static_cast<unsigned>(source >> 48);
}
inline int64_t element(int64_t source) {
  return source & ((int64_t{1} << 48) - 1);
}
} // namespace source

/// The values of some elements of a tensor, in the order in which they were asked for.
struct PointValues {
  Tensor zero, one;            ///< with every argument element 0, and 1
  std::vector<int64_t> source; ///< empty: all are constants, and `one` equals `zero`
  int64_t sourceOf(int64_t k) const { return source.empty() ? source::none : source[k]; }
};

class PointEvaluation {
public:
  /// Elements at the given row-major positions. Nothing if an operator on the way cannot be evaluated at points;
  /// reason() says which.
  std::optional<PointValues> evaluate(mlir::Value value, const std::vector<int64_t> &points);

  /// The dimensions along which elements can differ, by structure alone: along the others all elements are equal.
  const llvm::SmallBitVector &varying(mlir::Value value);

  /// True if the value is computed from masks and constants by operators that evaluate() knows: a cheap
  /// question that keeps activations out.
  bool canEvaluate(mlir::Value value) { return canEvaluate(value, 0); }

  /// Starts a new question: each may take a limited number of steps.
  void startQuestion() { work_ = 0; }

  const std::string &reason() const { return reason_; }

private:
  bool canEvaluate(mlir::Value value, int depth);
  std::optional<PointValues> evaluateGather(mlir::Operation *op, const std::vector<int64_t> &points);
  std::optional<PointValues> evaluateConcat(mlir::Operation *op, const std::vector<int64_t> &points);
  std::optional<PointValues> evaluateElementwise(mlir::Operation *op, const std::vector<int64_t> &points);
  std::optional<PointValues> refuse(mlir::Value value);

  llvm::DenseMap<mlir::Value, llvm::SmallBitVector> varying_;
  llvm::DenseMap<mlir::Value, bool> canEvaluate_;
  llvm::DenseMap<mlir::Value, Tensor> constants_;
  std::string reason_;
  int64_t work_ = 0;
};

/// Varying dimensions of a view's result from those of its operand.
llvm::SmallBitVector varyingThroughView(mlir::Operation *view, const llvm::SmallBitVector &operand);
/// The position in a view's operand of each position in its result.
std::vector<int64_t> pointsThroughView(mlir::Operation *view, const std::vector<int64_t> &points);

} // namespace graft
