// The functions of the objective language: one table, one line per function.
#pragma once

#include "frontends/objective/Graph.h"

#include <map>
#include <optional>
#include <string_view>

namespace graft::objective {

/// A call after its arguments are built.
struct Call {
  std::string_view function;
  Span span;
  std::vector<NodeId> arguments;
  std::vector<Span> spans;
  std::map<std::string, NodeId, std::less<>> options; ///< name = value
  std::map<std::string, Span, std::less<>> optionSpans;
};

struct Function {
  std::string_view name;
  std::string_view signature; ///< "clip(x, low, high)"
  std::string_view meaning;   ///< one line, with the gradient where it is not the obvious one
  size_t least, most;         ///< number of arguments
  std::string_view options;   ///< names of options, separated by blanks
  /// Builds the value, or reports what is wrong with the arguments and returns nothing.
  std::optional<NodeId> (*build)(Graph &, const Call &, Diagnostics &);
};

/// All functions, in the order of the documentation.
const std::vector<Function> &functions();
/// nullptr if there is none of that name.
const Function *findFunction(std::string_view name);

} // namespace graft::objective
