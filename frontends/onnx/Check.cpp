#include "frontends/onnx/Check.h"

#include <algorithm>
#include <unordered_map>
#include <unordered_set>

#include "frontends/onnx/CheckControlFlow.h"
#include "frontends/onnx/Faults.h"
#include "frontends/onnx/FunctionTable.h"
#include "frontends/onnx/Scope.h"
#include "frontends/onnx/Tensor.h"

namespace graft::onnx {

namespace {
/// Where a fault would be; made into text only when there is one, since a million nodes have none.
class Place {
public:
  Place(const std::string &text) : outer_(text), node_(nullptr) {}
  Place(const std::string &outer, const Node &node) : outer_(outer), node_(&node) {}
  std::string text() const {
    return !node_ ? outer_ : outer_.empty() ? describe(*node_) : outer_ + ": " + describe(*node_);
  }

private:
  const std::string &outer_;
  const Node *node_;
};

/// What the nodes of a body may refer to besides values.
struct Surroundings {
  const std::vector<OpsetImport> &opsets;
  const Function *function; ///< null in the main graph
};

class Checker {
public:
  Checker(Model &model, const CheckOptions &options) : model_(model), options_(options), functions_(model) {}

  Status run() {
    header();
    opsets(model_.opsets, "");
    functions_.check(faults_);
    for (Function &function : model_.functions)
      body(function);
    if (model_.graph)
      graph(*model_.graph, {model_.opsets, nullptr}, nullptr, "");
    return faults_.take();
  }

private:
  // Check.cpp, in this order.
  void header();
  void opsets(const std::vector<OpsetImport> &imports, const std::string &place);
  void body(Function &function);
  void graph(Graph &graph, Surroundings in, Scope *outer, const std::string &place);
  void interface(const Graph &graph, bool isMain, const std::string &place);
  void initializers(const Graph &graph, Scope &scope, const std::string &place);
  void define(Scope &scope, std::string_view name, size_t position, const std::string &place);
  void nodes(std::vector<Node> &nodes, Surroundings in, Scope &scope, const std::string &place);
  void cycle(const std::vector<Node> &nodes, const Scope &scope, const std::string &place);
  bool node(Node &node, Surroundings in, Scope &scope, const std::string &place);
  void meaning(Node &node, Surroundings in, const Function *function, const Place &place);
  bool use(std::string_view name, const Scope &scope, const Place &place);
  void call(const Node &node, const Function &function, const Place &place);
  void attributes(Node &node, Surroundings in, Scope &scope, const Place &place);
  void attribute(Attribute &attribute, Surroundings in, Scope &scope, const Place &place);
  bool refers(const Attribute &attribute, Surroundings in, const Place &place);

