#include "passes/objective/EvaluateObjective.h"

#include "dialects/nn/Build.h"
#include "dialects/reference/Interpreter.h"
#include "dialects/rl/RLDialect.h"
#include "passes/autodiff/Differentiate.h"
#include "passes/objective/BuildObjective.h"

#include "mlir/IR/Diagnostics.h"
#include "mlir/IR/Verifier.h"

#include <cmath>

using namespace mlir;

namespace graft::objective {

namespace {

std::string print(const Tensor::Shape &shape) {
  std::string text = "[";
  for (size_t i = 0; i < shape.size(); ++i)
    text += (i ? ", " : "") + std::to_string(shape[i]);
  return text + "]";
}

Tensor toFloats(const Tensor &tensor) {
  if (tensor.isFloat())
    return tensor;
  return Tensor::floats(tensor.shape(), std::vector<double>(tensor.i().begin(), tensor.i().end()));
}

/// The arrays that an objective uses, checked and in one form: floats [B,S], [B] or [].
class Arguments {
public:
  Arguments(const Objective &objective, const Arrays &arrays) : objective_(objective), arrays_(arrays) {}

  Status read() {
    findShape();
    if (batch_ == 0 || width_ == 0)
      fail("", "the arrays are empty");
    readMask();
    for (const Input &input : objective_.requiredInputs())
      readInput(input, true);
    for (const Input &input : objective_.metricInputs())
      readInput(input, false);
    if (objective_.usesGroups())
      groups = readIntegers("group_ids", "compares the sequences of a group", {batch_});
    if (objective_.usesLabels())
      labels = readIntegers("labels", "needs the words that the tokens are", {batch_, width_});
    for (const char *count : {"tokens", "sequences", "rows"})
      readCount(count);
    return std::move(status_);
  }

  std::map<std::string, Tensor> values, counts;
  std::optional<Tensor> mask, groups, labels;

private:
  void fail(const std::string &name, const std::string &message, const std::string &hint = "") {
    status_.merge(Status::error(Code::Type, message, name.empty() ? "" : "array '" + name + "'", hint));
  }
  const Tensor *find(const std::string &name) const {
    auto at = arrays_.find(name);
    return at == arrays_.end() ? nullptr : &at->second;
  }

  /// S is the widest row; B and V those of the mask, else of the first array.
  void findShape() {
    std::vector<std::string> names = {"loss_mask"};
    for (const Input &input : objective_.inputs)
      if (input.kind != Kind::Scalar)
        names.push_back(input.name);
    for (const std::string &name : names)
      if (const Tensor *tensor = find(name); tensor && tensor->rank() >= 1 && tensor->rank() <= 3) {
        batch_ = batch_ < 0 ? tensor->shape()[0] : batch_;
        if (tensor->rank() >= 2)
          width_ = std::max(width_, tensor->shape()[1]);
        if (tensor->rank() == 3)
          words_ = words_ < 0 ? tensor->shape()[2] : words_;
      }
  }

  /// [B,S-1,...] as [B,S,...]: position 0 predicts nothing and is 0.
  Tensor widened(const Tensor &tensor) const {
    if (tensor.rank() < 2 || tensor.shape()[0] != batch_ || tensor.shape()[1] != width_ - 1)
      return tensor;
    Tensor::Shape shape = tensor.shape();
    shape[1] = width_;
    int64_t inner = tensor.rank() == 3 ? shape[2] : 1;
    Tensor wide = tensor.zeros(shape);
    for (int64_t b = 0; b < batch_; ++b)
      for (int64_t k = 0; k < (width_ - 1) * inner; ++k)
        wide.copyElement((b * width_ + 1) * inner + k, tensor, b * (width_ - 1) * inner + k);
    return wide;
  }

  void readMask() {
    const Tensor *found = find("loss_mask");
    bool loss = objective_.role == Role::Objective;
    if (!found && loss)
      fail("loss_mask", "missing: which tokens the loss counts, " + print(Tensor::Shape{batch_, width_}));
    if (!found)
      return;
    Tensor wide = widened(*found);
    if (wide.shape() != Tensor::Shape{batch_, width_})
      return fail("loss_mask", "has shape " + print(found->shape()) + ", expected " + print({batch_, width_}));
    mask = Tensor::integers(wide.shape());
    for (int64_t k = 0; k < wide.size(); ++k) {
      if (std::isnan(wide.at(k)))
        return fail("loss_mask", "holds NaN");
      mask->i()[k] = wide.at(k) != 0;
    }
  }

  void readInput(const Input &input, bool required) {
    const Tensor *found = find(input.name);
    std::string kind(phrase(input.kind));
    if (!found) {
      if (required)
        fail(input.name, "missing: '" + objective_.name + "' needs it (" + kind + ")");
      return;
    }
    Tensor value = toFloats(widened(*found));
    Tensor::Shape expected = input.kind == Kind::Vocabulary ? Tensor::Shape{batch_, width_, words_}
                             : input.kind == Kind::Token    ? Tensor::Shape{batch_, width_}
                             : input.kind == Kind::Sequence ? Tensor::Shape{batch_}
                                                            : Tensor::Shape{};
    bool perSequence = input.kind == Kind::Token && value.shape() == Tensor::Shape{batch_};
    if (input.kind == Kind::Scalar ? value.size() != 1 : value.shape() != expected && !perSequence)
      return fail(input.name, "has shape " + print(found->shape()) + ", expected " + kind + ": " + print(expected));
    values[input.name] = input.kind == Kind::Scalar ? value.reshaped({}) : value;
  }

