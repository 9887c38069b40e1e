#include "frontends/onnx/Inline.h"

#include <unordered_map>
#include <unordered_set>

#include "frontends/onnx/FunctionTable.h"

namespace graft::onnx {

namespace {
/// What a name or attribute of a function body becomes at one call.
struct Call {
  const Node &node;
  const Function &function;
  std::string prefix;
  std::unordered_map<std::string_view, std::string_view> values;
  std::unordered_map<std::string_view, const Attribute *> attributes;
  /// Results that are inputs of the function or further names of one value: (source, result) pairs that need a copy.
  std::vector<std::pair<std::string_view, std::string_view>> copies;
};

/// Memory of a node's structure, roughly; what the file holds itself is not counted.
uint64_t cost(const Node &node) {
  uint64_t bytes = sizeof(Node) + (node.inputs.size() + node.outputs.size()) * sizeof(std::string_view) +
                   node.metadata.size() * sizeof(Property);
  for (const Attribute &attribute : node.attributes) {
    bytes += sizeof(Attribute) + attribute.ints.size() * 8 + attribute.floats.size() * 4 +
             attribute.strings.size() * sizeof(std::string_view) + attribute.types.size() * sizeof(Type);
    for (const Tensor &tensor : attribute.tensors)
      bytes += sizeof(Tensor) + tensor.dims.size() * 8 + tensor.typed.size() * sizeof(TypedValues) +
               tensor.strings.size() * sizeof(std::string_view) + tensor.external.size() * sizeof(Property);
    bytes += attribute.sparse.size() * sizeof(SparseTensor);
    for (const Graph &graph : attribute.graphs) {
      bytes += sizeof(Graph) + graph.initializers.size() * sizeof(Tensor);
      for (const Node &inner : graph.nodes)
        bytes += cost(inner);
    }
  }
  return bytes;
}

class Inliner {
public:
  explicit Inliner(Model &model) : model_(model), functions_(model) { reserveNames(*model.graph); }

  Status run() {
    graph(*model_.graph);
    return faults_.take();
  }

private:
  /// Every name of the graph is taken; new ones must differ.
  void reserveNames(const Graph &graph) {
    for (const ValueInfo &input : graph.inputs)
      names_.insert(input.name);
    for (const Tensor &tensor : graph.initializers)
      names_.insert(tensor.name);
    for (const Node &node : graph.nodes) {
      names_.insert(node.outputs.begin(), node.outputs.end());
      for (const Attribute &attribute : node.attributes)
        for (const Graph &inner : attribute.graphs)
          reserveNames(inner);
    }
  }

  void graph(Graph &graph) {
    std::vector<Node> nodes;
    nodes.reserve(graph.nodes.size());
    for (Node &node : graph.nodes)
      expand(std::move(node), nodes);
    graph.nodes = std::move(nodes);
  }

  /// Appends a node, or the body of the function that it calls. Recursion is as deep as calls and branches are.
  void expand(Node node, std::vector<Node> &out) {
    if (const Function *function = functions_.callee(node)) {
      Call call = bind(node, *function);
      for (const Node &inner : function->nodes) {
        if (!charge(cost(inner)))
          return;
        expand(instance(inner, call), out);
      }
      for (auto [source, result] : call.copies)
        out.push_back(identity(call, source, result));
      return;
    }
    for (Attribute &attribute : node.attributes)
      for (Graph &inner : attribute.graphs)
        graph(inner);
    out.push_back(std::move(node));
  }

  /// Takes memory from the budget; false and one fault when there is none left.
  bool charge(uint64_t bytes) {
    if (exhausted_)
      return false;
    exhausted_ = bytes > budget_;
    if (exhausted_)
      faults_.add(Code::Limit, "",
                  "with functions inlined the model's structure needs more than " +
                      std::to_string(maxModelStructureBytes >> 20) + " MiB");
    else
      budget_ -= bytes;
    return !exhausted_;
  }

  std::string_view keep(std::string text) {
    return charge(text.size() + sizeof(std::string)) ? std::string_view(model_.text.emplace_back(std::move(text))) : "";
  }

