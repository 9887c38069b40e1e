// Writes small checkpoints for the tests of this folder.
#pragma once

#include "frontends/weights/Checkpoint.h"
#include "test/runtime/base/TemporaryDirectory.h"

#include <gtest/gtest.h>

namespace graft::test {

struct TestTensor {
  std::string name;
  std::vector<int64_t> shape;
  std::vector<float> values;
  DType dtype = DType::F32;
};

inline void writeCheckpointFile(const std::string &path, const std::vector<TestTensor> &tensors) {
  std::vector<TensorDeclaration> declarations;
  for (const TestTensor &tensor : tensors)
    declarations.push_back({tensor.name, tensor.dtype, tensor.shape});
  auto writer = SafetensorsWriter::create(path, declarations, {{"format", "pt"}});
  ASSERT_TRUE(writer.isOk()) << writer.status().text();
  for (const TensorDeclaration &declaration : writer->tensors())
    for (const TestTensor &tensor : tensors)
      if (tensor.name == declaration.name)
        ASSERT_TRUE(writer->append(std::span<const float>(tensor.values)).isOk());
  ASSERT_TRUE(writer->commit().isOk());
}

/// "a" and "b" in two shards, with their index.
inline void writeSharded(const TemporaryDirectory &folder) {
  writeCheckpointFile(folder.path("model-00001-of-00002.safetensors"), {{"a", {2, 2}, {1, 2, 3, 4}}});
  writeCheckpointFile(folder.path("model-00002-of-00002.safetensors"), {{"b", {3}, {5, 6, 7}, DType::BF16}});
  folder.write(
      "model.safetensors.index.json",
      R"({"metadata":{"total_size":22},"weight_map":{"a":"model-00001-of-00002.safetensors","b":"model-00002-of-00002.safetensors"}})");
}

inline std::vector<float> readTensor(const Checkpoint &checkpoint, const std::string &name) {
  auto tensor = checkpoint.find(name);
  if (!tensor)
    return {};
  std::vector<float> values(tensor->info->elements);
  EXPECT_TRUE(checkpoint.read(name, values).isOk());
  return values;
}

} // namespace graft::test
