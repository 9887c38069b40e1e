#include "frontends/onnx/import/Table.h"

#include "frontends/onnx/import/Import.h"

#include <map>

namespace graft::onnx {

namespace {

const std::map<std::string_view, const Translation *> &table() {
  static const std::map<std::string_view, const Translation *> all = [] {
    std::map<std::string_view, const Translation *> out;
    for (std::span<const Translation> family :
         {elementwiseTranslations(), shapeTranslations(), constantTranslations(), reduceTranslations(),
          normTranslations(), productTranslations(), indexingTranslations(), attentionTranslations(),
          sequenceTranslations()})
      for (const Translation &translation : family)
        out.emplace(translation.op, &translation);
    return out;
  }();
  return all;
}

struct NearestForm {
  std::string_view op, hint;
};
constexpr NearestForm nearestForms[] = {
    {"TopK", "mixture-of-experts routing is not supported yet"},
    {"ScatterND", "in-place updates are not supported: write them with Where or Concat"},
    {"ScatterElements", "in-place updates are not supported: write them with Where or Concat"},
    {"NonZero", "shapes that depend on data are not supported: write the selection with Where"},
    {"If", "export with torch.export (dynamo=True), which resolves branches"},
    {"Loop", "export with the loop unrolled"},
    {"Scan", "export with the loop unrolled"},
    {"Conv", "a depthwise convolution over time can be written as a sum of shifted products"},
    {"GroupQueryAttention", "export to the default domain of ONNX instead: Attention, or its primitives"},
    {"SkipSimplifiedLayerNormalization", "export to the default domain of ONNX instead: Add and RMSNormalization"},
    {"SimplifiedLayerNormalization", "export to the default domain of ONNX instead: RMSNormalization"},
    {"SkipLayerNormalization", "export to the default domain of ONNX instead: Add and LayerNormalization"},
    {"MatMulNBits", "export the model without quantization"},
    {"QuantizeLinear", "export the model without quantization"},
    {"DequantizeLinear", "export the model without quantization"},
    {"HardSwish", "write it with Clip and Mul"},
    {"LeakyRelu", "write it with Where and Mul"},
    {"Elu", "write it with Exp and Where"},
    {"ReduceL1", "write it with Abs and ReduceSum"},
    {"ReduceLogSum", "write it with ReduceSum and Log"},
    {"ArgMax", "discrete choices in the forward graph are not supported yet"},
};

} // namespace

const Translation *findTranslation(std::string_view op) {
  auto found = table().find(op);
  return found == table().end() ? nullptr : found->second;
}

std::string_view nearestForm(std::string_view op) {
  for (const NearestForm &form : nearestForms)
    if (form.op == op)
      return form.hint;
  return {};
}

std::vector<std::string_view> supportedOperators() {
  std::vector<std::string_view> names;
  for (const auto &[name, translation] : table())
    names.push_back(name);
  return names;
}

} // namespace graft::onnx
