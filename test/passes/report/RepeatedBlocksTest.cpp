// Blocks are found by paths and structure, not by names of models.
#include "passes/report/RepeatedBlocks.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace graft::report {
namespace {

using testing::ElementsAre;

/// Layers of three nodes: the first reads the last layer, the second has no path.
std::vector<BlockNode> layers(int count, const std::string &container = "model.layers.") {
  std::vector<BlockNode> nodes = {{"model.embed", "gather", {}, false}};
  for (int i = 0; i < count; ++i) {
    int last = static_cast<int>(nodes.size()) - 1;
    std::string path = container + std::to_string(i);
    nodes.push_back({path + ".norm", "norm", {last}, false});
    nodes.push_back({"", "scale", {last + 1}, false});
    nodes.push_back({path + ".mlp", "product", {last + 2, last}, false});
  }
  nodes.push_back({"lm_head", "product", {static_cast<int>(nodes.size()) - 1}, false});
  return nodes;
}

TEST(RepeatedBlocks, layersOfOneStructureAreOneBlock) {
  std::vector<Block> blocks = findRepeatedBlocks(layers(4));
  ASSERT_EQ(blocks.size(), 3u);
  EXPECT_FALSE(blocks[0].repeats());
  EXPECT_THAT(blocks[1].indices, ElementsAre(0, 1, 2, 3));
  EXPECT_EQ(blockName(blocks[1], blocks), "model.layers.N");
  EXPECT_FALSE(blocks[2].repeats());
}

TEST(RepeatedBlocks, nodesWithoutPathAreCutWhereTheFewestValuesCross) {
  // x -> norm -> product -> x + product, of which only the product has a path.
  std::vector<BlockNode> nodes = {{"embed", "gather", {}, false}};
  for (int i = 0; i < 3; ++i) {
    int x = static_cast<int>(nodes.size()) - 1;
    nodes.push_back({"", "norm", {x}, false});
    nodes.push_back({"h." + std::to_string(i), "product", {x + 1}, false});
    nodes.push_back({"", "add", {x, x + 2}, false});
  }
  nodes.push_back({"", "norm", {9}, false});
  nodes.push_back({"head", "product", {10}, false});
  std::vector<Block> blocks = findRepeatedBlocks(nodes);
  ASSERT_EQ(blocks.size(), 3u);
  EXPECT_THAT(blocks[0].nodes, ElementsAre(ElementsAre(0)));
  EXPECT_THAT(blocks[1].nodes, ElementsAre(ElementsAre(1, 2, 3), ElementsAre(4, 5, 6), ElementsAre(7, 8, 9)));
  EXPECT_THAT(blocks[2].nodes, ElementsAre(ElementsAre(10, 11)));
}

TEST(RepeatedBlocks, viewsBetweenBlocksBelongToTheFirst) {
  std::vector<BlockNode> nodes = {{"embed", "gather", {}, false}};
  for (int i = 0; i < 2; ++i) {
    int x = static_cast<int>(nodes.size()) - 1;
    nodes.push_back({"h." + std::to_string(i), "product", {x}, false});
    nodes.push_back({"", "reshape", {x + 1}, false, false, true});
  }
  nodes.push_back({"", "norm", {4}, false});
  nodes.push_back({"head", "product", {5}, false});
  std::vector<Block> blocks = findRepeatedBlocks(nodes);
  ASSERT_EQ(blocks.size(), 3u);
  EXPECT_THAT(blocks[1].nodes, ElementsAre(ElementsAre(1, 2), ElementsAre(3, 4)));
}

TEST(RepeatedBlocks, viewsOfWeightsBelongToTheirFirstUser) {
  std::vector<BlockNode> nodes = {
      {"", "transpose", {}, false, true}, {"", "transpose", {}, false, true}, {"embed", "gather", {}, false}};
  nodes.push_back({"h.0", "product", {2, 0}, false});
  nodes.push_back({"h.1", "product", {3, 1}, false});
  std::vector<Block> blocks = findRepeatedBlocks(nodes);
  ASSERT_EQ(blocks.size(), 2u);
  EXPECT_THAT(blocks[0].nodes, ElementsAre(ElementsAre(0, 3), ElementsAre(1, 4)));
}

TEST(RepeatedBlocks, aNodeOfAnotherContentMakesAnotherBlock) {
  std::vector<BlockNode> nodes = layers(5);
  nodes[5].content = "other"; // in layer 1
  std::vector<Block> blocks = findRepeatedBlocks(nodes);
  ASSERT_EQ(blocks.size(), 4u);
  EXPECT_EQ(blockName(blocks[1], blocks), "model.layers.{0,2-4}");
  EXPECT_EQ(blockName(blocks[2], blocks), "model.layers.1");
}

TEST(RepeatedBlocks, anotherEdgeMakesAnotherBlock) {
  std::vector<BlockNode> nodes = layers(3);
  nodes[9].operands = {8, 7}; // layer 2 adds its norm instead of its input
  EXPECT_EQ(findRepeatedBlocks(nodes).size(), 4u);
}

TEST(RepeatedBlocks, whatNoWeightReachesBelongsToNobody) {
  std::vector<BlockNode> nodes = layers(3);
  nodes.insert(nodes.begin(), {"model.layers.0.attn", "iota", {}, true});
  for (size_t i = 1; i < nodes.size(); ++i)
    for (int &operand : nodes[i].operands)
      ++operand;
  nodes[3].operands.push_back(0);
  nodes[6].operands.push_back(0);
  nodes[9].operands.push_back(0);
  std::vector<Block> blocks = findRepeatedBlocks(nodes);
  ASSERT_EQ(blocks.size(), 3u);
  EXPECT_EQ(blocks[1].indices.size(), 3u);
  EXPECT_EQ(blocks[1].nodes[0].size(), 3u);
}

TEST(RepeatedBlocks, theOutermostNumberCounts) {
  std::vector<BlockNode> nodes;
  for (int i = 0; i < 4; ++i)
    nodes.push_back({"h." + std::to_string(i / 2) + ".experts." + std::to_string(i % 2), "product", {}, false});
  std::vector<Block> blocks = findRepeatedBlocks(nodes);
  ASSERT_EQ(blocks.size(), 1u);
  EXPECT_EQ(blockName(blocks[0], blocks), "h.N");
  EXPECT_THAT(blocks[0].indices, ElementsAre(0, 1));
}

TEST(RepeatedBlocks, numbersAtTheTopHaveNoContainer) {
  std::vector<Block> blocks = findRepeatedBlocks(layers(2, ""));
  EXPECT_EQ(blockName(blocks[1], blocks), "N");
}

TEST(RepeatedBlocks, withoutPathsNothingRepeats) {
  std::vector<BlockNode> nodes = layers(3);
  for (BlockNode &node : nodes)
    node.path.clear();
  std::vector<Block> blocks = findRepeatedBlocks(nodes);
  ASSERT_EQ(blocks.size(), 1u);
  EXPECT_FALSE(blocks[0].repeats());
  EXPECT_TRUE(findRepeatedBlocks({}).empty());
}

TEST(RepeatedBlocks, namesThatOnlyContainDigitsAreNoIndices) {
  std::vector<BlockNode> nodes = {{"layer1.fc2", "product", {}, false},
                                  {"layer2.99999999999999999999", "product", {}, false}};
  for (const Block &block : findRepeatedBlocks(nodes))
    EXPECT_FALSE(block.repeats());
}

} // namespace
} // namespace graft::report
