// Which graphs may be packed, what they become, and that they compute what the padded graph computes.
#include "passes/import/Pack.h"

#include "test/dialects/reference/ReferenceFixture.h"

#include <gmock/gmock.h>

using namespace mlir;

namespace graft {
namespace {

using testing::HasSubstr;

constexpr int64_t row = 8, vocabulary = 5;

class PackForward : public testing::Test, protected Reference {
protected:
  /// @forward over a row of eight tokens: an embedding of size 4, `trunk` from %x to %h, a head with a bias.
  func::FuncOp forward(const std::string &trunk) {
    module = parseSourceString<ModuleOp>(R"(
      func.func @forward(%ids: tensor<1x8xi64> {rl.name = "input_ids"}, %mask: tensor<1x8xi64> {rl.name = "attention_mask"},
                         %positions: tensor<1x8xi64> {rl.name = "position_ids"}) -> tensor<1x8x5xf32> {
        %e = rl.parameter "embedding" trained : tensor<5x4xf32>
        %b = rl.parameter "bias" trained : tensor<5xf32>
        %p = rl.parameter "places" trained : tensor<8x4xf32>
        %zero = arith.constant dense<0> : tensor<1x8xi64>
        %valid = arith.cmpi ne, %mask, %zero : tensor<1x8xi64>
        %x = nn.gather %e, %ids axis = 0 : tensor<5x4xf32>, tensor<1x8xi64> -> tensor<1x8x4xf32>
        )" + trunk + R"(
        %z = nn.contract "bsk,vk->bsv" %h, %e : tensor<1x8x4xf32>, tensor<5x4xf32> -> tensor<1x8x5xf32>
        %bb = nn.broadcast %b dims = [2] : tensor<5xf32> -> tensor<1x8x5xf32>
        %logits = arith.addf %z, %bb : tensor<1x8x5xf32>
        return %logits : tensor<1x8x5xf32>
      })",
                                         &context);
    EXPECT_TRUE(module) << errors;
    return *module->getOps<func::FuncOp>().begin();
  }

  /// Attention over %x with the attributes.
  static std::string attention(const std::string &attributes, const std::string &masks = "valid %valid") {
    std::string heads = "tensor<1x2x8x2xf32>", types = masks.empty() ? "" : ", tensor<1x8xi1>";
    return "%r = nn.reshape %x : tensor<1x8x4xf32> -> tensor<1x8x2x2xf32>\n"
           "%q = nn.transpose %r perm = [0, 2, 1, 3] : tensor<1x8x2x2xf32> -> " +
           heads +
           "\n"
           "%o, %l = nn.attention %q, %q, %q " +
           masks + " {" + attributes + "} : (" + heads + ", " + heads + ", " + heads + types + ") -> " + heads +
           "\n"
           "%t = nn.transpose %o perm = [0, 2, 1, 3] : " +
           heads +
           " -> tensor<1x8x2x2xf32>\n"
           "%h = nn.reshape %t : tensor<1x8x2x2xf32> -> tensor<1x8x4xf32>\n";
  }

