// The port report of the ten dense models, and of graphs that cannot be imported.
#include "passes/report/PortReport.h"
#include "dialects/rl/RLDialect.h"
#include "frontends/recipe/Recipe.h"
#include "test/frontends/onnx/ModelBuilder.h"

#include "mlir/IR/MLIRContext.h"
#include "llvm/Support/JSON.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <sstream>

namespace graft::report {
namespace {
namespace fs = std::filesystem;
using testing::HasSubstr;

Result<PortReport> reportOn(const std::string &graph, const std::string &batch = "") {
  PortOptions options;
  options.graph = graph;
  options.batch = batch;
  mlir::DialectRegistry registry;
  rl::registerDialects(registry);
  mlir::MLIRContext context(registry, mlir::MLIRContext::Threading::DISABLED);
  return makePortReport(options, context);
}

std::string readText(const fs::path &path) {
  std::ifstream in(path, std::ios::binary);
  std::stringstream text;
  text << in.rdbuf();
  return text.str();
}

/// The first integer that config.json has under one of these keys.
int64_t configNumber(const fs::path &folder, std::initializer_list<const char *> keys) {
  auto config = llvm::json::parse(readText(folder / "config.json"));
  EXPECT_TRUE(static_cast<bool>(config));
  for (const char *key : keys)
    if (auto value = config->getAsObject()->getInteger(key))
      return *value;
  ADD_FAILURE() << "no such key in " << folder;
  return 0;
}

class DenseModels : public testing::TestWithParam<const char *> {
protected:
  fs::path folder = fs::path(GRAFT_SOURCE_DIR) / "test/data/models" / GetParam();
};

TEST_P(DenseModels, everyLayerIsABlockAndNothingIsUnsupported) {
  auto report = reportOn((folder / "model.onnx").string());
  ASSERT_TRUE(report.isOk()) << report.status().text();
  EXPECT_TRUE(report->faults.isOk()) << report->faults.text();
  EXPECT_TRUE(report->imported);
  EXPECT_EQ(report->weights, (folder / "weights.safetensors").string());
  size_t layers = 0, variants = 0;
  int64_t blockNumbers = 0, blockFlops = 0;
  for (const ReportBlock &block : report->blocks) {
    layers += block.indices.size();
    variants += !block.indices.empty();
    auto copies = static_cast<int64_t>(std::max<size_t>(block.indices.size(), 1));
    blockNumbers += block.parameters * copies;
    blockFlops += block.flops * copies;
    EXPECT_FALSE(block.parts.empty()) << block.path;
  }
  EXPECT_EQ(layers, static_cast<size_t>(configNumber(folder, {"num_hidden_layers", "n_layer"})));
  EXPECT_LE(variants, std::string(GetParam()) == "gemma3_text" ? 2u : 1u);
  // Everything that has weights lies in a block; tied weights lie in two.
  auto info = llvm::json::parse(readText(folder / "info.json"));
  EXPECT_EQ(report->elements(false), *info->getAsObject()->getInteger("parameters"));
  EXPECT_EQ(report->elements(true), report->elements(false));
  EXPECT_GE(blockNumbers, report->elements(false));
  EXPECT_LE(blockFlops, report->flops);
  EXPECT_GT(blockFlops, report->flops * 8 / 10);
}

TEST_P(DenseModels, operatorsAreCounted) {
  auto report = reportOn((folder / "model.onnx").string());
  ASSERT_TRUE(report.isOk());
  auto info = llvm::json::parse(readText(folder / "info.json"));
  const llvm::json::Object &graph = *info->getAsObject()->getObject("graph");
  if (graph.getObject("function_ops")->empty())
    for (const OperatorCount &count : report->graphOperators) {
      EXPECT_TRUE(count.supported) << count.name;
      EXPECT_EQ(count.count, graph.getObject("ops")->getInteger(count.name).value_or(-1)) << count.name;
    }
  int64_t products = 0;
  for (const OperatorCount &count : report->operators)
    if (count.name == "nn.contract") {
      products = count.count;
      EXPECT_EQ(count.kind, OperatorKind::Native);
    }
  EXPECT_GT(products, 0);
  EXPECT_GT(report->operatorBytes, 0);
}

TEST_P(DenseModels, theBatchAgreesWithTheExporter) {
  auto report = reportOn((folder / "model.onnx").string(), (folder / "batch.safetensors").string());
  ASSERT_TRUE(report.isOk()) << report.status().text();
  ASSERT_TRUE(report->difference) << (report->notes.empty() ? "" : report->notes.back());
  // The reference was stored in float32: log-probs of about 6 are known to 5e-7, logits to about as much.
  EXPECT_LT(report->difference->largest, 2e-5);
  EXPECT_GT(report->difference->compared, 10);
  EXPECT_THAT(report->difference->reference, HasSubstr("expected.safetensors"));
}

TEST_P(DenseModels, theRecipeIsSound) {
  auto report = reportOn((folder / "model.onnx").string());
  ASSERT_TRUE(report.isOk());
  auto recipe = parseRecipe(recipeFor(*report), "recipe.toml");
  ASSERT_TRUE(recipe.isOk()) << recipe.status().text();
  EXPECT_EQ(recipe->model.graph.written, (folder / "model.onnx").string());
}

INSTANTIATE_TEST_SUITE_P(All, DenseModels,
                         testing::Values("cohere", "gemma3_text", "gpt2", "gpt_neox", "granite", "llama", "olmo2",
                                         "opt", "phi3", "qwen3"),
                         [](const auto &info) { return std::string(info.param); });

class WrittenModel : public testing::Test {
protected:
  WrittenModel() { fs::create_directories(folder); }
  ~WrittenModel() override { fs::remove_all(folder); }
  std::string write(const onnx::test::Message &model) {
    std::string path = (folder / "model.onnx").string();
    std::ofstream(path, std::ios::binary) << model.bytes;
    return path;
  }
  fs::path folder = fs::path(testing::TempDir()) / ("port_report_" + std::to_string(getpid()));
};

using namespace onnx::test;

TEST_F(WrittenModel, allUnsupportedOperatorsAreReportedWithTheirPlace) {
  Message first = node("Conv", {"x", "x"}, {"a"}, {}, "", "conv")
                      .message(9, property("namespace", ": M/model.layers.0: Layer/model.layers.0.conv: Conv/node"));
  std::string path =
      write(model(graph({.nodes = {first, node("Relu", {"a"}, {"b"}), node("Det", {"b"}, {"y"}, {}, "", "det")}})));
  auto report = reportOn(path);
  ASSERT_TRUE(report.isOk()) << report.status().text();
  EXPECT_FALSE(report->imported);
  EXPECT_EQ(report->faults.exitCode(), 3);
  std::string text = report->faults.text();
  EXPECT_THAT(text, HasSubstr("operator Conv of opset 20 is not supported"));
  EXPECT_THAT(text, HasSubstr("depthwise convolution"));
  EXPECT_THAT(text, HasSubstr("node 'conv' (Conv, in model.layers.0"));
  EXPECT_THAT(text, HasSubstr("operator Det of opset 20 is not supported"));
  // The page is there all the same.
  EXPECT_EQ(report->opsets.at("ai.onnx"), 20);
  ASSERT_EQ(report->graphOperators.size(), 3u);
  for (const OperatorCount &count : report->graphOperators)
    EXPECT_EQ(count.supported, count.name == "Relu") << count.name;
  EXPECT_THAT(report->inputs, testing::ElementsAre("x [2] FLOAT"));
}

TEST_F(WrittenModel, operatorsOfOtherDomainsAndUnknownOnesAreReportedTogether) {
  Message m = model(graph({.nodes = {node("FusedMatMul", {"x", "x"}, {"a"}, {}, "com.microsoft", "fused"),
                                     node("Det", {"a"}, {"y"}, {}, "", "det")}}));
  m.message(8, opset("com.microsoft", 1));
  auto report = reportOn(write(m));
  ASSERT_TRUE(report.isOk()) << report.status().text();
  std::string text = report->faults.text();
  EXPECT_THAT(text, HasSubstr("fused"));
  EXPECT_THAT(text, HasSubstr("'det'"));
  EXPECT_EQ(report->faults.exitCode(), 3);
}

TEST_F(WrittenModel, aFileThatIsNoModelIsAnError) {
  std::string path = (folder / "model.onnx").string();
  std::ofstream(path) << "no protobuf";
  EXPECT_FALSE(reportOn(path).isOk());
  auto absent = reportOn((folder / "absent.onnx").string());
  ASSERT_FALSE(absent.isOk());
  EXPECT_EQ(absent.status().exitCode(), 3);
  auto other = reportOn((folder / "model.gguf").string());
  ASSERT_FALSE(other.isOk());
  EXPECT_EQ(other.status().exitCode(), 2);
}

TEST_F(WrittenModel, aGraphWithoutItsWeightsIsReported) {
  fs::copy_file(fs::path(GRAFT_SOURCE_DIR) / "test/data/models/llama/model.onnx", folder / "model.onnx");
  auto report = reportOn((folder / "model.onnx").string());
  ASSERT_TRUE(report.isOk()) << report.status().text();
  EXPECT_TRUE(report->faults.isOk()) << report->faults.text();
  EXPECT_EQ(report->weights, "");
  EXPECT_EQ(report->elements(true), 34976);
  ASSERT_EQ(report->blocks.size(), 3u);
  EXPECT_THAT(report->blocks[1].parts,
              testing::ElementsAre("rms_norm", "attention(4:2 heads x 8, rope, causal, key-valid)", "residual",
                                   "rms_norm", "gated_mlp(silu, 32:64:32)", "residual"));
  ASSERT_FALSE(report->notes.empty());
  EXPECT_THAT(report->notes[0], HasSubstr("the weights are not there"));
}

TEST_F(WrittenModel, aGraphInMlirIsReportedWithoutWeights) {
  std::string path = (folder / "model.mlir").string();
  std::ofstream(path) << R"(
func.func @forward(%ids: tensor<2x8xi64> {rl.name = "input_ids"}) -> (tensor<2x8x50xf32> {rl.name = "logits"}) {
  %e = rl.parameter "embed.weight" trained : tensor<50x16xf32>
  %x = nn.gather %e, %ids axis = 0 : tensor<50x16xf32>, tensor<2x8xi64> -> tensor<2x8x16xf32>
  %w0 = rl.parameter "layers.0.up.weight" trained : tensor<16x16xf32>
  %n0 = nn.rms_norm %x epsilon = 1.0e-5 : tensor<2x8x16xf32>
  %a0 = nn.contract "bsk,nk->bsn" %n0, %w0 : tensor<2x8x16xf32>, tensor<16x16xf32> -> tensor<2x8x16xf32>
  %x1 = arith.addf %x, %a0 : tensor<2x8x16xf32>
  %w1 = rl.parameter "layers.1.up.weight" trained : tensor<16x16xf32>
  %n1 = nn.rms_norm %x1 epsilon = 1.0e-5 : tensor<2x8x16xf32>
  %a1 = nn.contract "bsk,nk->bsn" %n1, %w1 : tensor<2x8x16xf32>, tensor<16x16xf32> -> tensor<2x8x16xf32>
  %x2 = arith.addf %x1, %a1 : tensor<2x8x16xf32>
  %h = rl.parameter "head.weight" : tensor<50x16xf32>
  %y = nn.contract "bsk,nk->bsn" %x2, %h : tensor<2x8x16xf32>, tensor<50x16xf32> -> tensor<2x8x50xf32>
  return %y : tensor<2x8x50xf32>
})";
  auto report = reportOn(path);
  ASSERT_TRUE(report.isOk()) << report.status().text();
  EXPECT_EQ(report->sequences, 2);
  EXPECT_EQ(report->tokens, 8);
  EXPECT_EQ(report->elements(false), 2 * 50 * 16 + 2 * 16 * 16);
  EXPECT_EQ(report->elements(true), 50 * 16 + 2 * 16 * 16);
  // 2 per multiply-add of the three products, 4 per element of the norms, 1 of the sums.
  EXPECT_EQ(report->flops, 2 * 8 * (2 * (2 * 16 * 16 + 50 * 16) + 2 * (4 + 1) * 16));
  ASSERT_EQ(report->blocks.size(), 3u);
  EXPECT_THAT(report->blocks[0].parts, testing::ElementsAre("embedding(50x16)"));
  EXPECT_EQ(report->blocks[1].path, "layers.N");
  EXPECT_THAT(report->blocks[1].parts, testing::ElementsAre("rms_norm", "linear(16:16)", "residual"));
  EXPECT_THAT(report->blocks[2].parts, testing::ElementsAre("linear(16:50)"));
}

} // namespace
} // namespace graft::report
