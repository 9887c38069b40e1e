#include "dialects/nn/FactorRules.h"

using namespace mlir;

namespace graft::nn {

RuleBuilder::RuleBuilder(Operation *op) {
  for (Value operand : op->getOperands())
    rule_.operands.emplace_back(typeOf(operand).getRank());
  for (Value result : op->getResults())
    rule_.results.emplace_back(typeOf(result).getRank());
}

int RuleBuilder::factor(int64_t size, FactorKind kind) {
  rule_.factors.push_back({size, kind});
  return static_cast<int>(rule_.factors.size()) - 1;
}

ShardingRule elementwiseRule(Operation *op) {
  RuleBuilder rule(op);
  for (auto [d, size] : llvm::enumerate(shapeOf(op->getResult(0)))) {
    int factor = rule.factor(size);
    for (unsigned i = 0; i < op->getNumOperands(); ++i)
      rule.operand(i, static_cast<int64_t>(d), factor);
    rule.result(static_cast<int64_t>(d), factor);
  }
  return rule.take();
}

Cost costFromRule(Operation *op, const ShardingRule &rule, int64_t flopsPerPoint) {
  Cost cost;
  cost.flops = rule.points() * flopsPerPoint;
  auto count = [&](Value value) {
    auto type = typeOf(value);
    cost.bytes += type.getNumElements() * ((type.getElementTypeBitWidth() + 7) / 8);
  };
  llvm::for_each(op->getOperands(), count);
  llvm::for_each(op->getResults(), count);
  return cost;
}

int64_t wrap(int64_t value, unsigned width) {
  if (width == 1)
    return value & 1;
  if (width >= 64)
    return value;
  return static_cast<int64_t>(static_cast<uint64_t>(value) << (64 - width)) >> (64 - width);
}

Tensor tensorFromAttribute(DenseElementsAttr elements) {
  Tensor::Shape shape(elements.getType().getShape());
  if (isa<FloatType>(elements.getElementType())) {
    std::vector<double> values;
    values.reserve(elements.getNumElements());
    for (const APFloat &value : elements.getValues<APFloat>()) {
      APFloat copy = value;
      bool loses;
      copy.convert(APFloat::IEEEdouble(), APFloat::rmNearestTiesToEven, &loses);
      values.push_back(copy.convertToDouble());
    }
    return Tensor::floats(std::move(shape), std::move(values));
  }
  bool isBoolean = elements.getElementType().isInteger(1);
  std::vector<int64_t> values;
  values.reserve(elements.getNumElements());
  for (const APInt &value : elements.getValues<APInt>())
    values.push_back(isBoolean ? static_cast<int64_t>(value.getZExtValue()) : value.getSExtValue());
  return Tensor::integers(std::move(shape), std::move(values));
}

DenseElementsAttr attributeFromTensor(const Tensor &tensor, RankedTensorType type) {
  if (auto element = dyn_cast<FloatType>(type.getElementType())) {
    SmallVector<APFloat> values;
    values.reserve(tensor.size());
    for (double value : tensor.f()) {
      APFloat rounded(value);
      bool loses;
      rounded.convert(element.getFloatSemantics(), APFloat::rmNearestTiesToEven, &loses);
      values.push_back(rounded);
    }
    return DenseElementsAttr::get(type, values);
  }
  unsigned width = type.getElementTypeBitWidth();
  SmallVector<APInt> values;
  values.reserve(tensor.size());
  for (int64_t value : tensor.i())
    values.push_back(APInt(width, static_cast<uint64_t>(value), true, true));
  return DenseElementsAttr::get(type, values);
}

} // namespace graft::nn
