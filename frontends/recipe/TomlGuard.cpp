#include "frontends/recipe/TomlGuard.h"

#include <algorithm>

namespace graft::recipe {

namespace {
constexpr int mostDots = 31;

/// Index just after the string that starts at `start` with a quote. A one-line string ends at its line's end at the
/// latest.
size_t afterString(std::string_view text, size_t start) {
  char quote = text[start];
  std::string_view triple = quote == '"' ? "\"\"\"" : "'''";
  bool multiLine = text.substr(start, 3) == triple;
  size_t i = start + (multiLine ? 3 : 1);
  while (i < text.size()) {
    if (quote == '"' && text[i] == '\\') {
      i += 2;
      continue;
    }
    if (multiLine ? text.substr(i, 3) == triple : text[i] == quote)
      return i + (multiLine ? 3 : 1);
    if (!multiLine && text[i] == '\n')
      return i;
    ++i;
  }
  return text.size();
}

RecipePosition positionOf(std::string_view text, size_t index) {
  std::string_view before = text.substr(0, index);
  size_t lineStart = before.rfind('\n') == std::string_view::npos ? 0 : before.rfind('\n') + 1;
  return {static_cast<uint32_t>(std::ranges::count(before, '\n') + 1), static_cast<uint32_t>(index - lineStart + 1)};
}
} // namespace

std::optional<RecipePosition> findDeepKey(std::string_view text) {
  int dots = 0;
  for (size_t i = 0; i < text.size();) {
    char c = text[i];
    if (c == '"' || c == '\'') {
      i = afterString(text, i);
      continue;
    }
    if (c == '#') {
      i = std::min(text.find('\n', i), text.size());
      continue;
    }
    if (c == '.' && ++dots > mostDots)
      return positionOf(text, i);
    if (std::string_view("\n=,[{").find(c) != std::string_view::npos)
      dots = 0;
    ++i;
  }
  return std::nullopt;
}

} // namespace graft::recipe
