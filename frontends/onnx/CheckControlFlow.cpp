#include "frontends/onnx/CheckControlFlow.h"

namespace graft::onnx {

namespace {
/// The graph of an attribute; null and a fault when there is none.
const Graph *branch(const Node &node, std::string_view name, const std::string &place, Faults &faults) {
  const Attribute *attribute = node.attribute(name);
  if (attribute && attribute->is(AttributeType::Graph) && attribute->graphs.size() == 1)
    return &attribute->graphs[0];
  faults.add(Code::Graph, place, "has no " + std::string(name));
  return nullptr;
}

void checkIf(const Node &node, const std::string &place, Faults &faults) {
  const Graph *yes = branch(node, "then_branch", place, faults), *no = branch(node, "else_branch", place, faults);
  if (!yes || !no)
    return;
  if (yes->outputs.size() != no->outputs.size() || yes->outputs.size() != node.outputs.size())
    return faults.add(Code::Graph, place,
                      "its branches have " + std::to_string(yes->outputs.size()) + " and " +
                          std::to_string(no->outputs.size()) + " outputs, the node " +
                          std::to_string(node.outputs.size()));
  for (size_t i = 0; i < yes->outputs.size(); ++i)
    if (const Type &a = yes->outputs[i].type, &b = no->outputs[i].type;
        a.kind != b.kind || a.elementType != b.elementType)
      faults.add(Code::Graph, place, "its branches differ in the type of output " + std::to_string(i));
}

void checkLoop(const Node &node, const std::string &place, Faults &faults) {
  const Graph *body = branch(node, "body", place, faults);
  if (!body)
    return;
  size_t carried = node.inputs.size() < 2 ? 0 : node.inputs.size() - 2;
  if (body->inputs.size() != carried + 2 || body->outputs.size() < carried + 1)
    faults.add(Code::Graph, place,
               "its body has " + std::to_string(body->inputs.size()) + " inputs and " +
                   std::to_string(body->outputs.size()) + " outputs for " + std::to_string(carried) +
                   " carried values");
}

void checkScan(const Node &node, const std::string &place, Faults &faults) {
  const Graph *body = branch(node, "body", place, faults);
  const Attribute *count = node.attribute("num_scan_inputs");
  if (!count || !count->is(AttributeType::Int) || count->i < 1 || static_cast<uint64_t>(count->i) > node.inputs.size())
    return faults.add(Code::Graph, place,
                      "num_scan_inputs is " + (count ? std::to_string(count->i) : "absent") + ", the node has " +
                          std::to_string(node.inputs.size()) + " inputs");
  if (body && body->inputs.size() != node.inputs.size())
    faults.add(Code::Graph, place,
               "its body has " + std::to_string(body->inputs.size()) + " inputs, the node " +
                   std::to_string(node.inputs.size()));
}
} // namespace

void checkControlFlow(const Node &node, const std::string &place, Faults &faults) {
  if (node.op == "If")
    checkIf(node, place, faults);
  else if (node.op == "Loop")
    checkLoop(node, place, faults);
  else if (node.op == "Scan")
    checkScan(node, place, faults);
}

} // namespace graft::onnx
