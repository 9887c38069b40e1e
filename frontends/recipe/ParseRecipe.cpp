// TOML text -> Recipe. The text becomes a tree (TOML's own faults first), then the tree is walked once against the
// table of keys; every fault is kept with its position and all of them are reported in the order of the file.
#include "frontends/recipe/DidYouMean.h"
#include "frontends/recipe/Keys.h"
#include "frontends/recipe/TomlGuard.h"
#include "runtime/base/ByteSize.h"

#define TOML_EXCEPTIONS 0
#define TOML_MAX_NESTED_VALUES 32
#include <toml++/toml.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <filesystem>

namespace graft {

using namespace recipe;

namespace {
constexpr size_t mostBytes = 1 << 20;
constexpr size_t mostFaults = 50;
constexpr int mostDuplicates = 20;
/// Stands for a table header that repeats another, so that parsing can go on; nothing below it is read.
constexpr std::string_view repeatedTable = "graft-repeated-table-";

std::string number(double value) {
  char buffer[32];
  auto [end, error] = std::to_chars(buffer, buffer + sizeof buffer, value);
  return std::string(buffer, end);
}

std::string inQuotes(std::string_view name) {
  return "'" + escaped(name) + "'";
}

std::string joined(std::span<const std::string_view> names) {
  std::string text;
  for (std::string_view name : names)
    text += (text.empty() ? "" : ", ") + ("\"" + std::string(name) + "\"");
  return text;
}

/// "an integer from 2 to 1048576": what a key wants.
std::string expected(const Key &key) {
  std::string range;
  if (std::isfinite(key.most))
    range = key.most < 1 ? " from " + number(key.least) + " to below 1"
                         : " from " + number(key.least) + " to " + std::to_string(static_cast<int64_t>(key.most));
  else if (std::isfinite(key.least))
    range = " of at least " + number(key.least);
  switch (key.type) {
  case Type::Path:
    return "a path in quotes";
  case Type::Text:
    return "a string";
  case Type::Choice:
    return (key.choices.size() == 1 ? "" : "one of ") + joined(key.choices);
  case Type::Integer:
    return "an integer" + range;
  case Type::Count:
    return "an integer" + range + " or \"auto\"";
  case Type::Number:
    return "a number" + range;
  case Type::Numbers:
    return "an array of two numbers" + range;
  case Type::Bytes:
    return "a size with a unit in quotes";
  case Type::Boolean:
    return "true or false";
  case Type::Texts:
    return "an array of strings";
  case Type::Tables:
    return "tables with [[" + std::string(key.table) + "." + std::string(key.name) + "]]";
  }
  return "";
}

/// "the integer 3", "a table": what stands there.
std::string found(const toml::node &node) {
  if (auto value = node.as_string())
    return "the string \"" + escaped(value->get(), 40) + "\"";
  if (auto value = node.as_integer())
    return std::to_string(value->get());
  if (auto value = node.as_floating_point())
    return number(value->get());
  if (auto value = node.as_boolean())
    return value->get() ? "true" : "false";
  if (node.is_table())
    return "a table";
  if (auto array = node.as_array())
    return "an array of " + std::to_string(array->size());
  return "a date or time";
}

bool isPlainText(std::string_view text) {
  return !text.empty() && std::ranges::none_of(text, [](unsigned char c) { return c < 0x20 || c == 0x7F; });
}

class Reader {
public:
  explicit Reader(const std::string &file) : folder_(std::filesystem::path(file).parent_path()) {
    recipe_.origin.file = file;
  }

  Result<Recipe> read(std::string_view text) {
    if (text.size() > mostBytes) {
      std::string size = std::to_string(text.size());
      return Status::error(Code::Usage, "the recipe has " + size + " bytes, the limit is 1 MiB",
                           escaped(recipe_.origin.file, 400), "give the recipe, a TOML file of a few hundred bytes");
    }
    if (auto position = findDeepKey(text))
      fault(*position, "a key of more than 32 parts", "quote names that contain dots");
    else if (std::optional<toml::table> root = tree(text)) {
      walk("", *root);
      checkPresence();
      checkInBackward();
    }
    if (!faults_.empty())
      return allFaults();
    std::ranges::sort(recipe_.objective.parameters, {}, &ObjectiveParameter::name);
    return std::move(recipe_);
  }

private:
  struct PlacedFault {
    RecipePosition position;
    std::string message, hint;
  };

