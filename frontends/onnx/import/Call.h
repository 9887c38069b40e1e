// One node while it is translated: its operands and attributes, checked as they are asked for, and its results.
//
// A translation is straight-line code: each accessor returns a sound value or throws NodeFault, which the importer
// catches around the node (nothing is thrown out of this library). Attributes and inputs that a translation never asks
// for are reported as unsupported, so nothing in a model is silently ignored.
#pragma once

#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "dialects/nn/Build.h"
#include "frontends/onnx/Model.h"
#include "frontends/onnx/Tensor.h"
#include "runtime/base/Status.h"

namespace graft::onnx {

class Importer;

using llvm::ArrayRef;
using llvm::SmallVector;
using mlir::Value;
using nn::Build;
using nn::shapeOf;
using nn::typeOf;
using Sizes = SmallVector<int64_t>;

struct NodeFault {
  Code code;
  std::string message, hint;
};
/// Thrown when an operand is missing because its own node failed: that has been reported.
struct Dependent {};

/// What a name of the graph stands for.
struct Binding {
  enum class Kind : uint8_t { Tensor, Sequence, Failed, Absent };
  Kind kind = Kind::Tensor;
  SmallVector<Value, 1> values; ///< one tensor, or the elements of a sequence
  std::string reason;           ///< of Absent: why the value does not exist
};

inline bool isFloat(Value value) {
  return llvm::isa<mlir::FloatType>(typeOf(value).getElementType());
}
inline bool isBoolean(Value value) {
  return typeOf(value).getElementType().isInteger(1);
}
inline bool isInteger(Value value) {
  return !isFloat(value) && !isBoolean(value);
}
inline int64_t rankOf(Value value) {
  return typeOf(value).getRank();
}

class Call {
public:
  Call(Importer &importer, const Node &node, mlir::OpBuilder &builder, mlir::Location loc)
      : b(builder, loc), node(node), importer_(importer), read_(node.inputs.size(), false) {}

  Build b;
  const Node &node;

  [[noreturn]] void fail(Code code, std::string message, std::string hint = "") const;

  // Operands.
  size_t inputs() const { return node.inputs.size(); }
  bool has(size_t index) const { return index < node.inputs.size() && !node.inputs[index].empty(); }
  Value input(size_t index);
  Value numeric(size_t index);  ///< float or integer
  Value real(size_t index);     ///< float
  Value integral(size_t index); ///< integer
  Value boolean(size_t index);
  Value optional(size_t index) { return has(index) ? input(index) : Value(); }
  ArrayRef<Value> sequence(size_t index);
  const Binding &any(size_t index); ///< a tensor or a sequence
  /// The elements of an integer operand that folding has made a constant.
  std::vector<int64_t> constants(size_t index);
  int64_t constant(size_t index); ///< of one element
  /// Marks an operand as known to be without meaning here.
  void ignoreInput(size_t index);

  // Attributes.
  const Attribute *attribute(std::string_view name, AttributeType type);
  int64_t integer(std::string_view name, int64_t otherwise);
  int64_t requiredInteger(std::string_view name);
  bool flag(std::string_view name, bool otherwise);
  double number(std::string_view name, double otherwise);
  std::string_view text(std::string_view name, std::string_view otherwise);
  std::optional<std::vector<int64_t>> integers(std::string_view name);
  void ignore(std::string_view name) { known_.insert(name); }

  // Shapes and types.
  int64_t axis(int64_t value, int64_t rank); ///< counted from the front; Range if there is no such axis
  /// Distinct axes, counted from the front, sorted.
  Sizes axes(ArrayRef<int64_t> values, int64_t rank);
  /// numpy's common shape; Range if there is none.
  Sizes commonShape(ArrayRef<Value> values);
  Sizes commonShape(ArrayRef<int64_t> a, ArrayRef<int64_t> b);
  Value broadcastTo(Value value, ArrayRef<int64_t> shape); ///< Range if it does not fit
  SmallVector<Value> broadcast(ArrayRef<Value> values);
  void sameTypes(Value a, Value b);
  mlir::Type elementType(int64_t dataType);
  int64_t elements(ArrayRef<int64_t> shape); ///< Limit, Range
  Value reshape(Value value, ArrayRef<int64_t> shape);
  Value constantIntegers(ArrayRef<int64_t> values, ArrayRef<int64_t> shape);
  Value constantIntegers(ArrayRef<int64_t> values) { return constantIntegers(values, {int64_t(values.size())}); }
  Value splat(ArrayRef<int64_t> shape, mlir::Type elementType, double value);
  Value constantTensor(const Tensor &tensor);
  /// The constant that a value just built is, if its operands are constants; itself otherwise. For translations that
  /// look at their own intermediate values.
  Value folded(Value value);

  // Results, in order.
  void result(Value value) { results.push_back({Binding::Kind::Tensor, {value}, {}}); }
  void resultSequence(SmallVector<Value, 1> values) {
    results.push_back({Binding::Kind::Sequence, std::move(values), {}});
  }
  SmallVector<Binding, 1> results;

  /// After the translation: faults for attributes and operands that nobody asked for.
  void checkAllRead() const;

private:
  Importer &importer_;
  std::vector<bool> read_;
  std::set<std::string_view> known_;
};

/// The elements of an integer constant; nothing if the value is none.
std::optional<std::vector<int64_t>> constantElements(Value value);
/// The element of a constant whose elements are equal; nothing otherwise.
std::optional<double> splatElement(Value value);
/// "[2, 3]"
std::string text(ArrayRef<int64_t> shape);
/// "tensor<2x3xf32>"
std::string text(mlir::Type type);

} // namespace graft::onnx
