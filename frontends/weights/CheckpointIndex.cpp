// The two small JSON files beside weights: model.safetensors.index.json and config.json.
#include "frontends/weights/Checkpoint.h"
#include "runtime/base/Json.h"

#include <filesystem>

namespace graft {

namespace {
Status jsonFault(const JsonReader &json) {
  return Status::error(json.error().code, json.error().message, "byte " + std::to_string(json.error().offset));
}

constexpr size_t maxFaults = 20;
} // namespace

Result<std::map<std::string, std::string>> parseCheckpointIndex(std::string_view text) {
  JsonReader json(text);
  std::map<std::string, std::string> weightMap;
  Status status;
  std::string key, tensor, shard;
  int maps = 0;
  auto fault = [&](Code code, std::string message) {
    if (status.faults().size() < maxFaults)
      status.merge(Status::error(code, std::move(message), "tensor '" + escaped(tensor) + "'"));
  };
  if (json.enterObject())
    while (json.nextKey(key)) {
      if (key != "weight_map") {
        json.skip();
        continue;
      }
      ++maps;
      if (!json.enterObject())
        break;
      while (json.nextKey(tensor)) {
        JsonKind kind = json.peek();
        if (kind != JsonKind::String && json.skip())
          fault(Code::Type, "its shard must be a string, found " + std::string(description(kind)));
        else if (kind == JsonKind::String && json.readString(shard) && !weightMap.emplace(tensor, shard).second)
          fault(Code::Graph, "occurs twice");
      }
    }
  json.finish();
  if (json.failed())
    status.merge(jsonFault(json));
  else if (maps != 1)
    status.merge(Status::error(Code::Format, "one object 'weight_map' is expected, found " + std::to_string(maps)));
  if (!status.isOk())
    return status;
  return weightMap;
}

Result<std::optional<bool>> readTieWordEmbeddings(const std::string &folder) {
  std::string path = (std::filesystem::path(folder) / "config.json").string();
  std::error_code ignored;
  if (!std::filesystem::exists(path, ignored))
    return std::optional<bool>();
  GRAFT_ASSIGN_OR_RETURN(std::string text, readText(path, 16u << 20));
  JsonReader json(text);
  std::optional<bool> tied, nested;
  auto readFlag = [&](std::optional<bool> &flag) {
    bool value = false;
    if (json.peek() == JsonKind::Null)
      json.readNull();
    else if (json.readBool(value))
      flag = value;
  };
  std::string key, inner;
  if (json.enterObject())
    while (json.nextKey(key)) {
      if (key == "tie_word_embeddings")
        readFlag(tied);
      else if (key != "text_config" || json.peek() != JsonKind::Object)
        json.skip();
      else if (json.enterObject())
        while (json.nextKey(inner))
          inner == "tie_word_embeddings" ? readFlag(nested) : static_cast<void>(json.skip());
    }
  json.finish();
  if (json.failed())
    return jsonFault(json).at(escaped(path, 400));
  return tied ? tied : nested;
}

} // namespace graft
