// Element-wise operators: one line each for the reference value, one for the gradient.
//
// The idea: an external model is a template over two functions, the scalar function and the gradient rule, so the
// tables at the bottom are the whole description. Factors and cost are the same for all of them.
#include "dialects/nn/Elementwise.h"

#include "dialects/nn/Build.h"
#include "dialects/nn/FactorRules.h"

#include <cmath>
#include <limits>

using namespace mlir;

namespace graft::nn {

namespace {

using Values = SmallVector<Value>;
using MaybeTensors = FailureOr<SmallVector<Tensor>>;

/// Calls `function(k)` for each element and stores it in a new tensor of the result's kind.
template <typename Function> SmallVector<Tensor> mapElements(Operation *op, const Tensor &shape, Function function) {
  auto type = cast<RankedTensorType>(op->getResult(0).getType());
  bool isFloat = isa<FloatType>(type.getElementType());
  Tensor out = isFloat ? Tensor::floats(shape.shape()) : Tensor::integers(shape.shape());
  for (int64_t k = 0; k < out.size(); ++k) {
    if (isFloat)
      out.f()[k] = static_cast<double>(function(k));
    else
      out.i()[k] = static_cast<int64_t>(function(k));
  }
  return {out};
}

unsigned widthOf(Value value) {
  return getElementTypeOrSelf(value.getType()).getIntOrFloatBitWidth();
}

bool holds(arith::CmpFPredicate predicate, double a, double b) {
  bool unordered = std::isnan(a) || std::isnan(b);
  using P = arith::CmpFPredicate;
  switch (predicate) {
  case P::AlwaysFalse:
    return false;
  case P::AlwaysTrue:
    return true;
  case P::ORD:
    return !unordered;
  case P::UNO:
    return unordered;
  case P::OEQ:
    return a == b;
  case P::OGT:
    return a > b;
  case P::OGE:
    return a >= b;
  case P::OLT:
    return a < b;
  case P::OLE:
    return a <= b;
  case P::ONE:
    return !unordered && a != b;
  case P::UEQ:
    return unordered || a == b;
  case P::UGT:
    return unordered || a > b;
  case P::UGE:
    return unordered || a >= b;
  case P::ULT:
    return unordered || a < b;
  case P::ULE:
    return unordered || a <= b;
  case P::UNE:
    return unordered || a != b;
  }
  return false;
}

double nanMax(double a, double b) {
  return std::isnan(a) || std::isnan(b) ? std::numeric_limits<double>::quiet_NaN() : std::max(a, b);
}
double nanMin(double a, double b) {
  return std::isnan(a) || std::isnan(b) ? std::numeric_limits<double>::quiet_NaN() : std::min(a, b);
}

/// Conversion to a `width`-bit integer that truncates and saturates; NaN gives 0. (The hardware's answer is undefined;
/// a reference needs one.)
int64_t toInteger(double a, unsigned width) {
  if (std::isnan(a))
    return 0;
  double limit = std::ldexp(1.0, static_cast<int>(width) - 1);
  int64_t max = static_cast<int64_t>((uint64_t(1) << (width - 1)) - 1);
  return a >= limit ? max : a <= -limit ? -max - 1 : static_cast<int64_t>(a);
}

//===-- Models ----------------------------------------------------------------------------------------------------===//

template <typename Op> struct ElementwiseRule : ShardingRuleOpInterface::ExternalModel<ElementwiseRule<Op>, Op> {
  ShardingRule getShardingRule(Operation *op) const { return elementwiseRule(op); }
};

template <typename Op, int flops>
struct ElementwiseCost : CostOpInterface::ExternalModel<ElementwiseCost<Op, flops>, Op> {
  Cost getCost(Operation *op) const { return costFromRule(op, elementwiseRule(op), flops); }
  RecomputeClass getRecomputeClass(Operation *op) const { return RecomputeClass::Cheap; }
};

template <typename Op, auto function> struct Evaluate : EvaluateOpInterface::ExternalModel<Evaluate<Op, function>, Op> {
  MaybeTensors evaluate(Operation *op, ArrayRef<Tensor> in) const {
    if constexpr (std::is_invocable_v<decltype(function), double>)
      return mapElements(op, in[0], [&](int64_t k) { return function(in[0].at(k)); });
    else if constexpr (std::is_invocable_v<decltype(function), double, double>)
      return mapElements(op, in[0], [&](int64_t k) { return function(in[0].at(k), in[1].at(k)); });
    else
      return function(op, in);
  }
};

/// Integer functions, exact in int64, wrapped to the result's width. A null optional is undefined (division by zero).
template <typename Op, auto function>
struct EvaluateInteger : EvaluateOpInterface::ExternalModel<EvaluateInteger<Op, function>, Op> {
  MaybeTensors evaluate(Operation *op, ArrayRef<Tensor> in) const {
    unsigned width = widthOf(op->getResult(0));
    bool defined = true;
    auto out = mapElements(op, in[0], [&](int64_t k) -> int64_t {
      std::optional<int64_t> value;
      if constexpr (std::is_invocable_v<decltype(function), int64_t>)
        value = function(in[0].i()[k]);
      else
        value = function(in[0].i()[k], in[1].i()[k]);
      defined = defined && value.has_value();
      return wrap(value.value_or(0), width);
    });
    if (!defined)
      return op->emitError() << "integer division by zero";
    return out;
  }
};

/// rule(Build &, Op, g) -> cotangents of all operands; those of unwanted operands are dropped (and die, being pure).
template <typename Op, auto rule> struct Gradient : DifferentiableOpInterface::ExternalModel<Gradient<Op, rule>, Op> {
  FailureOr<Values> buildVJP(Operation *op, OpBuilder &builder, ValueRange cotangents, ArrayRef<bool> wanted) const {
    Build build(builder, op->getLoc());
    Values out = rule(build, cast<Op>(op), cotangents[0]);
    for (auto [i, want] : llvm::enumerate(wanted))
      if (!want)
        out[i] = {};
    return out;
  }
};

template <typename Op, auto function, int flops = 1> void attach(MLIRContext *context) {
  Op::template attachInterface<ElementwiseRule<Op>, ElementwiseCost<Op, flops>>(*context);
  if constexpr (std::is_invocable_v<decltype(function), Operation *, ArrayRef<Tensor>> ||
                std::is_invocable_v<decltype(function), double> ||
                std::is_invocable_v<decltype(function), double, double>)
    Op::template attachInterface<Evaluate<Op, function>>(*context);
}

/// A differentiable float operator: reference function and gradient rule.
template <typename Op, auto function, auto rule, int flops = 1> void real(MLIRContext *context) {
  attach<Op, function, flops>(context);
  Op::template attachInterface<Gradient<Op, rule>>(*context);
}

template <typename Op, auto function> void integer(MLIRContext *context) {
  Op::template attachInterface<ElementwiseRule<Op>, ElementwiseCost<Op, 0>, EvaluateInteger<Op, function>>(*context);
}

using Int = std::optional<int64_t>;
using B = Build;

Values zeroGradient(B &, Operation *op, Value) {
  return Values(op->getNumOperands());
}
Values castGradient(B &b, Operation *op, Value g) {
  return {b.cast(g, getElementTypeOrSelf(op->getOperand(0).getType()))};
}

//===-- arith -----------------------------------------------------------------------------------------------------===//

struct EvaluateConstant : EvaluateOpInterface::ExternalModel<EvaluateConstant, arith::ConstantOp> {
  MaybeTensors evaluate(Operation *op, ArrayRef<Tensor>) const {
    auto elements = dyn_cast<DenseElementsAttr>(cast<arith::ConstantOp>(op).getValue());
    if (!elements)
      return op->emitError() << "only dense tensor constants can be evaluated";
    return SmallVector<Tensor>{tensorFromAttribute(elements)};
  }
};
struct ConstantRule : ShardingRuleOpInterface::ExternalModel<ConstantRule, arith::ConstantOp> {
  ShardingRule getShardingRule(Operation *op) const { return elementwiseRule(op); }
};
struct ConstantCost : CostOpInterface::ExternalModel<ConstantCost, arith::ConstantOp> {
  Cost getCost(Operation *op) const { return {}; }
  RecomputeClass getRecomputeClass(Operation *op) const { return RecomputeClass::Free; }
};

MaybeTensors evaluateCmpF(Operation *op, ArrayRef<Tensor> in) {
  auto predicate = cast<arith::CmpFOp>(op).getPredicate();
  return mapElements(op, in[0], [&](int64_t k) { return holds(predicate, in[0].f()[k], in[1].f()[k]); });
}
MaybeTensors evaluateCmpI(Operation *op, ArrayRef<Tensor> in) {
  auto compare = cast<arith::CmpIOp>(op);
  unsigned width = widthOf(compare.getLhs());
  return mapElements(op, in[0], [&](int64_t k) {
    return arith::applyCmpPredicate(compare.getPredicate(), APInt(width, in[0].i()[k], true, true),
                                    APInt(width, in[1].i()[k], true, true));
  });
}
/// Integers to a wider type or to floats, by their value as signed (true is -1) or unsigned (true is 1) numbers.
MaybeTensors evaluateSigned(Operation *op, ArrayRef<Tensor> in) {
  bool isBoolean = widthOf(op->getOperand(0)) == 1;
  return mapElements(op, in[0], [&](int64_t k) { return isBoolean ? -in[0].i()[k] : in[0].i()[k]; });
}
MaybeTensors evaluateUnsigned(Operation *op, ArrayRef<Tensor> in) {
  uint64_t mask = ~uint64_t(0) >> (64 - widthOf(op->getOperand(0)));
  return mapElements(op, in[0], [&](int64_t k) { return static_cast<uint64_t>(in[0].i()[k]) & mask; });
}
MaybeTensors evaluateSelect(Operation *op, ArrayRef<Tensor> in) {
  Tensor out = in[1];
  for (int64_t k = 0; k < out.size(); ++k)
    if (!in[0].i()[k])
      out.copyElement(k, in[2], k);
  return SmallVector<Tensor>{out};
}

void attachArith(MLIRContext *c, arith::ArithDialect *) {
  arith::ConstantOp::attachInterface<EvaluateConstant, ConstantRule, ConstantCost>(*c);

  // clang-format off
  real<arith::AddFOp, [](double x, double y) { return x + y; }, [](B &, arith::AddFOp, Value g) { return Values{g, g}; }>(c);
  real<arith::SubFOp, [](double x, double y) { return x - y; }, [](B &b, arith::SubFOp, Value g) { return Values{g, b.neg(g)}; }>(c);
  real<arith::MulFOp, [](double x, double y) { return x * y; }, [](B &b, arith::MulFOp o, Value g) { return Values{b.mul(g, o.getRhs()), b.mul(g, o.getLhs())}; }>(c);
  // d(x/y) = g/y, -g (x/y)/y
  real<arith::DivFOp, [](double x, double y) { return x / y; }, [](B &b, arith::DivFOp o, Value g) { Value q = b.div(g, o.getRhs()); return Values{q, b.neg(b.mul(q, o.getResult()))}; }>(c);
  real<arith::NegFOp, [](double x) { return -x; }, [](B &b, arith::NegFOp, Value g) { return Values{b.neg(g)}; }>(c);
  // The larger (smaller) operand gets the cotangent; where they are equal the left one does, as torch.clamp and relu's users expect of x against a constant.
  real<arith::MaximumFOp, nanMax, [](B &b, arith::MaximumFOp o, Value g) { Value left = b.compare(arith::CmpFPredicate::UGE, o.getLhs(), o.getRhs()); return Values{b.selectOrZero(left, g), b.select(left, b.like(g, 0), g)}; }>(c);
  real<arith::MinimumFOp, nanMin, [](B &b, arith::MinimumFOp o, Value g) { Value left = b.compare(arith::CmpFPredicate::ULE, o.getLhs(), o.getRhs()); return Values{b.selectOrZero(left, g), b.select(left, b.like(g, 0), g)}; }>(c);
  real<arith::ExtFOp, [](double x) { return x; }, castGradient>(c);
  real<arith::TruncFOp, [](double x) { return x; }, castGradient>(c); // float64 throughout: rounding is not modelled
  real<arith::SelectOp, evaluateSelect, [](B &b, arith::SelectOp o, Value g) { return Values{Value(), b.selectOrZero(o.getCondition(), g), b.select(o.getCondition(), b.like(g, 0), g)}; }>(c);
  attach<arith::CmpFOp, evaluateCmpF>(c);
  attach<arith::CmpIOp, evaluateCmpI>(c);
  attach<arith::SIToFPOp, evaluateSigned>(c);
  attach<arith::UIToFPOp, evaluateUnsigned>(c);
  attach<arith::FPToSIOp, [](Operation *op, ArrayRef<Tensor> in) -> MaybeTensors { return mapElements(op, in[0], [&](int64_t k) { return toInteger(in[0].f()[k], widthOf(op->getResult(0))); }); }>(c);

  integer<arith::AddIOp, [](int64_t x, int64_t y) { return Int(static_cast<int64_t>(static_cast<uint64_t>(x) + static_cast<uint64_t>(y))); }>(c);
  integer<arith::SubIOp, [](int64_t x, int64_t y) { return Int(static_cast<int64_t>(static_cast<uint64_t>(x) - static_cast<uint64_t>(y))); }>(c);
  integer<arith::MulIOp, [](int64_t x, int64_t y) { return Int(static_cast<int64_t>(static_cast<uint64_t>(x) * static_cast<uint64_t>(y))); }>(c);
  integer<arith::DivSIOp, [](int64_t x, int64_t y) { return y == 0 ? Int() : y == -1 ? Int(static_cast<int64_t>(0 - static_cast<uint64_t>(x))) : Int(x / y); }>(c);
  integer<arith::RemSIOp, [](int64_t x, int64_t y) { return y == 0 ? Int() : y == -1 ? Int(0) : Int(x % y); }>(c);
  integer<arith::MaxSIOp, [](int64_t x, int64_t y) { return Int(std::max(x, y)); }>(c);
  integer<arith::MinSIOp, [](int64_t x, int64_t y) { return Int(std::min(x, y)); }>(c);
  integer<arith::AndIOp, [](int64_t x, int64_t y) { return Int(x & y); }>(c);
  integer<arith::OrIOp, [](int64_t x, int64_t y) { return Int(x | y); }>(c);
  integer<arith::XOrIOp, [](int64_t x, int64_t y) { return Int(x ^ y); }>(c);
  attach<arith::ExtUIOp, evaluateUnsigned, 0>(c);
  attach<arith::ExtSIOp, evaluateSigned, 0>(c);
  integer<arith::TruncIOp, [](int64_t x) { return Int(x); }>(c);
  // clang-format on
}

//===-- math ------------------------------------------------------------------------------------------------------===//

/// d pow(x, y)/dx = y pow(x, y - 1), never through log: right for negative x and integer y.
Values powGradient(B &b, math::PowFOp op, Value g) {
  Value x = op.getLhs(), y = op.getRhs();
  Value lower = b.builder.createOrFold<math::PowFOp>(b.loc, x, b.sub(y, b.like(y, 1.0)));
  Value dx = b.mul(g, b.mul(y, lower));
  // d/dy = pow(x, y) log x, 0 where x is 0 (its limit for y > 0).
  Value positive = b.compare(arith::CmpFPredicate::OGT, x, b.like(x, 0.0));
  Value dy = b.mul(g, b.mul(op.getResult(), b.log(b.select(positive, x, b.like(x, 1.0)))));
  return {dx, dy};
}

Values absGradient(B &b, math::AbsFOp op, Value g) {
  Value x = op.getOperand(), zero = b.like(x, 0.0);
  Value negative = b.compare(arith::CmpFPredicate::OLT, x, zero),
        positive = b.compare(arith::CmpFPredicate::OGT, x, zero);
  return {b.select(positive, g, b.selectOrZero(negative, b.neg(g)))};
}

double roundEven(double x) {
  return std::nearbyint(x);
}

void attachMath(MLIRContext *c, math::MathDialect *) {
  // clang-format off
  real<math::ExpOp, [](double x) { return std::exp(x); }, [](B &b, math::ExpOp o, Value g) { return Values{b.mul(g, o.getResult())}; }>(c);
  real<math::LogOp, [](double x) { return std::log(x); }, [](B &b, math::LogOp o, Value g) { return Values{b.div(g, o.getOperand())}; }>(c);
  real<math::SqrtOp, [](double x) { return std::sqrt(x); }, [](B &b, math::SqrtOp o, Value g) { return Values{b.div(b.scale(g, 0.5), o.getResult())}; }>(c);
  // d x^-1/2 = -1/2 y^3
  real<math::RsqrtOp, [](double x) { return 1 / std::sqrt(x); }, [](B &b, math::RsqrtOp o, Value g) { Value y = o.getResult(); return Values{b.mul(b.scale(g, -0.5), b.mul(y, b.mul(y, y)))}; }>(c);
  real<math::TanhOp, [](double x) { return std::tanh(x); }, [](B &b, math::TanhOp o, Value g) { Value y = o.getResult(); return Values{b.mul(g, b.sub(b.like(y, 1.0), b.mul(y, y)))}; }>(c);
  // d erf = 2/sqrt(pi) exp(-x^2)
  real<math::ErfOp, [](double x) { return std::erf(x); }, [](B &b, math::ErfOp o, Value g) { Value x = o.getOperand(); return Values{b.mul(g, b.scale(b.exp(b.neg(b.mul(x, x))), 1.1283791670955126))}; }>(c);
  real<math::SinOp, [](double x) { return std::sin(x); }, [](B &b, math::SinOp o, Value g) { return Values{b.mul(g, b.builder.createOrFold<math::CosOp>(b.loc, o.getOperand()))}; }>(c);
  real<math::CosOp, [](double x) { return std::cos(x); }, [](B &b, math::CosOp o, Value g) { return Values{b.neg(b.mul(g, b.builder.createOrFold<math::SinOp>(b.loc, o.getOperand())))}; }>(c);
  real<math::Log1pOp, [](double x) { return std::log1p(x); }, [](B &b, math::Log1pOp o, Value g) { return Values{b.div(g, b.add(o.getOperand(), b.like(g, 1.0)))}; }>(c);
  real<math::ExpM1Op, [](double x) { return std::expm1(x); }, [](B &b, math::ExpM1Op o, Value g) { return Values{b.mul(g, b.add(o.getResult(), b.like(g, 1.0)))}; }>(c);
  real<math::PowFOp, [](double x, double y) { return std::pow(x, y); }, powGradient>(c);
  real<math::AbsFOp, [](double x) { return std::fabs(x); }, absGradient>(c);
  real<math::FloorOp, [](double x) { return std::floor(x); }, zeroGradient>(c);
  real<math::CeilOp, [](double x) { return std::ceil(x); }, zeroGradient>(c);
  real<math::RoundEvenOp, roundEven, zeroGradient>(c);
  integer<math::AbsIOp, [](int64_t x) { return Int(x < 0 ? static_cast<int64_t>(0 - static_cast<uint64_t>(x)) : x); }>(c);
  // clang-format on
}

} // namespace

void registerElementwiseModels(DialectRegistry &registry) {
  registry.addExtension(+[](MLIRContext *context, arith::ArithDialect *dialect) {
    context->loadDialect<NNDialect>();
    attachArith(context, dialect);
  });
  registry.addExtension(+[](MLIRContext *context, math::MathDialect *dialect) { attachMath(context, dialect); });
}

//===-- nn's own element-wise operators ---------------------------------------------------------------------------===//

// clang-format off
FailureOr<SmallVector<Tensor>> SigmoidOp::evaluate(ArrayRef<Tensor> in) {
  return mapElements(*this, in[0], [&](int64_t k) { double x = in[0].f()[k]; return x >= 0 ? 1 / (1 + std::exp(-x)) : std::exp(x) / (1 + std::exp(x)); });
}
FailureOr<SmallVector<Tensor>> SoftplusOp::evaluate(ArrayRef<Tensor> in) {
  return mapElements(*this, in[0], [&](int64_t k) { double x = in[0].f()[k]; return nanMax(x, 0) + std::log1p(std::exp(-std::fabs(x))); });
}
// clang-format on

FailureOr<SmallVector<Value>> SigmoidOp::buildVJP(OpBuilder &builder, ValueRange g, ArrayRef<bool>) {
  Build b(builder, getLoc());
  return Values{b.mul(g[0], b.mul(getResult(), b.sub(b.like(g[0], 1.0), getResult())))};
}
FailureOr<SmallVector<Value>> SoftplusOp::buildVJP(OpBuilder &builder, ValueRange g, ArrayRef<bool>) {
  Build b(builder, getLoc());
  return Values{b.mul(g[0], b.sigmoid(getInput()))};
}

ShardingRule SigmoidOp::getShardingRule() {
  return elementwiseRule(*this);
}
ShardingRule SoftplusOp::getShardingRule() {
  return elementwiseRule(*this);
}
Cost SigmoidOp::getCost() {
  return costFromRule(*this, getShardingRule(), 4);
}
Cost SoftplusOp::getCost() {
  return costFromRule(*this, getShardingRule(), 5);
}
RecomputeClass SigmoidOp::getRecomputeClass() {
  return RecomputeClass::Cheap;
}
RecomputeClass SoftplusOp::getRecomputeClass() {
  return RecomputeClass::Cheap;
}

} // namespace graft::nn
