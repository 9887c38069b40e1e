// The node tests of ONNX (test/data/onnx/node, packed by make_node_tests.py): each is imported with its operands as
// inputs, run by the interpreter and compared with the outputs that ONNX's reference gives, at ONNX's tolerance.
#include "test/frontends/onnx/import/Support.h"

#include <filesystem>

namespace graft::onnx {
namespace {

constexpr double relative = 1e-3, absolute = 1e-6;

/// Tests that Graft declines, and the reason it gives. One that is accepted one day fails here.
struct Declined {
  std::string_view prefix, reason;
};
constexpr Declined declined[] = {
    {"attention_4d_diff_heads_mask4d_padded_kv", "input 6 is not known"}, // nonpad_kv_seqlen, opset 24
    {"mod_mixed_sign_float", "Mod of floating-point numbers"},
    {"pow_types_int", "Pow of integers needs a constant exponent"},
    {"reduce_log_sum_exp_empty_set", "the logarithm of an empty sum"},
    {"reduce_max_empty_set", "the largest or smallest of no elements"},
    {"reduce_min_empty_set", "the largest or smallest of no elements"},
    {"training_dropout", "Dropout in training mode"},
};
const Declined *declinedAs(const std::string &path) {
  std::string name = std::filesystem::path(path).stem().string();
  for (const Declined &entry : declined)
    if (name.starts_with(entry.prefix) && !name.ends_with("_expanded"))
      return &entry;
  return nullptr;
}

/// Paths by the first word of their name, which is mostly the operator: a case each, not a process per path.
const std::map<std::string, std::vector<std::string>> &families() {
  static const auto all = [] {
    std::map<std::string, std::vector<std::string>> out;
    for (const auto &entry : std::filesystem::directory_iterator(dataPath("onnx/node"))) {
      std::string name = entry.path().stem().string();
      out[name.substr(0, name.find('_'))].push_back(entry.path().string());
    }
    return out;
  }();
  return all;
}
std::vector<std::string> familyNames() {
  std::vector<std::string> names;
  for (const auto &[name, paths] : families())
    names.push_back(name);
  return names;
}

graft::Tensor valueOf(const Tensor &tensor) {
  bool isFloat = tensor.dataType == Float || tensor.dataType == Double;
  if (isFloat)
    return graft::Tensor::floats(tensor.dims, *tensorFloats(tensor, nullptr));
  return graft::Tensor::integers(tensor.dims, *tensorIntegers(tensor, nullptr));
}

void expectOutputs(const std::string &path) {
  SCOPED_TRACE(path);
  auto file = ModelFile::read(path);
  ASSERT_TRUE(file.isOk()) << file.status().text();
  std::map<std::string, graft::Tensor> given, expected;
  for (const Tensor &tensor : (*file)->graph().initializers) {
    if (tensor.name.starts_with("given:"))
      given[std::string(tensor.name.substr(6))] = valueOf(tensor);
    if (tensor.name.starts_with("expected:"))
      expected[std::string(tensor.name.substr(9))] = valueOf(tensor);
  }
  auto context = makeContext();
  ImportOptions options;
  options.allOutputs = true;
  auto model = importModel(**file, *context, options);
  if (const Declined *entry = declinedAs(path)) {
    ASSERT_FALSE(model.isOk()) << "supported now: take it off the list";
    EXPECT_THAT(model.status().text(), testing::HasSubstr(std::string(entry->reason)));
    return;
  }
  ASSERT_TRUE(model.isOk()) << model.status().text();
  auto results = run(*model, given, {});
  mlir::func::FuncOp function = forwardOf(*model);
  ASSERT_EQ(results.size(), expected.size());
  for (unsigned i = 0; i < results.size(); ++i) {
    std::string name = function.getResultAttrOfType<mlir::StringAttr>(i, rl::nameAttribute).str();
    const graft::Tensor &wanted = expected.at(name);
    ASSERT_EQ(results[i].shape(), wanted.shape()) << name;
    ASSERT_EQ(results[i].isFloat(), wanted.isFloat()) << name;
    for (int64_t k = 0; k < wanted.size(); ++k) {
      double a = results[i].at(k), b = wanted.at(k);
      if (std::isnan(b) ? std::isnan(a) : a == b)
        continue;
      ASSERT_LE(std::fabs(a - b), absolute + relative * std::fabs(b)) << name << ", element " << k;
    }
  }
}

class Conformance : public testing::TestWithParam<std::string> {};

TEST_P(Conformance, OutputsAreThoseOfOnnx) {
  for (const std::string &path : families().at(GetParam()))
    expectOutputs(path);
}

INSTANTIATE_TEST_SUITE_P(Onnx, Conformance, testing::ValuesIn(familyNames()),
                         [](const auto &info) { return info.param; });

} // namespace
} // namespace graft::onnx
