// The ten dense models and their variants are read, and their initializers equal the checkpoint's.
#include "frontends/onnx/ModelFile.h"

#include <cstring>
#include <filesystem>
#include <fstream>
#include <gtest/gtest.h>
#include <map>
#include <sstream>

namespace graft::onnx {
namespace {
namespace fs = std::filesystem;

std::vector<std::string> models() {
  std::vector<std::string> found;
  fs::path root = fs::path(GRAFT_SOURCE_DIR) / "test/data/models";
  for (const fs::directory_entry &entry : fs::recursive_directory_iterator(root))
    if (entry.path().extension() == ".onnx")
      found.push_back(fs::relative(entry.path(), root).string());
  std::sort(found.begin(), found.end());
  return found;
}

TEST(ReferenceModels, areThere) {
  EXPECT_EQ(models().size(), 16u);
}

class ReferenceModels : public testing::TestWithParam<std::string> {
protected:
  fs::path path = fs::path(GRAFT_SOURCE_DIR) / "test/data/models" / GetParam();
};

TEST_P(ReferenceModels, isRead) {
  auto file = ModelFile::read(path.string());
  ASSERT_TRUE(file.isOk()) << file.status().text();
  const Graph &graph = (*file)->graph();
  EXPECT_GE(graph.inputs.size(), 2u);
  ASSERT_EQ(graph.outputs.size(), 1u);
  EXPECT_EQ(graph.outputs[0].name, "logits");
  for (const Node &node : graph.nodes) {
    EXPECT_GE(node.opset, 17);
    EXPECT_LE(node.opset, 23);
  }
  size_t withPath = 0;
  for (const Node &node : graph.nodes)
    withPath += !modulePath(node).empty();
  EXPECT_GT(withPath, graph.nodes.size() / 10);
}

/// Bytes of a tensor in weights.safetensors whose header names it; empty if it does not.
std::string checkpointBytes(const std::string &file, std::string_view name) {
  uint64_t header;
  std::memcpy(&header, file.data(), 8);
  std::string_view json(file.data() + 8, header);
  size_t at = json.find("\"" + std::string(name) + "\":");
  if (at == std::string_view::npos)
    return "";
  size_t offsets = json.find("\"data_offsets\":[", at) + 16;
  size_t begin = 0, end = 0;
  EXPECT_EQ(std::sscanf(json.data() + offsets, "%zu,%zu", &begin, &end), 2);
  return file.substr(8 + header + begin, end - begin);
}

TEST_P(ReferenceModels, namedInitializersEqualTheCheckpoint) {
  auto file = ModelFile::read(path.string());
  ASSERT_TRUE(file.isOk());
  fs::path folder = path.parent_path().filename() == "variants" ? path.parent_path().parent_path() : path.parent_path();
  std::ifstream stream(folder / "weights.safetensors", std::ios::binary);
  std::stringstream weights;
  weights << stream.rdbuf();
  size_t compared = 0;
  for (const Tensor &tensor : (*file)->graph().initializers) {
    std::string expected = checkpointBytes(weights.str(), tensor.name);
    if (expected.empty())
      continue;
    Result<TensorBytes> bytes = tensorBytes(tensor, &(*file)->external());
    ASSERT_TRUE(bytes.isOk()) << bytes.status().text();
    EXPECT_EQ(bytes->view, expected) << tensor.name;
    ++compared;
  }
  EXPECT_GE(compared, 6u); // optimising exporters rename most of them
}

INSTANTIATE_TEST_SUITE_P(All, ReferenceModels, testing::ValuesIn(models()), [](const auto &info) {
  std::string name = info.param;
  for (char &c : name)
    if (!std::isalnum(static_cast<unsigned char>(c)))
      c = '_';
  return name;
});

} // namespace
} // namespace graft::onnx
