#include "dialects/nn/Build.h"

using namespace mlir;

namespace graft::nn {

namespace {
bool isFloat(Value value) {
  return isa<FloatType>(getElementTypeOrSelf(value.getType()));
}
template <typename Op, typename... Args> Value create(Build &build, Args &&...args) {
  return build.builder.createOrFold<Op>(build.loc, std::forward<Args>(args)...);
}
} // namespace

Value Build::splat(RankedTensorType type, double value) {
  Attribute element = isa<FloatType>(type.getElementType())
                          ? Attribute(builder.getFloatAttr(type.getElementType(), value))
                          : Attribute(builder.getIntegerAttr(type.getElementType(), static_cast<int64_t>(value)));
  return arith::ConstantOp::create(builder, loc, type, DenseElementsAttr::get(type, element));
}

Value Build::add(Value a, Value b) {
  return isFloat(a) ? create<arith::AddFOp>(*this, a, b) : create<arith::AddIOp>(*this, a, b);
}
Value Build::sub(Value a, Value b) {
  return isFloat(a) ? create<arith::SubFOp>(*this, a, b) : create<arith::SubIOp>(*this, a, b);
}
Value Build::mul(Value a, Value b) {
  return isFloat(a) ? create<arith::MulFOp>(*this, a, b) : create<arith::MulIOp>(*this, a, b);
}
Value Build::div(Value a, Value b) {
  return create<arith::DivFOp>(*this, a, b);
}
Value Build::neg(Value a) {
  return isFloat(a) ? create<arith::NegFOp>(*this, a) : sub(like(a, 0), a);
}
Value Build::max(Value a, Value b) {
  return isFloat(a) ? create<arith::MaximumFOp>(*this, a, b) : create<arith::MaxSIOp>(*this, a, b);
}
Value Build::min(Value a, Value b) {
  return isFloat(a) ? create<arith::MinimumFOp>(*this, a, b) : create<arith::MinSIOp>(*this, a, b);
}
Value Build::exp(Value a) {
  return create<math::ExpOp>(*this, a);
}
Value Build::log(Value a) {
  return create<math::LogOp>(*this, a);
}
Value Build::sqrt(Value a) {
  return create<math::SqrtOp>(*this, a);
}
Value Build::rsqrt(Value a) {
  return create<math::RsqrtOp>(*this, a);
}
Value Build::tanh(Value a) {
  return create<math::TanhOp>(*this, a);
}
Value Build::sigmoid(Value a) {
  return create<SigmoidOp>(*this, a);
}
Value Build::compare(arith::CmpFPredicate predicate, Value a, Value b) {
  return create<arith::CmpFOp>(*this, predicate, a, b);
}
Value Build::compare(arith::CmpIPredicate predicate, Value a, Value b) {
  return create<arith::CmpIOp>(*this, predicate, a, b);
}
Value Build::logicalAnd(Value a, Value b) {
  return create<arith::AndIOp>(*this, a, b);
}
Value Build::logicalOr(Value a, Value b) {
  return create<arith::OrIOp>(*this, a, b);
}
Value Build::select(Value condition, Value a, Value b) {
  return create<arith::SelectOp>(*this, condition, a, b);
}

Value Build::cast(Value a, Type to) {
  RankedTensorType type = typeOf(a), result = type.clone(to);
  Type from = type.getElementType();
  if (from == to)
    return a;
  bool fromFloat = isa<FloatType>(from), toFloat = isa<FloatType>(to);
  unsigned fromWidth = from.getIntOrFloatBitWidth(), toWidth = to.getIntOrFloatBitWidth();
  if (fromFloat && toFloat) {
    if (fromWidth == toWidth) // bf16 and f16: through f32
      return cast(cast(a, builder.getF32Type()), to);
    return toWidth > fromWidth ? create<arith::ExtFOp>(*this, result, a) : create<arith::TruncFOp>(*this, result, a);
  }
  if (toFloat)
    return fromWidth == 1 ? create<arith::UIToFPOp>(*this, result, a) : create<arith::SIToFPOp>(*this, result, a);
  if (toWidth == 1)
    return fromFloat ? compare(arith::CmpFPredicate::UNE, a, like(a, 0))
                     : compare(arith::CmpIPredicate::ne, a, like(a, 0));
  if (fromFloat)
    return create<arith::FPToSIOp>(*this, result, a);
  if (fromWidth == 1)
    return create<arith::ExtUIOp>(*this, result, a);
  return toWidth > fromWidth ? create<arith::ExtSIOp>(*this, result, a) : create<arith::TruncIOp>(*this, result, a);
}

Value Build::reshape(Value a, Shape shape) {
  return create<ReshapeOp>(*this, typeOf(a).clone(shape), a);
}
Value Build::transpose(Value a, ArrayRef<int64_t> permutation) {
  return create<TransposeOp>(*this, a, permutation);
}
Value Build::broadcast(Value a, Shape shape, ArrayRef<int64_t> dimensions) {
  return create<BroadcastOp>(*this, typeOf(a).clone(shape), a, dimensions);
}

Value Build::broadcastAlong(Value a, Shape shape, ArrayRef<int64_t> axes) {
  SmallVector<int64_t> dimensions;
  for (int64_t d = 0; d < static_cast<int64_t>(shape.size()); ++d)
    if (!llvm::is_contained(axes, d))
      dimensions.push_back(d);
  return broadcast(a, shape, dimensions);
}

Value Build::broadcastTo(Value a, Shape shape) {
  Shape from = shapeOf(a);
  if (from == shape)
    return a;
  SmallVector<int64_t> kept, dimensions;
  size_t missing = shape.size() - from.size();
  for (size_t d = 0; d < from.size(); ++d)
    if (from[d] == shape[missing + d]) {
      kept.push_back(from[d]);
      dimensions.push_back(static_cast<int64_t>(missing + d));
    }
  return broadcast(reshape(a, kept), shape, dimensions);
}

Value Build::slice(Value a, ArrayRef<int64_t> starts, Shape sizes) {
  SmallVector<int64_t> steps(starts.size(), 1);
  return create<SliceOp>(*this, typeOf(a).clone(sizes), a, starts, steps);
}

Value Build::sliceAxis(Value a, int64_t axis, int64_t start, int64_t size) {
  SmallVector<int64_t> starts(shapeOf(a).size(), 0), sizes(shapeOf(a));
  starts[axis] = start;
  sizes[axis] = size;
  return slice(a, starts, sizes);
}

Value Build::concat(ValueRange inputs, int64_t axis) {
  SmallVector<int64_t> shape(shapeOf(inputs[0]));
  shape[axis] = 0;
  for (Value input : inputs)
    shape[axis] += shapeOf(input)[axis];
  return create<ConcatOp>(*this, typeOf(inputs[0]).clone(shape), inputs, axis);
}

Value Build::iota(Shape shape, int64_t axis, Type elementType) {
  return create<IotaOp>(*this, RankedTensorType::get(shape, elementType), axis);
}

Value Build::reduce(ReduceKind kind, Value a, ArrayRef<int64_t> axes) {
  if (axes.empty())
    return a;
  SmallVector<int64_t> sorted(axes);
  llvm::sort(sorted);
  return create<ReduceOp>(*this, kind, a, sorted);
}

Value Build::rowSum(Value a) {
  int64_t last = static_cast<int64_t>(shapeOf(a).size()) - 1;
  return broadcastAlong(sum(a, {last}), shapeOf(a), {last});
}

Value Build::contract(StringRef equation, Value lhs, Value rhs) {
  auto [inputs, out] = equation.split("->");
  auto [l, r] = inputs.split(',');
  SmallVector<int64_t> shape;
  for (char label : out)
    shape.push_back(l.contains(label) ? shapeOf(lhs)[l.find(label)] : shapeOf(rhs)[r.find(label)]);
  return create<ContractOp>(*this, typeOf(lhs).clone(shape), equation, lhs, rhs);
}

} // namespace graft::nn
