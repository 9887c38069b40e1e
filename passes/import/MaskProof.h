// Proves what an attention mask means.
//
// A mask is given as a tensor [B, heads..., S, T] computed by the graph: booleans (true: may read), or floats that are
// added to the scores (0: may read, very negative: may not). prove() shows that for every sequence b, head h, row i and
// column j of the real shape
//
//   allowed(b, h, i, j) = base(i, j) and (not by keys, or mask[b, j] is not 0)
//
// and that `base` is, element for element, one of: everything; causal; causal with a window; a window. The idea of the
// proof: an `and` of masks, or a sum of additive ones, is taken apart into factors; each factor is evaluated at every
// point at which it can differ (PointEvaluation.h), for all values of the arguments, because each element depends on at
// most one of their bits. A causal triangle thus costs S T points, a key mask B T, whatever B S T is.
//
// Assumed, not proved: an integer argument named as a mask holds 0 and 1 only (PointEvaluation.h).
#pragma once

#include "passes/import/PointEvaluation.h"

namespace graft {

/// Which keys a query may read, in the terms of nn.attention.
struct MaskMeaning {
  bool causal = false;
  int64_t window = 0;
  /// The integer or boolean argument [B, T] that is not 0 for valid keys; null if all are.
  mlir::Value keys;

  bool allowsEverything() const { return !causal && window == 0 && !keys; }
  bool operator==(const MaskMeaning &) const = default;
  std::string text() const; ///< "causal, window 4, valid keys"
};

/// What both allow; nothing if nn.attention has no terms for it.
std::optional<MaskMeaning> intersection(const MaskMeaning &a, const MaskMeaning &b);

class MaskProver {
public:
  /// The meaning of a mask of shape [B, heads..., S, T], or nothing; reason() says why. Answers are remembered per
  /// value.
  std::optional<MaskMeaning> prove(mlir::Value mask);

  /// Could the value be a mask at all, or does it depend on activations?
  bool canBeMask(mlir::Value value) { return points_.canEvaluate(value); }

  const std::string &reason() const { return reason_; }

private:
  std::optional<MaskMeaning> proveNew(mlir::Value mask);

  PointEvaluation points_;
  llvm::DenseMap<mlir::Value, std::pair<std::optional<MaskMeaning>, std::string>> known_;
  std::string reason_;
};

/// The number at and below which an added value means "may not be read": its exponential is 0 next to any real score.
inline constexpr double maskedBelow = -1e4;

/// The mask as a boolean tensor of `shape` [B, heads..., S, T], from iota and comparisons.
mlir::Value buildMask(mlir::OpBuilder &builder, mlir::Location loc, const MaskMeaning &meaning,
                      llvm::ArrayRef<int64_t> shape);
/// The valid keys [B, T] as booleans; null if all are.
mlir::Value buildValidKeys(mlir::OpBuilder &builder, mlir::Location loc, const MaskMeaning &meaning);

} // namespace graft
