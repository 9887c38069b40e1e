// Operators that work element by element. Operands are repeated to their common shape first.
#include "frontends/onnx/import/Table.h"

#include <cmath>
#include <limits>

using namespace mlir;

namespace graft::onnx {

namespace {

using FPredicate = arith::CmpFPredicate;
using IPredicate = arith::CmpIPredicate;

/// Two operands of one type, repeated to their common shape.
std::pair<Value, Value> operands(Call &c, Value x, Value y) {
  c.sameTypes(x, y);
  SmallVector<Value> both = c.broadcast({x, y});
  return {both[0], both[1]};
}

template <auto function> void binary(Call &c) {
  auto [x, y] = operands(c, c.numeric(0), c.numeric(1));
  c.result(function(c, x, y));
}

/// Sum, Max, Min: any number of operands, combined from the left.
template <auto function> Value combineAll(Call &c) {
  Value out = c.numeric(0);
  for (size_t i = 1; i < c.inputs(); ++i) {
    auto [x, y] = operands(c, out, c.numeric(i));
    out = function(c, x, y);
  }
  return out;
}
template <auto function> void variadic(Call &c) {
  c.result(combineAll<function>(c));
}

template <auto function> void logical(Call &c) {
  auto [x, y] = operands(c, c.boolean(0), c.boolean(1));
  c.result(function(c.b, x, y));
}

template <FPredicate floats, IPredicate integers> Value compared(Call &c, Value x, Value y) {
  return isFloat(x) ? c.b.compare(floats, x, y) : c.b.compare(integers, x, y);
}
template <FPredicate floats, IPredicate integers> void compare(Call &c) {
  auto [x, y] = operands(c, c.numeric(0), c.numeric(1));
  c.result(compared<floats, integers>(c, x, y));
}
void equal(Call &c) {
  auto [x, y] = operands(c, c.input(0), c.input(1));
  c.result(compared<FPredicate::OEQ, IPredicate::eq>(c, x, y));
}

/// A function of one float operand.
template <auto function> void unary(Call &c) {
  c.result(function(c.b, c.real(0)));
}
template <typename Op> Value create(Build &b, Value x) {
  return b.builder.createOrFold<Op>(b.loc, x);
}

Value add(Call &c, Value x, Value y) {
  return c.b.add(x, y);
}
Value sub(Call &c, Value x, Value y) {
  return c.b.sub(x, y);
}
/// A factor goes inside of a transposition, where products do not see it and read the tensor as it lies.
Value mul(Call &c, Value x, Value y) {
  if (x.getDefiningOp<nn::TransposeOp>())
    std::swap(x, y);
  auto transpose = y.getDefiningOp<nn::TransposeOp>();
  std::optional<double> factor = splatElement(x);
  if (transpose && factor && isFloat(x))
    return c.b.transpose(c.b.scale(transpose.getInput(), *factor), transpose.getPermutation());
  return c.b.mul(x, y);
}
Value maximum(Call &c, Value x, Value y) {
  return c.b.max(x, y);
}
Value minimum(Call &c, Value x, Value y) {
  return c.b.min(x, y);
}

void requireNonZero(Call &c, Value divisor) {
  if (auto elements = constantElements(divisor); elements && llvm::is_contained(*elements, 0))
    c.fail(Code::Range, "integer division by a constant 0");
}

/// Integers are divided towards zero.
Value div(Call &c, Value x, Value y) {
  if (isFloat(x))
    return c.b.div(x, y);
  requireNonZero(c, y);
  return c.b.builder.createOrFold<arith::DivSIOp>(c.b.loc, x, y);
}

/// fmod = 0: the remainder has the divisor's sign; fmod = 1: the dividend's.
void mod(Call &c) {
  bool truncated = c.flag("fmod", false);
  auto [x, y] = operands(c, c.numeric(0), c.numeric(1));
  if (isFloat(x))
    c.fail(Code::Unsupported, "Mod of floating-point numbers");
  requireNonZero(c, y);
  Build &b = c.b;
  Value r = b.builder.createOrFold<arith::RemSIOp>(b.loc, x, y);
  if (truncated)
    return c.result(r);
  Value zero = b.like(r, 0);
  Value otherSign = b.builder.createOrFold<arith::XOrIOp>(b.loc, b.compare(IPredicate::slt, r, zero),
                                                          b.compare(IPredicate::slt, y, zero));
  Value wrong = b.logicalAnd(b.compare(IPredicate::ne, r, zero), otherSign);
  c.result(b.select(wrong, b.add(r, y), r));
}

/// x^n by squaring; n > 0.
Value power(Build &b, Value x, int64_t n) {
  Value out;
  for (; n > 0; n /= 2, x = n > 0 ? b.mul(x, x) : x)
    if (n % 2 == 1)
      out = out ? b.mul(out, x) : x;
  return out;
}

constexpr int64_t maxIntegerPower = 64;

/// Powers with small constant exponents become products and roots, which are cheap and have simple derivatives.
void pow(Call &c) {
  Build &b = c.b;
  Value x = c.numeric(0), y = c.numeric(1);
  Sizes shape = c.commonShape({x, y});
  std::optional<double> exponent = splatElement(y);
  x = c.broadcastTo(x, shape);
  double n = exponent.value_or(std::numeric_limits<double>::quiet_NaN());
  if (n == 0)
    return c.result(b.like(x, 1));
  if (n == std::floor(n) && n > 0 && n <= (isFloat(x) ? 4 : maxIntegerPower))
    return c.result(power(b, x, static_cast<int64_t>(n)));
  if (!isFloat(x))
    c.fail(Code::Unsupported, "Pow of integers needs a constant exponent from 0 to " + std::to_string(maxIntegerPower));
  if (n == -1)
    return c.result(b.div(b.like(x, 1), x));
  if (n == 0.5)
    return c.result(b.sqrt(x));
  if (n == -0.5)
    return c.result(b.rsqrt(x));
  y = c.broadcastTo(b.cast(y, typeOf(x).getElementType()), shape);
  c.result(b.builder.createOrFold<math::PowFOp>(b.loc, x, y));
}

void neg(Call &c) {
  c.result(c.b.neg(c.numeric(0)));
}
void abs(Call &c) {
  Value x = c.numeric(0);
  c.result(isFloat(x) ? create<math::AbsFOp>(c.b, x) : create<math::AbsIOp>(c.b, x));
}
void sign(Call &c) {
  Value x = c.numeric(0), zero = c.b.like(x, 0);
  Value positive = compared<FPredicate::OGT, IPredicate::sgt>(c, x, zero),
        negative = compared<FPredicate::OLT, IPredicate::slt>(c, x, zero);
  c.result(c.b.select(positive, c.b.like(x, 1), c.b.select(negative, c.b.like(x, -1), zero)));
}

/// A selection, not a maximum: its gradient is 0 at 0, as frameworks define it. NaN stays NaN.
void relu(Call &c) {
  Value x = c.numeric(0);
  c.result(c.b.selectOrZero(compared<FPredicate::UGT, IPredicate::sgt>(c, x, c.b.like(x, 0)), x));
}

/// x / 2 (1 + erf(x / sqrt 2)), or the same with tanh(sqrt(2 / pi) (x + 0.044715 x^3)).
void gelu(Call &c) {
  std::string_view approximate = c.text("approximate", "none");
  Value x = c.real(0);
  Build &b = c.b;
  Value inner;
  if (approximate == "none")
    inner = create<math::ErfOp>(b, b.scale(x, std::sqrt(0.5)));
  else if (approximate == "tanh")
    inner = b.tanh(b.scale(b.add(x, b.scale(b.mul(x, b.mul(x, x)), 0.044715)), std::sqrt(2 / M_PI)));
  else
    c.fail(Code::Range, "attribute 'approximate' is '" + escaped(approximate) + "', expected none or tanh");
  c.result(b.mul(b.scale(x, 0.5), b.add(b.like(x, 1), inner)));
}

Value bound(Call &c, size_t index, Value x) {
  Value limit = c.numeric(index);
  c.sameTypes(x, limit);
  if (typeOf(limit).getNumElements() != 1)
    c.fail(Code::Range,
           "input " + std::to_string(index) + " has shape " + text(shapeOf(limit)) + ", expected a scalar");
  return c.broadcastTo(c.reshape(limit, {}), shapeOf(x));
}
void clip(Call &c) {
  Value x = c.numeric(0), out = x;
  if (c.has(1))
    out = c.b.max(out, bound(c, 1, x));
  if (c.has(2))
    out = c.b.min(out, bound(c, 2, x));
  c.result(out);
}

void mean(Call &c) {
  Value sum = combineAll<add>(c);
  if (!isFloat(sum))
    c.fail(Code::Type, "Mean of integers");
  c.result(c.b.scale(sum, 1.0 / static_cast<double>(c.inputs())));
}

void where(Call &c) {
  Value condition = c.boolean(0), x = c.input(1), y = c.input(2);
  c.sameTypes(x, y);
  SmallVector<Value> all = c.broadcast({condition, x, y});
  c.result(c.b.select(all[0], all[1], all[2]));
}

void logicalNot(Call &c) {
  Value x = c.boolean(0);
  c.result(c.b.builder.createOrFold<arith::XOrIOp>(c.b.loc, x, c.b.like(x, 1)));
}

void isInfinite(Call &c) {
  bool positive = c.flag("detect_positive", true), negative = c.flag("detect_negative", true);
  Value x = c.real(0);
  double infinity = std::numeric_limits<double>::infinity();
  if (positive && negative)
    return c.result(c.b.compare(FPredicate::OEQ, create<math::AbsFOp>(c.b, x), c.b.like(x, infinity)));
  if (!positive && !negative)
    return c.result(c.splat(shapeOf(x), c.b.builder.getI1Type(), 0));
  c.result(c.b.compare(FPredicate::OEQ, x, c.b.like(x, positive ? infinity : -infinity)));
}

void cast(Call &c) {
  c.ignore("saturate");
  mlir::Type to = c.elementType(c.requiredInteger("to"));
  c.result(c.b.cast(c.input(0), to));
}
void castLike(Call &c) {
  c.ignore("saturate");
  c.result(c.b.cast(c.input(0), typeOf(c.input(1)).getElementType()));
}

constexpr auto logicalAnd = [](Build &b, Value x, Value y) { return b.logicalAnd(x, y); };
constexpr auto logicalOr = [](Build &b, Value x, Value y) { return b.builder.createOrFold<arith::OrIOp>(b.loc, x, y); };
constexpr auto logicalXor = [](Build &b, Value x, Value y) {
  return b.builder.createOrFold<arith::XOrIOp>(b.loc, x, y);
};

constexpr Translation translations[] = {
    {"Add", 7, binary<add>},
    {"Sub", 7, binary<sub>},
    {"Mul", 7, binary<mul>},
    {"Div", 7, binary<div>},
    {"Mod", 10, mod},
    {"Pow", 7, pow},
    {"Max", 8, variadic<maximum>},
    {"Min", 8, variadic<minimum>},
    {"Sum", 8, variadic<add>},
    {"Mean", 8, mean},
    {"And", 7, logical<logicalAnd>},
    {"Or", 7, logical<logicalOr>},
    {"Xor", 7, logical<logicalXor>},
    {"Not", 1, logicalNot},
    {"Equal", 7, equal},
    {"Less", 7, compare<FPredicate::OLT, IPredicate::slt>},
    {"LessOrEqual", 12, compare<FPredicate::OLE, IPredicate::sle>},
    {"Greater", 7, compare<FPredicate::OGT, IPredicate::sgt>},
    {"GreaterOrEqual", 12, compare<FPredicate::OGE, IPredicate::sge>},
    {"Where", 9, where},
    {"Neg", 6, neg},
    {"Abs", 6, abs},
    {"Sign", 9, sign},
    {"Relu", 6, relu},
    {"Clip", 11, clip},
    {"Gelu", 20, gelu},
    {"Sqrt", 6, unary<[](Build &b, Value x) { return b.sqrt(x); }>},
    {"Reciprocal", 6, unary<[](Build &b, Value x) { return b.div(b.like(x, 1), x); }>},
    {"Exp", 6, unary<[](Build &b, Value x) { return b.exp(x); }>},
    {"Log", 6, unary<[](Build &b, Value x) { return b.log(x); }>},
    {"Tanh", 6, unary<[](Build &b, Value x) { return b.tanh(x); }>},
    {"Sigmoid", 6, unary<[](Build &b, Value x) { return b.sigmoid(x); }>},
    {"Softplus", 1, unary<create<nn::SoftplusOp>>},
    {"Erf", 9, unary<create<math::ErfOp>>},
    {"Sin", 7, unary<create<math::SinOp>>},
    {"Cos", 7, unary<create<math::CosOp>>},
    {"Floor", 6, unary<create<math::FloorOp>>},
    {"Ceil", 6, unary<create<math::CeilOp>>},
    {"Round", 11, unary<create<math::RoundEvenOp>>},
    {"IsNaN", 9, unary<[](Build &b, Value x) { return b.compare(FPredicate::UNO, x, x); }>},
    {"IsInf", 10, isInfinite},
    {"Cast", 9, cast},
    {"CastLike", 15, castLike},
};

} // namespace

std::span<const Translation> elementwiseTranslations() {
  return translations;
}

} // namespace graft::onnx
