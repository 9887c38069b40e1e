// Every fault of the structure check, each in the smallest model that has it; and the legal oddities beside them.
#include "frontends/onnx/ModelFile.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "test/frontends/onnx/ModelBuilder.h"

namespace graft::onnx {
namespace {
using namespace test;
using testing::HasSubstr;

struct Case {
  const char *name;
  Message bytes;
  const char *expect; ///< text of the fault with its class; "" if the model is legal
};

Status read(const Message &message) {
  auto file = ModelFile::readBytes(message.bytes, "m.onnx");
  return file.isOk() ? Status::ok() : file.takeStatus();
}

class CheckTest : public testing::TestWithParam<Case> {};

TEST_P(CheckTest, says) {
  Status status = read(GetParam().bytes);
  if (*GetParam().expect == '\0')
    EXPECT_TRUE(status.isOk()) << status.text();
  else
    EXPECT_THAT(status.text(), HasSubstr(GetParam().expect));
}

Message nodes(const std::vector<Message> &nodes) {
  return model(graph({.nodes = nodes}));
}
Message tensors(const std::vector<Message> &tensors) {
  return model(graph({.nodes = {node("Relu", {"x"}, {"y"})}, .initializers = tensors}));
}
Message tensor(const Message &message) {
  return tensors({message});
}
Message attribute(const Message &attribute) {
  return nodes({node("Relu", {"x"}, {"y"}, {attribute})});
}
Message versions(int64_t ir, const std::vector<Message> &opsets) {
  Message message;
  message.integer(1, ir).message(7, graph({.nodes = {node("Relu", {"x"}, {"y"})}}));
  for (const Message &opset : opsets)
    message.message(8, opset);
  return message;
}
Message branch(const std::vector<Message> &nodes, const std::string &output) {
  return graph({.nodes = nodes, .inputs = {}, .outputs = {value(output)}});
}
Message condition(const Message &yes, const Message &no) {
  return model(graph(
      {.nodes = {node("If", {"x"}, {"y"}, {graphAttribute("then_branch", yes), graphAttribute("else_branch", no)})}}));
}
Message calls(const std::vector<Message> &functions, const Names &inputs = {"x"}) {
  return model(graph({.nodes = {node("f0", inputs, {"y"}, {}, "local")}}), functions);
}
Message chain(size_t length) {
  std::vector<Message> functions;
  for (size_t i = 0; i < length; ++i)
    functions.push_back(function(
        "f" + std::to_string(i), {"a"}, {"b"},
        {i + 1 == length ? node("Relu", {"a"}, {"b"}) : node("f" + std::to_string(i + 1), {"a"}, {"b"}, {}, "local")}));
  return calls(functions);
}
Message doubling(size_t length) {
  std::vector<Message> functions;
  for (size_t i = 0; i < length; ++i) {
    std::string next = "f" + std::to_string(i + 1);
    functions.push_back(function(
        "f" + std::to_string(i), {"a"}, {"b"},
        i + 1 == length ? std::vector{node("Relu", {"a"}, {"b"})}
                        : std::vector{node(next, {"a"}, {"t"}, {}, "local"), node(next, {"t"}, {"b"}, {}, "local")}));
  }
  return calls(functions);
}
Message nested(int depth) {
  Message inner = branch({node("Relu", {"x"}, {"z" + std::to_string(depth)})}, "z" + std::to_string(depth));
  for (int i = depth - 1; i >= 0; --i)
    inner = branch({node("If", {"x"}, {"z" + std::to_string(i)},
                         {graphAttribute("then_branch", inner),
                          graphAttribute("else_branch", branch({node("Relu", {"x"}, {"e" + std::to_string(i)})},
                                                               "e" + std::to_string(i)))})},
                   "z" + std::to_string(i));
  return condition(inner, branch({node("Relu", {"x"}, {"e"})}, "e"));
}

INSTANTIATE_TEST_SUITE_P(
    Model, CheckTest,
    testing::Values(
        Case{"Plain", nodes({node("Relu", {"x"}, {"y"})}), ""},
        Case{"EmptyFile", Message(), "error[format]: m.onnx: the file is empty"},
        Case{"NoIrVersion", Message().message(7, graph({})), "error[format]: m.onnx: no ir_version"},
        Case{"NoGraph", Message().integer(1, 10).message(8, opset("", 20)), "error[format]: m.onnx: no graph"},
        Case{"IrVersionNegative", versions(-1, {opset("", 20)}), "error[unsupported]: m.onnx: IR version -1"},
        Case{"IrVersionHuge", versions(INT64_MAX, {opset("", 20)}),
             "error[unsupported]: m.onnx: IR version 9223372036854775807"},
        Case{"NoOpset", versions(10, {}), "error[graph]: m.onnx: no opset_import"},
        Case{"OpsetTwice", versions(10, {opset("", 20), opset("ai.onnx", 20)}),
             "error[graph]: m.onnx: the domain 'ai.onnx' is imported twice"},
        Case{"OpsetOld", versions(10, {opset("", 12)}), "error[unsupported]: m.onnx: opset 12"},
        Case{"OpsetNew", versions(10, {opset("", 1000000000)}), "error[unsupported]: m.onnx: opset 1000000000"},
        Case{"OpsetOtherNegative", versions(10, {opset("", 20), opset("q", -1)}),
             "error[unsupported]: m.onnx: version -1 of the domain 'q'"},
        Case{"OpsetMissing", versions(10, {opset("q", 1)}),
             "error[graph]: m.onnx: node 'y' (Relu): its domain is not among"},
        Case{"TrainingInfo", nodes({node("Relu", {"x"}, {"y"})}).message(20, Message()),
             "error[unsupported]: m.onnx: training_info"},
        Case{"DeviceConfiguration", nodes({node("Relu", {"x"}, {"y"})}).message(26, Message()),
             "error[unsupported]: m.onnx: device conf"},
        Case{"NodeDeviceConfiguration", nodes({node("Relu", {"x"}, {"y"}).message(10, Message())}),
             "device configurations are not read"},
        Case{"GraphTwiceMerges",
             Message(nodes({node("Relu", {"x"}, {"y"})})).message(7, Message().message(1, node("Relu", {"y"}, {"z"}))),
             ""},
        Case{"GraphTwiceCollides",
             Message(nodes({node("Relu", {"x"}, {"y"})})).message(7, Message().message(1, node("Relu", {"x"}, {"y"}))),
             "error[graph]: m.onnx: node 'y' (Relu): the output name 'y' is already"},
        Case{"QuantizationAnnotation", model(graph({.nodes = {node("Relu", {"x"}, {"y"})}}).message(14, Message())),
             "quantization annotations"}),
    [](const auto &info) { return info.param.name; });

INSTANTIATE_TEST_SUITE_P(
    Graph, CheckTest,
    testing::Values(
        Case{"Undefined", nodes({node("Add", {"x", "nowhere"}, {"y"})}),
             "error[graph]: m.onnx: node 'y' (Add): uses 'nowhere', which nothing produces"},
        Case{"OutputUndefined", nodes({node("Relu", {"x"}, {"z"})}),
             "error[graph]: m.onnx: output: uses 'y', which nothing produces"},
        Case{"ProducedTwice", nodes({node("Relu", {"x"}, {"y"}), node("Neg", {"x"}, {"y"})}),
             "node 'y' (Neg): the output name 'y' is already"},
        Case{"ShadowsInput", nodes({node("Relu", {"x"}, {"y"}), node("Neg", {"y"}, {"x"})}),
             "the output name 'x' is already"},
        Case{"ShadowsInitializer",
             model(graph({.nodes = {node("Relu", {"x"}, {"y"}), node("Neg", {"y"}, {"w"})},
                          .initializers = {floats("w", {1}, {1})}})),
             "the output name 'w' is already"},
        Case{"SelfLoop", nodes({node("Add", {"x", "y"}, {"y"})}), "uses 'y', its own output"},
        Case{"Cycle", nodes({node("Add", {"x", "b"}, {"y"}), node("Relu", {"y"}, {"b"})}),
             "the graph has a cycle; 2 nodes"},
        Case{"Unsorted", nodes({node("Relu", {"z"}, {"y"}), node("Relu", {"x"}, {"z"})}),
             "node 'y' (Relu): uses 'z' before it is produced"},
        Case{"NoOutputsOfNode", nodes({node("Relu", {"x"}, {"y"}), node("Relu", {"x"}, {})}),
             "node '' (Relu): has no outputs"},
        Case{"OutputsAllEmpty", nodes({node("Relu", {"x"}, {"y"}), node("Split", {"x"}, {"", ""})}),
             "(Split): has no outputs"},
        Case{"OptionalInputEmpty", nodes({node("Clip", {"x", "", ""}, {"y"})}), ""},
        Case{"OpTypeEmpty", nodes({node("", {"x"}, {"y"})}), "error[unsupported]: m.onnx: node 'y' (): has no op_type"},
        Case{"OpTypeLong", nodes({node(std::string(1 << 20, 'A'), {"x"}, {"y"})}), "its op_type is too long"},
        Case{"DomainUnknown", nodes({node("Relu", {"x"}, {"y"}, {}, "evil")}),
             "error[unsupported]: m.onnx: node 'y' (evil::Relu): operators of the domain 'evil'"},
        Case{"FunctionUnknown",
             model(graph({.nodes = {node("g", {"x"}, {"y"}, {}, "local")}}),
                   {function("f", {"a"}, {"b"}, {node("Relu", {"a"}, {"b"})})}),
             "the model has no such function"},
        Case{"InputIsOutput", model(graph({.inputs = {value("x")}, .outputs = {value("x")}})), ""},
        Case{"NoGraphOutputs", model(graph({.nodes = {node("Relu", {"x"}, {"y"})}, .outputs = {}})),
             "error[graph]: m.onnx: the graph has no outputs"},
        Case{"NoGraphInputs",
             model(
                 graph({.nodes = {node("Relu", {"w"}, {"y"})}, .initializers = {floats("w", {1}, {1})}, .inputs = {}})),
             ""},
        Case{"InputTwice", model(graph({.nodes = {node("Relu", {"x"}, {"y"})}, .inputs = {value("x"), value("x")}})),
             "error[graph]: m.onnx: input: the name 'x' is defined twice"},
        Case{"InputUntyped", model(graph({.nodes = {node("Relu", {"x"}, {"y"})}, .inputs = {Message().text(1, "x")}})),
             "error[graph]: m.onnx: input 'x': has no type"},
        Case{"InputSequence",
             model(graph({.nodes = {node("Relu", {"x"}, {"y"})},
                          .inputs = {Message().text(1, "x").message(2, Message().message(4, Message()))}})),
             "error[unsupported]: m.onnx: input 'x': is not a tensor"},
        Case{"InputElementType", model(graph({.nodes = {node("Relu", {"x"}, {"y"})}, .inputs = {value("x", 77)}})),
             "error[type]: m.onnx: input 'x': data type 77"},
        Case{"InputNegative", model(graph({.nodes = {node("Relu", {"x"}, {"y"})}, .inputs = {value("x", 1, {-3})}})),
             "error[range]: m.onnx: input 'x': a dimension of size -3"},
        Case{"BranchCaptures",
             condition(branch({node("Relu", {"x"}, {"a"})}, "a"), branch({node("Neg", {"x"}, {"b"})}, "b")), ""},
        Case{"BranchCapturesNothing",
             condition(branch({node("Relu", {"q"}, {"a"})}, "a"), branch({node("Neg", {"x"}, {"b"})}, "b")),
             "attribute 'then_branch': node 'a' (Relu): uses 'q', which nothing produces"},
        Case{"BranchHides",
             condition(branch({node("Relu", {"x"}, {"x"})}, "x"), branch({node("Neg", {"x"}, {"b"})}, "b")),
             "the output name 'x' is already"},
        Case{"BranchCapturesLater",
             model(graph({.nodes = {node("If", {"x"}, {"y"},
                                         {graphAttribute("then_branch", branch({node("Relu", {"late"}, {"a"})}, "a")),
                                          graphAttribute("else_branch", branch({node("Neg", {"x"}, {"b"})}, "b"))}),
                                    node("Relu", {"x"}, {"late"})}})),
             "uses 'late', which nothing produces"},
        Case{
            "IfWithoutElse",
            model(graph({.nodes = {node("If", {"x"}, {"y"},
                                        {graphAttribute("then_branch", branch({node("Relu", {"x"}, {"a"})}, "a"))})}})),
            "(If): has no else_branch"},
        Case{
            "IfOutputsDiffer",
            condition(branch({node("Relu", {"x"}, {"a"})}, "a"),
                      graph({.nodes = {node("Neg", {"x"}, {"b"})}, .inputs = {}, .outputs = {value("b"), value("b")}})),
            "its branches have 1 and 2 outputs"},
        Case{"IfTypesDiffer",
             condition(branch({node("Relu", {"x"}, {"a"})}, "a"),
                       graph({.nodes = {node("Neg", {"x"}, {"b"})}, .inputs = {}, .outputs = {value("b", 7)}})),
             "its branches differ in the type of output 0"},
        Case{"LoopBodyInputs",
             nodes({node("Loop", {"x", ""}, {"y"},
                         {graphAttribute("body", branch({node("Relu", {"x"}, {"a"})}, "a"))})}),
             "(Loop): its body has 0 inputs"},
        Case{"ScanCount",
             nodes({node("Scan", {"x"}, {"y"},
                         {graphAttribute("body", branch({node("Relu", {"x"}, {"a"})}, "a")),
                          intAttribute("num_scan_inputs", INT64_MAX)})}),
             "num_scan_inputs is 9223372036854775807"},
        Case{"Nested30", nested(30), ""}, Case{"Nested200", nested(200), "error[limit]"}),
    [](const auto &info) { return info.param.name; });

INSTANTIATE_TEST_SUITE_P(
    Functions, CheckTest,
    testing::Values(
        Case{"Call", chain(1), ""}, Case{"Chain100", chain(100), ""},
        Case{"Chain101", chain(101), "error[limit]: m.onnx: functions call functions 101 deep"},
        Case{"Chain5000", chain(5000), "functions call functions 5000 deep"}, Case{"Doubling10", doubling(11), ""},
        Case{"Doubling40", doubling(41), "nodes with functions inlined"},
        Case{"Doubling90", doubling(91), "nodes with functions inlined"},
        Case{"CallsItself", calls({function("f0", {"a"}, {"b"}, {node("f0", {"a"}, {"b"}, {}, "local")})}),
             "function 'local::f0': calls itself"},
        Case{"CallEachOther",
             calls({function("f0", {"a"}, {"b"}, {node("f1", {"a"}, {"b"}, {}, "local")}),
                    function("f1", {"a"}, {"b"}, {node("f0", {"a"}, {"b"}, {}, "local")})}),
             "calls itself"},
        Case{"CallsItselfInBranch",
             calls({function("f0", {"a"}, {"b"},
                             {node("If", {"a"}, {"b"},
                                   {graphAttribute("then_branch", branch({node("f0", {"a"}, {"c"}, {}, "local")}, "c")),
                                    graphAttribute("else_branch", branch({node("Relu", {"a"}, {"d"})}, "d"))})})}),
             "calls itself"},
        Case{"Twice",
             calls({function("f0", {"a"}, {"b"}, {node("Relu", {"a"}, {"b"})}),
                    function("f0", {"a"}, {"b"}, {node("Relu", {"a"}, {"b"})})}),
             "function 'local::f0': is defined twice"},
        Case{"TooManyInputs", calls({function("f0", {"a"}, {"b"}, {node("Relu", {"a"}, {"b"})})}, {"x", "x"}),
             "passes 2 inputs to a function of 1"},
        Case{"TooFewInputs", calls({function("f0", {"a", "c"}, {"b"}, {node("Add", {"a", "c"}, {"b"})})}),
             "passes 1 inputs to a function of 2"},
        Case{"TooManyOutputs",
             model(graph({.nodes = {node("f0", {"x"}, {"y", "z"}, {}, "local")}}),
                   {function("f0", {"a"}, {"b"}, {node("Relu", {"a"}, {"b"})})}),
             "takes 2 outputs of a function of 1"},
        Case{"OutputUndefined", calls({function("f0", {"a"}, {"b"}, {})}), "function 'local::f0': output: uses 'b'"},
        Case{"SeesNoOuterValue", calls({function("f0", {"a"}, {"b"}, {node("Add", {"a", "x"}, {"b"})})}),
             "uses 'x', which nothing produces"},
        Case{"ReferenceOutside", attribute(reference("axis", "axis", 2)),
             "refers to an attribute of a function, but is outside of one"},
        Case{"ReferenceUndeclared",
             calls({function("f0", {"a"}, {"b"}, {node("Softmax", {"a"}, {"b"}, {reference("axis", "k", 2)})})}),
             "refers to 'k', which the function does not declare"},
        Case{"ReferenceToReference",
             calls({function("f0", {"a"}, {"b"}, {node("Relu", {"a"}, {"b"})}).message(11, reference("k", "k", 2))}),
             "the default of attribute 'k' refers"},
        Case{"ReferenceOtherType",
             calls({function("f0", {"a"}, {"b"}, {node("Softmax", {"a"}, {"b"}, {reference("axis", "k", 1)})})
                        .message(11, intAttribute("k", 1))}),
             "refers to 'k', which has another type"},
        Case{
            "ReferenceAndValue",
            calls({function("f0", {"a"}, {"b"},
                            {node("Softmax", {"a"}, {"b"}, {Message(intAttribute("axis", 1)).text(21, "k")})}, {"k"})}),
            "has a value and refers"},
        Case{"CallOtherType",
             model(graph({.nodes = {node("f0", {"x"}, {"y"}, {Message().text(1, "k").real(2, 1.5f).integer(20, 1)},
                                         "local")}}),
                   {function("f0", {"a"}, {"b"}, {node("Softmax", {"a"}, {"b"}, {reference("axis", "k", 2)})}, {"k"})}),
             "error[type]: m.onnx: node 'y' (local::f0): attribute 'k': has another type"}),
    [](const auto &info) { return info.param.name; });

INSTANTIATE_TEST_SUITE_P(
    Attributes, CheckTest,
    testing::Values(Case{"OtherField",
                         attribute(Message().text(1, "a").integer(20, 2).message(5, floats("", {1}, {1}))),
                         "attribute 'a': has a value of another type"},
                    Case{"TwoFields", attribute(Message().text(1, "a").integer(20, 2).integer(3, 1).real(2, 1)),
                         "attribute 'a': has a value of another type"},
                    Case{"Type99", attribute(Message().text(1, "a").integer(20, 99)),
                         "error[type]: m.onnx: node 'y' (Relu): attribute 'a': has the type 99"},
                    Case{"Type0", attribute(Message().text(1, "a").integer(3, 1)), "has the type 0"},
                    Case{"Twice", nodes({node("Relu", {"x"}, {"y"}, {intAttribute("a", 1), intAttribute("a", 1)})}),
                         "error[type]: m.onnx: node 'y' (Relu): the attribute 'a' twice"},
                    Case{"Nameless", attribute(intAttribute("", 1)), "an attribute without a name"},
                    Case{"TensorAbsent", attribute(Message().text(1, "a").integer(20, 4)), "has no value"},
                    Case{"ZeroLeftOut", attribute(Message().text(1, "a").integer(20, 2)), ""},
                    Case{"TensorBroken",
                         attribute(Message().text(1, "a").integer(20, 4).message(5, floats("", {2}, {1}))),
                         "error[range]: m.onnx: node 'y' (Relu): attribute 'a': 1 values"}),
    [](const auto &info) { return info.param.name; });

INSTANTIATE_TEST_SUITE_P(
    Tensors, CheckTest,
    testing::Values(
        Case{"Typed", tensor(floats("w", {2}, {1, 2})), ""}, Case{"Scalar", tensor(floats("w", {}, {1})), ""},
        Case{"ScalarEmpty", tensor(floats("w", {}, {})), "error[range]: m.onnx: initializer 'w': 0 values"},
        Case{"ScalarTwo", tensor(floats("w", {}, {1, 2})), "2 values, but the shape [] of FLOAT needs 1"},
        Case{"RawShort", tensor(tensorHead("w", 1, {2, 2}).text(9, std::string(15, 'x'))),
             "raw_data has 15 bytes, but the shape [2, 2] of FLOAT needs 16"},
        Case{"RawLong", tensor(tensorHead("w", 1, {2, 2}).text(9, std::string(17, 'x'))), "raw_data has 17 bytes"},
        Case{"NegativeDim", tensor(tensorHead("w", 1, {0, -1})),
             "error[range]: m.onnx: initializer 'w': a dimension of size -1"},
        Case{"Wraps", tensor(tensorHead("w", 1, {INT64_C(1) << 32, INT64_C(1) << 32})), "has more than 2^63 elements"},
        Case{"WrapsToFour", tensor(tensorHead("w", 2, {4194305, 4194305, 211106198978564}).text(9, "1234")),
             "has more than 2^63 elements"},
        Case{"Enormous", tensor(tensorHead("w", 1, {INT64_C(1) << 40}).text(9, "")), "raw_data has 0 bytes"},
        Case{"EmptyWithHugeDim", tensor(tensorHead("w", 1, {0, INT64_C(1) << 62}).text(9, "")), ""},
        Case{"Rank65", tensor(tensorHead("w", 1, std::vector<int64_t>(65, 1))),
             "error[limit]: m.onnx: initializer 'w': rank 65"},
        Case{"Rank64", tensor(floats("w", std::vector<int64_t>(64, 1), {1})), ""},
        Case{"Type0", tensor(tensorHead("w", 0, {1})), "error[type]"},
        Case{"Type27", tensor(tensorHead("w", 27, {1})), "data type 27 does not exist"},
        Case{"TypeNegative", tensor(tensorHead("w", -1, {1})), "data type -1"},
        Case{"RawAndTyped", tensor(floats("w", {1}, {1}).text(9, "1234")),
             "error[type]: m.onnx: initializer 'w': values in more than one field"},
        Case{"WrongField", tensor(tensorHead("w", 1, {1}).packed(7, std::vector<int64_t>{1})),
             "FLOAT values in the wrong field"},
        Case{"Uint8Over", tensor(tensorHead("w", 2, {1}).packed(5, std::vector<int64_t>{256})),
             "the value 256 is no UINT8"},
        Case{"Uint8Negative", tensor(tensorHead("w", 2, {1}).packed(5, std::vector<int64_t>{-1})),
             "the value -1 is no UINT8"},
        Case{"Int8Negative", tensor(tensorHead("w", 3, {1}).packed(5, std::vector<int64_t>{-128})), ""},
        Case{"Float16Over", tensor(tensorHead("w", 10, {1}).packed(5, std::vector<int64_t>{65536})),
             "the value 65536 is no FLOAT16"},
        Case{"StringRaw", tensor(tensorHead("w", 8, {1}).text(9, "x")), "error[type]"},
        Case{"StringFew", tensor(tensorHead("w", 8, {2}).text(6, "x")), "1 strings, but the shape [2]"},
        Case{"Int4Odd", tensor(tensorHead("w", 22, {5}).text(9, "123")), ""},
        Case{"Int4Short", tensor(tensorHead("w", 22, {5}).text(9, "12")),
             "raw_data has 2 bytes, but the shape [5] of INT4 needs 3"},
        Case{"Uint2Typed", tensor(tensorHead("w", 25, {5}).packed(5, std::vector<int64_t>{1, 1})), ""},
        Case{"ComplexOdd", tensor(tensorHead("w", 14, {1}).packed(4, std::vector<float>{1})), "1 values, but"},
        Case{"Segment", tensor(floats("w", {1}, {1}).message(3, Message())),
             "error[unsupported]: m.onnx: initializer 'w': a tensor in segments"},
        Case{"Nameless", tensor(floats("", {1}, {1})), "error[graph]: m.onnx: initializer '': has no name"},
        Case{"Twice", tensors({floats("w", {1}, {1}), floats("w", {1}, {1})}),
             "error[graph]: m.onnx: initializer 'w': is defined twice"},
        Case{"InputDefault", tensor(floats("x", {2}, {1, 2})), ""},
        Case{"InputOtherType", tensor(tensorHead("x", 7, {2}).packed(7, std::vector<int64_t>{1, 2})),
             "error[type]: m.onnx: initializer 'x': INT64 [2] differs from the declared graph input"},
        Case{"InputOtherShape", tensor(floats("x", {3}, {1, 2, 3})), "FLOAT [3] differs"},
        Case{"Location2", tensor(floats("w", {1}, {1}).integer(14, 2)),
             "error[format]: m.onnx: initializer 'w': data_location 2"},
        Case{"ExternalKeysWithoutExternal", tensor(floats("w", {1}, {1}).message(13, property("location", "f"))),
             "data_location does not say EXTERNAL"},
        Case{"ExternalAndRaw", tensor(floats("w", {1}, {1}).integer(14, 1).message(13, property("location", "f"))),
             "external data and values inside the model"},
        Case{"ExternalWithoutKeys", tensor(tensorHead("w", 1, {1}).integer(14, 1)),
             "error[format]: m.onnx: initializer 'w': external data without a location"},
        Case{"ExternalWithoutDirectory",
             tensor(tensorHead("w", 1, {1}).integer(14, 1).message(13, property("location", "f"))),
             "error[path]: m.onnx: initializer 'w': external data 'f': external data, but the model has no directory"}),
    [](const auto &info) { return info.param.name; });

Message sparse(const std::vector<int64_t> &dims, const std::vector<float> &values, const std::vector<int64_t> &shape,
               const std::vector<int64_t> &indices) {
  Message message;
  message.message(1, floats("w", {static_cast<int64_t>(values.size())}, values))
      .message(2, tensorHead("", 7, shape).packed(7, indices))
      .packed(3, dims);
  return model(graph({.nodes = {node("Relu", {"x"}, {"y"})}}).message(15, message));
}

INSTANTIATE_TEST_SUITE_P(
    Sparse, CheckTest,
    testing::Values(Case{"Legal", sparse({4}, {1, 2}, {2}, {0, 3}),
                         "error[unsupported]: m.onnx: sparse initializer 'w': sparse tensors are not supported"},
                    Case{"Legal2", sparse({2, 2}, {1, 2}, {2, 2}, {0, 1, 1, 0}), "sparse tensors are not supported"},
                    Case{"Beyond", sparse({4}, {1, 2}, {2}, {0, 4}),
                         "error[range]: m.onnx: sparse initializer 'w': the index 4 in a dimension of size 4"},
                    Case{"Negative", sparse({4}, {1, 2}, {2}, {-1, 3}), "the index -1"},
                    Case{"Unsorted", sparse({4}, {1, 2}, {2}, {3, 0}), "not in ascending order"},
                    Case{"Duplicate", sparse({4}, {1, 2}, {2}, {3, 3}), "not in ascending order"},
                    Case{"WrongRank", sparse({4}, {1, 2}, {2, 2}, {0, 0, 1, 1}), "indices of shape [2, 2]"}),
    [](const auto &info) { return info.param.name; });

TEST(CheckAll, reportsEveryFaultAtOnce) {
  Status status = read(model(graph({.nodes = {node("Add", {"x", "p"}, {"a"}), node("Mul", {"q", "a"}, {"y"})},
                                    .initializers = {tensorHead("w", 99, {1})}})));
  EXPECT_EQ(status.faults().size(), 3u) << status.text();
}

TEST(CheckAll, countsFaultsBeyondTheLimit) {
  std::vector<Message> many;
  for (size_t i = 0; i < maxFaults + 20; ++i)
    many.push_back(node("Relu", {"nowhere"}, {"v" + std::to_string(i)}));
  many.push_back(node("Relu", {"x"}, {"y"}));
  Status status = read(nodes(many));
  EXPECT_EQ(status.faults().size(), maxFaults + 1);
  EXPECT_THAT(status.text(), HasSubstr("and 20 more faults"));
}

TEST(CheckAll, acceptsNamesOfTheCheckpoint) {
  ReadOptions options;
  options.check.isParameter = [](std::string_view name) { return name == "model.w"; };
  Message message = nodes({node("Add", {"x", "model.w"}, {"y"})});
  EXPECT_TRUE(ModelFile::readBytes(message.bytes, "m", options).isOk());
  EXPECT_FALSE(ModelFile::readBytes(message.bytes, "m").isOk());
}

TEST(CheckAll, acceptsAMillionNodes) {
  Message body;
  for (int i = 0; i < 1'000'000; ++i)
    body.message(
        1, node("Identity", {i ? "v" + std::to_string(i) : "x"}, {i == 999'999 ? "y" : "v" + std::to_string(i + 1)}));
  body.message(11, value("x")).message(12, value("y"));
  EXPECT_TRUE(read(model(body)).isOk());
}

TEST(CheckAll, findsACycleOfManyNodes) {
  std::vector<Message> ring;
  for (int i = 0; i < 100'000; ++i)
    ring.push_back(node("Identity", {"v" + std::to_string((i + 99'999) % 100'000)}, {"v" + std::to_string(i)}));
  ring.push_back(node("Relu", {"x"}, {"y"}));
  EXPECT_THAT(read(nodes(ring)).text(), HasSubstr("the graph has a cycle; 100000 nodes"));
}

} // namespace
} // namespace graft::onnx
