// One function per message of onnx.proto, one case per field: the numbers are those of the schema.
#include "frontends/onnx/Parse.h"

#include "frontends/onnx/Limits.h"
#include "frontends/onnx/Wire.h"

namespace graft::onnx {

namespace {

class Parser {
public:
  explicit Parser(std::string_view file) : wire_(file, maxModelStructureBytes) {}

  void model(std::string_view bytes, Model &model);
  void tensor(std::string_view bytes, Tensor &tensor);
  bool failed() const { return wire_.failed(); }
  Status takeFault() { return wire_.takeFault(); }

private:
  void graph(std::string_view bytes, Graph &graph);
  void node(std::string_view bytes, Node &node);
  void attribute(std::string_view bytes, Attribute &attribute);
  void function(std::string_view bytes, Function &function);
  void sparseTensor(std::string_view bytes, SparseTensor &sparse);
  void valueInfo(std::string_view bytes, ValueInfo &info);
  void type(std::string_view bytes, Type &type);
  void tensorType(std::string_view bytes, Type &type);
  void nestedType(std::string_view bytes, Type::Kind kind, Type &type);
  void shape(std::string_view bytes, std::vector<Dimension> &dims);
  void dimension(std::string_view bytes, Dimension &dim);
  void property(std::string_view bytes, Property &property);
  void opset(std::string_view bytes, OpsetImport &import);

  /// Calls `read` (a member above) on the current field, one level deeper.
  template <typename T> void descend(Cursor &cursor, void (Parser::*read)(std::string_view, T &), T &target) {
    std::string_view bytes = cursor.bytes();
    if (depth_ == maxMessageDepth) {
      wire_.fail(Code::Limit, cursor.position(), cursor.message(),
                 "messages nested deeper than " + std::to_string(maxMessageDepth));
      return;
    }
    ++depth_;
    (this->*read)(bytes, target);
    --depth_;
  }
  template <typename T>
  void append(Cursor &cursor, void (Parser::*read)(std::string_view, T &), std::vector<T> &targets) {
    if (wire_.charge(sizeof(T), cursor.position(), cursor.message()))
      descend(cursor, read, targets.emplace_back());
  }
  void append(Cursor &cursor, std::vector<std::string_view> &texts) {
    if (wire_.charge(sizeof(std::string_view), cursor.position(), cursor.message()))
      texts.push_back(cursor.bytes());
  }
  void typed(Cursor &cursor, uint8_t field, unsigned width, Tensor &tensor) {
    std::string_view encoded = cursor.encoded(width);
    if (!encoded.empty() && wire_.charge(sizeof(TypedValues), cursor.position(), cursor.message()))
      tensor.typed.push_back({field, encoded});
  }