  void fault(RecipePosition position, std::string message, std::string hint = "") {
    faults_.push_back({position, std::move(message), std::move(hint)});
  }

  Status allFaults() {
    std::ranges::stable_sort(faults_, {},
                             [](const PlacedFault &f) { return std::pair(f.position.line, f.position.column); });
    Status status;
    for (size_t i = 0; i < std::min(faults_.size(), mostFaults); ++i) {
      PlacedFault &f = faults_[i];
      std::string place = escaped(recipe_.origin.file, 400);
      if (f.position.line)
        place += ":" + std::to_string(f.position.line) + ":" + std::to_string(f.position.column);
      status.merge(Status::error(Code::Usage, std::move(f.message), std::move(place), std::move(f.hint)));
    }
    if (faults_.size() > mostFaults)
      status.merge(Status::error(Code::Usage, "and " + std::to_string(faults_.size() - mostFaults) + " more faults",
                                 recipe_.origin.file));
    return status;
  }

  /// The text as a tree. TOML's parser stops at its first error; duplicates are blanked out so that it can go on and
  /// tell the rest.
  std::optional<toml::table> tree(std::string_view original) {
    std::string text(original);
    for (int attempt = 0; attempt <= mostDuplicates; ++attempt) {
      toml::parse_result parsed = toml::parse(std::string_view(text));
      if (parsed.succeeded())
        return std::move(parsed).table();
      std::string_view description = parsed.error().description();
      if (size_t colon = description.find(": ");
          description.starts_with("Error while parsing") && colon != std::string_view::npos)
        description.remove_prefix(colon + 2);
      bool duplicate = description.starts_with("cannot redefine");
      RecipePosition position = {parsed.error().source().begin.line, parsed.error().source().begin.column};
      if (!duplicate && attempt > 0) // may be our own doing: a value of several lines whose first line was blanked
        return std::nullopt;
      fault(position, (duplicate ? "given twice: " : "not TOML: ") + escaped(description, 200),
            duplicate ? "keep one of the two" : "");
      if (!duplicate)
        return std::nullopt;
      faults_.back().position.column = blank(text, position.line, attempt);
    }
    return std::nullopt;
  }

  /// Removes a line that repeats a key; a repeated table header becomes another one, so that its keys do not fall to
  /// the table before.
  static uint32_t blank(std::string &text, uint32_t line, int attempt) {
    size_t start = 0;
    for (uint32_t at = 1; at < line && start != std::string::npos; ++at)
      start = text.find('\n', start) == std::string::npos ? std::string::npos : text.find('\n', start) + 1;
    if (start == std::string::npos)
      return 1;
    size_t length = std::min(text.find('\n', start), text.size()) - start;
    size_t indent = std::min(text.find_first_not_of(" \t", start), start + length) - start;
    bool header = text[start + indent] == '[';
    text.replace(start, length, header ? "[" + std::string(repeatedTable) + std::to_string(attempt) + "]" : "");
    return static_cast<uint32_t>(indent + 1);
  }

  void walk(const std::string &table, const toml::table &entries) {
    for (auto &&[key, node] : entries) {
      std::string name(key.str());
      if (table.empty() && !faults_.empty() && name.starts_with(repeatedTable))
        continue;
      RecipePosition position = {key.source().begin.line, key.source().begin.column};
      std::string full = table.empty() ? name : table + "." + name;
      recipe_.origin.positions[full] = position;
      if (std::ranges::count(tables(), std::string_view(full)))
        node.is_table() ? walk(full, *node.as_table())
                        : fault(position, full + " is " + found(node) + ", expected a table: [" + full + "]");
      else if (table == "model.names")
        readName(name, node, position);
      else if (const Key *known = findKey(table, name))
        readKey(*known, full, node, position);
      else if (table == "objective")
        readParameter(name, node, position);
      else
        reportUnknown(table, name, position);
    }
  }

  void readKey(const Key &key, const std::string &full, const toml::node &node, RecipePosition position) {
    std::optional<Value> value = valueOf(key, full, node, position);
    if (!value)
      return;
    bool isDefault = key.access.get && *value == key.access.get(Recipe());
    bool isDone = key.type == Type::Choice && std::get<int64_t>(*value) < key.done;
    if (!key.notYet.empty() && !isDefault && !isDone) {
      std::string what = node.is_array() || node.is_table() ? full : full + " = " + written(node);
      fault(position, "not yet: " + what + " is not supported in this version", std::string(key.notYet));
    } else if (key.access.set) {
      key.access.set(recipe_, *value);
    }
  }

