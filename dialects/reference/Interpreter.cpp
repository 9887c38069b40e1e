#include "dialects/reference/Interpreter.h"

#include "dialects/nn/FactorRules.h"
#include "dialects/rl/RLDialect.h"

#include "mlir/IR/Matchers.h"

using namespace mlir;

namespace graft {

namespace {

/// One run of a block: its values, where parameters come from, who watches.
class Run {
public:
  Run(const ParameterSource &parameters, const Observer &observer) : parameters_(parameters), observer_(observer) {}

  /// What the block's terminator is given.
  FailureOr<SmallVector<Tensor>> block(Block &block, ArrayRef<Tensor> arguments);

private:
  FailureOr<SmallVector<Tensor>> evaluate(Operation &op, ArrayRef<Tensor> operands);
  FailureOr<SmallVector<Tensor>> loop(rl::TokenLoopOp op, ArrayRef<Tensor> operands);

  const ParameterSource &parameters_;
  const Observer &observer_;
};

/// Rows `index[i]` of a tensor [B, S, ...] as [chunk, 1, ...], zeros where there is no i.
Tensor gathered(const Tensor &tensor, ArrayRef<int64_t> index, int64_t chunk) {
  Tensor::Shape shape = tensor.shape();
  int64_t width = tensor.size() / (shape[0] * shape[1]);
  shape[0] = chunk;
  shape[1] = 1;
  Tensor rows = tensor.zeros(shape);
  for (auto [i, row] : llvm::enumerate(index))
    for (int64_t k = 0; k < width; ++k)
      rows.copyElement(static_cast<int64_t>(i) * width + k, tensor, row * width + k);
  return rows;
}

FailureOr<SmallVector<Tensor>> Run::loop(rl::TokenLoopOp op, ArrayRef<Tensor> operands) {
  SmallVector<Tensor> results;
  for (Type type : op.getResultTypes()) {
    auto tensor = cast<RankedTensorType>(type);
    Tensor::Shape shape(tensor.getShape());
    results.push_back(isa<FloatType>(tensor.getElementType()) ? Tensor::floats(shape) : Tensor::integers(shape));
  }
  SmallVector<int64_t> selected;
  for (auto [row, chosen] : llvm::enumerate(operands[0].i()))
    if (chosen)
      selected.push_back(static_cast<int64_t>(row));
  auto chunk = static_cast<int64_t>(op.getChunk());
  size_t tokens = op.getTokens().size(), perToken = op.getPerToken().size();
  for (size_t begin = 0; begin < selected.size(); begin += static_cast<size_t>(chunk)) {
    ArrayRef<int64_t> index = ArrayRef(selected).drop_front(begin).take_front(static_cast<size_t>(chunk));
    SmallVector<Tensor> arguments(operands.drop_front());
    for (Tensor &argument : MutableArrayRef(arguments).take_front(tokens))
      argument = gathered(argument, index, chunk);
    auto yielded = block(*op.getBlock(), arguments);
    if (failed(yielded))
      return failure();
    for (auto [r, value] : llvm::enumerate(*yielded)) {
      Tensor &result = results[r];
      if (r >= perToken) {
        for (int64_t k = 0; k < value.size(); ++k)
          result.f()[k] += value.f()[k];
        continue;
      }
      int64_t width = value.size() / chunk;
      for (auto [i, row] : llvm::enumerate(index))
        for (int64_t k = 0; k < width; ++k)
          result.copyElement(row * width + k, value, static_cast<int64_t>(i) * width + k);
    }
  }
  return results;
}

FailureOr<SmallVector<Tensor>> Run::evaluate(Operation &op, ArrayRef<Tensor> operands) {
  if (auto parameter = dyn_cast<rl::ParameterOp>(op)) {
    std::optional<Tensor> value = parameters_ ? parameters_(parameter.getName()) : std::nullopt;
    if (!value)
      return op.emitError() << "no value for parameter '" << parameter.getName() << "'";
    if (ArrayRef<int64_t>(value->shape()) != nn::shapeOf(parameter.getResult()))
      return op.emitError() << "parameter '" << parameter.getName() << "' has another shape than the graph says";
    return SmallVector<Tensor>{*value};
  }
  if (auto tokenLoop = dyn_cast<rl::TokenLoopOp>(op))
    return loop(tokenLoop, operands);
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

FailureOr<SmallVector<Tensor>> Run::block(Block &block, ArrayRef<Tensor> arguments) {
  DenseMap<Value, Tensor> values;
  for (auto [argument, tensor] : llvm::zip(block.getArguments(), arguments))
    values[argument] = tensor;
  auto last = lastUses(block);
  for (Operation &op : block) {
    SmallVector<Tensor> operands;
    for (Value operand : op.getOperands())
      operands.push_back(values.lookup(operand));
    if (op.hasTrait<OpTrait::IsTerminator>())
      return operands;
    auto results = evaluate(op, operands);
    if (failed(results))
      return failure();
    if (observer_)
      observer_(&op, *results);
    for (auto [result, tensor] : llvm::zip(op.getResults(), *results))
      if (last.contains(result))
        values[result] = tensor;
    for (Value operand : op.getOperands())
      if (last.lookup(operand) == &op)
        values.erase(operand);
  }
  llvm_unreachable("a block ends with a terminator");
}

} // namespace

FailureOr<SmallVector<Tensor>> interpret(func::FuncOp function, ArrayRef<Tensor> arguments,
                                         const ParameterSource &parameters, const Observer &observer) {
  Block &block = function.getBody().front();
  if (arguments.size() != block.getNumArguments())
    return function.emitError() << "needs " << block.getNumArguments() << " arguments, got " << arguments.size();
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
  }
  return Run(parameters, observer).block(block, arguments);
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
