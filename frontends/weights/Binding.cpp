#include "frontends/weights/Binding.h"

#include "runtime/base/Convert.h"

#include <algorithm>

namespace graft {

namespace {
std::string shapeText(std::span<const int64_t> shape) {
  std::string text = "[";
  for (int64_t dim : shape)
    text += (text.size() > 1 ? ", " : "") + std::to_string(dim);
  return text + "]";
}

std::vector<std::string> namesOfShape(const Checkpoint &checkpoint, std::span<const int64_t> shape) {
  std::vector<std::string> names;
  for (const std::string &name : checkpoint.names())
    if (std::ranges::equal(checkpoint.find(name)->info->shape, shape))
      names.push_back(name);
  return names;
}

/// What to do about a parameter that nothing matches.
std::string missingHint(const Checkpoint &checkpoint, const GraphParameter &parameter) {
  std::vector<std::string> candidates = namesOfShape(checkpoint, parameter.shape);
  if (candidates.empty())
    return "no tensor of the checkpoint has shape " + shapeText(parameter.shape);
  std::string text = "tensors of this shape: ";
  for (size_t i = 0; i < std::min<size_t>(candidates.size(), 3); ++i)
    text += (i ? ", " : "") + ("'" + escaped(candidates[i]) + "'");
  return text + (candidates.size() > 3 ? ", ..." : "") + "; say which in [model.names]";
}

std::optional<ParameterBinding> match(const Checkpoint &checkpoint, const GraphParameter &parameter,
                                      const std::map<std::string, std::string> &renames, bool tied) {
  if (auto rename = renames.find(parameter.name); rename != renames.end())
    return ParameterBinding{parameter.name, rename->second, BoundBy::Rename};
  if (checkpoint.find(parameter.name))
    return ParameterBinding{parameter.name, parameter.name, BoundBy::Name};
  if (!parameter.externalFile.empty()) {
    auto tensor = checkpoint.findByBytes(parameter.externalFile, parameter.externalOffset, parameter.externalBytes);
    if (tensor && tensor->info->shape == parameter.shape)
      return ParameterBinding{parameter.name, tensor->info->name, BoundBy::ExternalData};
  }
  if (tied && parameter.shape.size() == 2)
    if (auto names = namesOfShape(checkpoint, parameter.shape); names.size() == 1)
      return ParameterBinding{parameter.name, names[0], BoundBy::Tie};
  return std::nullopt;
}
} // namespace

Result<std::vector<ParameterBinding>> bindParameters(const Checkpoint &checkpoint,
                                                     std::span<const GraphParameter> parameters,
                                                     const std::map<std::string, std::string> &renames, bool tied) {
  std::vector<ParameterBinding> bindings;
  Status status;
  std::string path = escaped(checkpoint.path(), 400);
  for (const auto &[from, to] : renames)
    if (std::ranges::find(parameters, from, &GraphParameter::name) == parameters.end())
      status.merge(Status::error(Code::Usage, "the graph has no parameter '" + escaped(from) + "'", "[model.names]"));
  for (const GraphParameter &parameter : parameters) {
    std::string place = path + ": parameter '" + escaped(parameter.name) + "'";
    std::optional<ParameterBinding> binding = match(checkpoint, parameter, renames, tied);
    if (!binding) {
      status.merge(Status::error(Code::Graph, "the checkpoint holds no tensor of this name", place,
                                 missingHint(checkpoint, parameter)));
      continue;
    }
    std::optional<CheckpointTensor> tensor = checkpoint.find(binding->tensor);
    if (!tensor)
      status.merge(Status::error(Code::Usage,
                                 "the checkpoint holds no tensor '" + escaped(binding->tensor) +
                                     "', which [model.names] gives it",
                                 place, missingHint(checkpoint, parameter)));
    else if (tensor->info->shape != parameter.shape)
      status.merge(Status::error(Code::Type,
                                 "has shape " + shapeText(parameter.shape) + " in the graph, '" +
                                     escaped(binding->tensor) + "' has " + shapeText(tensor->info->shape),
                                 place));
    else if (!convertsToFloat(tensor->info->dtype))
      status.merge(Status::error(Code::Type,
                                 "'" + escaped(binding->tensor) + "' has dtype " +
                                     std::string(safetensorsName(tensor->info->dtype)) +
                                     ", a floating-point type is expected",
                                 place));
    bindings.push_back(std::move(*binding));
  }
  if (!status.isOk())
    return status;
  return bindings;
}

} // namespace graft
