// Operators that make tensors out of nothing but numbers.
#include "frontends/onnx/import/Import.h"
#include "frontends/onnx/import/Table.h"

#include "dialects/nn/FactorRules.h"

#include "mlir/IR/Matchers.h"

#include <cmath>

using namespace mlir;

namespace graft::onnx {

namespace {

void constant(Call &c) {
  Build &b = c.b;
  if (auto *value = c.attribute("value", AttributeType::Tensor))
    return c.result(c.constantTensor(value->tensors.at(0)));
  if (auto *value = c.attribute("value_int", AttributeType::Int))
    return c.result(c.constantIntegers({value->i}, {}));
  if (auto value = c.integers("value_ints"))
    return c.result(c.constantIntegers(*value));
  if (auto *value = c.attribute("value_float", AttributeType::Float))
    return c.result(c.splat({}, b.builder.getF32Type(), value->f));
  if (auto *value = c.attribute("value_floats", AttributeType::Floats)) {
    auto type = RankedTensorType::get({static_cast<int64_t>(value->floats.size())}, b.builder.getF32Type());
    return c.result(arith::ConstantOp::create(b.builder, b.loc, DenseElementsAttr::get(type, ArrayRef(value->floats))));
  }
  c.fail(Code::Unsupported, "a constant that is neither a tensor nor numbers");
}

void constantOfShape(Call &c) {
  std::vector<int64_t> shape = c.constants(0);
  c.elements(shape);
  auto *attribute = c.attribute("value", AttributeType::Tensor);
  if (!attribute)
    return c.result(c.splat(shape, c.b.builder.getF32Type(), 0));
  Value value = c.constantTensor(attribute->tensors.at(0));
  if (typeOf(value).getNumElements() != 1)
    c.fail(Code::Range, "attribute 'value' has shape " + text(shapeOf(value)) + ", expected one element");
  DenseElementsAttr element;
  matchPattern(value, m_Constant(&element));
  auto type = RankedTensorType::get(shape, element.getElementType());
  auto filled = DenseElementsAttr::get(type, *element.value_begin<mlir::Attribute>());
  c.result(arith::ConstantOp::create(c.b.builder, c.b.loc, filled));
}

/// start, start + delta, ... below limit. Long ones stay a formula.
template <typename T> void range(Call &c, T start, T limit, T delta, mlir::Type type) {
  if (!(delta != 0) || !std::isfinite(static_cast<double>(start)) || !std::isfinite(static_cast<double>(limit)) ||
      !std::isfinite(static_cast<double>(delta)))
    c.fail(Code::Range, "a range with a step of 0 or bounds that are not finite");
  long double count =
      std::ceil((static_cast<long double>(limit) - static_cast<long double>(start)) / static_cast<long double>(delta));
  if (count > static_cast<long double>(maxTensorElements))
    c.fail(Code::Limit, "a range of more than 2^34 numbers");
  Sizes shape{std::max<int64_t>(static_cast<int64_t>(count), 0)};
  Build &b = c.b;
  auto scalar = [&](T value) -> Value {
    auto tensor = RankedTensorType::get(shape, type);
    mlir::Attribute element;
    if constexpr (std::is_same_v<T, double>)
      element = b.builder.getFloatAttr(type, value);
    else
      element = b.builder.getIntegerAttr(type, value);
    return arith::ConstantOp::create(b.builder, b.loc, DenseElementsAttr::get(tensor, element));
  };
  Value out = b.iota(shape, 0, type);
  if (delta != 1)
    out = b.mul(out, scalar(delta));
  if (start != 0)
    out = b.add(out, scalar(start));
  c.result(out);
}

void rangeOf(Call &c) {
  Value first = c.numeric(0);
  std::array<graft::Tensor, 3> bounds;
  for (size_t i = 0; i < 3; ++i) {
    Value value = c.numeric(i);
    c.sameTypes(first, value);
    DenseElementsAttr elements;
    if (!matchPattern(value, m_Constant(&elements)))
      c.fail(Code::Unsupported, "input " + std::to_string(i) + " depends on data, expected a constant",
             "shapes and bounds must follow from the sizes of the inputs");
    if (elements.getNumElements() != 1)
      c.fail(Code::Range, "input " + std::to_string(i) + " has shape " + text(shapeOf(value)) + ", expected a scalar");
    bounds[i] = nn::tensorFromAttribute(elements);
  }
  mlir::Type type = typeOf(first).getElementType();
  if (isFloat(first))
    range<double>(c, bounds[0].f()[0], bounds[1].f()[0], bounds[2].f()[0], type);
  else
    range<int64_t>(c, bounds[0].i()[0], bounds[1].i()[0], bounds[2].i()[0], type);
}

constexpr Translation translations[] = {
    {"Constant", 12, constant},
    {"ConstantOfShape", 9, constantOfShape},
    {"Range", 11, rangeOf},
};

} // namespace

std::span<const Translation> constantTranslations() {
  return translations;
}

} // namespace graft::onnx
