// The grammar of a recipe as one table: every key, its type, its range or choices, where its value lies in a Recipe,
// and whether Graft can do it yet. Parsing, printing, checking and suggestions all read this table; a new key is one
// line in Keys.cpp.
#pragma once

#include "frontends/recipe/Recipe.h"

#include <limits>
#include <span>

namespace graft::recipe {

enum class Type {
  Path,    ///< a string that names a file or folder
  Text,    ///< any other string
  Choice,  ///< a string out of `choices`
  Integer, ///< within least .. most
  Count,   ///< the same, or "auto", which travels as 0
  Number,  ///< within least .. most, finite; integers are accepted
  Numbers, ///< two of them
  Bytes,   ///< a string "6GiB", "512 MB", within least .. most; travels as an integer
  Boolean,
  Texts,  ///< an array of strings
  Tables, ///< an array of tables
};

/// A value as it travels between TOML and a Recipe. A Choice travels as its index.
using Value = std::variant<std::monostate, RecipePath, std::string, int64_t, double, std::array<double, 2>, bool>;

/// Writes to and reads from a Recipe; monostate: the key has no value. Both null: the key has no place in a Recipe yet.
struct Access {
  void (*set)(Recipe &, const Value &) = nullptr;
  Value (*get)(const Recipe &) = nullptr;
};

struct Key {
  std::string_view table; ///< "optimizer.schedule"
  std::string_view name;
  Type type;
  Access access = {};
  std::span<const std::string_view> choices = {}; ///< in the order of the enumeration
  double least = -std::numeric_limits<double>::infinity();
  double most = std::numeric_limits<double>::infinity();
  bool required = false;
  std::string_view notYet = {}; ///< not empty: any value but the default is refused, and this says what to do instead
  int64_t done = 0;             ///< of a Choice: so many of the first choices are accepted all the same
};

/// In the order in which a recipe is printed; keys of a table stand together.
std::span<const Key> keys();
/// Null if the grammar has no such key.
const Key *findKey(std::string_view table, std::string_view name);
/// Names of all tables, in the order of printing: "model", "model.names", "objective", ...
std::span<const std::string_view> tables();

} // namespace graft::recipe
