// Any bytes as an ONNX model: read, checked, inlined, and every tensor decoded, without a crash, a leak or more memory
// than the limits say. Seeds: test/data/models/*/model.onnx.
#include "frontends/onnx/ModelFile.h"

using namespace graft::onnx;

namespace {
void decode(const Tensor &tensor) {
  (void)tensorFloats(tensor, nullptr).isOk();
  (void)tensorIntegers(tensor, nullptr).isOk();
}

void decode(const Graph &graph) {
  for (const Tensor &tensor : graph.initializers)
    decode(tensor);
  for (const Node &node : graph.nodes) {
    (void)describe(node);
    for (const Attribute &attribute : node.attributes) {
      for (const Tensor &tensor : attribute.tensors)
        decode(tensor);
      for (const Graph &inner : attribute.graphs)
        decode(inner);
    }
  }
}
} // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  ReadOptions options;
  options.externalData = false;
  auto file = ModelFile::readBytes(std::string(reinterpret_cast<const char *>(data), size), "fuzz", options);
  if (file.isOk())
    decode((*file)->graph());
  else
    (void)file.status().text();
  return 0;
}
