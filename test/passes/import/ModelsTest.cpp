// Whole models: after each pass of the stage, the interpreter computes the same as before it, and nothing that should
// be recognised is left.
#include "test/frontends/onnx/import/Support.h"
#include "test/passes/import/Passes.h"

namespace graft {
namespace {

using onnx::dataPath;
using Tensors = std::map<std::string, Tensor>;

/// A model of test/data, imported with three sequences of twelve tokens.
struct Imported {
  std::unique_ptr<onnx::ModelFile> file;
  std::unique_ptr<mlir::MLIRContext> context;
  std::optional<onnx::ImportedModel> model;
  Tensors parameters;
};

Imported import(const std::string &graph) {
  Imported out;
  auto file = onnx::ModelFile::read(dataPath(graph));
  EXPECT_TRUE(file.isOk()) << file.status().text();
  out.file = std::move(*file);
  out.context = onnx::makeContext();
  onnx::ImportOptions options;
  options.batch = 3;
  options.sequence = 12;
  auto model = onnx::importModel(*out.file, *out.context, options);
  EXPECT_TRUE(model.isOk()) << model.status().text();
  out.model.emplace(std::move(*model));
  out.parameters = onnx::initializerValues(*out.model, *out.file);
  return out;
}

/// Logits at the tokens of `mask`, 0 elsewhere.
Tensor atTokens(Tensor logits, const Tensor &mask) {
  int64_t vocabulary = logits.shape()[2];
  for (int64_t k = 0; k < logits.size(); ++k)
    if (!mask.i()[k / vocabulary])
      logits.f()[k] = 0;
  return logits;
}

/// The batch with every sequence moved to the right end of its row: padded on the left.
Tensors paddedLeft(const Tensors &batch) {
  Tensors out = batch;
  const Tensor &mask = batch.at("attention_mask");
  int64_t rows = mask.shape()[0], length = mask.shape()[1];
  for (const char *name : {"input_ids", "attention_mask", "position_ids"})
    for (int64_t b = 0; b < rows; ++b) {
      int64_t padding = 0;
      for (int64_t t = 0; t < length; ++t)
        padding += !mask.i()[b * length + t];
      for (int64_t t = 0; t < length; ++t)
        out.at(name).i()[b * length + t] = t < padding ? 0 : batch.at(name).i()[b * length + t - padding];
    }
  return out;
}

class ImportPassesOnModels : public testing::TestWithParam<std::string> {
protected:
  std::string folder() const { return "models/" + GetParam().substr(0, GetParam().find('/')) + "/"; }
  std::string graph() const {
    bool variant = GetParam().find('/') != std::string::npos;
    return "models/" + GetParam() + (variant ? ".onnx" : "/model.onnx");
  }
};

TEST_P(ImportPassesOnModels, EveryPassKeepsTheLogits) {
  Imported in = import(graph());
  Tensors right = onnx::readSafetensors(dataPath(folder() + "batch.safetensors")), left = paddedLeft(right);
  auto logits = [&](const Tensors &batch) { return onnx::run(*in.model, batch, in.parameters)[0]; };
  // Queries that are padding themselves and may read nothing give 0 once their mask has a meaning.
  auto leftLogits = [&] { return atTokens(logits(left), left.at("attention_mask")); };
  Tensor wanted = logits(right), wantedLeft = leftLogits();

  using Create = std::unique_ptr<mlir::Pass> (*)();
  const std::pair<const char *, Create> passes[] = {
      {"CSE", [] { return mlir::createCSEPass(); }},
      {"SimplifyViews", [] { return createSimplifyViews(); }},
      {"FoldIntoContract", [] { return createFoldIntoContract(); }},
      {"CSE", [] { return mlir::createCSEPass(); }},
      {"GiveMasksMeaning", [] { return createGiveMasksMeaning(); }},
      {"RecogniseNorms", [] { return createRecogniseNorms(); }},
      {"RecogniseRope", [] { return createRecogniseRope(); }},
      {"RecogniseAttention", [] { return createRecogniseAttention(); }},
      {"the whole stage", nullptr},
  };
  mlir::func::FuncOp function = onnx::forwardOf(*in.model);
  for (auto [name, create] : passes) {
    SCOPED_TRACE(name);
    if (create) {
      mlir::PassManager manager(in.context.get(), mlir::func::FuncOp::getOperationName());
      manager.addPass(create());
      ASSERT_TRUE(succeeded(manager.run(function)));
    } else {
      ASSERT_TRUE(succeeded(runImportPasses(function)));
    }
    expectEqual(logits(right), wanted);
    expectEqual(leftLogits(), wantedLeft);
  }
}

struct Recognised {
  int attention = 0, norms = 0, rope = 0, windows = 0;
  bool operator==(const Recognised &) const = default;
};
void PrintTo(const Recognised &r, std::ostream *out) {
  *out << r.attention << " attention (" << r.windows << " with a window), " << r.norms << " norms, " << r.rope
       << " rope";
}

Recognised count(mlir::func::FuncOp function) {
  Recognised out;
  function.walk([&](mlir::Operation *op) {
    out.attention += mlir::isa<nn::AttentionOp>(op);
    out.norms += mlir::isa<nn::RMSNormOp, nn::LayerNormOp>(op);
    out.rope += mlir::isa<nn::RopeOp>(op);
    if (auto attention = mlir::dyn_cast<nn::AttentionOp>(op)) {
      EXPECT_TRUE(attention.getCausal());
      EXPECT_TRUE(attention.getKeyValid());
      out.windows += attention.getWindow() > 0;
    }
  });
  return out;
}

/// What each architecture has, in two layers. In gpt_neox the two norms of a layer share everything but their weights.
Recognised contentsOf(const std::string &model) {
  static const std::map<std::string, Recognised> table = {
      {"llama", {2, 5, 4, 0}},        {"gpt2", {2, 5, 0, 0}},   {"qwen3", {2, 9, 4, 0}},   {"phi3", {2, 5, 4, 0}},
      {"olmo2", {2, 9, 4, 0}},        {"opt", {2, 5, 0, 0}},    {"granite", {2, 5, 4, 0}}, {"gpt_neox", {2, 3, 4, 0}},
      {"gemma3_text", {2, 13, 4, 1}}, {"cohere", {2, 3, 4, 0}},
  };
  return table.at(model.substr(0, model.find('/')));
}

TEST_P(ImportPassesOnModels, EverythingIsRecognised) {
  Imported in = import(graph());
  mlir::func::FuncOp function = onnx::forwardOf(*in.model);
  ASSERT_TRUE(succeeded(runImportPasses(function)));
  EXPECT_EQ(count(function), contentsOf(GetParam()));
  function.walk([&](mlir::Operation *op) {
    EXPECT_FALSE((mlir::isa<nn::SoftmaxOp>(op))) << "a softmax is left";
    for (mlir::Value result : op->getResults())
      EXPECT_FALSE(nn::shapeOf(result).size() == 4 && nn::shapeOf(result)[2] == 12 && nn::shapeOf(result)[3] == 12)
          << op->getName().getStringRef().str() << " has a tensor [B, H, S, S]";
  });
}

INSTANTIATE_TEST_SUITE_P(All, ImportPassesOnModels,
                         testing::Values("llama", "gpt2", "qwen3", "phi3", "olmo2", "opt", "granite", "gpt_neox",
                                         "gemma3_text", "cohere", "llama/variants/dynamo_opset20_optimized",
                                         "llama/variants/dynamo_opset23", "llama/variants/dynamo_opset23_optimized",
                                         "llama/variants/torchscript_opset17", "gpt2/variants/dynamo_opset20_optimized",
                                         "gpt2/variants/torchscript_opset17"),
                         [](const auto &info) {
                           std::string name = info.param;
                           std::replace(name.begin(), name.end(), '/', '_');
                           return name;
                         });

// Tests the real model's graph: 30 blocks of 29 operators each (21 without views of what is there), and no tensor [B,
// H, S, S].
TEST(ImportPasses, SmolLM2HasAttentionAndSmallBlocks) {
  onnx::ReadOptions read;
  read.externalData = false; // the weights are no part of the repository
  auto file = onnx::ModelFile::read(std::string(GRAFT_SOURCE_DIR) + "/examples/smollm2/model.onnx", read);
  ASSERT_TRUE(file.isOk()) << file.status().text();
  auto context = onnx::makeContext();
  onnx::ImportOptions options;
  options.batch = 4;
  options.sequence = 300; // too long for folding to make constants of index grids
  auto model = onnx::importModel(**file, *context, options);
  ASSERT_TRUE(model.isOk()) << model.status().text();
  mlir::func::FuncOp function = onnx::forwardOf(*model);
  ASSERT_TRUE(succeeded(runImportPasses(function)));
  EXPECT_EQ(count(function), (Recognised{30, 61, 60, 0}));
  int operators = 0, computing = 0;
  function.walk([&](mlir::Operation *op) {
    for (mlir::Value result : op->getResults())
      EXPECT_LT(llvm::count(nn::shapeOf(result), 300), 2)
          << op->getName().getStringRef().str() << " has a tensor [S, S]";
    if (mlir::isa<mlir::func::FuncOp, mlir::func::ReturnOp, rl::ParameterOp, mlir::arith::ConstantOp>(op))
      return;
    ++operators;
    computing += !mlir::isa<nn::ReshapeOp, nn::TransposeOp, nn::BroadcastOp>(op);
  });
  EXPECT_LE(operators, 30 * 29 + 20);
  EXPECT_LE(computing, 30 * 19 + 20);
}

} // namespace
} // namespace graft
