#include "passes/import/Match.h"

#include "mlir/IR/Matchers.h"

using namespace mlir;

namespace graft {

std::optional<double> splatNumber(Value value) {
  while (Operation *op = value.getDefiningOp()) {
    if (!isa<nn::BroadcastOp, nn::ReshapeOp, nn::TransposeOp, nn::SliceOp>(op))
      break;
    value = op->getOperand(0);
  }
  DenseElementsAttr elements;
  if (!matchPattern(value, m_Constant(&elements)) || !elements.isSplat())
    return std::nullopt;
  auto element = elements.getSplatValue<Attribute>();
  if (auto number = dyn_cast<FloatAttr>(element))
    return number.getValueAsDouble();
  auto integer = cast<IntegerAttr>(element);
  return integer.getType().isInteger(1) ? static_cast<double>(integer.getValue().getZExtValue())
                                        : static_cast<double>(integer.getValue().getSExtValue());
}

Scaled stripFactors(Value value) {
  Scaled out{value};
  for (;;) {
    Operation *op = out.value.getDefiningOp();
    if (auto product = dyn_cast_if_present<arith::MulFOp>(op)) {
      if (auto factor = splatNumber(product.getRhs()))
        out = {product.getLhs(), out.factor * *factor};
      else if (auto left = splatNumber(product.getLhs()))
        out = {product.getRhs(), out.factor * *left};
      else
        return out;
    } else if (auto quotient = dyn_cast_if_present<arith::DivFOp>(op)) {
      auto divisor = splatNumber(quotient.getRhs());
      if (!divisor || *divisor == 0)
        return out;
      out = {quotient.getLhs(), out.factor / *divisor};
    } else if (auto negated = dyn_cast_if_present<arith::NegFOp>(op)) {
      out = {negated.getOperand(), -out.factor};
    } else {
      return out;
    }
  }
}

Value cloneElementwise(OpBuilder &builder, Operation *op, ValueRange operands) {
  OperationState state(op->getLoc(), op->getName());
  state.addOperands(operands);
  state.addTypes(nn::typeOf(op->getResult(0)).clone(nn::shapeOf(operands[0])));
  state.addAttributes(op->getDiscardableAttrDictionary().getValue());
  state.propertiesAttr = op->getPropertiesAsAttribute();
  return builder.create(state)->getResult(0);
}

Value splatOfShape(OpBuilder &builder, Location loc, Value splat, ArrayRef<int64_t> shape) {
  return nn::Build(builder, loc).splat(nn::typeOf(splat).clone(shape), *splatNumber(splat));
}

} // namespace graft