  static std::string written(const toml::node &node) {
    return node.is_string() ? "\"" + escaped(node.as_string()->get(), 40) + "\"" : found(node);
  }

  /// The node as the key's type, or nothing and a fault.
  std::optional<Value> valueOf(const Key &key, const std::string &full, const toml::node &node,
                               RecipePosition position) {
    auto wrong = [&](std::string hint = "") {
      fault(position, full + " is " + found(node) + ", expected " + expected(key), std::move(hint));
      return std::nullopt;
    };
    auto within = [&](double number) { return number >= key.least && number <= key.most && std::isfinite(number); };
    switch (key.type) {
    case Type::Path:
      if (auto text = node.as_string(); text && isPlainText(text->get()))
        return pathOf(text->get());
      return wrong();
    case Type::Text:
      if (auto text = node.as_string(); text && isPlainText(text->get()))
        return text->get();
      return wrong();
    case Type::Choice:
      if (auto text = node.as_string()) {
        auto choice = std::ranges::find(key.choices, std::string_view(text->get()));
        if (choice != key.choices.end())
          return static_cast<int64_t>(choice - key.choices.begin());
        return wrong(didYouMean(text->get(), key.choices));
      }
      return wrong();
    case Type::Integer:
      if (auto integer = node.as_integer(); integer && within(static_cast<double>(integer->get())))
        return integer->get();
      return wrong();
    case Type::Count:
      if (auto text = node.as_string(); text && text->get() == "auto")
        return int64_t(0);
      if (auto integer = node.as_integer(); integer && within(static_cast<double>(integer->get())))
        return integer->get();
      return wrong();
    case Type::Number:
      if (auto number = node.value<double>(); node.is_number() && within(*number))
        return *number;
      return wrong();
    case Type::Numbers:
      if (auto array = node.as_array();
          array && array->size() == 2 && (*array)[0].is_number() && (*array)[1].is_number()) {
        std::array<double, 2> numbers = {*(*array)[0].value<double>(), *(*array)[1].value<double>()};
        if (within(numbers[0]) && within(numbers[1]))
          return numbers;
        fault(position,
              full + " is [" + number(numbers[0]) + ", " + number(numbers[1]) + "], expected " + expected(key));
        return std::nullopt;
      }
      return wrong();
    case Type::Bytes:
      if (auto text = node.as_string())
        if (auto bytes = parseByteSize(text->get()); bytes && within(static_cast<double>(*bytes)))
          return *bytes;
      return wrong("write a number and a unit: \"6GiB\", \"512MiB\", \"1.5TB\"");
    case Type::Boolean:
      if (auto boolean = node.as_boolean())
        return boolean->get();
      return wrong();
    case Type::Texts: {
      auto isText = [](const toml::node &element) { return element.is_string(); };
      if (auto array = node.as_array(); array && std::all_of(array->begin(), array->end(), isText))
        return Value();
      return wrong();
    }
    case Type::Tables:
      if (node.is_array_of_tables())
        return Value();
      return wrong();
    }
    return std::nullopt;
  }

  RecipePath pathOf(const std::string &text) const {
    return {text, (folder_ / text).lexically_normal().string()}; // an absolute `text` replaces the folder
  }

  void readName(const std::string &name, const toml::node &node, RecipePosition position) {
    auto text = node.as_string();
    if (node.is_table())
      fault(position, "model.names." + escaped(name) + " is a table, expected the name of a tensor in the checkpoint",
            "quote names that contain dots: \"" + escaped(name) + ".weight\" = \"...\"");
    else if (!text || !isPlainText(text->get()) || !isPlainText(name))
      fault(position, "model.names maps " + inQuotes(name) + " to " + found(node) +
                          ", expected the name of a tensor in the checkpoint");
    else
      recipe_.model.names[name] = text->get();
  }

