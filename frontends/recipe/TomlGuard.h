// What the TOML library does not protect against or does not say: checked on the text before, and around, its parser.
#pragma once

#include "frontends/recipe/Recipe.h"

#include <optional>
#include <string_view>

namespace graft::recipe {

/// Where a dotted key ("a.b.c", also in a table header) has more than 32 parts: the library destroys nested tables
/// recursively, so a key with 100,000 dots overflows the stack. Strings and comments are skipped.
std::optional<RecipePosition> findDeepKey(std::string_view text);

} // namespace graft::recipe
