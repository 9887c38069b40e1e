// Sharding factors, costs and recompute classes: by hand for every family, and what holds for all of them.
#include "dialects/nn/NNDialect.h"
#include "dialects/rl/RLDialect.h"

#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/Parser/Parser.h"

#include <gtest/gtest.h>

#include <set>

using namespace mlir;

namespace graft::nn {
namespace {

/// One operator; its operands are arguments of a function.
struct Case {
  const char *name, *arguments, *op;
  const char *rule;   ///< the text of text(rule), empty: only what holds for all
  int64_t flops = -1; ///< -1: not checked
  int64_t bytes = -1; ///< -1: not checked
  RecomputeClass recompute = RecomputeClass::Cheap;
};

std::ostream &operator<<(std::ostream &out, const Case &c) {
  return out << c.name;
}

/// "a b c, d c -> a b d | a=2 b=3 c=8R d=5": a letter per factor, dimensions between spaces ("-" without a factor),
/// then the sizes, with R for Reduction, M for MustReplicate, B for Blocked.
std::string text(const ShardingRule &rule) {
  auto tensor = [](const DimensionFactors &dimensions) {
    std::string out;
    for (const auto &factors : dimensions) {
      out += out.empty() ? "" : " ";
      for (int factor : factors)
        out += static_cast<char>('a' + factor);
      out += factors.empty() ? "-" : "";
    }
    return "(" + out + ")";
  };
  std::string out;
  for (const auto &operand : rule.operands)
    out += tensor(operand) + " ";
  out += "->";
  for (const auto &result : rule.results)
    out += " " + tensor(result);
  out += " |";
  for (auto [i, factor] : llvm::enumerate(rule.factors)) {
    const char *kind[] = {"", "R", "M", "B"};
    out += std::string(" ") + static_cast<char>('a' + i) + "=" + std::to_string(factor.size) +
           kind[static_cast<int>(factor.kind)];
  }
  return out;
}

class Factors : public testing::TestWithParam<Case> {
protected:
  Factors() {
    DialectRegistry registry;
    rl::registerDialects(registry);
    context.appendDialectRegistry(registry);
    context.loadAllAvailableDialects();
    const Case &c = GetParam();
    module = parseSourceString<ModuleOp>(std::string("func.func @f(") + c.arguments + ") {\n" + c.op + "\nreturn\n}",
                                         &context);
  }
  Operation *op() { return &(*module->getOps<func::FuncOp>().begin()).getBody().front().front(); }
  ShardingRule rule() { return cast<ShardingRuleOpInterface>(op()).getShardingRule(); }

  /// The factors of a dimension multiply to its size. A blocked factor covers the longer of the two sides.
  void expectCovers(const ShardingRule &rule, Value value, const DimensionFactors &dimensions) {
    auto shape = shapeOf(value);
    ASSERT_EQ(dimensions.size(), shape.size());
    for (auto [d, factors] : llvm::enumerate(dimensions)) {
      int64_t product = 1;
      bool blocked = false;
      for (int factor : factors) {
        ASSERT_GE(factor, 0);
        ASSERT_LT(static_cast<size_t>(factor), rule.factors.size());
        product *= rule.factors[factor].size;
        blocked |= rule.factors[factor].kind == FactorKind::Blocked;
      }
      if (blocked)
        EXPECT_GE(product, shape[d]) << "dimension " << d;
      else
        EXPECT_EQ(product, shape[d]) << "dimension " << d;
    }
  }

