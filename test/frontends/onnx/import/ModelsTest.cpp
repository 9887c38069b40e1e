// Whole models: imported, run by the interpreter in float64 and compared with the log-probs that PyTorch computed in
// float64 from the same weights. What differs is only how constants of the graph are rounded (to float32), so 1e-5 of
// log-probs between -1 and -12 leaves room and still notices any wrong operator.
#include "test/frontends/onnx/import/Support.h"

#include "llvm/Support/JSON.h"

namespace graft::onnx {
namespace {

using Tensors = std::map<std::string, graft::Tensor>;

constexpr double tolerance = 1e-5;

/// log p(x_t | x_<t) of the tokens 1, 2, ... of each row.
std::vector<double> logprobsOf(const graft::Tensor &logits, const graft::Tensor &ids) {
  int64_t rows = logits.shape()[0], length = logits.shape()[1], vocabulary = logits.shape()[2];
  std::vector<double> out;
  for (int64_t b = 0; b < rows; ++b)
    for (int64_t t = 0; t + 1 < length; ++t) {
      const double *x = &logits.f()[(b * length + t) * vocabulary];
      double max = *std::max_element(x, x + vocabulary), sum = 0;
      for (int64_t v = 0; v < vocabulary; ++v)
        sum += std::exp(x[v] - max);
      out.push_back(x[ids.i()[b * length + t + 1]] - max - std::log(sum));
    }
  return out;
}

void expectLogprobs(const graft::Tensor &logits, const Tensors &batch, const Tensors &expected) {
  std::vector<double> found = logprobsOf(logits, batch.at("input_ids"));
  const std::vector<double> &wanted = expected.at("logprobs").f();
  const std::vector<int64_t> &mask = batch.at("attention_mask").i();
  ASSERT_EQ(found.size(), wanted.size());
  int64_t length = logits.shape()[1];
  double worst = 0;
  for (size_t k = 0; k < found.size(); ++k) {
    int64_t b = static_cast<int64_t>(k) / (length - 1), t = static_cast<int64_t>(k) % (length - 1);
    if (mask[b * length + t + 1])
      worst = std::max(worst, std::fabs(found[k] - wanted[k]));
  }
  EXPECT_LT(worst, tolerance);
}

class Models : public testing::TestWithParam<std::string> {
protected:
  std::string folder() const { return "models/" + GetParam().substr(0, GetParam().find('/')) + "/"; }
  std::string graph() const {
    bool variant = GetParam().find('/') != std::string::npos;
    return "models/" + GetParam() + (variant ? ".onnx" : "/model.onnx");
  }
};

TEST_P(Models, LogprobsAreThoseOfPyTorch) {
  auto file = ModelFile::read(dataPath(graph()));
  ASSERT_TRUE(file.isOk()) << file.status().text();
  Tensors batch = readSafetensors(dataPath(folder() + "batch.safetensors")),
          expected = readSafetensors(dataPath(folder() + "expected.safetensors")),
          weights = readSafetensors(dataPath(folder() + "weights.safetensors"));
  auto context = makeContext();
  ImportOptions options;
  options.batch = 3;
  options.sequence = 12;
  auto model = importModel(**file, *context, options);
  ASSERT_TRUE(model.isOk()) << model.status().text();
  Tensors parameters = initializerValues(*model, **file);
  auto results = run(*model, batch, parameters);
  ASSERT_EQ(results.size(), 1u);
  EXPECT_EQ(forwardOf(*model).getResultAttrOfType<mlir::StringAttr>(0, rl::nameAttribute).str(), "logits");
  expectLogprobs(results[0], batch, expected);
}

// Tests that parameters have the checkpoint's names, shapes and values where the exporter kept the names.
TEST_P(Models, ParametersAreThoseOfTheCheckpoint) {
  auto file = ModelFile::read(dataPath(graph()));
  ASSERT_TRUE(file.isOk()) << file.status().text();
  Tensors weights = readSafetensors(dataPath(folder() + "weights.safetensors"));
  auto context = makeContext();
  ImportOptions options;
  options.batch = 3;
  options.sequence = 12;
  options.parameter = [&](std::string_view name) -> std::optional<ParameterInfo> {
    auto found = weights.find(std::string(name));
    return found == weights.end() ? std::nullopt : std::optional(ParameterInfo{found->second.shape(), Float, true});
  };
  auto model = importModel(**file, *context, options);
  ASSERT_TRUE(model.isOk()) << model.status().text();
  Tensors values = initializerValues(*model, **file);
  size_t bound = 0;
  for (const ImportedParameter &parameter : model->parameters) {
    EXPECT_EQ(parameter.trained, weights.contains(parameter.name)) << parameter.name;
    if (!parameter.trained)
      continue;
    ++bound;
    EXPECT_EQ(parameter.shape, weights.at(parameter.name).shape()) << parameter.name;
    EXPECT_EQ(values.at(parameter.name).f(), weights.at(parameter.name).f()) << parameter.name;
  }
  EXPECT_GT(bound, 5u);
  if (GetParam().find('/') == std::string::npos) {
    EXPECT_EQ(bound, model->parameters.size());
  }
}

INSTANTIATE_TEST_SUITE_P(All, Models,
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

} // namespace
} // namespace graft::onnx
