#include "passes/report/RepeatedBlocks.h"

#include <algorithm>
#include <charconv>
#include <map>
#include <optional>
#include <unordered_map>

namespace graft::report {

namespace {

struct Instance {
  std::string container;
  int64_t index = 0;
  auto operator<=>(const Instance &) const = default;
};

/// Container and index of the first component that is a number; nothing if there is none.
std::optional<Instance> instanceOf(std::string_view path) {
  for (size_t begin = 0; begin <= path.size();) {
    size_t end = std::min(path.find('.', begin), path.size());
    std::string_view component = path.substr(begin, end - begin);
    int64_t index = 0;
    auto [stop, fault] = std::from_chars(component.data(), component.data() + component.size(), index);
    if (fault == std::errc() && stop == component.data() + component.size() && index >= 0)
      return Instance{std::string(path.substr(0, begin ? begin - 1 : 0)), index};
    begin = end + 1;
  }
  return std::nullopt;
}

using Assignment = std::vector<std::optional<Instance>>;

/// For every node of the main line, the number of values that are alive after it. Views of weights are no values here.
std::vector<int> crossingValues(std::span<const BlockNode> nodes, const std::vector<bool> &onLine) {
  std::vector<size_t> lastUse(nodes.size(), 0);
  for (size_t i = 0; i < nodes.size(); ++i)
    for (int operand : nodes[i].operands)
      lastUse[operand] = i;
  std::vector<int> ends(nodes.size() + 1), out(nodes.size());
  int alive = 0;
  for (size_t i = 0; i < nodes.size(); ++i) {
    alive -= ends[i];
    if (onLine[i] && lastUse[i] > i) {
      ++alive;
      ++ends[lastUse[i]];
    }
    out[i] = alive;
  }
  return out;
}

/// Nodes without a path, by the nodes with one before and after them in program order.
void assignBetween(std::span<const BlockNode> nodes, const std::vector<bool> &onLine, Assignment &out) {
  std::vector<int> crossing = crossingValues(nodes, onLine);
  std::vector<size_t> open; // since the last node with a path, and that node itself
  for (size_t i = 0; i < nodes.size(); ++i) {
    if (!onLine[i])
      continue;
    if (nodes[i].path.empty()) {
      open.push_back(i);
      continue;
    }
    bool first = open.empty() || nodes[open[0]].path.empty();
    auto narrowest =
        std::min_element(open.begin(), open.end(), [&](size_t a, size_t b) { return crossing[a] < crossing[b]; });
    while (narrowest != open.end() && std::next(narrowest) != open.end() && nodes[*std::next(narrowest)].view)
      ++narrowest;
    for (auto it = open.begin(); it != open.end(); ++it)
      if (nodes[*it].path.empty())
        out[*it] = !first && it <= narrowest ? out[open[0]] : out[i];
    open = {i};
  }
  for (size_t i : open)
    if (nodes[i].path.empty() && !nodes[open[0]].path.empty())
      out[i] = out[open[0]];
}

/// The instance of every node; absent: outside of all.
Assignment assign(std::span<const BlockNode> nodes) {
  Assignment out(nodes.size());
  std::vector<bool> onLine(nodes.size());
  std::vector<int> firstUser(nodes.size(), -1);
  for (size_t i = nodes.size(); i-- > 0;) {
    onLine[i] = !nodes[i].shared && !nodes[i].constant;
    for (int operand : nodes[i].operands)
      firstUser[operand] = static_cast<int>(i);
    if (!nodes[i].path.empty())
      out[i] = instanceOf(nodes[i].path);
  }
  assignBetween(nodes, onLine, out);
  for (size_t i = nodes.size(); i-- > 0;)
    if (nodes[i].constant && nodes[i].path.empty() && firstUser[i] >= 0)
      out[i] = out[firstUser[i]];
  return out;
}

/// What must agree for two instances to be the same block. Operands inside of the instance count by their position.
std::string structureOf(std::span<const BlockNode> nodes, const std::vector<int> &members) {
  std::unordered_map<int, size_t> position;
  std::string text;
  for (int member : members) {
    const BlockNode &node = nodes[member];
    text += node.content;
    for (int operand : node.operands) {
      auto found = position.find(operand);
      text += found != position.end() ? " %" + std::to_string(found->second)
              : nodes[operand].shared ? " shared"
                                      : " outside";
    }
    text += "\n";
    position.emplace(member, position.size());
  }
  return text;
}

/// "0-4,6"
std::string rangesText(const std::vector<int64_t> &indices) {
  std::string text;
  for (size_t i = 0; i < indices.size();) {
    size_t last = i;
    while (last + 1 < indices.size() && indices[last + 1] == indices[last] + 1)
      ++last;
    text += (text.empty() ? "" : ",") + std::to_string(indices[i]);
    if (last > i)
      text += (last == i + 1 ? "," : "-") + std::to_string(indices[last]);
    i = last + 1;
  }
  return text;
}

} // namespace

std::vector<Block> findRepeatedBlocks(std::span<const BlockNode> nodes) {
  std::vector<std::optional<Instance>> instances = assign(nodes);
  std::map<Instance, std::vector<int>> members;
  std::vector<Block> blocks;
  bool open = false; // the last block is a stretch that goes on
  for (size_t i = 0; i < nodes.size(); ++i) {
    if (nodes[i].shared)
      continue;
    if (instances[i]) {
      members[*instances[i]].push_back(static_cast<int>(i));
      open = false;
      continue;
    }
    if (!open)
      blocks.push_back({"", {}, {{}}});
    blocks.back().nodes[0].push_back(static_cast<int>(i));
    open = true;
  }
  std::map<std::pair<std::string, std::string>, size_t> known; // container and structure -> block
  for (auto &[instance, list] : members) {
    auto [found, isNew] = known.try_emplace({instance.container, structureOf(nodes, list)}, blocks.size());
    if (isNew)
      blocks.push_back({instance.container, {}, {}});
    blocks[found->second].indices.push_back(instance.index);
    blocks[found->second].nodes.push_back(std::move(list));
  }
  std::sort(blocks.begin(), blocks.end(), [](const Block &a, const Block &b) { return a.nodes[0][0] < b.nodes[0][0]; });
  return blocks;
}

std::string blockName(const Block &block, std::span<const Block> all) {
  if (!block.repeats())
    return "";
  std::string prefix = block.container.empty() ? "" : block.container + ".";
  size_t variants = std::count_if(all.begin(), all.end(), [&](const Block &other) {
    return other.repeats() && other.container == block.container;
  });
  if (variants == 1 && block.indices.size() > 1)
    return prefix + "N";
  return block.indices.size() == 1 ? prefix + std::to_string(block.indices[0])
                                   : prefix + "{" + rangesText(block.indices) + "}";
}

} // namespace graft::report