  void readParameter(const std::string &name, const toml::node &node, RecipePosition position) {
    auto isIdentifier = [](unsigned char c) { return std::isalnum(c) || c == '_'; };
    if (name.empty() || std::isdigit(static_cast<unsigned char>(name[0])) || !std::ranges::all_of(name, isIdentifier)) {
      fault(position, inQuotes(name) + " cannot be the name of an objective's parameter",
            didYouMean(name, recipeKeys("objective")));
      return;
    }
    if (auto boolean = node.as_boolean())
      recipe_.objective.parameters.push_back({name, boolean->get()});
    else if (auto text = node.as_string())
      recipe_.objective.parameters.push_back({name, text->get()});
    else if (auto number = node.value<double>(); node.is_number() && std::isfinite(*number))
      recipe_.objective.parameters.push_back({name, *number});
    else
      fault(position,
            "objective." + name + " is " + found(node) + ", expected a finite number, a string, true or false");
  }

  void reportUnknown(const std::string &table, const std::string &name, RecipePosition position) {
    std::vector<std::string_view> candidates = recipeKeys(table);
    for (std::string_view inner : tables())
      if (table.empty() ? inner.find('.') == std::string_view::npos : inner.starts_with(table + "."))
        candidates.push_back(table.empty() ? inner : inner.substr(table.size() + 1));
    std::string hint = didYouMean(name, candidates);
    if (hint.empty())
      for (const Key &key : keys())
        if (key.name == name)
          hint = "the key '" + name + "' belongs to [" + std::string(key.table) + "]";
    fault(position, "unknown key " + inQuotes(name) + (table.empty() ? "" : " in [" + table + "]"),
          hint.empty() ? "known here: " + joined(candidates) : hint);
  }

  /// Of a key or table; line 0: the recipe has none.
  RecipePosition positionOf(std::string_view full) const {
    auto found = recipe_.origin.positions.find(std::string(full));
    return found == recipe_.origin.positions.end() ? RecipePosition() : found->second;
  }

  /// What must be there, once.
  void checkPresence() {
    auto has = [&](std::string_view table, std::string_view key) {
      return recipe_.origin.positions.contains(std::string(table) + "." + std::string(key));
    };
    for (const Key &key : keys())
      if (key.required && !has(key.table, key.name))
        fault(positionOf(key.table), "[" + std::string(key.table) + "] has no " + std::string(key.name),
              "add " + std::string(key.name) + ", " + expected(key));
    bool preset = has("objective", "preset"), file = has("objective", "file");
    if (preset && file)
      fault(positionOf("objective.file"), "[objective] has both preset and file", "keep one of the two");
    if (!preset && !file)
      fault(positionOf("objective"), "[objective] has neither preset nor file",
            "add preset = \"grpo\" (`graft objective list` shows all) or file = \"mine.objective\"");
  }

  /// What needs all gradients at once, and so excludes an optimizer in the backward pass.
  void checkInBackward() {
    if (!recipe_.optimizer.inBackward)
      return;
    RecipePosition place = positionOf("optimizer.in_backward");
    auto exclude = [&](bool isAsked, const std::string &key, const std::string &why, const std::string &setting) {
      RecipePosition other = positionOf(key);
      if (isAsked)
        fault(other.line ? other : place,
              key + (other.line ? "" : ", by default,") + " and optimizer.in_backward = true (line " +
                  std::to_string(place.line) + ") exclude each other: " + why,
              "set " + setting + ", or in_backward = false");
    };
    exclude(recipe_.optimizer.clipGradNorm > 0, "optimizer.clip_grad_norm",
            "the norm of all gradients is known when the first parameters are updated already", "clip_grad_norm = 0");
    exclude(recipe_.batch.microBatches > 1, "batch.micro_batches",
            "a gradient is the sum over all micro-batches, and no memory holds it from one to the next",
            "micro_batches = 1");
    exclude(recipe_.optimizer.onNonfinite == NonfinitePolicy::Skip, "optimizer.on_nonfinite",
            "a step whose gradients are not finite cannot be left out when some parameters were updated already",
            "on_nonfinite = \"stop\"");
  }

  Recipe recipe_;
  std::filesystem::path folder_;
  std::vector<PlacedFault> faults_;
};
} // namespace

std::string RecipeOrigin::place(std::string_view key) const {
  auto found = positions.find(std::string(key));
  if (found == positions.end())
    return escaped(file, 400);
  return escaped(file, 400) + ":" + std::to_string(found->second.line) + ":" + std::to_string(found->second.column);
}

Result<Recipe> parseRecipe(std::string_view text, const std::string &file) {
  return Reader(file).read(text);
}

} // namespace graft
