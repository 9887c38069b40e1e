// The model's functions by name, who calls whom, and whether inlining them ends.
#pragma once

#include <cstdint>
#include <map>
#include <string_view>
#include <tuple>
#include <vector>

#include "frontends/onnx/Faults.h"
#include "frontends/onnx/Model.h"

namespace graft::onnx {

class FunctionTable {
public:
  /// `model` must outlive the table and not change its functions.
  explicit FunctionTable(const Model &model);

  /// The function that a node calls, null if it is an operator.
  const Function *callee(const Node &node) const;
  bool hasDomain(std::string_view domain) const;

  /// Duplicate names (Graph), recursion also through branches (Graph), call depth and nodes after inlining (Limit).
  void check(Faults &faults) const;

private:
  using Key = std::tuple<std::string_view, std::string_view, std::string_view>; // domain, name, overload

  void collectCalls(const std::vector<Node> &nodes, std::vector<size_t> &calls, uint64_t &count) const;

  const Model &model_;
  std::map<Key, size_t> index_;
};

/// "function 'pkg.torch::layer'", escaped.
std::string describe(const Function &function);

} // namespace graft::onnx
