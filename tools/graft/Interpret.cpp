#include "tools/graft/Interpret.h"

#include "dialects/nn/NNDialect.h"
#include "dialects/reference/Interpreter.h"
#include "frontends/mlir/Diagnostics.h"
#include "runtime/exec/StepRunner.h"

#include "mlir/Dialect/Func/IR/FuncOps.h"

#include <set>

using namespace mlir;

namespace graft::cli {

namespace {

Tensor tensorOf(const BatchArray &array) {
  if (auto *integers = std::get_if<std::vector<int64_t>>(&array.values))
    return Tensor::integers(array.shape, *integers);
  if (auto *doubles = std::get_if<std::vector<double>>(&array.values))
    return Tensor::floats(array.shape, *doubles);
  const auto &floats = std::get<std::vector<float>>(array.values);
  return Tensor::floats(array.shape, std::vector<double>(floats.begin(), floats.end()));
}

/// The array as an argument of this type: booleans are integers.
Tensor asArgument(const Tensor &tensor, RankedTensorType type) {
  if (isa<FloatType>(type.getElementType()) == tensor.isFloat())
    return tensor;
  Tensor converted = tensor.isFloat() ? Tensor::integers(tensor.shape()) : Tensor::floats(tensor.shape());
  for (int64_t k = 0; k < tensor.size(); ++k)
    if (tensor.isFloat())
      converted.i()[k] = tensor.f()[k] != 0;
    else
      converted.f()[k] = static_cast<double>(tensor.i()[k]);
  return converted;
}

/// [N] repeated to [N,S].
Tensor perToken(const Tensor &tensor, int64_t tokens) {
  if (tensor.rank() != 1)
    return tensor;
  Tensor wide = Tensor::floats({tensor.size(), tokens});
  for (int64_t k = 0; k < wide.size(); ++k)
    wide.f()[k] = tensor.f()[k / tokens];
  return wide;
}

} // namespace

Result<std::unique_ptr<Interpreted>> Interpreted::build(Recipe recipe) {
  auto interpreted = std::make_unique<Interpreted>();
  recipe.batch.microBatches = 1; // the reference computes the batch as it is
  recipe.batch.packed.reset();
  interpreted->recipe_ = std::move(recipe);
  GRAFT_ASSIGN_OR_RETURN(interpreted->module_, interpreted->compiler_.buildEntries(interpreted->recipe_));
  return interpreted;
}

std::vector<std::string> Interpreted::inputs() const {
  std::set<std::string> names;
  ModuleOp module = *module_.graph.module;
  for (auto function : module.getOps<func::FuncOp>())
    for (unsigned i = 0; i < function.getNumArguments(); ++i)
      if (StringRef name = argumentName(function, i); !name.starts_with("denominator."))
        names.insert(name.str());
  return {names.begin(), names.end()};
}

Result<std::map<std::string, Tensor>> Interpreted::call(const std::string &entry,
                                                        const std::map<std::string, Tensor> &arrays, Weights &weights) {
  ModuleOp module = *module_.graph.module;
  auto function = module.lookupSymbol<func::FuncOp>(entry);
  if (!function)
    return Status::error(Code::Usage, "the program has no entry '" + escaped(entry) + "'", "--entry");
  Status status;
  SmallVector<Tensor> arguments;
  for (unsigned i = 0; i < function.getNumArguments(); ++i) {
    std::string name = argumentName(function, i).str();
    auto type = cast<RankedTensorType>(function.getArgumentTypes()[i]);
    auto found = arrays.find(name);
    if (found == arrays.end())
      status.merge(
          Status::error(Code::Graph, "the batch has no array '" + escaped(name) + "', which '" + entry + "' reads"));
    else if (ArrayRef<int64_t>(found->second.shape()) != type.getShape())
      status.merge(Status::error(Code::Range,
                                 "array '" + escaped(name) + "' does not have the shape that '" + entry + "' reads"));
    else
      arguments.push_back(asArgument(found->second, type));
  }
  GRAFT_RETURN_IF_ERROR(status);
  DiagnosticCollector diagnostics(compiler_.context(), Code::Unsupported, entry);
  std::map<std::string, const ImportedParameter *> parameters;
  for (const ImportedParameter &parameter : module_.graph.parameters)
    parameters[parameter.name] = &parameter;
  auto results = interpret(function, arguments, [&](StringRef name) -> std::optional<Tensor> {
    const ImportedParameter *parameter = parameters[name.str()];
    if (!parameter)
      return std::nullopt;
    std::vector<std::string> names = {parameter->name};
    names.insert(names.end(), parameter->aliases.begin(), parameter->aliases.end());
    Tensor values = Tensor::floats(parameter->shape);
    std::vector<float> narrow(static_cast<size_t>(values.size()));
    Status read = weights.read(names, parameter->shape, narrow);
    bool good = read.isOk();
    status.merge(std::move(read));
    std::copy(narrow.begin(), narrow.end(), values.f().begin());
    return good ? std::optional(std::move(values)) : std::nullopt;
  });
  GRAFT_RETURN_IF_ERROR(status);
  if (failed(results))
    return diagnostics.take("interpreting '" + entry + "'");
  std::map<std::string, Tensor> named;
  for (unsigned i = 0; i < function.getNumResults(); ++i)
    named[resultName(function, i).str()] = (*results)[i];
  return named;
}

Result<std::map<std::string, Tensor>> Interpreted::run(const std::string &entry, const Batch &batch, Weights &weights) {
  std::map<std::string, Tensor> arrays;
  for (const BatchArray &array : batch.arrays)
    arrays[array.name] = tensorOf(array);
  Denominators counts = denominatorsOf(batch);
  arrays["denominator.tokens"] = Tensor::floats({}, counts.tokens);
  arrays["denominator.sequences"] = Tensor::floats({}, counts.sequences);
  arrays["denominator.rows"] = Tensor::floats({}, counts.rows);
  ModuleOp module = *module_.graph.module;
  auto function = module.lookupSymbol<func::FuncOp>(entry);
  auto needs = [&](const char *name) { return function && findArgument(function, name) && !arrays.count(name); };
  if (needs("advantages") && module.lookupSymbol("advantages")) {
    GRAFT_ASSIGN_OR_RETURN(auto results, call("advantages", arrays, weights));
    arrays["advantages"] = perToken(results["advantages"], batch.tokens);
  }
  bool old = needs("old_logprobs") && recipe_.objective.oldLogprobs == OldLogprobs::Initial;
  bool reference = needs("ref_logprobs") && recipe_.objective.refLogprobs == RefLogprobs::Initial;
  if (old || reference) {
    GRAFT_ASSIGN_OR_RETURN(auto results, call("logprobs", arrays, weights));
    if (old)
      arrays["old_logprobs"] = results["logprobs"];
    if (reference)
      arrays["ref_logprobs"] = results["logprobs"];
  }
  return call(entry, arrays, weights);
}

} // namespace graft::cli