  Wire wire_;
  unsigned depth_ = 0;
};

/// The default domain has two names.
std::string_view domainOf(std::string_view domain) {
  return domain == "ai.onnx" ? "" : domain;
}

template <typename T> T &only(std::vector<T> &values) {
  return values.empty() ? values.emplace_back() : values.front();
}

void Parser::model(std::string_view bytes, Model &model) {
  Cursor cursor(wire_, bytes, "ModelProto");
  while (cursor.next())
    switch (cursor.number()) {
    case 1:
      model.irVersion = cursor.integer();
      break;
    case 2:
      model.producer = cursor.bytes();
      break;
    case 3:
      model.producerVersion = cursor.bytes();
      break;
    case 7:
      descend(cursor, &Parser::graph, model.graph ? *model.graph : model.graph.emplace());
      break;
    case 8:
      append(cursor, &Parser::opset, model.opsets);
      break;
    case 14:
      append(cursor, &Parser::property, model.metadata);
      break;
    case 20:
      ++model.trainingInfos;
      break;
    case 25:
      append(cursor, &Parser::function, model.functions);
      break;
    case 26:
      ++model.deviceConfigurations;
      break;
    }
}

void Parser::graph(std::string_view bytes, Graph &graph) {
  Cursor cursor(wire_, bytes, "GraphProto");
  while (cursor.next())
    switch (cursor.number()) {
    case 1:
      append(cursor, &Parser::node, graph.nodes);
      break;
    case 2:
      graph.name = cursor.bytes();
      break;
    case 5:
      append(cursor, &Parser::tensor, graph.initializers);
      break;
    case 11:
      append(cursor, &Parser::valueInfo, graph.inputs);
      break;
    case 12:
      append(cursor, &Parser::valueInfo, graph.outputs);
      break;
    case 13:
      append(cursor, &Parser::valueInfo, graph.values);
      break;
    case 14:
      ++graph.quantizationAnnotations;
      break;
    case 15:
      append(cursor, &Parser::sparseTensor, graph.sparseInitializers);
      break;
    case 16:
      append(cursor, &Parser::property, graph.metadata);
      break;
    }
}

void Parser::node(std::string_view bytes, Node &node) {
  Cursor cursor(wire_, bytes, "NodeProto");
  while (cursor.next())
    switch (cursor.number()) {
    case 1:
      append(cursor, node.inputs);
      break;
    case 2:
      append(cursor, node.outputs);
      break;
    case 3:
      node.name = cursor.bytes();
      break;
    case 4:
      node.op = cursor.bytes();
      break;
    case 5:
      append(cursor, &Parser::attribute, node.attributes);
      break;
    case 7:
      node.domain = domainOf(cursor.bytes());
      break;
    case 8:
      node.overload = cursor.bytes();
      break;
    case 9:
      append(cursor, &Parser::property, node.metadata);
      break;
    case 10:
      node.hasDeviceConfiguration = true;
      break;
    }
}

void Parser::attribute(std::string_view bytes, Attribute &attribute) {
  Cursor cursor(wire_, bytes, "AttributeProto");
  auto sets = [&](AttributeType field) { attribute.present |= 1u << static_cast<int32_t>(field); };
  while (cursor.next())
    switch (cursor.number()) {
    case 1:
      attribute.name = cursor.bytes();
      break;
    case 2:
      sets(AttributeType::Float);
      attribute.f = cursor.float32();
      break;
    case 3:
      sets(AttributeType::Int);
      attribute.i = cursor.integer();
      break;
    case 4:
      sets(AttributeType::String);
      attribute.s = cursor.bytes();
      break;
    case 5:
      sets(AttributeType::Tensor);
      descend(cursor, &Parser::tensor, only(attribute.tensors));
      break;
    case 6:
      sets(AttributeType::Graph);
      descend(cursor, &Parser::graph, only(attribute.graphs));
      break;
    case 7:
      sets(AttributeType::Floats);
      cursor.append(attribute.floats);
      break;
    case 8:
      sets(AttributeType::Ints);
      cursor.append(attribute.ints);
      break;
    case 9:
      sets(AttributeType::Strings);
      append(cursor, attribute.strings);
      break;
    case 10:
      sets(AttributeType::Tensors);
      append(cursor, &Parser::tensor, attribute.tensors);
      break;
    case 11:
      sets(AttributeType::Graphs);
      append(cursor, &Parser::graph, attribute.graphs);
      break;
    case 14:
      sets(AttributeType::Type);
      descend(cursor, &Parser::type, only(attribute.types));
      break;
    case 15:
      sets(AttributeType::Types);
      append(cursor, &Parser::type, attribute.types);
      break;
    case 20:
      attribute.type = static_cast<int32_t>(cursor.integer());
      break;
    case 21:
      attribute.reference = cursor.bytes();
      break;
    case 22:
      sets(AttributeType::SparseTensor);
      descend(cursor, &Parser::sparseTensor, only(attribute.sparse));
      break;
    case 23:
      sets(AttributeType::SparseTensors);
      append(cursor, &Parser::sparseTensor, attribute.sparse);
      break;
    }
}

void Parser::function(std::string_view bytes, Function &function) {
  Cursor cursor(wire_, bytes, "FunctionProto");
  while (cursor.next())
    switch (cursor.number()) {
    case 1:
      function.name = cursor.bytes();
      break;
    case 4:
      append(cursor, function.inputs);
      break;
    case 5:
      append(cursor, function.outputs);
      break;
    case 6:
      append(cursor, function.attributes);
      break;
    case 7:
      append(cursor, &Parser::node, function.nodes);
      break;
    case 9:
      append(cursor, &Parser::opset, function.opsets);
      break;
    case 10:
      function.domain = domainOf(cursor.bytes());
      break;
    case 11:
      append(cursor, &Parser::attribute, function.defaults);
      break;
    case 13:
      function.overload = cursor.bytes();
      break;
    case 14:
      append(cursor, &Parser::property, function.metadata);
      break;
    }
}

void Parser::tensor(std::string_view bytes, Tensor &tensor) {
  Cursor cursor(wire_, bytes, "TensorProto");
  while (cursor.next())
    switch (cursor.number()) {
    case 1:
      cursor.append(tensor.dims);
      break;
    case 2:
      tensor.dataType = static_cast<int32_t>(cursor.integer());
      break;
    case 3:
      tensor.hasSegment = true;
      break;
    case 4:
      typed(cursor, 4, 4, tensor);
      break;
    case 5:
      typed(cursor, 5, 0, tensor);
      break;
    case 6:
      append(cursor, tensor.strings);
      break;
    case 7:
      typed(cursor, 7, 0, tensor);
      break;
    case 8:
      tensor.name = cursor.bytes();
      break;
    case 9:
      tensor.raw = cursor.bytes();
      break;
    case 10:
      typed(cursor, 10, 8, tensor);
      break;
    case 11:
      typed(cursor, 11, 0, tensor);
      break;
    case 13:
      append(cursor, &Parser::property, tensor.external);
      break;
    case 14:
      tensor.dataLocation = cursor.integer();
      break;
    case 16:
      append(cursor, &Parser::property, tensor.metadata);
      break;
    }
}

void Parser::sparseTensor(std::string_view bytes, SparseTensor &sparse) {
  Cursor cursor(wire_, bytes, "SparseTensorProto");
  while (cursor.next())
    switch (cursor.number()) {
    case 1:
      descend(cursor, &Parser::tensor, sparse.values);
      break;
    case 2:
      descend(cursor, &Parser::tensor, sparse.indices);
      break;
    case 3:
      cursor.append(sparse.dims);
      break;
    }
}

void Parser::valueInfo(std::string_view bytes, ValueInfo &info) {
  Cursor cursor(wire_, bytes, "ValueInfoProto");
  while (cursor.next())
    switch (cursor.number()) {
    case 1:
      info.name = cursor.bytes();
      break;
    case 2:
      descend(cursor, &Parser::type, info.type);
      break;
    case 4:
      append(cursor, &Parser::property, info.metadata);
      break;
    }
}

void Parser::nestedType(std::string_view bytes, Type::Kind kind, Type &type) {
  // Sequence, Map and Optional: only their kind is kept; the element types are walked so that depth is bounded.
  type.kind = kind;
  Cursor cursor(wire_, bytes, "TypeProto");
  Type element;
  while (cursor.next())
    if ((kind == Type::Kind::Map && cursor.number() == 2) || (kind != Type::Kind::Map && cursor.number() == 1))
      descend(cursor, &Parser::type, element);
}

void Parser::type(std::string_view bytes, Type &type) {
  Cursor cursor(wire_, bytes, "TypeProto");
  while (cursor.next())
    switch (cursor.number()) {
    case 1:
      type.kind = Type::Kind::Tensor;
      descend(cursor, &Parser::tensorType, type);
      break;
    case 4:
      nestedType(cursor.bytes(), Type::Kind::Sequence, type);
      break;
    case 5:
      nestedType(cursor.bytes(), Type::Kind::Map, type);
      break;
    case 7:
      type.kind = Type::Kind::Opaque;
      break;
    case 8:
      type.kind = Type::Kind::SparseTensor;
      descend(cursor, &Parser::tensorType, type);
      break;
    case 9:
      nestedType(cursor.bytes(), Type::Kind::Optional, type);
      break;
    }
}

void Parser::tensorType(std::string_view bytes, Type &type) {
  Cursor cursor(wire_, bytes, "TypeProto.Tensor");
  while (cursor.next())
    switch (cursor.number()) {
    case 1:
      type.elementType = static_cast<int32_t>(cursor.integer());
      break;
    case 2:
      descend(cursor, &Parser::shape, type.shape ? *type.shape : type.shape.emplace());
      break;
    }
}

void Parser::shape(std::string_view bytes, std::vector<Dimension> &dims) {
  Cursor cursor(wire_, bytes, "TensorShapeProto");
  while (cursor.next())
    if (cursor.number() == 1)
      append(cursor, &Parser::dimension, dims);
}

void Parser::dimension(std::string_view bytes, Dimension &dim) {
  Cursor cursor(wire_, bytes, "TensorShapeProto.Dimension");
  while (cursor.next())
    switch (cursor.number()) {
    case 1:
      dim = {cursor.integer(), {}};
      break;
    case 2:
      dim = {std::nullopt, cursor.bytes()};
      break;
    }
}

void Parser::property(std::string_view bytes, Property &property) {
  Cursor cursor(wire_, bytes, "StringStringEntryProto");
  while (cursor.next())
    switch (cursor.number()) {
    case 1:
      property.key = cursor.bytes();
      break;
    case 2:
      property.value = cursor.bytes();
      break;
    }
}

void Parser::opset(std::string_view bytes, OpsetImport &import) {
  Cursor cursor(wire_, bytes, "OperatorSetIdProto");
  while (cursor.next())
    switch (cursor.number()) {
    case 1:
      import.domain = domainOf(cursor.bytes());
      break;
    case 2:
      import.version = cursor.integer();
      break;
    }
}

} // namespace

Result<Model> parseModel(std::string_view bytes) {
  Parser parser(bytes);
  Model model;
  parser.model(bytes, model);
  if (parser.failed())
    return parser.takeFault();
  return model;
}

Result<Tensor> parseTensor(std::string_view bytes) {
  Parser parser(bytes);
  Tensor tensor;
  parser.tensor(bytes, tensor);
  if (parser.failed())
    return parser.takeFault();
  return tensor;
}

} // namespace graft::onnx
