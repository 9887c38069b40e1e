#include "runtime/exec/TrainState.h"

#include "runtime/base/AtomicFile.h"
#include "runtime/base/Json.h"
#include "runtime/io/Safetensors.h"

#include <algorithm>
#include <cstdio>

namespace graft {

namespace {

constexpr const char *jsonName = "/training.json";
constexpr const char *tensorsName = "/training.safetensors";

std::string hex(uint64_t value) {
  char text[17];
  std::snprintf(text, sizeof text, "%016llx", static_cast<unsigned long long>(value));
  return text;
}

std::optional<uint64_t> fromHex(const std::string &text) {
  unsigned long long value = 0;
  int end = 0;
  if (text.size() != 16 || std::sscanf(text.c_str(), "%16llx%n", &value, &end) != 1 || end != 16)
    return std::nullopt;
  return value;
}

Status readJson(const std::string &path, TrainState &state) {
  GRAFT_ASSIGN_OR_RETURN(std::string text, readText(path, 1 << 20));
  JsonReader json(text);
  std::string data, program;
  const std::pair<std::string_view, int64_t *> numbers[] = {
      {"step", &state.step}, {"sequences", &state.sequences}, {"distinct", &state.distinct}, {"tokens", &state.tokens}};
  size_t found = 0;
  if (json.enterObject())
    for (std::string key; json.nextKey(key);) {
      auto number = std::ranges::find(numbers, key, &std::pair<std::string_view, int64_t *>::first);
      std::string_view spelling;
      if (key == "data" || key == "program")
        json.readString(key == "data" ? data : program);
      else if (number == std::end(numbers))
        json.skip();
      else if (json.readNumber(spelling)) {
        std::optional<int64_t> value = parseInteger(spelling);
        *number->second = value.value_or(-1);
        found += value && *value >= 1;
      }
    }
  if (!json.finish())
    return Status::error(Code::Format, json.error().message, escaped(path, 400));
  auto dataDigest = fromHex(data), programDigest = fromHex(program);
  if (found != std::size(numbers) || !dataDigest || !programDigest)
    return Status::error(Code::Format, "does not say step, sequences, distinct, tokens, data and program",
                         escaped(path, 400));
  state.data = *dataDigest;
  state.program = *programDigest;
  return Status::ok();
}

} // namespace

Status TrainState::write(const std::string &folder) const {
  std::vector<TensorDeclaration> declarations;
  const std::pair<std::string, const std::vector<float> *> arrays[] = {{"first_logprobs", &firstLogprobs},
                                                                       {"initial_logprobs", &initialLogprobs}};
  for (const auto &[name, values] : arrays)
    if (!values->empty())
      declarations.push_back({name, DType::F32, {static_cast<int64_t>(values->size()) / tokens, tokens}});
  GRAFT_ASSIGN_OR_RETURN(SafetensorsWriter writer,
                         SafetensorsWriter::create(folder + tensorsName, std::move(declarations)));
  for (const auto &[name, values] : arrays)
    if (!values->empty())
      GRAFT_RETURN_IF_ERROR(writer.append(std::span<const float>(*values)));
  GRAFT_RETURN_IF_ERROR(writer.commit());
  return writeFileAtomically(
      folder + jsonName, "{\"step\": " + std::to_string(step) + ", \"sequences\": " + std::to_string(sequences) +
                             ", \"distinct\": " + std::to_string(distinct) + ", \"tokens\": " + std::to_string(tokens) +
                             ", \"data\": \"" + hex(data) + "\", \"program\": \"" + hex(program) + "\"}\n");
}

Result<TrainState> TrainState::read(const std::string &folder) {
  TrainState state;
  GRAFT_RETURN_IF_ERROR(readJson(folder + jsonName, state));
  GRAFT_ASSIGN_OR_RETURN(SafetensorsFile file, SafetensorsFile::open(folder + tensorsName));
  const std::pair<const char *, std::vector<float> *> arrays[] = {{"first_logprobs", &state.firstLogprobs},
                                                                  {"initial_logprobs", &state.initialLogprobs}};
  for (const auto &[name, values] : arrays)
    if (const TensorInfo *tensor = file.find(name)) {
      if (tensor->shape.size() != 2 || tensor->shape[1] != state.tokens)
        return Status::error(Code::Type, "is no array of rows of " + std::to_string(state.tokens) + " tokens",
                             file.path() + ": tensor '" + name + "'");
      GRAFT_ASSIGN_OR_RETURN(*values, file.readAll<float>(*tensor));
    }
  if (!state.initialLogprobs.empty() &&
      static_cast<int64_t>(state.initialLogprobs.size()) != state.distinct * state.tokens)
    return Status::error(Code::Graph, "has not a row for each of " + std::to_string(state.distinct) + " sequences",
                         file.path() + ": tensor 'initial_logprobs'");
  return state;
}

} // namespace graft
