// An ONNX model as structs: what the protobuf messages of onnx.proto say, nothing interpreted.
//
// Every string_view points into the bytes that parseModel() was given, or into Model::text; a Model lives no longer
// than those bytes. Numbers from the file are unchecked until checkModel() has passed: enumerations are plain integers,
// sizes may be negative. Structs are plain values without behaviour; one thread may write, many may read.
#pragma once

#include <cstdint>
#include <deque>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace graft::onnx {

struct Property {
  std::string_view key, value;
};

/// TensorProto.DataType. Values of a file may lie outside.
enum DataType : int32_t {
  Undefined = 0,
  Float = 1,
  Uint8 = 2,
  Int8 = 3,
  Uint16 = 4,
  Int16 = 5,
  Int32 = 6,
  Int64 = 7,
  String = 8,
  Bool = 9,
  Float16 = 10,
  Double = 11,
  Uint32 = 12,
  Uint64 = 13,
  Complex64 = 14,
  Complex128 = 15,
  Bfloat16 = 16,
  Float8E4M3FN = 17,
  Float8E4M3FNUZ = 18,
  Float8E5M2 = 19,
  Float8E5M2FNUZ = 20,
  Uint4 = 21,
  Int4 = 22,
  Float4E2M1 = 23,
  Float8E8M0 = 24,
  Uint2 = 25,
  Int2 = 26,
};

struct Dimension {
  std::optional<int64_t> value;
  std::string_view symbol; ///< dim_param; empty together with no value: unknown
};

struct Type {
  enum class Kind : uint8_t { None, Tensor, Sequence, Map, Optional, SparseTensor, Opaque };
  Kind kind = Kind::None;
  int32_t elementType = Undefined;             ///< of tensors
  std::optional<std::vector<Dimension>> shape; ///< of tensors; absent: unknown rank
};

struct ValueInfo {
  std::string_view name;
  Type type;
  std::vector<Property> metadata;
};

/// Values in one of TensorProto's typed fields (float_data, int32_data, ...): encoded values, one after the other.
struct TypedValues {
  uint8_t field = 0; ///< field number in TensorProto: 4 float, 5 int32, 7 int64, 10 double, 11 uint64
  std::string_view bytes;
};

struct Tensor {
  std::string_view name;
  int32_t dataType = Undefined;
  int64_t dataLocation = 0; ///< 0 inside the model, 1 in a file
  std::vector<int64_t> dims;
  std::optional<std::string_view> raw;
  std::vector<TypedValues> typed;
  std::vector<std::string_view> strings;
  std::vector<Property> external; ///< location, offset, length, checksum
  std::vector<Property> metadata;
  bool hasSegment = false;
};

struct SparseTensor {
  Tensor values, indices;
  std::vector<int64_t> dims;
};

enum class AttributeType : int32_t {
  Undefined = 0,
  Float = 1,
  Int = 2,
  String = 3,
  Tensor = 4,
  Graph = 5,
  Floats = 6,
  Ints = 7,
  Strings = 8,
  Tensors = 9,
  Graphs = 10,
  SparseTensor = 11,
  SparseTensors = 12,
  Type = 13,
  Types = 14,
};

struct Graph;

/// One attribute. `present` has the bit 1 << type for every value field that occurs in the file; single tensors,
/// graphs, sparse tensors and types are vectors of one.
struct Attribute {
  std::string_view name;
  std::string_view reference; ///< ref_attr_name: inside of functions, the attribute of the call whose value this takes
  int32_t type = 0;           ///< AttributeType, unchecked
  uint32_t present = 0;
  float f = 0;
  int64_t i = 0;
  std::string_view s;
  std::vector<float> floats;
  std::vector<int64_t> ints;
  std::vector<std::string_view> strings;
  std::vector<Tensor> tensors;
  std::vector<Graph> graphs;
  std::vector<SparseTensor> sparse;
  std::vector<Type> types;

  bool is(AttributeType wanted) const { return type == static_cast<int32_t>(wanted); }
  bool has(AttributeType field) const { return present >> static_cast<int32_t>(field) & 1; }
};

struct Node {
  std::string_view name, op, domain, overload;   ///< domain "" is the default one ("ai.onnx" is read as "")
  std::vector<std::string_view> inputs, outputs; ///< "": an optional one that is absent
  std::vector<Attribute> attributes;
  std::vector<Property> metadata;
  int64_t opset = 0; ///< version of the node's domain that its model or function imports; set by checkModel()
  bool hasDeviceConfiguration = false;

  const Attribute *attribute(std::string_view wanted) const;
};

struct Graph {
  std::string_view name;
  std::vector<Node> nodes;
  std::vector<Tensor> initializers;
  std::vector<SparseTensor> sparseInitializers;
  std::vector<ValueInfo> inputs, outputs, values;
  std::vector<Property> metadata;
  size_t quantizationAnnotations = 0;
};

struct OpsetImport {
  std::string_view domain;
  int64_t version = 0;
};

struct Function {
  std::string_view name, domain, overload;
  std::vector<std::string_view> inputs, outputs;
  std::vector<std::string_view> attributes; ///< without default
  std::vector<Attribute> defaults;          ///< with default
  std::vector<Node> nodes;
  std::vector<OpsetImport> opsets;
  std::vector<Property> metadata;
};

struct Model {
  std::optional<int64_t> irVersion;
  std::string_view producer, producerVersion;
  std::vector<OpsetImport> opsets;
  std::optional<Graph> graph;
  std::vector<Function> functions;
  std::vector<Property> metadata;
  size_t trainingInfos = 0, deviceConfigurations = 0;
  std::deque<std::string> text; ///< names made by inlining; addresses stay when the model moves

  Model() = default;
  Model(Model &&) = default;
  Model &operator=(Model &&) = default;
};

/// Version that `imports` gives for a domain, 0 if it is not imported.
int64_t opsetOf(const std::vector<OpsetImport> &imports, std::string_view domain);

/// Where in the module tree a node comes from ("model.layers.0.self_attn"), "" if the exporter did not say: from the
/// metadata `pkg.torch.onnx.name_scopes` or `namespace`, or from a scoped node name ("/model/layers.0/mlp/MatMul").
std::string modulePath(const Node &node);

/// "node 'MatMul_3' (MatMul, in model.layers.0.mlp)", escaped: the place of faults.
std::string describe(const Node &node);

} // namespace graft::onnx
