// Writes ONNX protobuf messages field by field, right or wrong, for tests.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <protozero/pbf_writer.hpp>
#include <string>
#include <string_view>
#include <vector>

namespace graft::onnx::test {

/// One message under construction; copies and nests like a value.
class Message {
public:
  Message &integer(uint32_t field, int64_t value) {
    return add([&](auto &w) { w.add_int64(field, value); });
  }
  Message &real(uint32_t field, float value) {
    return add([&](auto &w) { w.add_float(field, value); });
  }
  Message &text(uint32_t field, std::string_view value) {
    return add([&](auto &w) { w.add_bytes(field, value.data(), value.size()); });
  }
  Message &message(uint32_t field, const Message &value) { return text(field, value.bytes); }
  Message &packed(uint32_t field, const std::vector<int64_t> &values) {
    return add([&](auto &w) { w.add_packed_int64(field, values.begin(), values.end()); });
  }
  Message &packed(uint32_t field, const std::vector<float> &values) {
    return add([&](auto &w) { w.add_packed_float(field, values.begin(), values.end()); });
  }
  Message &raw(std::string_view value) {
    bytes += value;
    return *this;
  }

  std::string bytes;

private:
  template <typename Write> Message &add(Write write) {
    protozero::pbf_writer writer(bytes);
    write(writer);
    return *this;
  }
};

using Names = std::vector<std::string>;

inline Message node(std::string_view op, const Names &inputs, const Names &outputs,
                    const std::vector<Message> &attributes = {}, std::string_view domain = "",
                    std::string_view name = "") {
  Message message;
  for (const std::string &input : inputs)
    message.text(1, input);
  for (const std::string &output : outputs)
    message.text(2, output);
  message.text(3, name.empty() ? std::string_view(outputs.empty() ? "" : outputs[0]) : name).text(4, op);
  for (const Message &attribute : attributes)
    message.message(5, attribute);
  return domain.empty() ? message : message.text(7, domain);
}

inline Message property(std::string_view key, std::string_view value) {
  return Message().text(1, key).text(2, value);
}
inline Message intAttribute(std::string_view name, int64_t value) {
  return Message().text(1, name).integer(3, value).integer(20, 2);
}
inline Message reference(std::string_view name, std::string_view of, int64_t type) {
  return Message().text(1, name).integer(20, type).text(21, of);
}
inline Message graphAttribute(std::string_view name, const Message &graph) {
  return Message().text(1, name).message(6, graph).integer(20, 5);
}

/// TensorProto without values.
inline Message tensorHead(std::string_view name, int64_t type, const std::vector<int64_t> &dims) {
  return Message().packed(1, dims).integer(2, type).text(8, name);
}
inline Message floats(std::string_view name, const std::vector<int64_t> &dims, const std::vector<float> &values) {
  return tensorHead(name, 1, dims).packed(4, values);
}

/// ValueInfoProto of a tensor; negative sizes are taken as they are.
inline Message value(std::string_view name, int64_t type = 1, const std::vector<int64_t> &dims = {2}) {
  Message shape;
  for (int64_t dim : dims)
    shape.message(1, Message().integer(1, dim));
  return Message().text(1, name).message(2, Message().message(1, Message().integer(1, type).message(2, shape)));
}

struct GraphParts {
  std::vector<Message> nodes = {}, initializers = {};
  std::vector<Message> inputs = {value("x")}, outputs = {value("y")};
};

inline Message graph(const GraphParts &parts) {
  Message message;
  for (const Message &node : parts.nodes)
    message.message(1, node);
  message.text(2, "main");
  for (const Message &tensor : parts.initializers)
    message.message(5, tensor);
  for (const Message &input : parts.inputs)
    message.message(11, input);
  for (const Message &output : parts.outputs)
    message.message(12, output);
  return message;
}

inline Message opset(std::string_view domain, int64_t version) {
  return Message().text(1, domain).integer(2, version);
}

inline Message function(std::string_view name, const Names &inputs, const Names &outputs,
                        const std::vector<Message> &nodes, const Names &attributes = {}) {
  Message message;
  message.text(1, name);
  for (const std::string &input : inputs)
    message.text(4, input);
  for (const std::string &output : outputs)
    message.text(5, output);
  for (const std::string &attribute : attributes)
    message.text(6, attribute);
  for (const Message &node : nodes)
    message.message(7, node);
  return message.message(9, opset("", 20)).message(9, opset("local", 1)).text(10, "local");
}

inline Message model(const Message &graph, const std::vector<Message> &functions = {}) {
  Message message;
  message.integer(1, 10).message(8, opset("", 20)).message(8, opset("local", 1)).message(7, graph);
  for (const Message &function : functions)
    message.message(25, function);
  return message;
}

} // namespace graft::onnx::test
