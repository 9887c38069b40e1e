#include "frontends/onnx/import/Call.h"

#include "frontends/onnx/import/Importer.h"

#include "dialects/nn/FactorRules.h"

#include "mlir/IR/Matchers.h"
#include "llvm/Support/raw_ostream.h"

#include <cmath>

using namespace mlir;

namespace graft::onnx {

std::string text(ArrayRef<int64_t> shape) {
  return shapeText({shape.data(), shape.size()});
}
std::string text(mlir::Type type) {
  std::string out;
  llvm::raw_string_ostream(out) << type;
  return out;
}

std::optional<std::vector<int64_t>> constantElements(Value value) {
  DenseElementsAttr elements;
  if (isFloat(value) || !matchPattern(value, m_Constant(&elements)))
    return std::nullopt;
  return nn::tensorFromAttribute(elements).i();
}

std::optional<double> splatElement(Value value) {
  DenseElementsAttr elements;
  if (!matchPattern(value, m_Constant(&elements)) || !elements.isSplat())
    return std::nullopt;
  auto one = elements.getSplatValue<mlir::Attribute>();
  if (auto number = dyn_cast<FloatAttr>(one))
    return number.getValueAsDouble();
  return static_cast<double>(cast<IntegerAttr>(one).getValue().getSExtValue());
}

void Call::fail(Code code, std::string message, std::string hint) const {
  throw NodeFault{code, std::move(message), std::move(hint)};
}

//===-- Operands --------------------------------------------------------------------------------------------------===//

const Binding &Call::any(size_t index) {
  if (!has(index))
    fail(Code::Graph, "input " + std::to_string(index) + " is missing");
  read_[index] = true;
  const Binding &found = importer_.lookup(node.inputs[index]);
  if (found.kind == Binding::Kind::Failed)
    throw Dependent{};
  if (found.kind == Binding::Kind::Absent)
    fail(Code::Unsupported, "input " + std::to_string(index) + ": " + found.reason);
  return found;
}

Value Call::input(size_t index) {
  const Binding &found = any(index);
  if (found.kind != Binding::Kind::Tensor)
    fail(Code::Type, "input " + std::to_string(index) + " is a sequence, expected a tensor");
  return found.values[0];
}

ArrayRef<Value> Call::sequence(size_t index) {
  const Binding &found = any(index);
  if (found.kind != Binding::Kind::Sequence)
    fail(Code::Type, "input " + std::to_string(index) + " is a tensor, expected a sequence");
  return found.values;
}

namespace {
std::string wrongType(size_t index, Value value, std::string_view expected) {
  return "input " + std::to_string(index) + " is " + text(value.getType()) + ", expected " + std::string(expected);
}
} // namespace

Value Call::numeric(size_t index) {
  Value value = input(index);
  if (isBoolean(value))
    fail(Code::Type, wrongType(index, value, "numbers"));
  return value;
}
Value Call::real(size_t index) {
  Value value = input(index);
  if (!isFloat(value))
    fail(Code::Type, wrongType(index, value, "floating-point numbers"));
  return value;
}
Value Call::integral(size_t index) {
  Value value = input(index);
  if (!isInteger(value))
    fail(Code::Type, wrongType(index, value, "integers"));
  return value;
}
Value Call::boolean(size_t index) {
  Value value = input(index);
  if (!isBoolean(value))
    fail(Code::Type, wrongType(index, value, "booleans"));
  return value;
}

std::vector<int64_t> Call::constants(size_t index) {
  Value value = integral(index);
  if (rankOf(value) > 1)
    fail(Code::Range, wrongType(index, value, "one dimension"));
  auto elements = constantElements(value);
  if (!elements)
    fail(Code::Unsupported, "input " + std::to_string(index) + " depends on data, expected a constant",
         "shapes and bounds must follow from the sizes of the inputs");
  return *elements;
}

int64_t Call::constant(size_t index) {
  std::vector<int64_t> values = constants(index);
  if (values.size() != 1)
    fail(Code::Range,
         "input " + std::to_string(index) + " has " + std::to_string(values.size()) + " elements, expected one");
  return values[0];
}

void Call::ignoreInput(size_t index) {
  if (index < read_.size())
    read_[index] = true;
}

//===-- Attributes ------------------------------------------------------------------------------------------------===//

const Attribute *Call::attribute(std::string_view name, AttributeType type) {
  known_.insert(name);
  const Attribute *found = node.attribute(name);
  if (found && !found->is(type))
    fail(Code::Type, "attribute '" + std::string(name) + "' has type " + std::to_string(found->type) + ", expected " +
                         std::to_string(static_cast<int32_t>(type)) + " of AttributeProto.AttributeType");
  return found;
}

int64_t Call::integer(std::string_view name, int64_t otherwise) {
  const Attribute *found = attribute(name, AttributeType::Int);
  return found ? found->i : otherwise;
}
int64_t Call::requiredInteger(std::string_view name) {
  if (const Attribute *found = attribute(name, AttributeType::Int))
    return found->i;
  fail(Code::Graph, "attribute '" + std::string(name) + "' is missing");
}
bool Call::flag(std::string_view name, bool otherwise) {
  int64_t value = integer(name, otherwise);
  if (value != 0 && value != 1)
    fail(Code::Range, "attribute '" + std::string(name) + "' is " + std::to_string(value) + ", expected 0 or 1");
  return value != 0;
}
double Call::number(std::string_view name, double otherwise) {
  const Attribute *found = attribute(name, AttributeType::Float);
  double value = found ? found->f : otherwise;
  if (!std::isfinite(value))
    fail(Code::Range, "attribute '" + std::string(name) + "' is not finite");
  return value;
}
std::string_view Call::text(std::string_view name, std::string_view otherwise) {
  const Attribute *found = attribute(name, AttributeType::String);
  return found ? found->s : otherwise;
}
std::optional<std::vector<int64_t>> Call::integers(std::string_view name) {
  const Attribute *found = attribute(name, AttributeType::Ints);
  return found ? std::optional(found->ints) : std::nullopt;
}

void Call::checkAllRead() const {
  for (const Attribute &attribute : node.attributes)
    if (!known_.contains(attribute.name))
      fail(Code::Unsupported, "attribute '" + escaped(attribute.name) + "' is not known for " + escaped(node.op) +
                                  " of opset " + std::to_string(node.opset));
  for (size_t i = 0; i < read_.size(); ++i)
    if (!read_[i] && has(i))
      fail(Code::Unsupported, "input " + std::to_string(i) + " is not known for " + escaped(node.op) + " of opset " +
                                  std::to_string(node.opset));
}

//===-- Shapes and types ------------------------------------------------------------------------------------------===//

int64_t Call::axis(int64_t value, int64_t rank) {
  if (value < -rank || value >= rank)
    fail(Code::Range, "axis " + std::to_string(value) + " of a tensor of rank " + std::to_string(rank));
  return value < 0 ? value + rank : value;
}

Sizes Call::axes(ArrayRef<int64_t> values, int64_t rank) {
  Sizes out;
  for (int64_t value : values)
    out.push_back(axis(value, rank));
  llvm::sort(out);
  if (std::adjacent_find(out.begin(), out.end()) != out.end())
    fail(Code::Range, "an axis is named twice in " + onnx::text(values));
  return out;
}

Sizes Call::commonShape(ArrayRef<int64_t> a, ArrayRef<int64_t> b) {
  if (a.size() < b.size())
    std::swap(a, b);
  Sizes out(a);
  for (size_t d = 0; d < b.size(); ++d) {
    int64_t &size = out[a.size() - b.size() + d];
    if (size == 1)
      size = b[d];
    else if (b[d] != 1 && b[d] != size)
      fail(Code::Range, "shapes " + onnx::text(a) + " and " + onnx::text(b) + " do not fit together");
  }
  elements(out);
  return out;
}

Sizes Call::commonShape(ArrayRef<Value> values) {
  Sizes out;
  for (Value value : values)
    out = commonShape(out, shapeOf(value));
  return out;
}

Value Call::broadcastTo(Value value, ArrayRef<int64_t> shape) {
  if (shapeOf(value) == shape)
    return value;
  if (rankOf(value) > static_cast<int64_t>(shape.size()) || commonShape(shapeOf(value), shape) != Sizes(shape))
    fail(Code::Range,
         "a tensor of shape " + onnx::text(shapeOf(value)) + " cannot be repeated to " + onnx::text(shape));
  DenseElementsAttr elements;
  if (matchPattern(value, m_Constant(&elements)) && elements.isSplat())
    return arith::ConstantOp::create(
        b.builder, b.loc,
        DenseElementsAttr::get(typeOf(value).clone(shape), elements.getSplatValue<mlir::Attribute>()));
  return b.broadcastTo(value, shape);
}

SmallVector<Value> Call::broadcast(ArrayRef<Value> values) {
  Sizes shape = commonShape(values);
  SmallVector<Value> out;
  for (Value value : values)
    out.push_back(broadcastTo(value, shape));
  return out;
}

void Call::sameTypes(Value x, Value y) {
  if (typeOf(x).getElementType() != typeOf(y).getElementType())
    fail(Code::Type, "operands of different types, " + onnx::text(x.getType()) + " and " + onnx::text(y.getType()));
}

mlir::Type Call::elementType(int64_t dataType) {
  mlir::Type type = dataType >= 0 && dataType <= std::numeric_limits<int32_t>::max()
                        ? elementTypeOf(static_cast<int32_t>(dataType), b.builder.getContext())
                        : mlir::Type();
  if (!type)
    fail(Code::Unsupported, "element type " + dataTypeName(static_cast<int32_t>(dataType)) + " is not supported",
         "FLOAT, DOUBLE, FLOAT16, BFLOAT16, INT64, INT32 and BOOL are");
  return type;
}

int64_t Call::elements(ArrayRef<int64_t> shape) {
  int64_t count = 1;
  bool over = false, empty = false;
  for (int64_t size : shape) {
    if (size < 0)
      fail(Code::Range, "a negative size in the shape " + onnx::text(shape));
    empty = empty || size == 0;
    over = over || size > maxTensorElements || __builtin_mul_overflow(count, std::max<int64_t>(size, 1), &count) ||
           count > maxTensorElements;
    count = over ? 1 : count;
  }
  if (over)
    fail(Code::Limit, "a tensor of shape " + onnx::text(shape) + ", at most 2^34 elements are supported");
  return empty ? 0 : count;
}

Value Call::reshape(Value value, ArrayRef<int64_t> shape) {
  if (elements(shape) != typeOf(value).getNumElements())
    fail(Code::Range,
         "a tensor of shape " + onnx::text(shapeOf(value)) + " cannot take the shape " + onnx::text(shape));
  return b.reshape(value, shape);
}

Value Call::constantIntegers(ArrayRef<int64_t> values, ArrayRef<int64_t> shape) {
  auto type = RankedTensorType::get(shape, b.builder.getI64Type());
  return arith::ConstantOp::create(b.builder, b.loc, DenseElementsAttr::get(type, values));
}

Value Call::splat(ArrayRef<int64_t> shape, mlir::Type elementType, double value) {
  elements(shape);
  return b.splat(RankedTensorType::get(shape, elementType), value);
}

Value Call::constantTensor(const Tensor &tensor) {
  Result<DenseElementsAttr> value = tensorAttribute(tensor, &importer_.external(), b.builder.getContext());
  if (!value.isOk()) {
    const Fault &fault = value.status().faults().front();
    fail(fault.code, fault.place.empty() ? fault.message : fault.place + ": " + fault.message, fault.hint);
  }
  return arith::ConstantOp::create(b.builder, b.loc, *value);
}

Value Call::folded(Value value) {
  auto result = dyn_cast<OpResult>(value);
  if (!result)
    return value;
  unsigned number = result.getResultNumber(); // the fold frees it
  SmallVector<Value> constants = importer_.folder().fold(result.getOwner());
  return constants.empty() ? value : constants[number];
}

} // namespace graft::onnx
