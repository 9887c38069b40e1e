#include "tools/graft/Weights.h"

#include "runtime/io/Safetensors.h"

namespace graft::cli {

Result<Weights> Weights::open(const Recipe &recipe, const std::string &path) {
  Weights weights;
  weights.path_ = !path.empty()                  ? path
                  : recipe.model.weights.isSet() ? recipe.model.weights.resolved
                                                 : recipe.model.graph.resolved;
  if (!path.empty() || recipe.model.weights.isSet()) {
    GRAFT_ASSIGN_OR_RETURN(Checkpoint checkpoint, Checkpoint::open(weights.path_));
    weights.checkpoint_ = std::move(checkpoint);
  } else {
    GRAFT_ASSIGN_OR_RETURN(weights.graph_, onnx::ModelFile::read(weights.path_));
  }
  return weights;
}

Status Weights::read(std::span<const std::string> names, const std::vector<int64_t> &shape, std::span<float> values) {
  auto wrongShape = [&](const std::string &name, std::span<const int64_t> found) {
    return Status::error(Code::Type,
                         "has shape " + onnx::shapeText(found) + ", the program needs " + onnx::shapeText(shape),
                         escaped(path_, 400) + ": tensor '" + escaped(name) + "'");
  };
  for (const std::string &name : names) {
    if (checkpoint_) {
      auto tensor = checkpoint_->find(name);
      if (!tensor)
        continue;
      return tensor->info->shape == shape ? checkpoint_->read(name, values) : wrongShape(name, tensor->info->shape);
    }
    for (const onnx::Tensor &tensor : graph_->graph().initializers)
      if (tensor.name == name) {
        if (tensor.dims != shape)
          return wrongShape(name, tensor.dims);
        GRAFT_ASSIGN_OR_RETURN(std::vector<double> wide, onnx::tensorFloats(tensor, &graph_->external()));
        std::copy(wide.begin(), wide.end(), values.begin());
        return Status::ok();
      }
  }
  return Status::error(Code::Graph, "holds no tensor '" + escaped(names[0]) + "', which the program needs",
                       escaped(path_, 400), "give the weights of the model that was compiled");
}

Status Weights::bind(Session &session) {
  return session.bindAll([&](const ParameterInfo &parameter, std::span<float> values) {
    std::vector<std::string> names = {parameter.name};
    names.insert(names.end(), parameter.aliases.begin(), parameter.aliases.end());
    return read(names, parameter.shape, values);
  });
}

Status Weights::save(const Session &session, const std::string &folder) const {
  std::vector<float> values;
  if (checkpoint_) {
    std::map<std::string, const ParameterInfo *> known;
    for (const ParameterInfo &parameter : session.parameters()) {
      known[parameter.name] = &parameter;
      for (const std::string &alias : parameter.aliases)
        known[alias] = &parameter;
    }
    Status status;
    Status saved =
        saveCheckpoint(*checkpoint_, folder, [&](const std::string &name) -> std::optional<std::span<const float>> {
          auto found = known.find(name);
          if (found == known.end() || !found->second->trained)
            return std::nullopt;
          values.resize(static_cast<size_t>(found->second->elements));
          status.merge(session.read(Block::Parameter, name, values));
          return values;
        });
    return status.isOk() ? saved : status;
  }
  std::vector<TensorDeclaration> tensors;
  for (const ParameterInfo &parameter : session.parameters())
    tensors.push_back({parameter.name, DType::F32, parameter.shape});
  GRAFT_ASSIGN_OR_RETURN(SafetensorsWriter writer, SafetensorsWriter::create(folder + "/model.safetensors",
                                                                             std::move(tensors), {{"format", "pt"}}));
  for (const TensorDeclaration &tensor : writer.tensors()) {
    size_t count = 1;
    for (int64_t size : tensor.shape)
      count *= static_cast<size_t>(size);
    values.resize(count);
    GRAFT_RETURN_IF_ERROR(session.read(Block::Parameter, tensor.name, values));
    GRAFT_RETURN_IF_ERROR(writer.append(std::span<const float>(values)));
  }
  return writer.commit();
}

bool Weights::savesExactly() const {
  if (checkpoint_)
    for (const std::string &name : checkpoint_->names())
      if (DType dtype = checkpoint_->find(name)->info->dtype;
          kind(dtype) == DTypeKind::Float && dtype != DType::F32 && dtype != DType::F64)
        return false;
  return true;
}

Result<Recipe> recipeOf(const Program &program, const std::string &path) {
  const auto *text = program.root().recipe();
  if (!text)
    return Status::error(Code::Verify, "the program holds no recipe", escaped(path, 400), "compile it again");
  return parseRecipe(text->string_view(), path + " (recipe)");
}

} // namespace graft::cli
