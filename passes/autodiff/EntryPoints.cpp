#include "passes/autodiff/EntryPoints.h"

#include "dialects/nn/Build.h"
#include "dialects/rl/RLDialect.h"
#include "passes/Rewriting.h"
#include "passes/autodiff/Differentiate.h"
#include "passes/lower/Decompose.h"
#include "passes/objective/BuildObjective.h"

#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/IR/Verifier.h"
#include "mlir/Pass/PassManager.h"
#include "mlir/Transforms/Passes.h"

using namespace mlir;

namespace graft {

namespace {

using objective::Kind;
using objective::Objective;

/// A function while its arguments and results are still being added.
class FunctionBuilder {
public:
  FunctionBuilder(func::FuncOp function)
      : function_(function), builder_(function.getContext()), loc_(function.getLoc()) {
    builder_.setInsertionPointToEnd(&function.getBody().front());
  }

  nn::Build build() { return nn::Build(builder_, loc_); }
  OpBuilder &builder() { return builder_; }
  Location loc() { return loc_; }
  /// What operators from now on are named by in reports: they come from no node of the graph.
  void setOrigin(StringRef origin) { loc_ = NameLoc::get(builder_.getStringAttr(origin)); }
  func::FuncOp function() const { return function_; }

  /// The argument of this name; added with the type if there is none.
  Value argument(StringRef name, ArrayRef<int64_t> shape, Type element) {
    if (Value present = findArgument(function_, name))
      return present;
    return addArgument(function_, name, RankedTensorType::get(shape, element));
  }

  void result(StringRef name, Value value) {
    names_.push_back(name.str());
    values_.push_back(value);
  }

