#include "dialects/reference/Interpreter.h"

#include "dialects/nn/FactorRules.h"
#include "dialects/rl/RLDialect.h"

#include "mlir/IR/Matchers.h"

using namespace mlir;

namespace graft {

namespace {

FailureOr<SmallVector<Tensor>> evaluate(Operation &op, ArrayRef<Tensor> operands, const ParameterSource &parameters) {
  if (auto parameter = dyn_cast<rl::ParameterOp>(op)) {
    std::optional<Tensor> value = parameters ? parameters(parameter.getName()) : std::nullopt;
    if (!value)
      return op.emitError() << "no value for parameter '" << parameter.getName() << "'";
    if (ArrayRef<int64_t>(value->shape()) != nn::shapeOf(parameter.getResult()))
      return op.emitError() << "parameter '" << parameter.getName() << "' has another shape than the graph says";
    return SmallVector<Tensor>{*value};
  }
  auto reference = dyn_cast<nn::EvaluateOpInterface>(op);
  if (!reference)
    return op.emitError() << "'" << op.getName() << "' has no reference semantics";
  return reference.evaluate(operands);
}

/// Position of the last operation of the block that uses each value.
DenseMap<Value, Operation *> lastUses(Block &block) {
  DenseMap<Value, Operation *> last;
  for (Operation &op : block)
    for (Value operand : op.getOperands())
      last[operand] = &op;
  return last;
}

} // namespace

FailureOr<SmallVector<Tensor>> interpret(func::FuncOp function, ArrayRef<Tensor> arguments,
                                         const ParameterSource &parameters, const Observer &observer) {
  Block &block = function.getBody().front();
  if (arguments.size() != block.getNumArguments())
    return function.emitError() << "needs " << block.getNumArguments() << " arguments, got " << arguments.size();
  DenseMap<Value, Tensor> values;
  for (auto [argument, tensor] : llvm::zip(block.getArguments(), arguments)) {
    auto type = dyn_cast<RankedTensorType>(argument.getType());
    if (!type || !type.hasStaticShape())
      return function.emitError() << "argument " << argument.getArgNumber() << " of type " << argument.getType()
                                  << " is no tensor of static shape";
    if (tensor.isFloat() != isa<FloatType>(type.getElementType()))
      return function.emitError() << "argument " << argument.getArgNumber() << " holds "
                                  << (tensor.isFloat() ? "floats" : "integers") << ", but its type is " << type;
    if (ArrayRef<int64_t>(tensor.shape()) != type.getShape())
      return function.emitError() << "argument " << argument.getArgNumber() << " has another shape than its type "
                                  << argument.getType();
    values[argument] = tensor;
  }
  auto last = lastUses(block);
  for (Operation &op : block) {
    SmallVector<Tensor> operands;
    for (Value operand : op.getOperands())
      operands.push_back(values.lookup(operand));
    if (op.hasTrait<OpTrait::IsTerminator>())
      return operands;
    auto results = evaluate(op, operands, parameters);
    if (failed(results))
      return failure();
    if (observer)
      observer(&op, *results);
    for (auto [result, tensor] : llvm::zip(op.getResults(), *results))
      if (last.contains(result))
        values[result] = tensor;
    for (Value operand : op.getOperands())
      if (last.lookup(operand) == &op)
        values.erase(operand);
  }
  llvm_unreachable("a function's block ends with a terminator");
}

FailureOr<SmallVector<Attribute>> foldToConstants(Operation *op, int64_t maxElements) {
  auto reference = dyn_cast<nn::EvaluateOpInterface>(op);
  if (!reference || isa<arith::ConstantOp>(op) || op->getNumResults() == 0)
    return failure();
  for (Value result : op->getResults()) {
    auto type = dyn_cast<RankedTensorType>(result.getType());
    if (!type || !type.hasStaticShape() || type.getNumElements() > maxElements)
      return failure();
  }
  SmallVector<Tensor> operands;
  for (Value operand : op->getOperands()) {
    DenseElementsAttr value;
    if (!matchPattern(operand, m_Constant(&value)))
      return failure();
    operands.push_back(nn::tensorFromAttribute(value));
  }
  // An operator that cannot be evaluated (division by zero in dead shape arithmetic) stays as it is.
  ScopedDiagnosticHandler silent(op->getContext(), [](Diagnostic &) { return success(); });
  auto results = reference.evaluate(operands);
  if (failed(results))
    return failure();
  SmallVector<Attribute> attributes;
  for (auto [tensor, result] : llvm::zip(*results, op->getResults()))
    attributes.push_back(nn::attributeFromTensor(tensor, nn::typeOf(result)));
  return attributes;
}

} // namespace graft