  static Node identity(const Call &call, std::string_view source, std::string_view result) {
    Node node;
    node.name = call.node.name;
    node.op = "Identity";
    node.inputs = {source};
    node.outputs = {result};
    node.metadata = call.node.metadata;
    node.opset = maxOpset;
    return node;
  }

  std::string_view fresh(const Call &call, std::string_view name) {
    std::string text = call.prefix + "/" + std::string(name);
    for (size_t n = 1; names_.contains(text); ++n)
      text = call.prefix + "/" + std::string(name) + "_" + std::to_string(n);
    std::string_view kept = keep(std::move(text));
    names_.insert(kept);
    return kept;
  }

  Call bind(const Node &node, const Function &function) {
    std::string prefix = node.name.empty() ? "function_" + std::to_string(calls_++) : std::string(node.name);
    Call call{node, function, std::move(prefix), {}, {}, {}};
    for (size_t i = 0; i < function.inputs.size(); ++i)
      call.values[function.inputs[i]] = i < node.inputs.size() ? node.inputs[i] : std::string_view();
    for (size_t i = 0; i < function.outputs.size(); ++i)
      if (i < node.outputs.size() && !node.outputs[i].empty() &&
          !call.values.try_emplace(function.outputs[i], node.outputs[i]).second)
        call.copies.emplace_back(call.values[function.outputs[i]], node.outputs[i]);
    for (const Attribute &attribute : function.defaults)
      call.attributes[attribute.name] = &attribute;
    for (const Attribute &attribute : node.attributes)
      call.attributes[attribute.name] = &attribute;
    return call;
  }

  std::string_view value(std::string_view name, Call &call) {
    if (name.empty())
      return name;
    auto [found, isNew] = call.values.try_emplace(name);
    if (isNew)
      found->second = fresh(call, name);
    return found->second;
  }

  Node instance(const Node &inner, Call &call) {
    Node node = inner;
    node.name = keep(call.prefix + "/" + std::string(inner.name.empty() ? inner.op : inner.name));
    if (node.metadata.empty())
      node.metadata = call.node.metadata;
    for (std::string_view &name : node.inputs)
      name = value(name, call);
    for (std::string_view &name : node.outputs)
      name = value(name, call);
    attributes(node, call);
    return node;
  }

  void attributes(Node &node, Call &call) {
    std::vector<Attribute> kept;
    for (Attribute &attribute : node.attributes) {
      if (!attribute.reference.empty()) {
        auto found = call.attributes.find(attribute.reference);
        if (found == call.attributes.end())
          continue;
        if (found->second->type != attribute.type) {
          faults_.add(Code::Type, describe(call.node) + ": attribute '" + escaped(attribute.reference) + "'",
                      "has another type than the " + describe(call.function) + " takes");
          continue;
        }
        std::string_view name = attribute.name;
        attribute = *found->second;
        attribute.name = name;
      } else {
        for (Graph &inner : attribute.graphs)
          rename(inner, call);
      }
      kept.push_back(std::move(attribute));
    }
    node.attributes = std::move(kept);
  }

  /// A branch inside of the body: its own names become fresh too, names of the body what they are bound to.
  void rename(Graph &graph, Call &call) {
    for (std::vector<ValueInfo> *infos : {&graph.inputs, &graph.outputs, &graph.values})
      for (ValueInfo &info : *infos)
        info.name = value(info.name, call);
    for (Tensor &tensor : graph.initializers)
      tensor.name = value(tensor.name, call);
    for (Node &node : graph.nodes)
      node = instance(node, call);
  }

  Model &model_;
  FunctionTable functions_;
  std::unordered_set<std::string_view> names_;
  size_t calls_ = 0;
  uint64_t budget_ = maxModelStructureBytes;
  bool exhausted_ = false;
  Faults faults_;
};
} // namespace

Status inlineFunctions(Model &model) {
  if (!model.functions.empty()) {
    GRAFT_RETURN_IF_ERROR(Inliner(model).run());
    model.functions.clear();
  }
  return Status::ok();
}

} // namespace graft::onnx