  /// Integers of this shape; `why` they are needed. Nothing after a fault.
  std::optional<Tensor> readIntegers(const std::string &name, const std::string &why, const Tensor::Shape &shape) {
    const Tensor *found = find(name);
    if (!found)
      return fail(name, "missing: '" + objective_.name + "' " + why), std::nullopt;
    Tensor wide = widened(*found);
    if (wide.shape() != shape)
      return fail(name, "has shape " + print(found->shape()) + ", expected " + print(shape)), std::nullopt;
    if (wide.isFloat())
      return fail(name, "holds floats, expected integers"), std::nullopt;
    return wide;
  }

  void readCount(const std::string &name) {
    const Tensor *found = find("denominator." + name);
    if (!found)
      return;
    if (found->size() != 1 || !(found->at(0) >= 0) || std::isinf(found->at(0)))
      return fail("denominator." + name, "is not one number of at least 0");
    counts[name] = toFloats(*found).reshaped({});
  }

  const Objective &objective_;
  const Arrays &arrays_;
  int64_t batch_ = -1, width_ = -1, words_ = -1;
  Status status_;
};

/// Builds the function, argument by argument, and keeps what to call its results.
class Evaluation {
public:
  Evaluation(const Objective &objective, const Arguments &arguments) : objective_(objective), arguments_(arguments) {
    DialectRegistry registry;
    rl::registerDialects(registry);
    context_.appendDialectRegistry(registry);
    context_.loadAllAvailableDialects();
  }

  Result<Arrays> run() {
    std::string said;
    ScopedDiagnosticHandler handler(&context_, [&](Diagnostic &diagnostic) { said += diagnostic.str() + "\n"; });
    OpBuilder builder(&context_);
    Location loc = NameLoc::get(builder.getStringAttr(objective_.name));
    OwningOpRef<ModuleOp> module = ModuleOp::create(loc);
    builder.setInsertionPointToEnd(module->getBody());
    auto function = func::FuncOp::create(builder, loc, "objective", builder.getFunctionType({}, {}));
    builder.setInsertionPointToStart(function.addEntryBlock());
    if (failed(build(builder, function)) || failed(mlir::verify(*module)))
      return Status::error(Code::Internal, "the objective cannot be built: " + said, objective_.name);
    auto results = interpret(function, tensors_);
    if (failed(results))
      return Status::error(Code::Internal, "the objective cannot be evaluated: " + said, objective_.name);
    Arrays arrays = std::move(zeros_);
    for (auto [name, tensor] : llvm::zip(names_, *results))
      arrays[name] = tensor;
    return arrays;
  }

private:
  Value argument(func::FuncOp function, const Tensor &tensor, Type element) {
    tensors_.push_back(tensor);
    return function.getBody().addArgument(RankedTensorType::get(tensor.shape(), element), function.getLoc());
  }

  LogicalResult build(OpBuilder &builder, func::FuncOp function) {
    Type f64 = builder.getF64Type();
    ObjectiveInputs inputs;
    SmallVector<Value> variables;
    for (const auto &[name, tensor] : arguments_.values)
      variables.push_back(inputs.values[name] = argument(function, tensor, f64));
    if (arguments_.mask)
      inputs.lossMask = argument(function, *arguments_.mask, builder.getI1Type());
    if (arguments_.groups)
      inputs.groupIds = argument(function, *arguments_.groups, builder.getI64Type());
    if (arguments_.labels)
      inputs.labels = argument(function, *arguments_.labels, builder.getI64Type());
    for (const auto &[name, tensor] : arguments_.counts)
      (name == "tokens"      ? inputs.tokens
       : name == "sequences" ? inputs.sequences
                             : inputs.rows) = argument(function, tensor, f64);

    auto built = buildObjective(builder, function.getLoc(), objective_, inputs);
    if (failed(built))
      return failure();
    bool loss = objective_.role == Role::Objective;
    results_.push_back(built->result);
    names_.push_back(loss ? "loss" : "advantages");
    for (const BuiltMetric &metric : built->metrics) {
      results_.push_back(metric.value);
      names_.push_back("metric." + metric.name);
    }
    if (loss && failed(gradients(builder, built->result, variables)))
      return failure();
    func::ReturnOp::create(builder, function.getLoc(), results_);
    SmallVector<Type> types;
    for (BlockArgument value : function.getArguments())
      types.push_back(value.getType());
    function.setType(builder.getFunctionType(types, ValueRange(results_).getTypes()));
    return success();
  }

  LogicalResult gradients(OpBuilder &builder, Value loss, ArrayRef<Value> variables) {
    auto gradients = differentiate(builder, loss, variables);
    if (failed(gradients))
      return failure();
    for (auto [argument, gradient] : llvm::zip(arguments_.values, *gradients)) {
      std::string name = "grad." + argument.first;
      if (!gradient) {
        zeros_[name] = argument.second.zeros(argument.second.shape());
        continue;
      }
      results_.push_back(gradient);
      names_.push_back(name);
    }
    return success();
  }

  const Objective &objective_;
  const Arguments &arguments_;
  MLIRContext context_;
  SmallVector<Tensor> tensors_;
  SmallVector<Value> results_;
  std::vector<std::string> names_;
  Arrays zeros_;
};

} // namespace

Result<Arrays> evaluateObjective(const Objective &objective, const Arrays &arrays) {
  Arguments arguments(objective, arrays);
  GRAFT_RETURN_IF_ERROR(arguments.read());
  return Evaluation(objective, arguments).run();
}

} // namespace graft::objective
