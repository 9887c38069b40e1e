// Finds RMS and layer norms in arithmetic.
//
// The idea: a layer norm is the RMS norm of what is left after the mean is taken away, so two small patterns find both.
#include "passes/Rewriting.h"
#include "passes/import/Match.h"
#include "passes/import/Passes.h"

using namespace mlir;

namespace graft {

#define GEN_PASS_DEF_RECOGNISENORMS
#include "passes/import/Passes.h.inc"

namespace {

using nn::shapeOf;

/// The row values that are broadcast along the last dimension; null if `value` is something else.
Value broadcastRows(Value value) {
  auto broadcast = value.getDefiningOp<nn::BroadcastOp>();
  if (!broadcast || broadcast.getDimensions().size() + 1 != shapeOf(value).size())
    return {};
  for (auto [i, d] : llvm::enumerate(broadcast.getDimensions()))
    if (d != static_cast<int64_t>(i))
      return {};
  return broadcast.getInput();
}

/// 1/n in float32 is not exactly 1/n.
constexpr double factorTolerance = 1.2e-7;

/// x, if `value` is the mean of x over its last dimension.
Value meanOperand(Value value) {
  Scaled mean = stripFactors(value);
  auto sum = mean.value.getDefiningOp<nn::ReduceOp>();
  if (!sum || sum.getKind() != nn::ReduceKind::Sum)
    return {};
  ArrayRef<int64_t> shape = shapeOf(sum.getInput());
  bool last = sum.getAxes().size() == 1 && sum.getAxes()[0] == static_cast<int64_t>(shape.size()) - 1;
  return last && std::abs(mean.factor * static_cast<double>(shape.back()) - 1) <= factorTolerance ? sum.getInput()
                                                                                                  : Value();
}

bool isPower(Value value, Value base, double exponent) {
  auto power = value.getDefiningOp<math::PowFOp>();
  return power && power.getLhs() == base && splatNumber(power.getRhs()) == exponent;
}

bool isSquareOf(Value value, Value x) {
  auto product = value.getDefiningOp<arith::MulFOp>();
  return (product && product.getLhs() == x && product.getRhs() == x) || isPower(value, x, 2);
}

/// v, if `value` is the square root of v, however it is written.
Value rootOperand(Value value) {
  if (auto root = value.getDefiningOp<math::SqrtOp>())
    return root.getOperand();
  auto power = value.getDefiningOp<math::PowFOp>();
  return power && splatNumber(power.getRhs()) == 0.5 ? power.getLhs() : Value();
}

/// v, if `value` is 1 / sqrt(v), however it is written.
Value inverseRootOperand(Value value) {
  if (auto root = value.getDefiningOp<math::RsqrtOp>())
    return root.getOperand();
  if (auto power = value.getDefiningOp<math::PowFOp>())
    return splatNumber(power.getRhs()) == -0.5 ? power.getLhs() : Value();
  if (auto quotient = value.getDefiningOp<arith::DivFOp>())
    return splatNumber(quotient.getLhs()) == 1.0 ? rootOperand(quotient.getRhs()) : Value();
  if (Value inverse = rootOperand(value))
    if (auto quotient = inverse.getDefiningOp<arith::DivFOp>())
      return splatNumber(quotient.getLhs()) == 1.0 ? quotient.getRhs() : Value();
  return {};
}

/// epsilon, if `value` is mean(x x) + epsilon.
std::optional<double> meanSquareEpsilon(Value value, Value x) {
  auto sum = value.getDefiningOp<arith::AddFOp>();
  if (!sum)
    return std::nullopt;
  for (auto [number, mean] : {std::pair(sum.getRhs(), sum.getLhs()), std::pair(sum.getLhs(), sum.getRhs())}) {
    auto epsilon = splatNumber(number);
    Value square = epsilon ? meanOperand(mean) : Value();
    if (square && isSquareOf(square, x) && std::isfinite(*epsilon) && *epsilon >= 0)
      return epsilon;
  }
  return std::nullopt;
}

LogicalResult replaceByRMSNorm(Operation *op, Value x, Value meanSquare, PatternRewriter &rewriter) {
  auto epsilon = meanSquare ? meanSquareEpsilon(meanSquare, x) : std::nullopt;
  if (!epsilon)
    return rewriter.notifyMatchFailure(op, "not the root of the mean square of the same value");
  rewriter.replaceOpWithNewOp<nn::RMSNormOp>(op, x, llvm::APFloat(*epsilon));
  return success();
}

/// x * (1 / sqrt(mean(x x) + epsilon))
struct RMSNormFromProduct final : OpRewritePattern<arith::MulFOp> {
  using OpRewritePattern::OpRewritePattern;
  LogicalResult matchAndRewrite(arith::MulFOp op, PatternRewriter &rewriter) const override {
    for (auto [x, factor] : {std::pair(op.getLhs(), op.getRhs()), std::pair(op.getRhs(), op.getLhs())})
      if (Value row = broadcastRows(factor))
        if (succeeded(replaceByRMSNorm(op, x, inverseRootOperand(row), rewriter)))
          return success();
    return rewriter.notifyMatchFailure(op, "no factor is the inverse root of a row's mean square");
  }
};

/// x / sqrt(mean(x x) + epsilon)
struct RMSNormFromQuotient final : OpRewritePattern<arith::DivFOp> {
  using OpRewritePattern::OpRewritePattern;
  LogicalResult matchAndRewrite(arith::DivFOp op, PatternRewriter &rewriter) const override {
    Value row = broadcastRows(op.getRhs());
    return replaceByRMSNorm(op, op.getLhs(), row ? rootOperand(row) : Value(), rewriter);
  }
};

/// rms_norm(x - mean(x))
struct LayerNormFromCentred final : OpRewritePattern<nn::RMSNormOp> {
  using OpRewritePattern::OpRewritePattern;
  LogicalResult matchAndRewrite(nn::RMSNormOp op, PatternRewriter &rewriter) const override {
    auto centred = op.getInput().getDefiningOp<arith::SubFOp>();
    Value mean = centred ? broadcastRows(centred.getRhs()) : Value();
    if (!mean || meanOperand(mean) != centred.getLhs())
      return rewriter.notifyMatchFailure(op, "the operand is not a value without its mean");
    rewriter.replaceOpWithNewOp<nn::LayerNormOp>(op, centred.getLhs(), op.getEpsilon());
    return success();
  }
};

struct RecogniseNorms final : impl::RecogniseNormsBase<RecogniseNorms> {
  void runOnOperation() override {
    RewritePatternSet patterns(&getContext());
    patterns.add<RMSNormFromProduct, RMSNormFromQuotient, LayerNormFromCentred>(&getContext());
    auto config = straightLineRewriting().enableConstantCSE(false);
    if (failed(applyPatternsGreedily(getOperation(), std::move(patterns), config)))
      signalPassFailure();
  }
};

} // namespace
} // namespace graft
