// Names of values in a graph or function body, and what surrounds it.
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>

namespace graft::onnx {

class Scope {
public:
  explicit Scope(const Scope *outer) : outer_(outer) {}

  /// Position of things that are there before the first node: inputs and initializers.
  static constexpr size_t before = 0;
  /// Position of node `index`.
  static constexpr size_t of(size_t index) { return index + 1; }

  /// False if this scope has the name already.
  bool define(std::string_view name, size_t position) { return names_.try_emplace(name, position).second; }
  std::optional<size_t> find(std::string_view name) const {
    auto found = names_.find(name);
    return found == names_.end() ? std::nullopt : std::optional(found->second);
  }
  /// Whether a surrounding scope has the name, at whatever position.
  bool shadows(std::string_view name) const {
    for (const Scope *scope = outer_; scope; scope = scope->outer_)
      if (scope->names_.contains(name))
        return true;
    return false;
  }
  /// Whether a surrounding scope defines the name before the node that this scope belongs to.
  bool outerDefines(std::string_view name) const {
    for (const Scope *scope = outer_; scope; scope = scope->outer_)
      if (auto position = scope->find(name))
        return *position < scope->current;
    return false;
  }

  size_t current = before; ///< position of the node that is being looked at

private:
  const Scope *outer_;
  std::unordered_map<std::string_view, size_t> names_;
};

} // namespace graft::onnx
