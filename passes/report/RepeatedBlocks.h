// Finds the repeated blocks of a graph ("30 x model.layers.N") from module paths and structure, knowing no model.
//
// A path with a number in it ("model.layers.3.mlp") names an instance: index 3 of the container "model.layers" (the
// outermost number counts). Exporters lose the path of many nodes: those between nodes of two instances are cut where
// the fewest values cross, which is where only the residual stream does; views of it belong to what came before.
// Instances whose nodes agree one by one (what they do, where their operands come from) are the same block. Nodes that
// no weight reaches (positions, masks) belong to nobody: exporters compute them once, in the first block that needs
// them, and that block would look unlike the others.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

namespace graft::report {

struct BlockNode {
  std::string path;          ///< module path; empty: unknown
  std::string content;       ///< what the node does, without names: kind, attributes, types, operands that are no nodes
  std::vector<int> operands; ///< nodes before this one, in order
  bool shared = false;       ///< no weight reaches it
  bool constant = false;     ///< only weights reach it: a view of one; without a path it belongs to its first user
  bool view = false;         ///< only another shape of its operand
};

/// Instances of equal structure, or one stretch of nodes between instances.
struct Block {
  std::string container;               ///< "model.layers"; empty and no indices: a stretch that is not repeated
  std::vector<int64_t> indices;        ///< ascending
  std::vector<std::vector<int>> nodes; ///< per index (one list for a stretch): its nodes, in program order

  bool repeats() const { return !indices.empty(); }
};

/// In the order in which they begin. Every node that is not shared is in exactly one block. Linear in the graph.
std::vector<Block> findRepeatedBlocks(std::span<const BlockNode> nodes);

/// "model.layers.N" or, where others share the container, "model.layers.{0-4,6}".
std::string blockName(const Block &block, std::span<const Block> all);

} // namespace graft::report