  MLIRContext context;
  OwningOpRef<ModuleOp> module;
};

TEST_P(Factors, HasTheRuleWrittenByHand) {
  ASSERT_TRUE(module);
  if (*GetParam().rule)
    EXPECT_EQ(text(rule()), GetParam().rule);
}

TEST_P(Factors, RuleFitsTheShapes) {
  ASSERT_TRUE(module);
  ShardingRule rule = this->rule();
  ASSERT_EQ(rule.operands.size(), op()->getNumOperands());
  ASSERT_EQ(rule.results.size(), op()->getNumResults());
  for (unsigned i = 0; i < op()->getNumOperands(); ++i)
    expectCovers(rule, op()->getOperand(i), rule.operands[i]);
  for (unsigned i = 0; i < op()->getNumResults(); ++i)
    expectCovers(rule, op()->getResult(i), rule.results[i]);
}

TEST_P(Factors, WhatNoResultHasIsNeverPassedThrough) {
  ASSERT_TRUE(module);
  ShardingRule rule = this->rule();
  std::set<int> inOperands, inResults;
  auto collect = [](const auto &tensors, std::set<int> &into) {
    for (const auto &dimensions : tensors)
      for (const auto &factors : dimensions)
        into.insert(factors.begin(), factors.end());
  };
  collect(rule.operands, inOperands);
  collect(rule.results, inResults);
  for (size_t i = 0; i < rule.factors.size(); ++i) {
    int factor = static_cast<int>(i);
    EXPECT_TRUE(inOperands.count(factor) || inResults.count(factor)) << "factor " << i << " belongs to no tensor";
    if (!inResults.count(factor))
      EXPECT_TRUE(rule.factors[i].kind == FactorKind::Reduction || rule.factors[i].kind == FactorKind::MustReplicate)
          << "factor " << i;
    else
      EXPECT_NE(rule.factors[i].kind, FactorKind::Reduction) << "factor " << i;
  }
}

TEST_P(Factors, CostsWhatWasCountedByHand) {
  ASSERT_TRUE(module);
  auto cost = cast<CostOpInterface>(op()).getCost();
  EXPECT_GE(cost.flops, 0);
  EXPECT_GE(cost.bytes, 0);
  if (GetParam().flops >= 0)
    EXPECT_EQ(cost.flops, GetParam().flops);
  if (GetParam().bytes >= 0)
    EXPECT_EQ(cost.bytes, GetParam().bytes);
  EXPECT_EQ(cast<CostOpInterface>(op()).getRecomputeClass(), GetParam().recompute);
}

constexpr auto Free = RecomputeClass::Free, Gemm = RecomputeClass::Gemm, Attention = RecomputeClass::Attention;

const Case cases[] = {
    // Element-wise: one factor per dimension.
    {"addf", "%x: tensor<2x3xf32>", "%y = arith.addf %x, %x : tensor<2x3xf32>", "(a b) (a b) -> (a b) | a=2 b=3", 6,
     72},
    {"negf_scalar", "%x: tensor<f32>", "%y = arith.negf %x : tensor<f32>", "() -> () |", 1, 8},
    {"addi", "%x: tensor<3xi64>", "%y = arith.addi %x, %x : tensor<3xi64>", "(a) (a) -> (a) | a=3", 0, 72},
    {"cmpf", "%x: tensor<4xbf16>", "%y = arith.cmpf olt, %x, %x : tensor<4xbf16>", "(a) (a) -> (a) | a=4", 4, 20},
    {"select", "%c: tensor<3xi1>, %x: tensor<3xf32>", "%y = arith.select %c, %x, %x : tensor<3xi1>, tensor<3xf32>",
     "(a) (a) (a) -> (a) | a=3", 3, 39},
    {"extui", "%x: tensor<3xi1>", "%y = arith.extui %x : tensor<3xi1> to tensor<3xi64>", "(a) -> (a) | a=3", 0, 27},
    {"exp", "%x: tensor<2x3xf32>", "%y = math.exp %x : tensor<2x3xf32>", "(a b) -> (a b) | a=2 b=3"},
    {"sigmoid", "%x: tensor<2x3xf32>", "%y = nn.sigmoid %x : tensor<2x3xf32>", "(a b) -> (a b) | a=2 b=3", 24, 48},
    {"softplus", "%x: tensor<0x3xf32>", "%y = nn.softplus %x : tensor<0x3xf32>", "(a b) -> (a b) | a=0 b=3", 0, 0},
    {"constant", "", "%y = arith.constant dense<1.0> : tensor<2x3xf32>", "-> (a b) | a=2 b=3", 0, 0, Free},

    // Shape.
    {"broadcast", "%w: tensor<8xf32>", "%y = nn.broadcast %w dims = [1] : tensor<8xf32> -> tensor<2x8x3xf32>",
     "(b) -> (a b c) | a=2 b=8 c=3", 0, 0, Free},
    {"reshape_join", "%x: tensor<8x64xf32>", "%y = nn.reshape %x : tensor<8x64xf32> -> tensor<512xf32>",
     "(a b) -> (ab) | a=8 b=64", 0, 0, Free},
    {"reshape_split", "%x: tensor<2x12xf32>", "%y = nn.reshape %x : tensor<2x12xf32> -> tensor<2x3x4xf32>",
     "(a bc) -> (a b c) | a=2 b=3 c=4", 0, 0, Free},
    {"reshape_three", "%x: tensor<2x3x4xf32>", "%y = nn.reshape %x : tensor<2x3x4xf32> -> tensor<24xf32>",
     "(a b c) -> (abc) | a=2 b=3 c=4", 0, 0, Free},
    {"reshape_both", "%x: tensor<6x4xf32>", "%y = nn.reshape %x : tensor<6x4xf32> -> tensor<3x8xf32>",
     "(ab c) -> (a bc) | a=3 b=2 c=4", 0, 0, Free},
    {"reshape_without_common_cut", "%x: tensor<5x6x4xf32>",
     "%y = nn.reshape %x : tensor<5x6x4xf32> -> tensor<5x4x6xf32>", "(a b c) -> (a d e) | a=5 b=6M c=4M d=4M e=6M", 0,
     0, Free},
    {"reshape_ones", "%x: tensor<1x6x1xf32>", "%y = nn.reshape %x : tensor<1x6x1xf32> -> tensor<2x1x3x1xf32>",
     "(- ab -) -> (a - b -) | a=2 b=3", 0, 0, Free},
    {"reshape_scalar", "%x: tensor<f32>", "%y = nn.reshape %x : tensor<f32> -> tensor<1x1xf32>", "() -> (- -) |", 0, 0,
     Free},
    {"reshape_empty", "%x: tensor<0x3xf32>", "%y = nn.reshape %x : tensor<0x3xf32> -> tensor<5x0xf32>",
     "(a b) -> (c d) | a=0M b=3M c=5M d=0M", 0, 0, Free},
    {"transpose", "%x: tensor<2x3x4xf32>",
     "%y = nn.transpose %x perm = [2, 0, 1] : tensor<2x3x4xf32> -> tensor<4x2x3xf32>",
     "(b c a) -> (a b c) | a=4 b=2 c=3", 0, 0, Free},
    {"slice", "%x: tensor<2x8xf32>",
     "%y = nn.slice %x starts = [0, 1] steps = [1, 2] : tensor<2x8xf32> -> tensor<2x3xf32>",
     "(a b) -> (a b) | a=2 b=8B", 0, 0, Free},
    {"pad", "%x: tensor<2x3xf32>", "%y = nn.pad %x starts = [0, 1] steps = [1, 1] : tensor<2x3xf32> -> tensor<2x8xf32>",
     "(a b) -> (a b) | a=2 b=8B", 0, 88},
    {"concat", "%a: tensor<2x3xf32>, %b: tensor<2x1xf32>",
     "%y = nn.concat %a, %b axis = 1 : tensor<2x3xf32>, tensor<2x1xf32> -> tensor<2x4xf32>",
     "(a b) (a b) -> (a b) | a=2 b=4B", 0, 64},
    {"iota", "", "%y = nn.iota axis = 1 : tensor<2x8xi64>", "-> (a b) | a=2 b=8", 0, 0, Free},

    // Reductions: every kind leaves partial results.
    {"reduce_sum", "%x: tensor<2x3x4xf32>", "%y = nn.reduce sum %x axes = [1] : tensor<2x3x4xf32> -> tensor<2x4xf32>",
     "(a b c) -> (a c) | a=2 b=3R c=4", 24, 128},
    {"reduce_max", "%x: tensor<2x3xf32>", "%y = nn.reduce max %x axes = [0, 1] : tensor<2x3xf32> -> tensor<f32>",
     "(a b) -> () | a=2R b=3R", 6, 28},
    {"reduce_min", "%x: tensor<2x3xi1>", "%y = nn.reduce min %x axes = [1] : tensor<2x3xi1> -> tensor<2xi1>",
     "(a b) -> (a) | a=2 b=3R"},
    {"reduce_prod", "%x: tensor<2x3xi64>", "%y = nn.reduce prod %x axes = [0] : tensor<2x3xi64> -> tensor<3xi64>",
     "(a b) -> (b) | a=2R b=3"},
    {"cumsum", "%x: tensor<2x3xf32>", "%y = nn.cumsum %x axis = 0 : tensor<2x3xf32>", "(a b) -> (a b) | a=2M b=3", 6},
    {"softmax", "%x: tensor<2x3xf32>, %m: tensor<2x3xi1>",
     "%y = nn.softmax %x mask %m axis = 1 : tensor<2x3xf32>, tensor<2x3xi1> -> tensor<2x3xf32>",
     "(a b) (a b) -> (a b) | a=2 b=3M", 30, 54},
    {"log_softmax", "%x: tensor<2x3xf32>", "%y = nn.log_softmax %x axis = 0 : tensor<2x3xf32>",
     "(a b) -> (a b) | a=2M b=3", 30, 48},

    // Products: the letters are the factors.
    {"contract", "%x: tensor<2x3x8xf32>, %w: tensor<5x8xf32>",
     "%y = nn.contract \"bsk,nk->bsn\" %x, %w : tensor<2x3x8xf32>, tensor<5x8xf32> -> tensor<2x3x5xf32>",
     "(a b c) (d c) -> (a b d) | a=2 b=3 c=8R d=5", 2 * 2 * 3 * 8 * 5, 4 * (48 + 40 + 30), Gemm},
    {"contract_two_summed", "%x: tensor<2x3x8xf32>, %g: tensor<2x3x5xf32>",
     "%y = nn.contract \"bsk,bsn->nk\" %x, %g : tensor<2x3x8xf32>, tensor<2x3x5xf32> -> tensor<5x8xf32>",
     "(a b c) (a b d) -> (d c) | a=2R b=3R c=8 d=5", 2 * 2 * 3 * 8 * 5, 4 * (48 + 30 + 40), Gemm},
    {"contract_batched", "%x: tensor<7x2x3xf64>, %z: tensor<7x3x4xf64>",
     "%y = nn.contract \"bmk,bkn->bmn\" %x, %z : tensor<7x2x3xf64>, tensor<7x3x4xf64> -> tensor<7x2x4xf64>",
     "(a b c) (a c d) -> (a b d) | a=7 b=2 c=3R d=4", 2 * 7 * 2 * 3 * 4, 8 * (42 + 84 + 56), Gemm},
    {"contract_outer", "%x: tensor<2xf32>, %z: tensor<3xf32>",
     "%y = nn.contract \"a,b->ab\" %x, %z : tensor<2xf32>, tensor<3xf32> -> tensor<2x3xf32>",
     "(a) (b) -> (a b) | a=2 b=3", 12, 44, Gemm},
    {"contract_nothing", "%x: tensor<2x0xf32>, %z: tensor<0x3xf32>",
     "%y = nn.contract \"mk,kn->mn\" %x, %z : tensor<2x0xf32>, tensor<0x3xf32> -> tensor<2x3xf32>",
     "(a b) (b c) -> (a c) | a=2 b=0R c=3", 0, 24, Gemm},

    // Indexing: a shard of the table gives partial rows, a shard of the updates a partial table.
    {"gather", "%t: tensor<50x8xf32>, %i: tensor<2x3xi64>",
     "%y = nn.gather %t, %i axis = 0 : tensor<50x8xf32>, tensor<2x3xi64> -> tensor<2x3x8xf32>",
     "(a b) (c d) -> (c d b) | a=50R b=8 c=2 d=3", 0, 4 * 400 + 8 * 6 + 4 * 48},
    {"gather_middle", "%t: tensor<2x5x4xf32>, %i: tensor<i64>",
     "%y = nn.gather %t, %i axis = 1 : tensor<2x5x4xf32>, tensor<i64> -> tensor<2x4xf32>",
     "(a b c) () -> (a c) | a=2 b=5R c=4", 0},
    {"scatter_add", "%u: tensor<2x3x8xf32>, %i: tensor<2x3xi64>",
     "%y = nn.scatter_add %u, %i axis = 0 : tensor<2x3x8xf32>, tensor<2x3xi64> -> tensor<50x8xf32>",
     "(c d b) (c d) -> (a b) | a=50 b=8 c=2R d=3R", 48, 4 * 48 + 8 * 6 + 4 * 400},
    {"gather_elements", "%x: tensor<2x9xf32>, %i: tensor<2x1xi64>",
     "%y = nn.gather_elements %x, %i axis = 1 : tensor<2x9xf32>, tensor<2x1xi64> -> tensor<2x1xf32>",
     "(a b) (a c) -> (a c) | a=2 b=9M c=1", 0, 4 * 18 + 8 * 2 + 4 * 2},
    {"scatter_elements_add", "%u: tensor<2x1xf32>, %i: tensor<2x1xi64>",
     "%y = nn.scatter_elements_add %u, %i axis = 1 : tensor<2x1xf32>, tensor<2x1xi64> -> tensor<2x9xf32>",
     "(a c) (a c) -> (a b) | a=2 b=9M c=1R", 2, 4 * 2 + 8 * 2 + 4 * 18},

    // Norms, rotary embedding, attention.
    {"rms_norm", "%x: tensor<2x3x8xf32>", "%y = nn.rms_norm %x epsilon = 1.0e-5 : tensor<2x3x8xf32>",
     "(a b c) -> (a b c) | a=2 b=3 c=8M", 4 * 48, 2 * 4 * 48},
    {"layer_norm", "%x: tensor<2x8xf32>", "%y = nn.layer_norm %x epsilon = 1.0e-5 : tensor<2x8xf32>",
     "(a b) -> (a b) | a=2 b=8M", 6 * 16},
    {"rope", "%x: tensor<2x3x8xf32>, %c: tensor<2x3x4xf32>",
     "%y = nn.rope %x, %c, %c : tensor<2x3x8xf32>, tensor<2x3x4xf32>, tensor<2x3x4xf32> -> tensor<2x3x8xf32>",
     "(a b c) (a b d) (a b d) -> (a b c) | a=2 b=3 c=8M d=4M", 3 * 48, 4 * (48 + 24 + 24 + 48)},
    // Factors b, g (key heads), r (query heads per key head), s, d, t, e. Two products of B Hq S T pairs.
    {"attention", "%q: tensor<2x6x4x8xf32>, %k: tensor<2x3x5x8xf32>, %v: tensor<2x3x5x7xf32>",
     "%y, %lse = nn.attention %q, %k, %v {scale = 1.0 : f64} : (tensor<2x6x4x8xf32>, tensor<2x3x5x8xf32>, "
     "tensor<2x3x5x7xf32>) -> tensor<2x6x4x7xf32>",
     "(a bc d e) (a b f e) (a b f g) -> (a bc d g) (a bc d) | a=2 b=3 c=2 d=4 e=8M f=5M g=7",
     2 * (2 * 6 * 4 * 5) * (8 + 7), 4 * (384 + 240 + 210 + 336 + 48), Attention},
    {"attention_causal_everything",
     "%q: tensor<2x4x3x8xf32>, %k: tensor<2x1x3x8xf32>, %m: tensor<2x3xi1>, %s: tensor<2x3xi64>, %b: "
     "tensor<2x4x3x3xf32>",
     "%y, %lse = nn.attention %q, %k, %k valid %m segments %s bias %b {causal, scale = 1.0 : f64} : "
     "(tensor<2x4x3x8xf32>, "
     "tensor<2x1x3x8xf32>, tensor<2x1x3x8xf32>, tensor<2x3xi1>, tensor<2x3xi64>, tensor<2x4x3x3xf32>) -> "
     "tensor<2x4x3x8xf32>",
     "(a bc d e) (a b f e) (a b f g) (a f) (a f) (a bc d f) -> (a bc d g) (a bc d) | a=2 b=1 c=4 d=3 e=8M f=3M g=8",
     (2 * 4 * 3 * 3) * (8 + 8), -1, Attention},
    {"attention_two_rows_of_segments", "%q: tensor<2x4x3x8xf32>, %k: tensor<2x1x3x8xf32>, %s: tensor<2x2x3xi64>",
     "%y, %lse = nn.attention %q, %k, %k segments %s {scale = 1.0 : f64} : (tensor<2x4x3x8xf32>, tensor<2x1x3x8xf32>, "
     "tensor<2x1x3x8xf32>, tensor<2x2x3xi64>) -> tensor<2x4x3x8xf32>",
     "(a bc d e) (a b f e) (a b f g) (a h f) -> (a bc d g) (a bc d) | a=2 b=1 c=4 d=3 e=8M f=3M g=8 h=2M", -1, -1,
     Attention},
    {"attention_bias_alone", "%q: tensor<1x2x3x8xf32>, %b: tensor<1x2x3x3xf32>",
     "%y, %lse = nn.attention %q, %q, %q bias %b {scale = 1.0 : f64} : (tensor<1x2x3x8xf32>, tensor<1x2x3x8xf32>, "
     "tensor<1x2x3x8xf32>, tensor<1x2x3x3xf32>) -> tensor<1x2x3x8xf32>",
     "(a bc d e) (a b f e) (a b f g) (a bc d f) -> (a bc d g) (a bc d) | a=1 b=2 c=1 d=3 e=8M f=3M g=8", -1, -1,
     Attention},

    // dk and dv are sums over queries: positions and heads of a group stay together. Five products.
    {"attention_gradient",
     "%q: tensor<2x4x3x8xf32>, %k: tensor<2x2x5x8xf32>, %v: tensor<2x2x5x7xf32>, %o: tensor<2x4x3x7xf32>, %n: "
     "tensor<2x4x3xf32>, %m: tensor<2x5xi1>",
     "%y, %dk, %dv = nn.attention_gradient %q, %k, %v, %o, %n, %o valid %m {scale = 1.0 : f64} : tensor<2x4x3x8xf32>, "
     "tensor<2x2x5x8xf32>, tensor<2x2x5x7xf32>, tensor<2x4x3x7xf32>, tensor<2x5xi1>",
     "(a bc d e) (a b f e) (a b f g) (a bc d g) (a bc d) (a bc d g) (a f) -> (a bc d e) (a b f e) (a b f g) | a=2 b=2 "
     "c=2M d=3M e=8M f=5M g=7",
     2 * (2 * 4 * 3 * 5) * (3 * 8 + 2 * 7), -1, Attention},
    {"attention_gradient_two_rows_of_segments",
     "%q: tensor<2x4x3x8xf32>, %k: tensor<2x2x3x8xf32>, %n: tensor<2x4x3xf32>, %s: tensor<2x2x3xi64>",
     "%y, %dk, %dv = nn.attention_gradient %q, %k, %k, %q, %n, %q segments %s {scale = 1.0 : f64} : "
     "tensor<2x4x3x8xf32>, tensor<2x2x3x8xf32>, tensor<2x2x3x8xf32>, tensor<2x4x3x8xf32> segments tensor<2x2x3xi64>",
     "(a bc d e) (a b f e) (a b f g) (a bc d g) (a bc d) (a bc d g) (a h f) -> (a bc d e) (a b f e) (a b f g) | a=2 "
     "b=2 "
     "c=2M d=3M e=8M f=3M g=8 h=2M",
     -1, -1, Attention},

    // rl.
    {"token_logprobs", "%z: tensor<2x3x50xf32>, %y: tensor<2x3xi64>",
     "%l, %h, %n = rl.token_logprobs %z, %y : tensor<2x3x50xf32>, tensor<2x3xi64> -> tensor<2x3xf32>",
     "(a b c) (a b) -> (a b) (a b) (a b) | a=2 b=3 c=50R", 7 * 300, 4 * 300 + 8 * 6 + 3 * 4 * 6},
    {"sequence_reduce", "%x: tensor<2x3xf32>, %m: tensor<2x3xi1>",
     "%y = rl.sequence_reduce sum %x mask %m : tensor<2x3xf32>, tensor<2x3xi1> -> tensor<2xf32>",
     "(a b) (a b) -> (a) | a=2 b=3R", 6},
    {"sequence_broadcast", "%x: tensor<2xf32>, %m: tensor<2x3xi1>",
     "%y = rl.sequence_broadcast %x mask %m : tensor<2xf32>, tensor<2x3xi1> -> tensor<2x3xf32>",
     "(a) (a b) -> (a b) | a=2 b=3", 6},
    {"group_reduce", "%x: tensor<4xf32>, %g: tensor<4xi32>, %r: tensor<4xi1>",
     "%y = rl.group_reduce max %x ids %g rows %r : tensor<4xf32>, tensor<4xi32>, tensor<4xi1> -> tensor<4xf32>",
     "(a) (a) (a) -> (a) | a=4M"},
    {"batch_reduce", "%x: tensor<4xf32>, %r: tensor<4xi1>",
     "%y = rl.batch_reduce sum %x rows %r : tensor<4xf32>, tensor<4xi1> -> tensor<f32>", "(a) (a) -> () | a=4R", 4},
    {"batch_broadcast", "%x: tensor<f32>, %r: tensor<4xi1>",
     "%y = rl.batch_broadcast %x rows %r : tensor<f32>, tensor<4xi1> -> tensor<4xf32>", "() (a) -> (a) | a=4", 4},
    {"stop_gradient", "%x: tensor<2x3xf32>", "%y = rl.stop_gradient %x : tensor<2x3xf32>", "(a b) -> (a b) | a=2 b=3",
     0, 0, Free},
};

INSTANTIATE_TEST_SUITE_P(Operators, Factors, testing::ValuesIn(cases),
                         [](const auto &info) { return std::string(info.param.name); });

// Tests that every operator of nn and rl with a rule stands in the list above.
TEST(FactorsList, NamesEveryOperator) {
  DialectRegistry registry;
  rl::registerDialects(registry);
  MLIRContext context(registry);
  context.loadAllAvailableDialects();
  std::string all;
  for (const Case &c : cases)
    all += std::string(c.op) + "\n";
  for (RegisteredOperationName name : context.getRegisteredOperations()) {
    bool ours = isa<NNDialect, rl::RLDialect>(name.getDialect());
    if (ours && name.hasInterface<ShardingRuleOpInterface>())
      EXPECT_NE(all.find(name.getStringRef().str() + " "), std::string::npos) << name.getStringRef().str();
  }
}

} // namespace
} // namespace graft::nn