  Model &model_;
  const CheckOptions &options_;
  FunctionTable functions_;
  Faults faults_;
};

std::string join(const std::string &outer, const std::string &inner) {
  return outer.empty() ? inner : inner.empty() ? outer : outer + ": " + inner;
}

std::string quoted(std::string_view name) {
  return "'" + escaped(name) + "'";
}

void Checker::header() {
  if (!model_.irVersion)
    faults_.add(Code::Format, "", "no ir_version: this is no ONNX model");
  else if (*model_.irVersion < minIrVersion || *model_.irVersion > maxIrVersion)
    faults_.add(Code::Unsupported, "",
                "IR version " + std::to_string(*model_.irVersion) + ", versions " + std::to_string(minIrVersion) +
                    " to " + std::to_string(maxIrVersion) + " are read");
  if (!model_.graph)
    faults_.add(Code::Format, "", "no graph: this is no ONNX model");
  if (model_.trainingInfos > 0)
    faults_.add(Code::Unsupported, "", "training_info: Graft adds the training itself",
                "export the forward graph only");
  if (model_.deviceConfigurations > 0)
    faults_.add(Code::Unsupported, "", "device configurations are not read", "export without sharding annotations");
}

void Checker::opsets(const std::vector<OpsetImport> &imports, const std::string &place) {
  std::unordered_set<std::string_view> seen;
  for (const OpsetImport &import : imports) {
    std::string domain = import.domain.empty() ? "ai.onnx" : escaped(import.domain);
    if (!seen.insert(import.domain).second)
      faults_.add(Code::Graph, place, "the domain '" + domain + "' is imported twice");
    else if (import.domain.empty() && (import.version < minOpset || import.version > maxOpset))
      faults_.add(Code::Unsupported, place,
                  "opset " + std::to_string(import.version) + ", opsets " + std::to_string(minOpset) + " to " +
                      std::to_string(maxOpset) + " are read",
                  "export with opset_version=" + std::to_string(maxOpset) + " or below");
    else if (import.version < 1 || import.version > INT32_MAX)
      faults_.add(Code::Unsupported, place,
                  "version " + std::to_string(import.version) + " of the domain '" + domain + "'");
  }
  if (place.empty() && imports.empty() && model_.irVersion)
    faults_.add(Code::Graph, place, "no opset_import: operators have no meaning without");
}

void Checker::body(Function &function) {
  std::string place = describe(function);
  opsets(function.opsets, place);
  for (const OpsetImport &import : function.opsets)
    if (int64_t version = opsetOf(model_.opsets, import.domain); version != 0 && version != import.version)
      faults_.add(Code::Unsupported, place,
                  "imports version " + std::to_string(import.version) + " of the domain '" + escaped(import.domain) +
                      "', the model version " + std::to_string(version));
  if (function.name.empty())
    faults_.add(Code::Graph, place, "has no name");
  std::unordered_set<std::string_view> declared(function.attributes.begin(), function.attributes.end());
  Scope scope(nullptr);
  for (std::string_view input : function.inputs)
    define(scope, input, Scope::before, place + ": input");
  for (Attribute &attribute : function.defaults) {
    if (!declared.insert(attribute.name).second)
      faults_.add(Code::Graph, place, "declares the attribute " + quoted(attribute.name) + " twice");
    if (!attribute.reference.empty())
      faults_.add(Code::Graph, place,
                  "the default of attribute " + quoted(attribute.name) + " refers to another attribute");
    else
      this->attribute(attribute, {function.opsets, &function}, scope, place);
  }
  nodes(function.nodes, {function.opsets, &function}, scope, place);
  for (std::string_view output : function.outputs)
    use(output, scope, place + ": output");
}

void Checker::graph(Graph &graph, Surroundings in, Scope *outer, const std::string &place) {
  Scope scope(outer);
  interface(graph, !outer && !in.function, place);
  for (const ValueInfo &input : graph.inputs)
    define(scope, input.name, Scope::before, join(place, "input"));
  initializers(graph, scope, place);
  nodes(graph.nodes, in, scope, place);
  for (const ValueInfo &output : graph.outputs)
    use(output.name, scope, join(place, "output"));
}

void Checker::interface(const Graph &graph, bool isMain, const std::string &place) {
  if (graph.quantizationAnnotations > 0)
    faults_.add(Code::Unsupported, place, "quantization annotations");
  if (graph.outputs.empty())
    faults_.add(Code::Graph, place, "the graph has no outputs");
  if (!isMain)
    return;
  for (const ValueInfo &input : graph.inputs) {
    std::string where = "input " + quoted(input.name);
    if (input.type.kind == Type::Kind::None)
      faults_.add(Code::Graph, where, "has no type");
    else if (input.type.kind != Type::Kind::Tensor)
      faults_.add(Code::Unsupported, where, "is not a tensor");
    else if (!dataTypeInfo(input.type.elementType))
      faults_.add(Code::Type, where, dataTypeName(input.type.elementType) + " does not exist (1 to 26 do)");
    else if (!input.type.shape)
      faults_.add(Code::Unsupported, where, "has no shape", "export with dynamic sizes, not with unknown rank");
    else if (input.type.shape->size() > maxRank)
      faults_.add(Code::Limit, where, "rank " + std::to_string(input.type.shape->size()));
    if (input.type.shape)
      for (const Dimension &dim : *input.type.shape)
        if (dim.value && *dim.value < 0)
          faults_.add(Code::Range, where, "a dimension of size " + std::to_string(*dim.value));
  }
}

/// Whether a declared input type and an initializer of the same name agree.
bool agrees(const Type &type, const Tensor &tensor) {
  if (type.kind != Type::Kind::Tensor || type.elementType != tensor.dataType)
    return false;
  if (!type.shape)
    return true;
  if (type.shape->size() != tensor.dims.size())
    return false;
  for (size_t i = 0; i < tensor.dims.size(); ++i)
    if (const Dimension &dim = (*type.shape)[i]; dim.value && *dim.value != tensor.dims[i])
      return false;
  return true;
}

void Checker::initializers(const Graph &graph, Scope &scope, const std::string &place) {
  std::unordered_map<std::string_view, const ValueInfo *> inputs;
  for (const ValueInfo &input : graph.inputs)
    inputs.emplace(input.name, &input);
  std::unordered_set<std::string_view> seen;
  auto name = [&](std::string_view name, const std::string &where) {
    if (name.empty())
      faults_.add(Code::Graph, where, "has no name");
    else if (!seen.insert(name).second)
      faults_.add(Code::Graph, where, "is defined twice");
    else if (!inputs.contains(name)) // an input with a default value is legal
      define(scope, name, Scope::before, where);
  };
  for (const Tensor &tensor : graph.initializers) {
    std::string where = join(place, "initializer " + quoted(tensor.name));
    name(tensor.name, where);
    if (auto input = inputs.find(tensor.name); input != inputs.end() && !agrees(input->second->type, tensor))
      faults_.add(Code::Type, where,
                  dataTypeName(tensor.dataType) + " " + shapeText(tensor.dims) +
                      " differs from the declared graph input");
    checkTensor(tensor, where, faults_);
  }
  for (const SparseTensor &sparse : graph.sparseInitializers) {
    std::string where = join(place, "sparse initializer " + quoted(sparse.values.name));
    name(sparse.values.name, where);
    Faults own;
    checkSparseTensor(sparse, where, own);
    if (!own.any())
      own.add(Code::Unsupported, where, "sparse tensors are not supported", "export the weights as dense tensors");
    faults_.merge(own.take());
  }
}

void Checker::define(Scope &scope, std::string_view name, size_t position, const std::string &place) {
  if (name.empty())
    faults_.add(Code::Graph, place, "has no name");
  else if (!scope.define(name, position))
    faults_.add(Code::Graph, place, "the name " + quoted(name) + " is defined twice in this graph");
  else if (scope.shadows(name))
    faults_.add(Code::Graph, place, "the name " + quoted(name) + " hides one of the surrounding graph");
}

void Checker::nodes(std::vector<Node> &nodes, Surroundings in, Scope &scope, const std::string &place) {
  if (nodes.size() > maxNodes)
    return faults_.add(Code::Limit, place,
                       std::to_string(nodes.size()) + " nodes, at most " + std::to_string(maxNodes));
  for (size_t i = 0; i < nodes.size(); ++i)
    for (std::string_view output : nodes[i].outputs)
      if (!output.empty() && (!scope.define(output, Scope::of(i)) || scope.shadows(output)))
        faults_.add(Code::Graph, join(place, describe(nodes[i])),
                    "the output name " + quoted(output) + " is already that of another value");
  bool unordered = false;
  for (size_t i = 0; i < nodes.size(); ++i) {
    scope.current = Scope::of(i);
    unordered |= node(nodes[i], in, scope, place);
  }
  scope.current = Scope::of(nodes.size());
  if (unordered)
    cycle(nodes, scope, place);
}

/// Says whether reordering would help: Kahn's algorithm; what is left over lies on or behind a cycle.
void Checker::cycle(const std::vector<Node> &nodes, const Scope &scope, const std::string &place) {
  std::vector<std::vector<size_t>> users(nodes.size());
  std::vector<size_t> waiting(nodes.size()), ready;
  for (size_t i = 0; i < nodes.size(); ++i) {
    for (std::string_view input : nodes[i].inputs)
      if (auto position = scope.find(input); position && *position != Scope::before) {
        users[*position - 1].push_back(i);
        ++waiting[i];
      }
    if (waiting[i] == 0)
      ready.push_back(i);
  }
  size_t sorted = ready.size();
  while (!ready.empty()) {
    size_t done = ready.back();
    ready.pop_back();
    for (size_t user : users[done])
      if (--waiting[user] == 0) {
        ready.push_back(user);
        ++sorted;
      }
  }
  if (sorted != nodes.size())
    faults_.add(Code::Graph, place,
                "the graph has a cycle; " + std::to_string(nodes.size() - sorted) + " nodes lie on it or behind it");
}

/// Returns whether the node uses a value of its own graph before that is produced.
bool Checker::node(Node &node, Surroundings in, Scope &scope, const std::string &outer) {
  Place place(outer, node);
  const Function *function = functions_.callee(node);
  meaning(node, in, function, place);
  bool unordered = false;
  for (std::string_view input : node.inputs)
    if (!input.empty())
      unordered |= use(input, scope, place);
  attributes(node, in, scope, place);
  return unordered;
}

/// What the node is: an operator or a call, of a domain that is imported, with at least one result.
void Checker::meaning(Node &node, Surroundings in, const Function *function, const Place &place) {
  node.opset = opsetOf(in.opsets, node.domain);
  if (node.op.empty() || node.op.size() > maxOpTypeBytes)
    faults_.add(Code::Unsupported, place.text(), node.op.empty() ? "has no op_type" : "its op_type is too long");
  else if (!function && !node.domain.empty())
    faults_.add(Code::Unsupported, place.text(),
                functions_.hasDomain(node.domain) ? "the model has no such function"
                                                  : "operators of the domain " + quoted(node.domain) + " are not known",
                "export with standard ONNX operators only");
  else if (!function && node.opset == 0 && (in.function || !in.opsets.empty()))
    faults_.add(Code::Graph, place.text(), "its domain is not among the imported opsets");
  if (node.hasDeviceConfiguration)
    faults_.add(Code::Unsupported, place.text(), "device configurations are not read");
  bool anyOutput = false;
  for (std::string_view output : node.outputs)
    anyOutput |= !output.empty();
  if (!anyOutput)
    faults_.add(Code::Graph, place.text(), "has no outputs");
  if (function)
    call(node, *function, place);
  else if (node.op == "If" || node.op == "Loop" || node.op == "Scan")
    checkControlFlow(node, place.text(), faults_);
}

bool Checker::use(std::string_view name, const Scope &scope, const Place &place) {
  std::optional<size_t> position = scope.find(name);
  if (name.empty()) {
    faults_.add(Code::Graph, place.text(), "has no name");
  } else if (position && *position >= scope.current) {
    faults_.add(Code::Graph, place.text(),
                "uses " + quoted(name) + (*position == scope.current ? ", its own output" : " before it is produced"));
    return true;
  } else if (!position && !scope.outerDefines(name) && !(options_.isParameter && options_.isParameter(name))) {
    faults_.add(Code::Graph, place.text(), "uses " + quoted(name) + ", which nothing produces");
  }
  return false;
}

void Checker::call(const Node &node, const Function &function, const Place &place) {
  if (node.inputs.size() != function.inputs.size())
    faults_.add(Code::Graph, place.text(),
                "passes " + std::to_string(node.inputs.size()) + " inputs to a function of " +
                    std::to_string(function.inputs.size()));
  if (node.outputs.size() > function.outputs.size())
    faults_.add(Code::Graph, place.text(),
                "takes " + std::to_string(node.outputs.size()) + " outputs of a function of " +
                    std::to_string(function.outputs.size()));
}

void Checker::attributes(Node &node, Surroundings in, Scope &scope, const Place &place) {
  std::vector<std::string_view> names;
  for (Attribute &attribute : node.attributes) {
    names.push_back(attribute.name);
    if (attribute.name.empty())
      faults_.add(Code::Type, place.text(), "an attribute without a name");
    this->attribute(attribute, in, scope, place);
  }
  std::sort(names.begin(), names.end());
  if (auto twice = std::adjacent_find(names.begin(), names.end()); twice != names.end())
    faults_.add(Code::Type, place.text(), "the attribute " + quoted(*twice) + " twice");
}

/// Checks a reference to an attribute of the surrounding function; false if the attribute is none.
bool Checker::refers(const Attribute &attribute, Surroundings in, const Place &place) {
  if (attribute.reference.empty())
    return false;
  auto add = [&](Code code, std::string message) {
    faults_.add(code, place.text() + ": attribute " + quoted(attribute.name), std::move(message));
  };
  if (!in.function) {
    add(Code::Graph, "refers to an attribute of a function, but is outside of one");
    return true;
  }
  const std::vector<std::string_view> &required = in.function->attributes;
  bool declared = std::find(required.begin(), required.end(), attribute.reference) != required.end();
  for (const Attribute &other : in.function->defaults)
    if (other.name == attribute.reference) {
      declared = true;
      if (other.type != attribute.type)
        add(Code::Type, "refers to " + quoted(attribute.reference) + ", which has another type");
    }
  if (!declared)
    add(Code::Graph, "refers to " + quoted(attribute.reference) + ", which the function does not declare");
  if (attribute.present != 0)
    add(Code::Type, "has a value and refers to another attribute");
  return true;
}

void Checker::attribute(Attribute &attribute, Surroundings in, Scope &scope, const Place &node) {
  auto place = [&] { return node.text() + ": attribute " + quoted(attribute.name); };
  if (attribute.type < 1 || attribute.type > static_cast<int32_t>(AttributeType::Types))
    return faults_.add(Code::Type, place(),
                       "has the type " + std::to_string(attribute.type) + ", which does not exist (1 to 14 do)");
  if (refers(attribute, in, node))
    return;
  if ((attribute.present & ~(1u << attribute.type)) != 0)
    return faults_.add(Code::Type, place(), "has a value of another type than it says");
  // Scalars, strings and lists may be absent (writers leave out zeros and empty lists), messages may not.
  bool isMessage = attribute.is(AttributeType::Tensor) || attribute.is(AttributeType::Graph) ||
                   attribute.is(AttributeType::SparseTensor) || attribute.is(AttributeType::Type);
  if (isMessage && attribute.present == 0)
    return faults_.add(Code::Type, place(), "has no value");
  for (const Tensor &tensor : attribute.tensors) {
    Faults own;
    checkTensor(tensor, "", own);
    if (own.any())
      faults_.merge(own.take().at(place()));
  }
  for (const SparseTensor &sparse : attribute.sparse)
    checkSparseTensor(sparse, place(), faults_);
  for (Graph &inner : attribute.graphs)
    graph(inner, in, &scope, place());
}
} // namespace

Status checkModel(Model &model, const CheckOptions &options) {
  return Checker(model, options).run();
}

} // namespace graft::onnx
