// Any bytes as the header of a safetensors file (the first byte says how much data follows), and as an index: no crash,
// no leak, and what is accepted keeps the promises of its contract. Seeds: the headers that test/bad_inputs/weights.py
// writes.
#include "frontends/weights/Checkpoint.h"
#include "runtime/base/Checked.h"

#include <cstdlib>

using namespace graft;

namespace {
void require(bool holds) {
  if (!holds)
    std::abort();
}

/// The tensors cover the data exactly, in order, with the bytes that their shapes need.
void checkLayout(const SafetensorsHeader &header, uint64_t begin, uint64_t end) {
  for (const TensorInfo &tensor : header.tensors) {
    auto elements = elementCount(tensor.shape);
    require(elements && *elements == tensor.elements && tensor.elements * bitWidth(tensor.dtype) == 8 * tensor.bytes);
    require(tensor.begin == begin);
    begin += tensor.bytes;
  }
  require(begin == end);
}
} // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  if (size == 0)
    return 0;
  std::string_view text(reinterpret_cast<const char *>(data + 1), size - 1);
  SafetensorsLimits limits;
  limits.tensors = 1000;
  auto header = parseSafetensorsHeader(text, data[0], limits);
  if (header.isOk())
    checkLayout(*header, 8 + text.size(), 8 + text.size() + data[0]);
  else
    require(!header.status().text().empty());
  auto index = parseCheckpointIndex(text);
  require(index.isOk() || !index.status().text().empty());
  return 0;
}