  /// Writes the return and the function's type.
  void finish() {
    func::ReturnOp::create(builder_, function_.getLoc(), values_);
    SmallVector<Type> types(ValueRange(values_).getTypes());
    function_.setFunctionType(builder_.getFunctionType(function_.getArgumentTypes(), types));
    for (auto [index, name] : llvm::enumerate(names_))
      function_.setResultAttr(index, rl::nameAttribute, builder_.getStringAttr(name));
  }

private:
  func::FuncOp function_;
  OpBuilder builder_;
  Location loc_;
  std::vector<std::string> names_;
  SmallVector<Value> values_;
};

/// What a forward graph gives per row of logits. Row t speaks of token t + 1: what is computed from these runs in rows,
/// and arrays per token are moved to rows and back at the borders (rowsOf, tokensOf).
struct RowValues {
  Value logits;            ///< [B,S,V]
  Value labels;            ///< [B,S]: the words that follow
  Value logprobs, entropy; ///< [B,S]; the last row of a sequence means nothing
};

/// @forward as required: one block, `input_ids` [B,S], one result [B,S,V].
LogicalResult checkForward(func::FuncOp forward) {
  if (!forward || !forward.getBody().hasOneBlock())
    return emitError(forward ? forward.getLoc() : UnknownLoc::get(forward.getContext()),
                     "the module has no function @forward of one block");
  Value ids = findArgument(forward, "input_ids");
  auto idsType = ids ? dyn_cast<RankedTensorType>(ids.getType()) : RankedTensorType();
  if (!idsType || idsType.getRank() != 2 || !idsType.hasStaticShape() || !idsType.getElementType().isInteger())
    return forward.emitError("the graph needs an input 'input_ids' of integers [batch, sequence]");
  auto logits =
      forward.getNumResults() == 1 ? dyn_cast<RankedTensorType>(forward.getResultTypes()[0]) : RankedTensorType();
  if (!logits || logits.getRank() != 3 || !isa<FloatType>(logits.getElementType()) ||
      logits.getShape().take_front(2) != idsType.getShape())
    return forward.emitError("the graph needs one output, logits [batch, sequence, vocabulary] of floats");
  return success();
}

/// Column t + 1 of [B,S] at column t; zeros (false) in the last one.
Value rowsOf(FunctionBuilder &entry, Value perToken) {
  nn::Build b = entry.build();
  ArrayRef<int64_t> shape = nn::shapeOf(perToken);
  Value none = b.splat(RankedTensorType::get({shape[0], 1}, nn::typeOf(perToken).getElementType()), 0);
  return shape[1] > 1 ? b.concat({b.sliceAxis(perToken, 1, 1, shape[1] - 1), none}, 1) : none;
}

/// Column t of [B,S] at column t + 1; zeros in the first one.
Value tokensOf(FunctionBuilder &entry, Value perRow) {
  nn::Build b = entry.build();
  int64_t width = nn::shapeOf(perRow)[1];
  if (width == 1)
    return b.like(perRow, 0.0);
  Value predicted = b.sliceAxis(perRow, 1, 0, width - 1);
  return nn::PadOp::create(entry.builder(), entry.loc(), perRow.getType(), predicted, ArrayRef<int64_t>{0, 1},
                           ArrayRef<int64_t>{1, 1});
}

/// Makes @forward, or a clone of it, a function named `name` whose return is replaced by the values of its rows; with
/// `masked`, of those whose token is in the argument `loss_mask`.
std::pair<FunctionBuilder, RowValues> openForward(func::FuncOp function, StringRef name, bool masked) {
  function.setName(name);
  Operation *terminator = function.getBody().front().getTerminator();
  Value logits = terminator->getOperand(0);
  terminator->erase();
  function.setFunctionType(FunctionType::get(function.getContext(), function.getArgumentTypes(), {}));
  function.removeResAttrsAttr();
  FunctionBuilder entry(function);
  entry.setOrigin("log-probs");
  Value ids = findArgument(function, "input_ids"), mask;
  if (masked)
    mask = rowsOf(entry, entry.argument("loss_mask", nn::shapeOf(ids), entry.builder().getI1Type()));
  Value labels = rowsOf(entry, ids);
  auto values = rl::TokenLogprobsOp::create(entry.builder(), entry.loc(), logits, labels, mask);
  return {entry, {logits, labels, values.getLogprobs(), values.getEntropy()}};
}

/// Removes what nobody uses, arguments too.
void pruneArguments(func::FuncOp function) {
  llvm::BitVector unused(function.getNumArguments());
  for (BlockArgument argument : function.getArguments())
    if (argument.use_empty() && argumentName(function, argument.getArgNumber()) != "input_ids")
      unused.set(argument.getArgNumber());
  (void)function.eraseArguments(unused);
}

LogicalResult simplify(ArrayRef<func::FuncOp> functions) {
  PassManager passes(functions.front()->getContext(), func::FuncOp::getOperationName());
  passes.enableVerifier(false); // once, when there are gradients
  passes.addPass(createCanonicalizerPass(straightLineRewriting()));
  passes.addPass(createCSEPass());
  for (func::FuncOp function : functions) {
    if (failed(passes.run(function)))
      return failure();
    pruneArguments(function);
  }
  return success();
}

/// Declares the arguments that an objective reads, floats of `type`; `known` holds what is computed here instead.
/// `rows` and `width` are B (or N) and S.
objective::ObjectiveInputs objectiveInputs(FunctionBuilder &entry, const Objective &objective, Type type,
                                           std::map<std::string, Value> known, int64_t rows, int64_t width,
                                           bool inRows) {
  objective::ObjectiveInputs inputs;
  auto aligned = [&](Value array, bool perToken) { return inRows && perToken ? rowsOf(entry, array) : array; };
  auto shape = [&](Kind kind) -> SmallVector<int64_t> {
    return kind == Kind::Token    ? SmallVector<int64_t>{rows, width}
           : kind == Kind::Scalar ? SmallVector<int64_t>{}
                                  : SmallVector<int64_t>{rows};
  };
  for (const objective::Input &input : objective.requiredInputs())
    inputs.values[input.name] = known.count(input.name) ? known[input.name]
                                                        : aligned(entry.argument(input.name, shape(input.kind), type),
                                                                  input.kind == Kind::Token);
  for (const objective::Input &input : objective.metricInputs())
    if (known.count(input.name))
      inputs.values[input.name] = known[input.name];
  inputs.lossMask = aligned(entry.argument("loss_mask", {rows, width}, entry.builder().getI1Type()), true);
  if (objective.usesGroups())
    inputs.groupIds = entry.argument("group_ids", {rows}, entry.builder().getI64Type());
  return inputs;
}

/// Of @forward itself, which nobody needs any more.
LogicalResult buildAccumulate(func::FuncOp forward, const EntryPointOptions &options, EntryPoints &entries) {
  auto [entry, row] = openForward(forward, "accumulate", /*masked=*/true);
  int64_t rows = nn::shapeOf(row.logprobs)[0], width = nn::shapeOf(row.logprobs)[1];
  entry.setOrigin("objective");
  std::map<std::string, Value> known = {{"logits", row.logits}, {"logprobs", row.logprobs}, {"entropy", row.entropy}};
  if (options.onPolicy)
    known["old_logprobs"] = rl::StopGradientOp::create(entry.builder(), entry.loc(), row.logprobs);
  Type f32 = entry.builder().getF32Type();
  objective::ObjectiveInputs inputs = objectiveInputs(entry, *options.loss, f32, known, rows, width, /*inRows=*/true);
  if (options.loss->usesLabels())
    inputs.labels = row.labels;
  inputs.tokens = entry.argument("denominator.tokens", {}, f32);
  inputs.sequences = entry.argument("denominator.sequences", {}, f32);
  inputs.rows = entry.argument("denominator.rows", {}, f32);
  auto built = objective::buildObjective(entry.builder(), entry.loc(), *options.loss, inputs);
  if (failed(built))
    return failure();
  entry.result("loss", built->result);
  entry.result("logprobs", tokensOf(entry, row.logprobs));
  for (const objective::BuiltMetric &metric : built->metrics) {
    entry.result("metric." + metric.name, metric.value);
    entries.metrics.push_back({metric.name, metric.combine});
  }
  entry.finish();
  return success();
}

LogicalResult buildAdvantages(ModuleOp module, func::FuncOp forward, const EntryPointOptions &options) {
  OpBuilder builder = OpBuilder::atBlockEnd(module.getBody());
  auto function = func::FuncOp::create(builder, forward.getLoc(), "advantages", builder.getFunctionType({}, {}));
  function.addEntryBlock();
  FunctionBuilder entry(function);
  entry.setOrigin("advantages");
  ArrayRef<int64_t> shape = nn::shapeOf(findArgument(forward, "input_ids"));
  int64_t rows = options.stepSequences ? options.stepSequences : shape[0];
  // In f64: a reward that equals its group's mean but for rounding decides whether its tokens count as clipped.
  objective::ObjectiveInputs inputs =
      objectiveInputs(entry, *options.advantages, builder.getF64Type(), {}, rows, shape[1], /*inRows=*/false);
  auto built = objective::buildObjective(entry.builder(), entry.loc(), *options.advantages, inputs);
  if (failed(built))
    return failure();
  entry.result("advantages", built->result);
  entry.finish();
  return success();
}

} // namespace

FailureOr<EntryPoints> buildEntryPoints(ModuleOp module, const EntryPointOptions &options) {
  auto forward = module.lookupSymbol<func::FuncOp>("forward");
  if (!forward)
    return module.emitError("the module has no function @forward"), failure();
  if (failed(checkForward(forward)))
    return failure();
  EntryPoints entries;
  func::FuncOp clone = forward.clone();
  module.insert(forward, clone);
  auto [entry, row] = openForward(clone, "logprobs", /*masked=*/false);
  entry.result("logprobs", tokensOf(entry, row.logprobs));
  entry.finish();
  if (options.advantages && failed(buildAdvantages(module, forward, options)))
    return failure();
  if (!options.loss)
    forward.erase();
  else if (failed(buildAccumulate(forward, options, entries)))
    return failure();
  if (failed(simplify(llvm::to_vector(module.getOps<func::FuncOp>()))))
    return failure();
  return entries;
}

namespace {

/// Trained parameters of a function by name. Equal ones have been merged; two of one name and different types are an
/// error.
FailureOr<std::map<std::string, rl::ParameterOp>> trainedParameters(func::FuncOp function) {
  std::map<std::string, rl::ParameterOp> parameters;
  for (auto parameter : function.getOps<rl::ParameterOp>())
    if (parameter.getTrained() && !parameters.emplace(parameter.getName().str(), parameter).second)
      return parameter.emitError() << "parameter '" << parameter.getName() << "' occurs twice with different types",
             failure();
  return parameters;
}

} // namespace

LogicalResult addGradients(ModuleOp module, EntryPoints &entries) {
  auto function = module.lookupSymbol<func::FuncOp>("accumulate");
  if (!function)
    return module.emitError("the module has no function @accumulate");
  if (failed(decompose(function, /*onlyAttention=*/true)))
    return failure();
  auto parameters = trainedParameters(function);
  if (failed(parameters))
    return failure();
  SmallVector<Value> values;
  for (auto &[name, parameter] : *parameters)
    values.push_back(parameter.getResult());

  Operation *terminator = function.getBody().front().getTerminator();
  OpBuilder builder(terminator);
  auto gradients = differentiate(builder, terminator->getOperand(0), values);
  if (failed(gradients))
    return failure();
  SmallVector<Value> results(terminator->getOperands());
  SmallVector<DictionaryAttr> attributes;
  function.getAllResultAttrs(attributes);
  for (auto [entry, gradient] : llvm::zip(*parameters, *gradients)) {
    auto &[name, parameter] = entry;
    if (!gradient) {
      parameter.setTrained(false);
      entries.unreached.push_back(name);
      continue;
    }
    results.push_back(gradient);
    attributes.push_back(builder.getDictionaryAttr(
        builder.getNamedAttr(rl::nameAttribute, builder.getStringAttr(rl::gradientPrefix + name))));
    entries.trained.push_back(name);
  }
  terminator->setOperands(results);
  function.setFunctionType(builder.getFunctionType(function.getArgumentTypes(), ValueRange(results).getTypes()));
  function.setAllResultAttrs(attributes);
  return failed(simplify(function)) ? failure() : verify(module);
}

} // namespace graft
