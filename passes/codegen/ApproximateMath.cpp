// Replaces the functions of `math` by arithmetic on the same shape.
//
// Most polynomials are upstream's. Ours are where those lose accuracy or do not exist: sine and cosine reduce their
// argument in f64, so that positions of a rotary embedding (thousands of radians) keep full accuracy, and powf runs in
// f64, because exp(y * log x) in f32 loses a bit for every doubling of the result's exponent.
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/Dialect/Math/IR/Math.h"
#include "mlir/Dialect/Math/Transforms/Passes.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"
#include "mlir/IR/ImplicitLocOpBuilder.h"
#include "mlir/Transforms/GreedyPatternRewriteDriver.h"
#include "passes/codegen/Passes.h"
#include "passes/codegen/StorageConversion.h"
#include "llvm/ADT/StringSet.h"
#include <limits>

namespace graft {
#define GEN_PASS_DEF_APPROXIMATEMATH
#include "passes/codegen/Passes.h.inc"
} // namespace graft

using namespace mlir;
using namespace graft;

namespace {

/// Writes formulas on values of one shape. `f` and `d` are f32 and f64 of that shape.
class Formula {
public:
  Formula(OpBuilder &builder, Location loc, Type shape)
      : b(loc, builder), f(withShapeOf(shape, b.getF32Type())), d(withShapeOf(shape, b.getF64Type())),
        i32(withShapeOf(shape, b.getI32Type())), i64(withShapeOf(shape, b.getI64Type())) {}

  Value constant(Type type, double value) { return splatConstant(b, b.getLoc(), type, value); }
  Value add(Value x, Value y) { return arith::AddFOp::create(b, x, y); }
  Value sub(Value x, Value y) { return arith::SubFOp::create(b, x, y); }
  Value mul(Value x, Value y) { return arith::MulFOp::create(b, x, y); }
  Value div(Value x, Value y) { return arith::DivFOp::create(b, x, y); }
  Value fma(Value x, Value y, Value z) { return math::FmaOp::create(b, x, y, z); }
  Value abs(Value x) { return math::AbsFOp::create(b, x); }
  Value nearest(Value x) { return math::RoundEvenOp::create(b, x); }
  Value compare(arith::CmpFPredicate how, Value x, Value y) { return arith::CmpFOp::create(b, how, x, y); }
  Value select(Value condition, Value x, Value y) { return arith::SelectOp::create(b, condition, x, y); }
  Value widen(Value x) { return arith::ExtFOp::create(b, d, x); }
  Value narrow(Value x) { return arith::TruncFOp::create(b, f, x); }
  /// coefficients[0] * x^n + ... + coefficients[n]
  Value polynomial(Value x, ArrayRef<double> coefficients) {
    Value sum = constant(x.getType(), coefficients.front());
    for (double coefficient : coefficients.drop_front())
      sum = fma(sum, x, constant(x.getType(), coefficient));
    return sum;
  }