  FailureOr<PackedForward> pack(func::FuncOp function, bool share = true) {
    return packForward(function, {2, 6, share});
  }
  static std::vector<std::string> names(func::FuncOp function) {
    std::vector<std::string> all;
    for (unsigned i = 0; i < function.getNumArguments(); ++i)
      all.push_back(function.getArgAttrOfType<StringAttr>(i, rl::nameAttribute).getValue().str());
    return all;
  }
};

TEST_F(PackForward, TakesARowAndABatch) {
  func::FuncOp function = forward(attention("causal, scale = 0.5 : f64"));
  auto packed = pack(function);
  ASSERT_TRUE(succeeded(packed)) << errors;
  EXPECT_TRUE(packed->sharesPrompts);
  EXPECT_THAT(names(function), testing::ElementsAre("packed.input_ids", "packed.attention_mask", "packed.position_ids",
                                                    "packed.segment_ids", "packed.rows", "input_ids"));
  EXPECT_TRUE(succeeded(module->verify())) << errors;
  EXPECT_EQ(nn::typeOf(function.getBody().front().getTerminator()->getOperand(0)).getShape(),
            (ArrayRef<int64_t>{2, 6, vocabulary}));
  EXPECT_EQ(llvm::range_size(function.getOps<nn::GatherOp>()), 2); // the embedding, and the rows that the head reads
}

TEST_F(PackForward, ComputesThePaddedGraph) {
  // Sequences 1 2 3 and 1 2 4 0 (tokens), padded to six and packed with their prompt 1 2 once.
  func::FuncOp function = forward(attention("causal, scale = 0.5 : f64"));
  auto parameters = [](StringRef name) {
    Tensor tensor = Tensor::floats(name == "bias" ? Tensor::Shape{vocabulary}
                                                  : Tensor::Shape{name == "places" ? row : vocabulary, 4});
    for (int64_t k = 0; k < tensor.size(); ++k)
      tensor.f()[k] = 0.1 * static_cast<double>((k * 7 + 3) % 11) - 0.5;
    return std::optional(tensor);
  };
  auto integers = [](Tensor::Shape shape, std::vector<int64_t> values) {
    return Tensor::integers(std::move(shape), std::move(values));
  };
  std::vector<Tensor> padded;
  for (std::vector<int64_t> ids : {std::vector<int64_t>{1, 2, 3, 0, 0, 0, 0, 0}, {1, 2, 4, 0, 0, 0, 0, 0}}) {
    int64_t length = ids[2] == 3 ? 3 : 4;
    std::vector<int64_t> mask(row), positions(row);
    for (int64_t t = 0; t < row; ++t)
      mask[static_cast<size_t>(t)] = t < length, positions[static_cast<size_t>(t)] = t;
    auto out = interpret(function, {integers({1, row}, ids), integers({1, row}, mask), integers({1, row}, positions)},
                         parameters);
    ASSERT_TRUE(succeeded(out)) << errors;
    padded.push_back((*out)[0]);
  }
  ASSERT_TRUE(succeeded(pack(function))) << errors;
  auto out =
      interpret(function,
                {integers({1, row}, {1, 2, 3, 4, 0, 0, 0, 0}), integers({1, row}, {1, 1, 1, 1, 1, 0, 0, 0}),
                 integers({1, row}, {0, 1, 2, 2, 3, 0, 0, 0}),
                 integers({1, 2, row}, {1, 1, 2, 3, 3, 0, 0, 0, 1, 1, 1, 1, 1, 0, 0, 0}),
                 integers({2, 6}, {0, 1, 2, 0, 0, 0, 0, 1, 3, 4, 0, 0}), integers({2, 6}, std::vector<int64_t>(12))},
                parameters);
  ASSERT_TRUE(succeeded(out)) << errors;
  for (int64_t b = 0; b < 2; ++b)
    for (int64_t t = 0; t < 3 + b; ++t)
      for (int64_t v = 0; v < vocabulary; ++v)
        EXPECT_NEAR((*out)[0].f()[(b * 6 + t) * vocabulary + v], padded[static_cast<size_t>(b)].f()[t * vocabulary + v],
                    1e-14)
            << b << ", " << t;
}

TEST_F(PackForward, AWindowKeepsPromptsApart) {
  auto packed = pack(forward(attention("causal, scale = 0.5 : f64, window = 3 : i64")));
  ASSERT_TRUE(succeeded(packed)) << errors;
  EXPECT_FALSE(packed->sharesPrompts);
  EXPECT_THAT(packed->note, HasSubstr("prompts are not shared"));
}

TEST_F(PackForward, RefusesScansOverTokens) {
  EXPECT_TRUE(failed(pack(forward("%h = nn.cumsum %x axis = 1 : tensor<1x8x4xf32>"))));
  EXPECT_THAT(errors, HasSubstr("'nn.cumsum' mixes the tokens of a row"));
}

TEST_F(PackForward, RefusesPlacesInTheRow) {
  EXPECT_TRUE(failed(pack(forward(R"(
    %pp = nn.reshape %p : tensor<8x4xf32> -> tensor<1x8x4xf32>
    %h = arith.addf %x, %pp : tensor<1x8x4xf32>)"))));
  EXPECT_THAT(errors, HasSubstr("depends on a token's place in the row: positions must come from position_ids"));
}

TEST_F(PackForward, RefusesBiasesAndSaysAllAtOnce) {
  EXPECT_TRUE(failed(pack(forward(R"(
    %bias = arith.constant dense<0.5> : tensor<1x2x8x8xf32>
    %r = nn.reshape %x : tensor<1x8x4xf32> -> tensor<1x8x2x2xf32>
    %q = nn.transpose %r perm = [0, 2, 1, 3] : tensor<1x8x2x2xf32> -> tensor<1x2x8x2xf32>
    %o, %l = nn.attention %q, %q, %q bias %bias {causal, scale = 0.5 : f64} : (tensor<1x2x8x2xf32>, tensor<1x2x8x2xf32>, tensor<1x2x8x2xf32>, tensor<1x2x8x8xf32>) -> tensor<1x2x8x2xf32>
    %h = nn.cumsum %x axis = 1 : tensor<1x8x4xf32>)"))));
  EXPECT_THAT(errors, HasSubstr("attention with a bias cannot be packed"));
  EXPECT_THAT(errors, HasSubstr("'nn.cumsum' mixes the tokens of a row"));
}

} // namespace
} // namespace graft
