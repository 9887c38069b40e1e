// Functions become part of the graph that calls them.
#include "frontends/onnx/Inline.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "frontends/onnx/ModelFile.h"
#include "test/frontends/onnx/ModelBuilder.h"

namespace graft::onnx {
namespace {
using namespace test;
using testing::ElementsAre;

/// "op(inputs) -> outputs" per node.
std::vector<std::string> lines(const Graph &graph) {
  std::vector<std::string> lines;
  for (const Node &node : graph.nodes) {
    std::string line(node.op);
    for (std::string_view input : node.inputs)
      line += " " + std::string(input.empty() ? "-" : input);
    line += " ->";
    for (std::string_view output : node.outputs)
      line += " " + std::string(output);
    lines.push_back(line);
  }
  return lines;
}

std::unique_ptr<ModelFile> read(const Message &message) {
  auto file = ModelFile::readBytes(message.bytes, "m");
  EXPECT_TRUE(file.isOk()) << file.status().text();
  return std::move(*file);
}

TEST(Inline, renamesTheValuesOfEachCall) {
  Message twice = function("twice", {"a"}, {"b"}, {node("Relu", {"a"}, {"t"}), node("Neg", {"t"}, {"b"})});
  auto file = read(model(graph({.nodes = {node("twice", {"x"}, {"m"}, {}, "local", "first"),
                                          node("twice", {"m"}, {"y"}, {}, "local", "second")}}),
                         {twice}));
  EXPECT_THAT(lines(file->graph()),
              ElementsAre("Relu x -> first/t", "Neg first/t -> m", "Relu m -> second/t", "Neg second/t -> y"));
  EXPECT_EQ(file->graph().nodes[2].name, "second/t");
  EXPECT_EQ(file->graph().nodes[0].opset, 20);
  EXPECT_TRUE(file->model().functions.empty());
}

TEST(Inline, avoidsNamesThatAreTaken) {
  Message f = function("f", {"a"}, {"b"}, {node("Relu", {"a"}, {"t"}), node("Neg", {"t"}, {"b"})});
  auto file =
      read(model(graph({.nodes = {node("Abs", {"x"}, {"c/t"}), node("f", {"c/t"}, {"y"}, {}, "local", "c")}}), {f}));
  EXPECT_THAT(lines(file->graph()), ElementsAre("Abs x -> c/t", "Relu c/t -> c/t_1", "Neg c/t_1 -> y"));
}

TEST(Inline, inlinesCallsInsideOfCalls) {
  Message inner = function("inner", {"a"}, {"b"}, {node("Relu", {"a"}, {"b"})});
  Message outer =
      function("outer", {"a"}, {"b"},
               {node("inner", {"a"}, {"t"}, {}, "local", "i"), node("inner", {"t"}, {"b"}, {}, "local", "j")});
  auto file = read(model(graph({.nodes = {node("outer", {"x"}, {"y"}, {}, "local", "o")}}), {outer, inner}));
  EXPECT_THAT(lines(file->graph()), ElementsAre("Relu x -> o/t", "Relu o/t -> y"));
}

TEST(Inline, copiesInputsThatAreOutputs) {
  Message f = function("f", {"a"}, {"a", "b"}, {node("Relu", {"a"}, {"b"})});
  auto file = read(model(graph({.nodes = {node("f", {"x"}, {"z", "y"}, {}, "local", "f")}}), {f}));
  EXPECT_THAT(lines(file->graph()), ElementsAre("Relu x -> y", "Identity x -> z"));
}

TEST(Inline, bindsAttributes) {
  Message f = function("f", {"a"}, {"b"},
                       {node("Softmax", {"a"}, {"b"}, {reference("axis", "k", 2), reference("other", "absent", 2)})},
                       {"absent"});
  f.message(11, intAttribute("k", 5));
  auto file = read(model(graph({.nodes = {node("f", {"x"}, {"t"}, {intAttribute("k", 1)}, "local"),
                                          node("f", {"t"}, {"y"}, {}, "local")}}),
                         {f}));
  const std::vector<Node> &nodes = file->graph().nodes;
  ASSERT_EQ(nodes.size(), 2u);
  EXPECT_EQ(nodes[0].attribute("axis")->i, 1); // of the call
  EXPECT_EQ(nodes[1].attribute("axis")->i, 5); // the default
  EXPECT_EQ(nodes[0].attribute("other"), nullptr);
}

TEST(Inline, passesAbsentInputsOn) {
  Message f = function("f", {"a", "low"}, {"b"}, {node("Clip", {"a", "low"}, {"b"})});
  auto file = read(model(graph({.nodes = {node("f", {"x", ""}, {"y"}, {}, "local")}}), {f}));
  EXPECT_THAT(lines(file->graph()), ElementsAre("Clip x - -> y"));
}

TEST(Inline, renamesBranches) {
  Message yes = graph({.nodes = {node("Relu", {"t"}, {"p"})}, .inputs = {}, .outputs = {value("p")}});
  Message no = graph({.nodes = {node("g", {"a"}, {"q"}, {}, "local", "g")}, .inputs = {}, .outputs = {value("q")}});
  Message f =
      function("f", {"a"}, {"b"},
               {node("Neg", {"a"}, {"t"}),
                node("If", {"t"}, {"b"}, {graphAttribute("then_branch", yes), graphAttribute("else_branch", no)})});
  Message g = function("g", {"a"}, {"b"}, {node("Abs", {"a"}, {"b"})});
  auto file = read(model(graph({.nodes = {node("f", {"x"}, {"y"}, {}, "local", "c")}}), {f, g}));
  const Node &branch = file->graph().nodes[1];
  EXPECT_THAT(lines(branch.attributes[0].graphs[0]), ElementsAre("Relu c/t -> c/p"));
  EXPECT_THAT(lines(branch.attributes[1].graphs[0]), ElementsAre("Abs x -> c/q"));
  EXPECT_EQ(branch.attributes[0].graphs[0].outputs[0].name, "c/p");
}

TEST(Inline, boundsMemoryOfLongNames) {
  std::string longName(1 << 20, 'n');
  Message f = function("f", {"a"}, {"b"}, {node("Relu", {"a"}, {"t"}), node("Neg", {"t"}, {"b"})});
  std::vector<Message> nodes;
  for (int i = 0; i < 300; ++i)
    nodes.push_back(
        node("f", {"x"}, {i == 299 ? "y" : "v" + std::to_string(i)}, {}, "local", longName + std::to_string(i)));
  auto file = ModelFile::readBytes(model(graph({.nodes = nodes}), {f}).bytes, "m");
  ASSERT_FALSE(file.isOk());
  EXPECT_EQ(file.status().faults()[0].code, Code::Limit);
}

TEST(ModulePath, comesFromMetadataOrNames) {
  Node node;
  node.metadata = {{"pkg.torch.onnx.name_scopes", "['', 'model', 'model.layers.0', 'mul_1']"}};
  EXPECT_EQ(modulePath(node), "model.layers.0");
  node.metadata = {{"namespace", ": a.B/model: a.C/model.layers.0: a.D/mul_1: aten.mul.Tensor"}};
  EXPECT_EQ(modulePath(node), "model.layers.0");
  node.metadata = {{"namespace", "mul_1: aten.mul.Tensor"}};
  EXPECT_EQ(modulePath(node), "");
  node.metadata = {};
  node.name = "/model/layers.0/self_attn/q_proj/MatMul";
  EXPECT_EQ(modulePath(node), "model.layers.0.self_attn.q_proj");
  node.op = "MatMul";
  EXPECT_EQ(describe(node),
            "node '/model/layers.0/self_attn/q_proj/MatMul' (MatMul, in model.layers.0.self_attn.q_proj)");
  node.name = "MatMul_3";
  EXPECT_EQ(modulePath(node), "");
}

} // namespace
} // namespace graft::onnx
