// What the importer declines and how it says so: one case per row, the class of the fault and words of the message.
#include "test/frontends/onnx/ModelBuilder.h"
#include "test/frontends/onnx/import/Support.h"

namespace graft::onnx {
namespace {

using namespace test;
using testing::HasSubstr;

Message floatAttribute(std::string_view name, float value) {
  return Message().text(1, name).real(2, value).integer(20, 1);
}
Message textAttribute(std::string_view name, std::string_view value) {
  return Message().text(1, name).text(4, value).integer(20, 3);
}
Message intsAttribute(std::string_view name, const std::vector<int64_t> &values) {
  return Message().text(1, name).packed(8, values).integer(20, 7);
}
Message integers(std::string_view name, const std::vector<int64_t> &dims, const std::vector<int64_t> &values) {
  return tensorHead(name, 7, dims).packed(7, values);
}
Message integers(std::string_view name, const std::vector<int64_t> &values) {
  return integers(name, {static_cast<int64_t>(values.size())}, values);
}

Message modelOf(const GraphParts &parts, int64_t version = 23) {
  return Message().integer(1, 10).message(8, opset("", version)).message(7, graph(parts));
}

Result<ImportedModel> import(const Message &model, mlir::MLIRContext &context, const ImportOptions &options,
                             std::unique_ptr<ModelFile> &keep, const ReadOptions &read = {}) {
  auto file = ModelFile::readBytes(model.bytes, "m.onnx", read);
  if (!file.isOk())
    return file.takeStatus();
  keep = std::move(*file);
  return importModel(*keep, context, options);
}

struct FaultCase {
  std::string name;
  Code code;
  std::string words;
  GraphParts parts;
  int64_t version = 23;
};

std::ostream &operator<<(std::ostream &out, const FaultCase &c) {
  return out << c.name;
}

class ImportFaults : public testing::TestWithParam<FaultCase> {};

TEST_P(ImportFaults, AreNamed) {
  const FaultCase &c = GetParam();
  auto context = makeContext();
  std::unique_ptr<ModelFile> file;
  ImportOptions options;
  options.allOutputs = true;
  auto model = import(modelOf(c.parts, c.version), *context, options, file);
  ASSERT_FALSE(model.isOk());
  const Fault &fault = model.status().faults().front();
  EXPECT_EQ(name(fault.code), name(c.code)) << model.status().text();
  EXPECT_THAT(model.status().text(), HasSubstr(c.words));
  EXPECT_THAT(fault.place, HasSubstr("m.onnx: "));
}

/// One node "y = op(x, ...)" on x: f32[2, 3] and y: f32[2, 3] (both as given), with constants.
FaultCase one(std::string name, Code code, std::string words, const Message &node, std::vector<Message> constants = {},
              std::vector<int64_t> x = {2, 3}, int64_t type = 1) {
  return {std::move(name),
          code,
          std::move(words),
          {{node}, std::move(constants), {value("x", type, x)}, {value("y", 1, {2, 3})}}};
}

std::vector<FaultCase> cases() {
  constexpr int64_t lowest = std::numeric_limits<int64_t>::min();
  auto x2 = std::vector<int64_t>{2, 3};
  return {
      // Operators and attributes.
      one("unknown_operator", Code::Unsupported, "operator Nonsense of opset 23 is not supported",
          node("Nonsense", {"x"}, {"y"})),
      one("operator_with_a_hint", Code::Unsupported, "mixture-of-experts", node("TopK", {"x", "x"}, {"y"})),
      {"operator_of_a_later_opset",
       Code::Unsupported,
       "only from opset 23",
       {{node("RMSNormalization", {"x", "x"}, {"y"})}, {}, {value("x", 1, x2)}, {value("y", 1, x2)}},
       20},
      one("unknown_attribute", Code::Unsupported, "attribute 'left_window_size' is not known for Relu",
          node("Relu", {"x"}, {"y"}, {intAttribute("left_window_size", 3)})),
      one("attribute_of_another_type", Code::Type, "attribute 'axis' has type 1, expected 2",
          node("Softmax", {"x"}, {"y"}, {floatAttribute("axis", 1)})),
      one("missing_attribute", Code::Graph, "attribute 'axis' is missing", node("Concat", {"x"}, {"y"})),
      one("missing_input", Code::Graph, "input 1 is missing", node("Add", {"x"}, {"y"})),
      one("too_many_inputs", Code::Unsupported, "input 1 is not known for Relu", node("Relu", {"x", "x"}, {"y"})),
      one("unsupported_type", Code::Unsupported, "element type UINT8", node("Relu", {"x"}, {"y"}), {}, {2}, 2),
      one("cast_to_strings", Code::Unsupported, "element type STRING",
          node("Cast", {"x"}, {"y"}, {intAttribute("to", 8)})),
      one("cast_to_nothing", Code::Unsupported, "data type", node("Cast", {"x"}, {"y"}, {intAttribute("to", -5)})),
      // Types of operands.
      one("mixed_types", Code::Type, "operands of different types", node("Add", {"x", "i"}, {"y"}),
          {integers("i", {1})}),
      one("logic_on_numbers", Code::Type, "expected booleans", node("And", {"x", "x"}, {"y"})),
      one("roots_of_integers", Code::Type, "expected floating-point numbers", node("Sqrt", {"x"}, {"y"}), {}, {2}, 7),
      one("indices_that_are_floats", Code::Type, "expected integers", node("Gather", {"x", "x"}, {"y"})),
      one("tensor_as_sequence", Code::Type, "expected a sequence", node("SequenceAt", {"x", "i"}, {"y"}),
          {integers("i", {}, {0})}),
      // Shapes that depend on data.
      one("shape_from_data", Code::Unsupported, "depends on data", node("Reshape", {"z", "x"}, {"y"}),
          {floats("z", {1}, {1})}, {1}, 7),
      one("range_from_data", Code::Unsupported, "depends on data", node("Range", {"i", "x", "i"}, {"y"}),
          {integers("i", {}, {1})}, {}, 7),
      // S01 to S27 of the catalogue of bad inputs, as far as they concern supported operators.
      one("slice_step_zero", Code::Range, "a step of 0", node("Slice", {"x", "s", "e", "a", "t"}, {"y"}),
          {integers("s", {0}), integers("e", {1}), integers("a", {0}), integers("t", {0})}),
      one("slice_lengths", Code::Range, "of different lengths", node("Slice", {"x", "s", "e"}, {"y"}),
          {integers("s", {0, 0}), integers("e", {1})}),
      one("slice_axis_twice", Code::Range, "named twice", node("Slice", {"x", "s", "e", "a"}, {"y"}),
          {integers("s", {0, 0}), integers("e", {1, 1}), integers("a", {0, -2})}),
      one("slice_axis_lowest", Code::Range, "axis", node("Slice", {"x", "s", "e", "a"}, {"y"}),
          {integers("s", {0}), integers("e", {1}), integers("a", {lowest})}),
      one("tile_negative", Code::Range, "a repeat of -1", node("Tile", {"x", "r"}, {"y"}), {integers("r", {1, -1})}),
      one("tile_too_large", Code::Limit, "2^34", node("Tile", {"x", "r"}, {"y"}), {integers("r", {1 << 20, 1 << 20})}),
      one("expand_too_large", Code::Limit, "2^34", node("Expand", {"x", "s"}, {"y"}),
          {integers("s", {int64_t{1} << 62, 2, 3})}),
      one("expand_mismatch", Code::Range, "do not fit together", node("Expand", {"x", "s"}, {"y"}),
          {integers("s", {2, 4})}),
      one("pad_too_much", Code::Range, "cuts off more", node("Pad", {"x", "p"}, {"y"}),
          {integers("p", {0, -2, 0, -2})}),
      one("pad_mode", Code::Range, "expected constant",
          node("Pad", {"x", "p"}, {"y"}, {textAttribute("mode", "odd\n")}), {integers("p", {0, 0, 0, 0})}),
      one("reshape_two_free", Code::Range, "two free sizes", node("Reshape", {"x", "s"}, {"y"}),
          {integers("s", {-1, -1})}),
      one("reshape_mismatch", Code::Range, "cannot take the shape", node("Reshape", {"x", "s"}, {"y"}),
          {integers("s", {7})}),
      one("reshape_negative", Code::Range, "negative size", node("Reshape", {"x", "s"}, {"y"}),
          {integers("s", {-2, 3})}),
      one("reshape_huge", Code::Limit, "2^34", node("Reshape", {"x", "s"}, {"y"}),
          {integers("s", {std::numeric_limits<int64_t>::max(), std::numeric_limits<int64_t>::max(), -1})}),
      one("reshape_copies_none", Code::Range, "copies none", node("Reshape", {"x", "s"}, {"y"}),
          {integers("s", {2, 3, 0})}),
      one("reshape_zero_kept", Code::Range, "cannot take the shape",
          node("Reshape", {"x", "s"}, {"y"}, {intAttribute("allowzero", 1)}), {integers("s", {0, 3})}),
      one("split_sum", Code::Range, "pieces [1, 1]", node("Split", {"x", "s"}, {"y", "z"}, {intAttribute("axis", 1)}),
          {integers("s", {1, 1})}),
      one("split_outputs", Code::Range, "'num_outputs' is 0",
          node("Split", {"x"}, {"y"}, {intAttribute("num_outputs", 0)})),
      one("sequence_of_empty_pieces", Code::Range, "pieces of size 0", node("SplitToSequence", {"x", "s"}, {"y"}),
          {integers("s", {}, {0})}),
      one("concat_axis", Code::Range, "axis 2 of a tensor of rank 2",
          node("Concat", {"x"}, {"y"}, {intAttribute("axis", 2)})),
      one("concat_nothing", Code::Range, "nothing to join", node("Concat", {}, {"y"}, {intAttribute("axis", 0)})),
      one("concat_ranks", Code::Range, "cannot be joined", node("Concat", {"x", "z"}, {"y"}, {intAttribute("axis", 0)}),
          {floats("z", {1}, {1})}),
      one("gather_constant_beyond", Code::Range, "index -3 of a dimension of size 2", node("Gather", {"x", "i"}, {"y"}),
          {integers("i", {-3})}),
      one("gather_axis_lowest", Code::Range, "axis", node("Gather", {"x", "i"}, {"y"}, {intAttribute("axis", lowest)}),
          {integers("i", {0})}),
      one("gathernd_too_long", Code::Range, "indices of length 3", node("GatherND", {"x", "i"}, {"y"}),
          {integers("i", {1, 3}, {0, 0, 0})}),
      one("gathernd_batch", Code::Range, "batch_dims 5",
          node("GatherND", {"x", "i"}, {"y"}, {intAttribute("batch_dims", 5)}), {integers("i", {1, 1}, {0})}),
      one("transpose_repeats", Code::Range, "expected each of the 2 axes once",
          node("Transpose", {"x"}, {"y"}, {intsAttribute("perm", {0, 0})})),
      one("transpose_short", Code::Range, "'perm'", node("Transpose", {"x"}, {"y"}, {intsAttribute("perm", {0})})),
      one("squeeze_of_two", Code::Range, "has not size 1", node("Squeeze", {"x", "a"}, {"y"}), {integers("a", {0})}),
      one("unsqueeze_twice", Code::Range, "named twice", node("Unsqueeze", {"x", "a"}, {"y"}), {integers("a", {1, 1})}),
      one("matmul_inner", Code::Range, "inner sizes 3 and 2", node("MatMul", {"x", "x"}, {"y"})),
      one("matmul_scalar", Code::Range, "a product of shapes", node("MatMul", {"x", "z"}, {"y"}),
          {floats("z", {}, {1})}),
      one("gemm_rank", Code::Range, "expected two dimensions", node("Gemm", {"x", "z"}, {"y"}),
          {floats("z", {3}, {1, 2, 3})}),
      one("range_without_step", Code::Range, "step of 0", node("Range", {"a", "b", "a"}, {"y"}),
          {integers("a", {}, {0}), integers("b", {}, {5})}),
      one("range_of_everything", Code::Limit, "2^34", node("Range", {"a", "b", "c"}, {"y"}),
          {integers("a", {}, {lowest}), integers("b", {}, {std::numeric_limits<int64_t>::max()}),
           integers("c", {}, {1})}),
      one("range_to_infinity", Code::Range, "not finite", node("Range", {"a", "b", "c"}, {"y"}),
          {floats("a", {}, {0}), floats("b", {}, {INFINITY}), floats("c", {}, {1})}),
      one("constant_of_huge_shape", Code::Limit, "2^34", node("ConstantOfShape", {"s"}, {"y"}),
          {integers("s", {int64_t{1} << 31, int64_t{1} << 31})}),
      one("constant_of_negative_shape", Code::Range, "a negative size", node("ConstantOfShape", {"s"}, {"y"}),
          {integers("s", {-1})}),
      one("division_by_zero", Code::Range, "by a constant 0", node("Div", {"x", "z"}, {"y"}), {integers("z", {}, {0})},
          {2}, 7),
      one("remainder_of_zero", Code::Range, "by a constant 0", node("Mod", {"x", "z"}, {"y"}), {integers("z", {}, {0})},
          {2}, 7),
      one("einsum_character", Code::Format, "the character",
          node("Einsum", {"x"}, {"y"}, {textAttribute("equation", "i$->i")})),
      one("einsum_long", Code::Format, "at most",
          node("Einsum", {"x"}, {"y"}, {textAttribute("equation", std::string(1 << 20, 'a'))})),
      one("einsum_two_ellipses", Code::Format, "two ellipses",
          node("Einsum", {"x"}, {"y"}, {textAttribute("equation", "...i...->i")})),
      one("einsum_result_letter", Code::Format, "occurs in no operand",
          node("Einsum", {"x"}, {"y"}, {textAttribute("equation", "ij->k")})),
      one("einsum_diagonal", Code::Unsupported, "twice",
          node("Einsum", {"x"}, {"y"}, {textAttribute("equation", "ii->i")})),
      one("einsum_three", Code::Unsupported, "one or two",
          node("Einsum", {"x", "x", "x"}, {"y"}, {textAttribute("equation", "ij,jk,kl->il")})),
      one("reduce_axis", Code::Range, "axis 2", node("ReduceSum", {"x", "a"}, {"y"}), {integers("a", {2})}),
      one("norm_axis", Code::Range, "axis 2", node("LayerNormalization", {"x", "x"}, {"y"}, {intAttribute("axis", 2)})),
      one("norm_epsilon", Code::Range, "not finite",
          node("RMSNormalization", {"x", "x"}, {"y"}, {floatAttribute("epsilon", NAN)})),
      one("norm_negative_epsilon", Code::Range, "negative",
          node("RMSNormalization", {"x", "x"}, {"y"}, {floatAttribute("epsilon", -1)})),
      one("norm_of_nothing", Code::Range, "nothing to normalize", node("RMSNormalization", {"x", "x"}, {"y"}), {},
          {2, 0}),
      one("broadcast_mismatch", Code::Range, "do not fit together", node("Add", {"x", "z"}, {"y"}),
          {floats("z", {2}, {1, 2})}),
      one("attention_heads", Code::Range, "2 query heads for 0 key heads", node("Attention", {"x", "k", "k"}, {"y"}),
          {tensorHead("k", 1, {1, 0, 3, 4}).text(9, "")}, {1, 2, 3, 4}),
      one("attention_no_heads", Code::Range, "0 query heads for 0 key heads", node("Attention", {"x", "x", "x"}, {"y"}),
          {}, {1, 0, 3, 4}),
      one("attention_head_multiple", Code::Range, "3 query heads for 2 key heads",
          node("Attention", {"x", "k", "k"}, {"y"}), {floats("k", {1, 2, 1, 1}, {1, 2})}, {1, 3, 1, 1}),
      one("attention_scale", Code::Range, "'scale' is not finite",
          node("Attention", {"x", "x", "x"}, {"y"}, {floatAttribute("scale", NAN)}), {}, {1, 1, 2, 2}),
      one("attention_packed_heads", Code::Range, "'q_num_heads' is 0", node("Attention", {"x", "x", "x"}, {"y"}), {},
          {1, 2, 4}),
      one("rotary_odd", Code::Range, "rotary dimension 3",
          node("RotaryEmbedding", {"x", "c", "c"}, {"y"}, {intAttribute("rotary_embedding_dim", 3)}),
          {floats("c", {1, 1, 1}, {1})}, {1, 1, 1, 4}),
      one("dropout_training", Code::Unsupported, "training mode", node("Dropout", {"x", "", "t"}, {"y"}),
          {tensorHead("t", 9, {}).packed(5, std::vector<int64_t>{1})}),
      one("sequence_index", Code::Range, "element 2 of a sequence of 2", node("SequenceAt", {"s", "i"}, {"y"}),
          {integers("i", {}, {2})}),
  };
}

std::vector<FaultCase> allCases() {
  std::vector<FaultCase> all = cases();
  all.back().parts.nodes.insert(all.back().parts.nodes.begin(), node("SequenceConstruct", {"x", "x"}, {"s"}));
  return all;
}

INSTANTIATE_TEST_SUITE_P(Onnx, ImportFaults, testing::ValuesIn(allCases()),
                         [](const auto &info) { return info.param.name; });

//===-- Faults together -------------------------------------------------------------------------------------------===//

// Tests that independent faults are reported at once, and what depends on a fault is not.
TEST(Import, ReportsAllIndependentFaults) {
  GraphParts parts{{node("Nonsense", {"x"}, {"a"}, {}, "", "first"), node("Relu", {"a"}, {"b"}, {}, "", "second"),
                    node("Sqrt", {"x"}, {"c"}, {intAttribute("odd", 1)}, "", "third"), node("Add", {"b", "c"}, {"y"})},
                   {},
                   {value("x", 1, {2})},
                   {value("y", 1, {2})}};
  auto context = makeContext();
  std::unique_ptr<ModelFile> file;
  auto model = import(modelOf(parts), *context, {}, file);
  ASSERT_FALSE(model.isOk());
  ASSERT_EQ(model.status().faults().size(), 2u) << model.status().text();
  EXPECT_THAT(model.status().faults()[0].place, HasSubstr("first"));
  EXPECT_THAT(model.status().faults()[1].place, HasSubstr("third"));
}

// Tests that a node that only feeds ignored outputs is not asked for anything.
TEST(Import, SkipsWhatTheLogitsDoNotNeed) {
  GraphParts parts{{node("Relu", {"x"}, {"logits"}), node("Nonsense", {"x"}, {"present"})},
                   {},
                   {value("x", 1, {2})},
                   {value("present", 1, {2}), value("logits", 1, {2})}};
  auto context = makeContext();
  std::unique_ptr<ModelFile> file;
  auto model = import(modelOf(parts), *context, {}, file);
  ASSERT_TRUE(model.isOk()) << model.status().text();
  EXPECT_THAT(model->notes, testing::ElementsAre("output 'present' is ignored"));
  EXPECT_EQ(forwardOf(*model).getNumResults(), 1u);
}

// Tests that the place of a fault names the module that the node comes from.
TEST(Import, NamesTheModule) {
  Message relu =
      node("Sqrt", {"x"}, {"y"}, {}, "", "n1").message(9, property("namespace", ": M/model.norm: N/sqrt: s"));
  auto context = makeContext();
  std::unique_ptr<ModelFile> file;
  auto model = import(modelOf({{relu}, {}, {value("x", 7, {2})}, {value("y", 1, {2})}}), *context, {}, file);
  ASSERT_FALSE(model.isOk());
  EXPECT_THAT(model.status().faults()[0].place, HasSubstr("node 'n1' (Sqrt, in model.norm)"));
}

//===-- Inputs ----------------------------------------------------------------------------------------------------===//

Message symbolic(std::string_view name, int64_t type, const std::vector<std::string> &axes) {
  Message shape;
  for (const std::string &axis : axes)
    shape.message(1, Message().text(2, axis));
  return Message().text(1, name).message(2, Message().message(1, Message().integer(1, type).message(2, shape)));
}

// Tests that axes of token inputs are bound by position, whatever the graph calls them.
TEST(Import, BindsTokenInputs) {
  GraphParts parts{{node("Add", {"ids", "mask"}, {"y"})},
                   {},
                   {symbolic("ids", 7, {"s1", "s2"}), symbolic("mask", 7, {"a", "b"})},
                   {value("y", 7, {2, 3})}};
  auto context = makeContext();
  std::unique_ptr<ModelFile> file;
  ImportOptions options;
  options.batch = 2;
  options.sequence = 5;
  auto model = import(modelOf(parts), *context, options, file);
  ASSERT_TRUE(model.isOk()) << model.status().text();
  mlir::func::FuncOp function = forwardOf(*model);
  ASSERT_EQ(function.getNumArguments(), 2u);
  for (unsigned i = 0; i < 2; ++i)
    EXPECT_THAT(nn::shapeOf(function.getArgument(i)), testing::ElementsAre(2, 5));
  EXPECT_EQ(function.getArgAttrOfType<mlir::StringAttr>(1, rl::nameAttribute).str(), "mask");
}

TEST(Import, DeclinesOtherSizesThanTheBakedOnes) {
  GraphParts parts{{node("Neg", {"ids"}, {"y"})}, {}, {value("ids", 7, {2, 10})}, {value("y", 7, {2, 10})}};
  auto context = makeContext();
  std::unique_ptr<ModelFile> file;
  ImportOptions options;
  options.batch = 2;
  options.sequence = 12;
  auto model = import(modelOf(parts), *context, options, file);
  ASSERT_FALSE(model.isOk());
  ASSERT_EQ(model.status().faults().size(), 1u);
  const Fault &fault = model.status().faults()[0];
  EXPECT_EQ(fault.code, Code::Range);
  EXPECT_THAT(fault.place, HasSubstr("input 'ids', axis 1"));
  EXPECT_THAT(fault.message, HasSubstr("10"));
  EXPECT_THAT(fault.message, HasSubstr("12"));
}

TEST(Import, AsksForUnknownSizes) {
  GraphParts parts{{node("Relu", {"x"}, {"y"})}, {}, {symbolic("x", 1, {"width"})}, {value("y", 1, {2})}};
  auto context = makeContext();
  std::unique_ptr<ModelFile> file;
  ImportOptions options;
  auto model = import(modelOf(parts), *context, options, file);
  ASSERT_FALSE(model.isOk());
  EXPECT_THAT(model.status().text(), HasSubstr("the size 'width' is not known"));
  options.dimensions["width"] = 7;
  model = import(modelOf(parts), *context, options, file);
  ASSERT_TRUE(model.isOk()) << model.status().text();
  EXPECT_THAT(nn::shapeOf(forwardOf(*model).getArgument(0)), testing::ElementsAre(7));
}

// Tests that key-value caches are bound to nothing, and vanish.
TEST(Import, BindsCachesToAnEmptyPast) {
  GraphParts parts{
      {node("Concat", {"past_key_values.0.key", "x"}, {"y"}, {intAttribute("axis", 2)})},
      {},
      {symbolic("past_key_values.0.key", 1, {"batch", "heads", "past", "size"}), value("x", 1, {2, 3, 5, 4})},
      {value("y", 1, {2, 3, 5, 4})}};
  parts.inputs[0] = Message().text(1, "past_key_values.0.key");
  Message shape;
  shape.message(1, Message().text(2, "batch")).message(1, Message().integer(1, 3));
  shape.message(1, Message().text(2, "past")).message(1, Message().integer(1, 4));
  parts.inputs[0].message(2, Message().message(1, Message().integer(1, 1).message(2, shape)));
  auto context = makeContext();
  std::unique_ptr<ModelFile> file;
  ImportOptions options;
  options.batch = 2;
  options.sequence = 5;
  auto model = import(modelOf(parts), *context, options, file);
  ASSERT_TRUE(model.isOk()) << model.status().text();
  mlir::func::FuncOp function = forwardOf(*model);
  EXPECT_EQ(function.getNumArguments(), 1u);
  EXPECT_EQ(function.getBody().front().getOperations().size(), 1u); // only the return is left
}

//===-- Parameters ------------------------------------------------------------------------------------------------===//

GraphParts weighted() {
  return {
      {node("MatMul", {"x", "w.weight"}, {"a"}), node("Add", {"a", "b"}, {"c"}), node("Mul", {"c", "m.weight"}, {"y"})},
      {floats("w.weight", {3, 2}, {1, 2, 3, 4, 5, 6}), floats("b", {2}, {1, 2}), floats("m.weight", {2}, {1, 2})},
      {value("x", 1, {2, 3})},
      {value("y", 1, {2, 2})}};
}

std::map<std::string, bool> trainedByName(const ImportedModel &model) {
  std::map<std::string, bool> out;
  for (const ImportedParameter &parameter : model.parameters)
    out[parameter.name] = parameter.trained;
  return out;
}

TEST(Import, WithoutACheckpointNamesDecideWhatIsTrained) {
  auto context = makeContext();
  std::unique_ptr<ModelFile> file;
  auto model = import(modelOf(weighted()), *context, {}, file);
  ASSERT_TRUE(model.isOk()) << model.status().text();
  EXPECT_THAT(trainedByName(*model),
              testing::ElementsAre(testing::Pair("m.weight", true), testing::Pair("w.weight", true)));
}

TEST(Import, ACheckpointDecidesWhatIsTrained) {
  auto context = makeContext();
  std::unique_ptr<ModelFile> file;
  ImportOptions options;
  options.parameter = [](std::string_view name) -> std::optional<ParameterInfo> {
    if (name == "b")
      return ParameterInfo{{2}, Float, false};
    if (name == "m.weight")
      return ParameterInfo{{2}, Float, true};
    return std::nullopt;
  };
  auto model = import(modelOf(weighted()), *context, options, file);
  ASSERT_TRUE(model.isOk()) << model.status().text();
  EXPECT_THAT(trainedByName(*model), testing::ElementsAre(testing::Pair("b", false), testing::Pair("m.weight", true),
                                                          testing::Pair("w.weight", false)));
}

// Tests that a graph without initializers takes them from the checkpoint, and only from there.
TEST(Import, TakesUndefinedNamesFromTheCheckpoint) {
  GraphParts parts = weighted();
  parts.initializers.erase(parts.initializers.begin());
  ReadOptions read;
  read.check.isParameter = [](std::string_view name) { return name == "w.weight"; };
  auto context = makeContext();
  std::unique_ptr<ModelFile> file;
  ImportOptions options;
  auto model = import(modelOf(parts), *context, options, file, read);
  ASSERT_FALSE(model.isOk());
  EXPECT_THAT(model.status().text(), HasSubstr("value 'w.weight': neither the graph nor the checkpoint defines it"));
  options.parameter = [](std::string_view name) -> std::optional<ParameterInfo> {
    return name == "w.weight" ? std::optional(ParameterInfo{{3, 2}, Float, true}) : std::nullopt;
  };
  model = import(modelOf(parts), *context, options, file, read);
  ASSERT_TRUE(model.isOk()) << model.status().text();
  EXPECT_EQ(model->parameters[0].initializer, nullptr);
}

//===-- Folding ---------------------------------------------------------------------------------------------------===//

// Tests that a small model cannot ask for a large constant (S15).
TEST(Import, FoldingBombsStaySmall) {
  GraphParts parts{{}, {integers("c0", {8}, {1, 2, 3, 4, 5, 6, 7, 8})}, {value("x", 7, {1})}, {value("y", 7, {1})}};
  for (int i = 0; i < 30; ++i) {
    std::string from = "c" + std::to_string(i), to = "c" + std::to_string(i + 1);
    parts.nodes.push_back(node("Concat", {from, from}, {to}, {intAttribute("axis", 0)}));
  }
  parts.nodes.push_back(node("Add", {"c30", "x"}, {"y"}));
  auto context = makeContext();
  std::unique_ptr<ModelFile> file;
  auto model = import(modelOf(parts), *context, {}, file);
  ASSERT_TRUE(model.isOk()) << model.status().text();
  forwardOf(*model).walk([](mlir::arith::ConstantOp op) { EXPECT_LE(nn::shapeOf(op)[0], FoldLimits().integers); });
}

// Tests that a weight is never transposed, only read so.
TEST(Import, TransposedWeightsBecomeEquations) {
  GraphParts parts{
      {node("Transpose", {"w.weight"}, {"t"}, {intsAttribute("perm", {1, 0})}), node("MatMul", {"x", "t"}, {"y"})},
      {floats("w.weight", {2, 3}, {1, 2, 3, 4, 5, 6})},
      {value("x", 1, {4, 3})},
      {value("y", 1, {4, 2})}};
  auto context = makeContext();
  std::unique_ptr<ModelFile> file;
  auto model = import(modelOf(parts), *context, {}, file);
  ASSERT_TRUE(model.isOk()) << model.status().text();
  bool found = false;
  forwardOf(*model).walk([&](nn::ContractOp op) {
    found = true;
    EXPECT_EQ(op.getEquation().str(), "mk,nk->mn");
  });
  EXPECT_TRUE(found);
  forwardOf(*model).walk([](nn::TransposeOp) { ADD_FAILURE(); });
}

// Tests the model that Graft is shown with: no operator of its shape arithmetic is left.
TEST(Import, SmolLM2) {
  ReadOptions read;
  read.externalData = false; // the weights come from a checkpoint
  auto file = ModelFile::read(std::string(GRAFT_SOURCE_DIR) + "/examples/smollm2/model.onnx", read);
  ASSERT_TRUE(file.isOk()) << file.status().text();
  auto context = makeContext();
  ImportOptions options;
  options.batch = 16;
  options.sequence = 160;
  auto model = importModel(**file, *context, options);
  ASSERT_TRUE(model.isOk()) << model.status().text();
  EXPECT_EQ(model->parameters.size(), 272u);
  for (const ImportedParameter &parameter : model->parameters) {
    EXPECT_TRUE(parameter.trained) << parameter.name;
    ASSERT_TRUE(parameter.external.has_value()) << parameter.name;
    EXPECT_EQ(parameter.external->location, "model.safetensors");
  }
  size_t integers = 0, operators = 0;
  forwardOf(*model).walk([&](mlir::Operation *op) {
    ++operators;
    if (op->getNumResults() == 1 && !llvm::isa<mlir::arith::ConstantOp>(op))
      integers += nn::typeOf(op->getResult(0)).getElementType().isInteger(64);
  });
  EXPECT_LE(integers, 1u);     // position_ids with a dimension more
  EXPECT_LT(operators, 2700u); // equal ones are not one yet
  EXPECT_THAT(nn::shapeOf(forwardOf(*model).getBody().front().getTerminator()->getOperand(0)),
              testing::ElementsAre(16, 160, 49152));
}

} // namespace
} // namespace graft::onnx
