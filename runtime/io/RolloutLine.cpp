// One line of a rollouts file.
#include "runtime/base/Json.h"
#include "runtime/io/Rollouts.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <unordered_set>

namespace graft {

namespace {
constexpr std::array<std::string_view, tokenFieldCount> tokenFieldNames = {
    "sampler_logprobs", "old_logprobs", "ref_logprobs", "values", "returns", "advantages"};

class LineParser {
public:
  LineParser(std::string_view line, const RolloutOptions &options) : json_(line), options_(options) {}
  Result<Rollout> parse();

private:
  void field(const std::string &key);
  void tokenIds(const std::string &key, std::vector<int32_t> &ids);
  void numbers(const std::string &key, std::vector<float> &values);
  void number(const std::string &key, std::optional<double> &value);
  void group();
  void text(const std::string &key, std::string &value);
  void checkWhole();
  bool is(JsonKind kind, const std::string &key);
  void fault(Code code, std::string message, const std::string &key) {
    if (status_.faults().size() < options_.faults)
      status_.merge(Status::error(code, std::move(message), escaped(key)));
  }

  JsonReader json_;
  const RolloutOptions &options_;
  Rollout rollout_;
  Status status_;
  std::unordered_set<std::string> seen_, present_;
};

/// True if the next value is of the kind; otherwise consumes it and records a Type fault.
bool LineParser::is(JsonKind kind, const std::string &key) {
  JsonKind found = json_.peek();
  if (found == kind)
    return true;
  if (json_.skip())
    fault(Code::Type, "must be " + std::string(description(kind)) + ", found " + std::string(description(found)), key);
  return false;
}

void LineParser::tokenIds(const std::string &key, std::vector<int32_t> &ids) {
  if (!is(JsonKind::Array, key) || !json_.enterArray())
    return;
  int64_t end = options_.vocabulary.value_or(int64_t{1} << 31);
  bool good = true;
  for (size_t i = 0; json_.nextElement(); ++i) {
    std::string_view spelling;
    bool isNumber = json_.peek() == JsonKind::Number && json_.readNumber(spelling);
    if (!isNumber && !json_.skip(&spelling))
      return;
    std::optional<int64_t> id = isNumber ? parseInteger(spelling) : std::nullopt;
    if (id && *id >= 0 && *id < end) {
      ids.push_back(static_cast<int32_t>(*id));
    } else if (good) { // the first one says enough
      fault(id ? Code::Range : Code::Type,
            "element " + std::to_string(i) + " is " + escaped(spelling, 40) + ", a token id from 0 to " +
                std::to_string(end - 1) + " is expected",
            key);
      good = false;
    }
  }
}

void LineParser::numbers(const std::string &key, std::vector<float> &values) {
  if (!is(JsonKind::Array, key) || !json_.enterArray())
    return;
  bool good = true;
  for (size_t i = 0; json_.nextElement(); ++i) {
    std::string_view spelling;
    bool isNumber = json_.peek() == JsonKind::Number && json_.readNumber(spelling);
    if (!isNumber && !json_.skip(&spelling))
      return;
    std::optional<double> value = isNumber ? parseReal(spelling) : std::nullopt;
    bool fits = value && std::fabs(*value) <= static_cast<double>(std::numeric_limits<float>::max());
    if (!fits && good)
      fault(isNumber ? Code::Range : Code::Type,
            "element " + std::to_string(i) + " is " + escaped(spelling, 40) + ", a finite number is expected", key);
    good = good && fits;
    values.push_back(fits ? static_cast<float>(*value) : 0.0f);
  }
}

void LineParser::number(const std::string &key, std::optional<double> &value) {
  std::string_view spelling;
  if (!is(JsonKind::Number, key) || !json_.readNumber(spelling))
    return;
  value = parseReal(spelling);
  if (!value || std::fabs(*value) > static_cast<double>(std::numeric_limits<float>::max()))
    fault(Code::Range, "is " + escaped(spelling, 40) + ", a finite number is expected", key);
}

void LineParser::group() {
  JsonKind kind = json_.peek();
  std::string_view spelling;
  if (!json_.skip(&spelling))
    return;
  if (kind == JsonKind::String) {
    std::string value;
    JsonReader(spelling).readString(value);
    rollout_.group = jsonString(value);
  } else if (std::optional<int64_t> number = kind == JsonKind::Number ? parseInteger(spelling) : std::nullopt) {
    rollout_.group = std::to_string(*number);
  } else {
    fault(Code::Type, "must be an integer or a string, found " + escaped(spelling, 40), "group_id");
  }
}

void LineParser::text(const std::string &key, std::string &value) {
  if (is(JsonKind::String, key))
    json_.readString(value);
}

void LineParser::field(const std::string &key) {
  if (!seen_.insert(key).second) {
    fault(Code::Format, "occurs twice", key);
    json_.skip();
    return;
  }
  std::optional<TokenField> perToken = tokenFieldByName(key);
  bool known = perToken || key == "prompt_ids" || key == "completion_ids" || key == "reward" || key == "advantage" ||
               key == "group_id" || key == "truncated" || key == "prompt" || key == "completion";
  if (!known) {
    std::string_view raw;
    if (json_.skip(&raw))
      rollout_.others.emplace_back(key, raw);
    present_.insert(key);
    return;
  }
  if (json_.peek() == JsonKind::Null) {
    json_.readNull();
    return;
  }
  present_.insert(key);
  if (perToken)
    numbers(key, rollout_.perToken[static_cast<size_t>(*perToken)].emplace());
  else if (key == "prompt_ids")
    tokenIds(key, rollout_.promptIds);
  else if (key == "completion_ids")
    tokenIds(key, rollout_.completionIds);
  else if (key == "reward")
    number(key, rollout_.reward);
  else if (key == "advantage")
    number(key, rollout_.advantage);
  else if (key == "group_id")
    group();
  else if (key == "prompt")
    text(key, rollout_.prompt);
  else if (key == "completion")
    text(key, rollout_.completion);
  else if (is(JsonKind::Bool, key))
    json_.readBool(rollout_.truncated);
}

/// Checks that need more than one field.
void LineParser::checkWhole() {
  for (std::string key : {"prompt_ids", "completion_ids"})
    if (!present_.contains(key))
      fault(Code::Graph, "is missing", key);
  for (const std::string &key : options_.required)
    if (key != "prompt_ids" && key != "completion_ids" && !present_.contains(key))
      fault(Code::Graph, "is missing", key);
  if (!status_.isOk())
    return;
  if (rollout_.promptIds.empty())
    fault(Code::Range, "is empty: the first token of the completion would be predicted from nothing", "prompt_ids");
  for (size_t i = 0; i < tokenFieldCount; ++i)
    if (const auto &values = rollout_.perToken[i]; values && values->size() != rollout_.completionIds.size())
      fault(Code::Range,
            "has " + std::to_string(values->size()) + " numbers, the completion has " +
                std::to_string(rollout_.completionIds.size()) + " tokens",
            std::string(tokenFieldNames[i]));
  if (rollout_.advantage && rollout_.tokens(TokenField::Advantages))
    fault(Code::Graph, "stands beside 'advantages'; only one of them may be given", "advantage");
}

Result<Rollout> LineParser::parse() {
  std::string key;
  if (json_.enterObject())
    while (json_.nextKey(key))
      field(key);
  json_.finish();
  if (json_.failed())
    status_.merge(
        Status::error(json_.error().code, json_.error().message, "column " + std::to_string(json_.error().offset + 1)));
  else
    checkWhole();
  if (!status_.isOk())
    return std::move(status_);
  return std::move(rollout_);
}
} // namespace

std::string_view name(TokenField field) {
  return tokenFieldNames[static_cast<size_t>(field)];
}

std::optional<TokenField> tokenFieldByName(std::string_view name) {
  auto found = std::ranges::find(tokenFieldNames, name);
  return found == tokenFieldNames.end() ? std::nullopt
                                        : std::optional(static_cast<TokenField>(found - tokenFieldNames.begin()));
}

Result<Rollout> parseRollout(std::string_view line, const RolloutOptions &options) {
  return LineParser(line, options).parse();
}

} // namespace graft
