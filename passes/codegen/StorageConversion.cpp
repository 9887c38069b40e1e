// See StorageConversion.h.
#include "passes/codegen/StorageConversion.h"
#include "mlir/Dialect/Arith/IR/Arith.h"

using namespace mlir;

namespace graft {

Type withShapeOf(Type like, Type type) {
  auto vector = dyn_cast<VectorType>(like);
  return vector ? Type(VectorType::get(vector.getShape(), type)) : type;
}

Value splatConstant(OpBuilder &builder, Location loc, Type type, TypedAttr element) {
  if (auto vector = dyn_cast<VectorType>(type))
    element = DenseElementsAttr::get(vector, element);
  return arith::ConstantOp::create(builder, loc, element);
}

Value splatConstant(OpBuilder &builder, Location loc, Type type, double value) {
  Type element = getElementTypeOrSelf(type);
  if (isa<FloatType>(element))
    return splatConstant(builder, loc, type, builder.getFloatAttr(element, value));
  return splatConstant(builder, loc, type, builder.getIntegerAttr(element, static_cast<int64_t>(value)));
}

Type bufferType(Type elementType) {
  Builder builder(elementType.getContext());
  if (elementType.isBF16())
    return builder.getI16Type();
  return elementType.isInteger(1) ? Type(builder.getI8Type()) : elementType;
}

/// bf16 bits (i16) to f32: they are its upper half.
static Value bf16ToF32(OpBuilder &b, Location loc, Value bits) {
  Type i32 = withShapeOf(bits.getType(), b.getI32Type()), f32 = withShapeOf(bits.getType(), b.getF32Type());
  Value wide = arith::ExtUIOp::create(b, loc, i32, bits);
  Value shifted = arith::ShLIOp::create(b, loc, wide, splatConstant(b, loc, i32, 16));
  return arith::BitcastOp::create(b, loc, f32, shifted);
}

/// f32 to bf16 bits (i16): adds just under half of the dropped part, plus one for odd results, so that ties go to even.
static Value f32ToBf16(OpBuilder &b, Location loc, Value value) {
  Type i32 = withShapeOf(value.getType(), b.getI32Type()), i16 = withShapeOf(value.getType(), b.getI16Type());
  auto constant = [&](double number) { return splatConstant(b, loc, i32, number); };
  Value bits = arith::BitcastOp::create(b, loc, i32, value);
  Value upper = arith::ShRUIOp::create(b, loc, bits, constant(16));
  Value odd = arith::AndIOp::create(b, loc, upper, constant(1));
  Value half = arith::AddIOp::create(b, loc, odd, constant(0x7fff));
  Value rounded = arith::ShRUIOp::create(b, loc, arith::AddIOp::create(b, loc, bits, half), constant(16));
  Value quiet = arith::OrIOp::create(b, loc, upper, constant(0x40));
  Value isNaN = arith::CmpFOp::create(b, loc, arith::CmpFPredicate::UNO, value, value);
  return arith::TruncIOp::create(b, loc, i16, arith::SelectOp::create(b, loc, isNaN, quiet, rounded));
}

Value fromBuffer(OpBuilder &b, Location loc, Type elementType, Value stored) {
  if (elementType.isBF16())
    return bf16ToF32(b, loc, stored);
  if (elementType.isF16())
    return arith::ExtFOp::create(b, loc, withShapeOf(stored.getType(), b.getF32Type()), stored);
  if (elementType.isInteger(1))
    return arith::CmpIOp::create(b, loc, arith::CmpIPredicate::ne, stored, splatConstant(b, loc, stored.getType(), 0));
  return stored;
}

Value toBuffer(OpBuilder &b, Location loc, Type elementType, Value computed, bool roundsToBf16) {
  auto like = [&](Type type) { return withShapeOf(computed.getType(), type); };
  if (elementType.isBF16() && roundsToBf16)
    return arith::BitcastOp::create(b, loc, like(b.getI16Type()),
                                    arith::TruncFOp::create(b, loc, like(elementType), computed));
  if (elementType.isBF16())
    return f32ToBf16(b, loc, computed);
  if (elementType.isF16())
    return arith::TruncFOp::create(b, loc, like(b.getF16Type()), computed);
  if (elementType.isInteger(1))
    return arith::ExtUIOp::create(b, loc, like(b.getI8Type()), computed);
  return computed;
}

} // namespace graft
