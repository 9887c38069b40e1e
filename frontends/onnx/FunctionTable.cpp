#include "frontends/onnx/FunctionTable.h"

#include <algorithm>
#include <limits>

namespace graft::onnx {

std::string describe(const Function &function) {
  std::string text = "function '";
  if (!function.domain.empty())
    text += escaped(function.domain, 60) + "::";
  return text + escaped(function.name, 60) + "'";
}

FunctionTable::FunctionTable(const Model &model) : model_(model) {
  for (size_t i = 0; i < model.functions.size(); ++i) {
    const Function &function = model.functions[i];
    index_.try_emplace({function.domain, function.name, function.overload}, i);
  }
}

const Function *FunctionTable::callee(const Node &node) const {
  if (index_.empty())
    return nullptr;
  auto found = index_.find({node.domain, node.op, node.overload});
  return found == index_.end() ? nullptr : &model_.functions[found->second];
}

bool FunctionTable::hasDomain(std::string_view domain) const {
  auto found = index_.lower_bound({domain, {}, {}});
  return found != index_.end() && std::get<0>(found->first) == domain;
}

void FunctionTable::collectCalls(const std::vector<Node> &nodes, std::vector<size_t> &calls, uint64_t &count) const {
  count += nodes.size();
  for (const Node &node : nodes) {
    if (const Function *function = callee(node))
      calls.push_back(static_cast<size_t>(function - model_.functions.data()));
    for (const Attribute &attribute : node.attributes)
      for (const Graph &graph : attribute.graphs)
        collectCalls(graph.nodes, calls, count);
  }
}

namespace {
/// What inlining one function amounts to, calls inside included.
struct Expansion {
  enum { Unvisited, Open, Done } state = Unvisited;
  std::vector<size_t> calls;
  uint64_t own = 0, nodes = 0, depth = 0;
};

uint64_t saturatingAdd(uint64_t a, uint64_t b) {
  return a > std::numeric_limits<uint64_t>::max() - b ? std::numeric_limits<uint64_t>::max() : a + b;
}

/// Sums up a function whose callees are done.
void finish(std::vector<Expansion> &expansions, size_t function) {
  Expansion &expansion = expansions[function];
  expansion.nodes = expansion.own;
  for (size_t callee : expansion.calls) {
    expansion.nodes = saturatingAdd(expansion.nodes, expansions[callee].nodes);
    expansion.depth = std::max(expansion.depth, expansions[callee].depth);
  }
  ++expansion.depth;
  expansion.state = Expansion::Done;
}
} // namespace

void FunctionTable::check(Faults &faults) const {
  if (model_.functions.size() > maxFunctions)
    faults.add(Code::Limit, "",
               std::to_string(model_.functions.size()) + " functions, at most " + std::to_string(maxFunctions));
  if (index_.size() != model_.functions.size())
    for (const Function &function : model_.functions)
      if (index_.at({function.domain, function.name, function.overload}) !=
          static_cast<size_t>(&function - model_.functions.data()))
        faults.add(Code::Graph, describe(function), "is defined twice");
  // One more entry at the end: the main graph. The walk keeps its own stack; call chains may be long.
  std::vector<Expansion> expansions(model_.functions.size() + 1);
  for (size_t i = 0; i < model_.functions.size(); ++i)
    collectCalls(model_.functions[i].nodes, expansions[i].calls, expansions[i].own);
  if (model_.graph)
    collectCalls(model_.graph->nodes, expansions.back().calls, expansions.back().own);
  for (size_t root = 0; root < expansions.size(); ++root) {
    std::vector<std::pair<size_t, size_t>> stack; // function, next call to look at
    if (expansions[root].state == Expansion::Unvisited)
      stack.emplace_back(root, 0);
    while (!stack.empty()) {
      auto &[function, next] = stack.back();
      Expansion &expansion = expansions[function];
      expansion.state = Expansion::Open;
      if (next == expansion.calls.size()) {
        finish(expansions, function);
        stack.pop_back();
        continue;
      }
      size_t callee = expansion.calls[next++];
      if (expansions[callee].state == Expansion::Open)
        faults.add(Code::Graph, describe(model_.functions[callee]),
                   "calls itself, directly or through other functions");
      else if (expansions[callee].state == Expansion::Unvisited)
        stack.emplace_back(callee, 0);
    }
  }
  const Expansion &all = expansions.back();
  if (all.depth > maxCallDepth + 1)
    faults.add(Code::Limit, "",
               "functions call functions " + std::to_string(all.depth - 1) + " deep, at most " +
                   std::to_string(maxCallDepth));
  if (all.nodes > maxNodes)
    faults.add(Code::Limit, "",
               (all.nodes > maxNodes * uint64_t{1000} ? "more than a thousand times " + std::to_string(maxNodes)
                                                      : std::to_string(all.nodes)) +
                   " nodes with functions inlined, at most " + std::to_string(maxNodes));
}

} // namespace graft::onnx
