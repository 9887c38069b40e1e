#include "runtime/exec/OptimizerFile.h"

#include "runtime/io/Safetensors.h"

namespace graft {

namespace {

constexpr const char *fileName = "/optimizer.safetensors";
constexpr std::pair<std::string_view, Block> blocks[] = {
    {"mean.", Block::Mean}, {"square.", Block::Square}, {"parameter.", Block::Parameter}};

} // namespace

Status writeOptimizerState(const Session &session, const std::string &folder, int64_t step, bool withParameters) {
  std::vector<TensorDeclaration> tensors;
  std::map<std::string, std::pair<Block, const ParameterInfo *>> contents;
  for (const ParameterInfo &parameter : session.parameters())
    for (auto [prefix, block] : blocks)
      if (parameter.trained && (block != Block::Parameter || withParameters)) {
        std::string name = std::string(prefix) + parameter.name;
        contents[name] = {block, &parameter};
        tensors.push_back({name, DType::F32, parameter.shape});
      }
  GRAFT_ASSIGN_OR_RETURN(SafetensorsWriter writer, SafetensorsWriter::create(folder + fileName, std::move(tensors),
                                                                             {{"step", std::to_string(step)}}));
  std::vector<float> values;
  for (const TensorDeclaration &tensor : writer.tensors()) {
    auto [block, parameter] = contents[tensor.name];
    values.resize(static_cast<size_t>(parameter->elements));
    GRAFT_RETURN_IF_ERROR(session.read(block, parameter->name, values));
    GRAFT_RETURN_IF_ERROR(writer.append(std::span<const float>(values)));
  }
  return writer.commit();
}

Status readOptimizerState(Session &session, const std::string &folder, int64_t step) {
  GRAFT_ASSIGN_OR_RETURN(SafetensorsFile file, SafetensorsFile::open(folder + fileName));
  auto written = file.metadata().find("step");
  if (written == file.metadata().end() || written->second != std::to_string(step))
    return Status::error(Code::Graph, "the optimizer's state is not that of step " + std::to_string(step), file.path());
  std::vector<float> values;
  Status status;
  for (const ParameterInfo &parameter : session.parameters())
    for (auto [prefix, block] : blocks) {
      if (!parameter.trained)
        continue;
      std::string name = std::string(prefix) + parameter.name;
      const TensorInfo *tensor = file.find(name);
      if (!tensor && block == Block::Parameter)
        continue;
      if (!tensor || tensor->shape != parameter.shape) {
        status.merge(Status::error(Code::Graph,
                                   "no tensor '" + escaped(name) +
                                       "' of the parameter's shape: the state belongs to another program",
                                   file.path()));
        continue;
      }
      values.resize(tensor->elements);
      status.merge(file.read(*tensor, 0, std::span<float>(values)));
      status.merge(session.write(block, parameter.name, values));
    }
  return status;
}

} // namespace graft
