#include "passes/objective/EvaluateFiles.h"

#include "passes/objective/EvaluateObjective.h"
#include "runtime/io/Safetensors.h"

namespace graft::objective {

namespace {
constexpr uint64_t maxElements = uint64_t{1} << 24;

std::vector<std::string> namesOf(const Objective &objective) {
  std::vector<std::string> names = {"loss_mask", "group_ids", "denominator.tokens", "denominator.sequences",
                                    "denominator.rows"};
  if (objective.usesLabels())
    names.push_back("labels");
  for (const Input &input : objective.inputs)
    names.push_back(input.name);
  return names;
}

Result<Tensor> readTensor(const SafetensorsFile &file, const TensorInfo &info) {
  if (info.elements > maxElements)
    return Status::error(Code::Limit,
                         std::to_string(info.elements) + " elements, at most " + std::to_string(maxElements) +
                             " are evaluated",
                         "array '" + escaped(info.name) + "'");
  if (kind(info.dtype) == DTypeKind::Float) {
    GRAFT_ASSIGN_OR_RETURN(std::vector<double> values, file.readAll<double>(info));
    return Tensor::floats(info.shape, std::move(values));
  }
  GRAFT_ASSIGN_OR_RETURN(std::vector<int64_t> values, file.readAll<int64_t>(info));
  return Tensor::integers(info.shape, std::move(values));
}

Status write(const Arrays &arrays, const std::string &path) {
  std::vector<TensorDeclaration> declarations;
  for (const auto &[name, tensor] : arrays)
    declarations.push_back({name, DType::F64, tensor.shape()});
  GRAFT_ASSIGN_OR_RETURN(SafetensorsWriter writer, SafetensorsWriter::create(path, declarations));
  for (const TensorDeclaration &next : std::vector<TensorDeclaration>(writer.tensors()))
    GRAFT_RETURN_IF_ERROR(writer.append(std::as_bytes(std::span(arrays.at(next.name).f()))));
  return writer.commit();
}
} // namespace

Status evaluateFiles(const Objective &objective, const std::string &inputs, const std::string &output) {
  GRAFT_ASSIGN_OR_RETURN(SafetensorsFile file, SafetensorsFile::open(inputs));
  Arrays arrays;
  Status status;
  for (const std::string &name : namesOf(objective))
    if (const TensorInfo *info = file.find(name)) {
      auto tensor = readTensor(file, *info);
      if (tensor.isOk())
        arrays.emplace(name, std::move(*tensor));
      else
        status.merge(tensor.takeStatus());
    }
  GRAFT_RETURN_IF_ERROR(std::move(status));
  auto results = evaluateObjective(objective, arrays);
  if (!results.isOk())
    return results.takeStatus().at(escaped(inputs));
  return write(*results, output);
}

} // namespace graft::objective
