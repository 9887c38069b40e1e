#include "frontends/weights/Checkpoint.h"
#include "runtime/base/Json.h"

#include <algorithm>
#include <array>
#include <filesystem>

namespace graft {

namespace {
namespace fs = std::filesystem;

// What transformers wants to find beside the weights. Missing ones are no fault.
constexpr std::array<const char *, 11> companions = {"config.json",
                                                     "generation_config.json",
                                                     "tokenizer.json",
                                                     "tokenizer_config.json",
                                                     "special_tokens_map.json",
                                                     "added_tokens.json",
                                                     "vocab.json",
                                                     "merges.txt",
                                                     "tokenizer.model",
                                                     "chat_template.jinja",
                                                     "chat_template.json"};

/// For each name, the names whose trained values it may take: itself, then the others of its tied group.
using Sources = std::map<std::string, std::vector<std::string>>;

Status copyBytes(const SafetensorsFile &file, const TensorInfo &tensor, SafetensorsWriter &writer) {
  constexpr uint64_t piece = 1u << 20;
  std::vector<std::byte> bytes;
  for (uint64_t done = 0; done < tensor.bytes; done += bytes.size()) {
    bytes.resize(std::min(tensor.bytes - done, piece));
    GRAFT_RETURN_IF_ERROR(file.file().read(tensor.begin + done, bytes));
    GRAFT_RETURN_IF_ERROR(writer.append(bytes));
  }
  return Status::ok();
}

/// The trained values of a tensor or of a name that is tied to it.
std::optional<std::span<const float>> trainedValues(const std::string &name, const Sources &tied,
                                                    const TrainedValues &trained) {
  if (auto values = trained(name))
    return values;
  if (auto group = tied.find(name); group != tied.end())
    for (const std::string &other : group->second)
      if (auto values = trained(other))
        return values;
  return std::nullopt;
}

Status saveFile(const SafetensorsFile &source, const std::string &path, const Sources &tied,
                const TrainedValues &trained) {
  std::vector<TensorDeclaration> declarations;
  for (const TensorInfo &tensor : source.tensors())
    declarations.push_back({tensor.name, tensor.dtype, tensor.shape});
  GRAFT_ASSIGN_OR_RETURN(SafetensorsWriter writer,
                         SafetensorsWriter::create(path, std::move(declarations), source.metadata()));
  for (const TensorDeclaration &declaration : writer.tensors()) {
    const TensorInfo &tensor = *source.find(declaration.name);
    auto values = trainedValues(tensor.name, tied, trained);
    if (values && values->size() != tensor.elements)
      return Status::error(Code::Internal,
                           std::to_string(values->size()) + " trained values for " + std::to_string(tensor.elements) +
                               " elements",
                           "tensor '" + escaped(tensor.name) + "'");
    GRAFT_RETURN_IF_ERROR(values ? writer.append(*values) : copyBytes(source, tensor, writer));
  }
  return writer.commit();
}

std::string indexText(const Checkpoint &checkpoint) {
  std::map<std::string, std::string> weightMap;
  uint64_t total = 0;
  for (const Checkpoint::Shard &shard : checkpoint.shards())
    for (const TensorInfo &tensor : shard.file->tensors()) {
      weightMap[tensor.name] = shard.name;
      total += tensor.bytes;
    }
  std::string text =
                  "{\n  \"metadata\": {\n    \"total_size\": " + std::to_string(total) + "\n  },\n  \"weight_map\": {",
              separator = "\n";
  for (const auto &[name, shard] : weightMap)
    text += std::exchange(separator, ",\n") + "    " + jsonString(name) + ": " + jsonString(shard);
  return text + "\n  }\n}\n";
}

/// Copies a small file if it is there and may be read: a link that leaves the source's folder is passed over.
Status copyCompanion(const Checkpoint &source, const std::string &name, const std::string &folder) {
  std::error_code ignored;
  if (fs::equivalent(source.folder(), folder, ignored))
    return Status::ok();
  Result<InputFile> file = source.openBeside(name);
  if (!file.isOk())
    return Status::ok();
  GRAFT_ASSIGN_OR_RETURN(MappedFile bytes, MappedFile::map(std::move(*file), 256u << 20));
  return writeFileAtomically((fs::path(folder) / name).string(),
                             {reinterpret_cast<const char *>(bytes.bytes().data()), bytes.bytes().size()});
}
} // namespace

Status saveCheckpoint(const Checkpoint &source, const std::string &folder, const TrainedValues &trained) {
  GRAFT_ASSIGN_OR_RETURN(auto groups, source.tiedNames());
  Sources tied;
  for (const std::vector<std::string> &group : groups)
    for (const std::string &name : group)
      tied[name] = group;
  for (const Checkpoint::Shard &shard : source.shards()) {
    fs::path path = fs::path(folder) / (source.isSharded() ? shard.name : "model.safetensors");
    std::error_code error;
    fs::create_directories(path.parent_path(), error);
    if (error)
      return Status::error(Code::Failed, "cannot be created: " + error.message(),
                           escaped(path.parent_path().string(), 400));
    GRAFT_RETURN_IF_ERROR(saveFile(*shard.file, path.string(), tied, trained));
  }
  for (const char *name : companions)
    GRAFT_RETURN_IF_ERROR(copyCompanion(source, name, folder));
  if (source.isSharded())
    return writeFileAtomically((fs::path(folder) / "model.safetensors.index.json").string(), indexText(source));
  return Status::ok();
}

} // namespace graft