  ImplicitLocOpBuilder b;
  Type f, d, i32, i64;
};

bool isF32(Operation *op) {
  return getElementTypeOrSelf(op->getResult(0).getType()).isF32();
}

/// sin(x + quarterTurns * pi/2). Cody and Waite's reduction in f64 (pi/2 in two parts, exact to |x| = 2^31), then the
/// polynomials of the Cephes library (S. Moshier, sinf.c) on [-pi/4, pi/4] in f32.
Value sine(Formula &m, Value x, int quarterTurns) {
  Value wide = m.widen(x);
  Value turns = m.nearest(m.mul(wide, m.constant(m.d, 0.63661977236758134308)));
  Value rest = m.fma(turns, m.constant(m.d, -1.5707963267948965580), wide);
  rest = m.narrow(m.fma(turns, m.constant(m.d, -6.1232339957367658e-17), rest));
  // The quadrant, 0 to 3, from what is left of the turns after whole circles.
  Value shifted = m.add(turns, m.constant(m.d, quarterTurns));
  Value circles = math::FloorOp::create(m.b, m.mul(shifted, m.constant(m.d, 0.25)));
  Value quadrant = m.narrow(m.fma(circles, m.constant(m.d, -4), shifted));
  Value square = m.mul(rest, rest);
  Value sin = m.polynomial(square, {-1.9515295891e-4, 8.3321608736e-3, -1.6666654611e-1});
  sin = m.fma(m.mul(sin, square), rest, rest);
  Value cos = m.polynomial(square, {2.443315711809948e-5, -1.388731625493765e-3, 4.166664568298827e-2, -0.5, 1});
  auto isQuadrant = [&](double which) {
    return m.compare(arith::CmpFPredicate::OEQ, quadrant, m.constant(m.f, which));
  };
  Value useCos = arith::OrIOp::create(m.b, isQuadrant(1), isQuadrant(3));
  Value negative = m.compare(arith::CmpFPredicate::OGE, quadrant, m.constant(m.f, 2));
  Value value = m.select(useCos, cos, sin);
  return m.select(negative, arith::NegFOp::create(m.b, value), value);
}

template <typename Op, int kQuarterTurns> struct ApproximateSine final : OpRewritePattern<Op> {
  using OpRewritePattern<Op>::OpRewritePattern;
  LogicalResult matchAndRewrite(Op op, PatternRewriter &rewriter) const override {
    if (!isF32(op))
      return rewriter.notifyMatchFailure(op, "needs f32");
    Formula m(rewriter, op.getLoc(), op.getType());
    rewriter.replaceOp(op, sine(m, op.getOperand(), kQuarterTurns));
    return success();
  }
};

/// ln(x) in f64 for positive, normal f64 x: x = 2^e * t with t in [sqrt(1/2), sqrt(2)), ln t = 2 artanh((t-1)/(t+1)) by
/// its series.
Value logOf(Formula &m, Value x) {
  auto integer = [&](int64_t value) { return splatConstant(m.b, m.b.getLoc(), m.i64, m.b.getI64IntegerAttr(value)); };
  Value bits = arith::BitcastOp::create(m.b, m.i64, x);
  // Subtracting sqrt(1/2)'s bits makes the exponent field change at sqrt(1/2) instead of 1.
  Value offset = arith::SubIOp::create(m.b, bits, integer(0x3fe6a09e667f3bcd));
  Value exponent = arith::ShRSIOp::create(m.b, offset, integer(52));
  Value mantissa = arith::SubIOp::create(m.b, bits, arith::ShLIOp::create(m.b, exponent, integer(52)));
  Value t = arith::BitcastOp::create(m.b, m.d, mantissa);
  Value one = m.constant(m.d, 1);
  Value s = m.div(m.sub(t, one), m.add(t, one));
  Value series = m.polynomial(m.mul(s, s), {2.0 / 15, 2.0 / 13, 2.0 / 11, 2.0 / 9, 2.0 / 7, 2.0 / 5, 2.0 / 3, 2});
  Value small = arith::TruncIOp::create(m.b, m.i32, exponent);
  return m.fma(arith::SIToFPOp::create(m.b, m.d, small), m.constant(m.d, 0.69314718055994530942), m.mul(s, series));
}

/// e^x in f64 to about 1e-11, for |x| up to 700: 2^k by its exponent field times a Taylor polynomial on [-ln2/2,
/// ln2/2].
Value expOf(Formula &m, Value x) {
  Value k = m.nearest(m.mul(x, m.constant(m.d, 1.4426950408889634074)));
  Value r = m.fma(k, m.constant(m.d, -0.69314718055994530942), x);
  Value series =
      m.polynomial(r, {1.0 / 362880, 1.0 / 40320, 1.0 / 5040, 1.0 / 720, 1.0 / 120, 1.0 / 24, 1.0 / 6, 1.0 / 2, 1, 1});
  // k + 1.5 * 2^52 holds k in its low bits; shifted into the exponent field, added to the series' own.
  Value low = arith::BitcastOp::create(m.b, m.i64, m.add(k, m.constant(m.d, 6755399441055744.0)));
  Value shifted = arith::ShLIOp::create(m.b, low, splatConstant(m.b, m.b.getLoc(), m.i64, m.b.getI64IntegerAttr(52)));
  Value bits = arith::AddIOp::create(m.b, arith::BitcastOp::create(m.b, m.i64, series), shifted);
  return arith::BitcastOp::create(m.b, m.d, bits);
}

/// pow(x, y) as IEEE 754 and C define it, including zeros, infinities, NaN and negative bases with integer exponents.
Value power(Formula &m, Value x, Value y) {
  using P = arith::CmpFPredicate;
  double infinity = std::numeric_limits<double>::infinity();
  Value zero = m.constant(m.f, 0), one = m.constant(m.f, 1);
  Value base = m.abs(x);
  Value exponent = m.mul(m.widen(y), logOf(m, m.widen(base)));
  // Clamped where f32 has long over- or underflowed, so that the exponent field cannot wrap.
  Value limit = m.constant(m.d, 200), floor = m.constant(m.d, -200);
  exponent = m.select(m.compare(P::OGT, exponent, limit), limit, exponent);
  exponent = m.select(m.compare(P::OLT, exponent, floor), floor, exponent);
  Value value = m.narrow(expOf(m, exponent));
  // The logarithm above is wrong for 0 and infinity: there the sign of y decides.
  Value grows = m.compare(P::OGT, y, zero), infinite = m.constant(m.f, infinity);
  value = m.select(m.compare(P::OEQ, base, zero), m.select(grows, zero, infinite), value);
  value = m.select(m.compare(P::OEQ, base, infinite), m.select(grows, infinite, zero), value);
  // A negative base: an odd exponent keeps the sign, a fractional one has no value.
  Value half = m.mul(y, m.constant(m.f, 0.5));
  Value isInteger = m.compare(P::OEQ, m.nearest(y), y);
  Value isEven = m.compare(P::OEQ, m.nearest(half), half);
  Value signedValue = m.select(isEven, value, math::CopySignOp::create(m.b, value, x));
  Value defined = arith::OrIOp::create(m.b, isInteger, m.compare(P::OEQ, base, infinite));
  defined = arith::OrIOp::create(m.b, defined, m.compare(P::OGE, x, zero));
  value = m.select(isInteger, signedValue, value);
  value = m.select(defined, value, m.constant(m.f, std::numeric_limits<double>::quiet_NaN()));
  // NaN operands give NaN, except pow(1, y) = pow(x, 0) = 1; and pow(-1, infinity) = 1.
  value = m.select(m.compare(P::UNO, x, y), m.add(x, y), value);
  Value isOne = arith::OrIOp::create(m.b, m.compare(P::OEQ, x, one), m.compare(P::OEQ, y, zero));
  Value turns = arith::AndIOp::create(m.b, m.compare(P::OEQ, base, one), m.compare(P::OEQ, m.abs(y), infinite));
  isOne = arith::OrIOp::create(m.b, isOne, turns);
  return m.select(isOne, one, value);
}

/// The value of a constant float exponent, scalar or splat.
std::optional<double> constantOf(Value value) {
  FloatAttr number;
  if (matchPattern(value, m_Constant(&number)))
    return number.getValueAsDouble();
  DenseFPElementsAttr vector;
  if (matchPattern(value, m_Constant(&vector)) && vector.isSplat())
    return vector.getSplatValue<APFloat>().convertToDouble();
  return std::nullopt;
}

struct ApproximatePower final : OpRewritePattern<math::PowFOp> {
  using OpRewritePattern::OpRewritePattern;
  LogicalResult matchAndRewrite(math::PowFOp op, PatternRewriter &rewriter) const override {
    if (!isF32(op))
      return rewriter.notifyMatchFailure(op, "needs f32");
    Formula m(rewriter, op.getLoc(), op.getType());
    Value x = op.getLhs();
    std::optional<double> exponent = constantOf(op.getRhs());
    Value value;
    if (exponent == 2)
      value = m.mul(x, x);
    else if (exponent == 3)
      value = m.mul(m.mul(x, x), x);
    else if (exponent == -1)
      value = m.div(m.constant(m.f, 1), x);
    else
      value = power(m, x, op.getRhs());
    rewriter.replaceOp(op, value);
    return success();
  }
};

struct ExpandRsqrt final : OpRewritePattern<math::RsqrtOp> {
  using OpRewritePattern::OpRewritePattern;
  LogicalResult matchAndRewrite(math::RsqrtOp op, PatternRewriter &rewriter) const override {
    Formula m(rewriter, op.getLoc(), op.getType());
    Value root = math::SqrtOp::create(m.b, op.getOperand());
    rewriter.replaceOp(op, m.div(m.constant(op.getType(), 1), root));
    return success();
  }
};

/// 2^x through exp: x ln2 in two parts, because rounding it once would cost |x| ulp.
struct ExpandExp2 final : OpRewritePattern<math::Exp2Op> {
  using OpRewritePattern::OpRewritePattern;
  LogicalResult matchAndRewrite(math::Exp2Op op, PatternRewriter &rewriter) const override {
    if (!isF32(op))
      return rewriter.notifyMatchFailure(op, "needs f32");
    Formula m(rewriter, op.getLoc(), op.getType());
    Value exponent = m.mul(m.widen(op.getOperand()), m.constant(m.d, 0.69314718055994530942));
    Value limit = m.constant(m.d, 200), floor = m.constant(m.d, -200);
    Value clamped = m.select(m.compare(arith::CmpFPredicate::OGT, exponent, limit), limit, exponent);
    clamped = m.select(m.compare(arith::CmpFPredicate::OLT, clamped, floor), floor, clamped);
    Value value = m.narrow(expOf(m, clamped));
    Value isNaN = m.compare(arith::CmpFPredicate::UNO, exponent, exponent);
    rewriter.replaceOp(op, m.select(isNaN, op.getOperand(), value));
    return success();
  }
};

/// Half away from zero: the instruction sets only have half to even.
struct ExpandRound final : OpRewritePattern<math::RoundOp> {
  using OpRewritePattern::OpRewritePattern;
  LogicalResult matchAndRewrite(math::RoundOp op, PatternRewriter &rewriter) const override {
    Formula m(rewriter, op.getLoc(), op.getType());
    Value x = op.getOperand(), whole = math::TruncOp::create(m.b, x);
    Value up = m.compare(arith::CmpFPredicate::OGE, m.abs(m.sub(x, whole)), m.constant(op.getType(), 0.5));
    Value away = m.add(whole, math::CopySignOp::create(m.b, m.constant(op.getType(), 1), x));
    rewriter.replaceOp(op, m.select(up, away, whole));
    return success();
  }
};

struct ExpandLog10 final : OpRewritePattern<math::Log10Op> {
  using OpRewritePattern::OpRewritePattern;
  LogicalResult matchAndRewrite(math::Log10Op op, PatternRewriter &rewriter) const override {
    Formula m(rewriter, op.getLoc(), op.getType());
    Value natural = math::LogOp::create(m.b, op.getOperand());
    rewriter.replaceOp(op, m.mul(natural, m.constant(op.getType(), 0.43429448190325182765)));
    return success();
  }
};

/// Functions that stay: one instruction on both x86 levels.
bool isInstruction(Operation *op) {
  return isa<math::AbsFOp, math::AbsIOp, math::CeilOp, math::CopySignOp, math::FloorOp, math::FmaOp, math::RoundEvenOp,
             math::SqrtOp, math::TruncOp>(op);
}

/// A function of doubles, in f32: what is computed in f64 (advantages) needs exact sums and quotients, not functions to
/// the last digit.
struct ThroughSingle final : RewritePattern {
  explicit ThroughSingle(MLIRContext *context) : RewritePattern(MatchAnyOpTypeTag(), /*benefit=*/3, context) {}
  LogicalResult matchAndRewrite(Operation *op, PatternRewriter &rewriter) const override {
    if (!isa<math::MathDialect>(op->getDialect()) || isInstruction(op) || isa<math::RsqrtOp, math::RoundOp>(op) ||
        !getElementTypeOrSelf(op->getResult(0).getType()).isF64())
      return rewriter.notifyMatchFailure(op, "needs a function of f64 that is no instruction");
    Formula m(rewriter, op->getLoc(), op->getResult(0).getType());
    OperationState state(op->getLoc(), op->getName());
    for (Value operand : op->getOperands())
      state.addOperands(getElementTypeOrSelf(operand.getType()).isF64() ? m.narrow(operand) : operand);
    state.addTypes(m.f);
    state.addAttributes(op->getAttrs());
    rewriter.replaceOp(op, m.widen(rewriter.create(state)->getResult(0)));
    return success();
  }
};

struct ApproximateMath final : graft::impl::ApproximateMathBase<ApproximateMath> {
  LogicalResult initialize(MLIRContext *context) override {
    RewritePatternSet set(context);
    set.add<ApproximateSine<math::SinOp, 0>, ApproximateSine<math::CosOp, 1>, ApproximatePower, ExpandRsqrt, ExpandExp2,
            ExpandRound, ExpandLog10>(context, /*benefit=*/2);
    set.add<ThroughSingle>(context);
    static const llvm::StringSet<> upstream = {"math.exp",  "math.expm1", "math.log",  "math.log1p", "math.log2",
                                               "math.tanh", "math.erf",   "math.erfc", "math.atan",  "math.atan2",
                                               "math.asin", "math.acos",  "math.cbrt"};
    populateMathPolynomialApproximationPatterns(set, [](StringRef name) { return upstream.contains(name); });
    math::populateExpansionPatterns(set, {"sinh", "cosh", "tan", "asinh", "acosh", "atanh", "fpowi"});
    patterns = FrozenRewritePatternSet(std::move(set));
    return success();
  }

  void runOnOperation() override {
    SmallVector<Operation *> functions;
    getOperation().walk([&](Operation *op) {
      if (isa<math::MathDialect>(op->getDialect()) && !isInstruction(op))
        functions.push_back(op);
    });
    // Only the functions and what they become, not the whole kernel.
    if (failed(applyOpPatternsGreedily(functions, patterns)))
      return signalPassFailure();
    getOperation().walk([&](Operation *op) {
      if (isa<math::MathDialect>(op->getDialect()) && !isInstruction(op)) {
        op->emitOpError("has no form without a library call");
        signalPassFailure();
      }
    });
  }

  FrozenRewritePatternSet patterns;
};

} // namespace
