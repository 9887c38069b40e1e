// Recipe -> TOML, driven by the table of keys.
#include "frontends/recipe/Keys.h"
#include "runtime/base/ByteSize.h"

#include <algorithm>
#include <cctype>
#include <charconv>
#include <cstdio>
#include <filesystem>

namespace graft {

using namespace recipe;

namespace {
std::string inQuotes(std::string_view text) {
  std::string out = "\"";
  for (unsigned char c : text) {
    if (c == '"' || c == '\\') {
      out += '\\';
      out += static_cast<char>(c);
    } else if (c < 0x20 || c == 0x7F) {
      char code[8];
      std::snprintf(code, sizeof code, "\\u%04X", c);
      out += code;
    } else {
      out += static_cast<char>(c);
    }
  }
  return out + "\"";
}

/// The shortest text that reads back as the same number, always recognisable as a float.
std::string number(double value) {
  char buffer[32];
  auto [end, error] = std::to_chars(buffer, buffer + sizeof buffer, value);
  std::string text(buffer, end);
  return text.find_first_of(".e") == std::string::npos ? text + ".0" : text;
}

struct Printer {
  RecipePaths paths;
  const Key *key = nullptr;

  std::string operator()(std::monostate) const { return ""; }
  std::string operator()(const RecipePath &path) const {
    return inQuotes(paths == RecipePaths::AsWritten
                        ? path.written
                        : std::filesystem::absolute(path.resolved).lexically_normal().string());
  }
  std::string operator()(const std::string &text) const { return inQuotes(text); }
  std::string operator()(int64_t value) const {
    if (key && key->type == Type::Choice)
      return inQuotes(key->choices[static_cast<size_t>(value)]);
    if (key && key->type == Type::Count && value == 0)
      return inQuotes("auto");
    return key && key->type == Type::Bytes ? inQuotes(byteSizeText(value)) : std::to_string(value);
  }
  std::string operator()(double value) const { return number(value); }
  std::string operator()(bool value) const { return value ? "true" : "false"; }
  std::string operator()(const std::array<double, 2> &values) const {
    return "[" + number(values[0]) + ", " + number(values[1]) + "]";
  }
};

/// The lines of one table; empty when it has nothing to say.
std::string lines(const Recipe &recipe, std::string_view table, RecipePaths paths) {
  std::string text;
  for (const Key &key : keys()) {
    if (key.table != table || !key.access.get)
      continue;
    std::string value = std::visit(Printer{paths, &key}, key.access.get(recipe));
    if (!value.empty())
      text += std::string(key.name) + " = " + value + "\n";
  }
  if (table == "objective")
    for (const ObjectiveParameter &parameter : recipe.objective.parameters)
      text += parameter.name + " = " + std::visit(Printer{paths}, parameter.value) + "\n";
  if (table == "model.names")
    for (const auto &[graphName, checkpointName] : recipe.model.names)
      text += inQuotes(graphName) + " = " + inQuotes(checkpointName) + "\n";
  return text;
}
} // namespace

std::string printRecipe(const Recipe &recipe, RecipePaths paths) {
  std::string text;
  for (std::string_view table : tables()) {
    std::string body = lines(recipe, table, paths);
    if (!body.empty())
      text += (text.empty() ? "[" : "\n[") + std::string(table) + "]\n" + body;
  }
  return text;
}

} // namespace graft
