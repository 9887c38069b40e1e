// Operators whose semantics have traps, against values worked out by hand. What every operator computes in the plain
// case is tested through its gradient (test/dialects/nn) and by the models (test/frontends/onnx/import).
#include "test/dialects/reference/ReferenceFixture.h"

#include <gmock/gmock.h>

#include <cmath>
#include <limits>

using namespace mlir;

namespace graft {
namespace {

using testing::ElementsAreArray;
using testing::HasSubstr;

constexpr double inf = std::numeric_limits<double>::infinity(), nan = std::numeric_limits<double>::quiet_NaN();
constexpr int64_t least = std::numeric_limits<int64_t>::min(), most = std::numeric_limits<int64_t>::max();

/// Constant operands are written in the text (so that their type's width counts), floats that text cannot say are the
/// argument %x.
struct FloatCase {
  const char *name, *body, *result;
  std::vector<double> x, expected;
};
struct IntegerCase {
  const char *name, *body, *result;
  std::vector<double> x;
  std::vector<int64_t> expected;
};
struct ErrorCase {
  const char *name, *body, *result, *error;
};
std::ostream &operator<<(std::ostream &out, const FloatCase &c) {
  return out << c.name;
}
std::ostream &operator<<(std::ostream &out, const IntegerCase &c) {
  return out << c.name;
}
std::ostream &operator<<(std::ostream &out, const ErrorCase &c) {
  return out << c.name;
}

template <typename C> FailureOr<SmallVector<Tensor>> run(Reference &reference, const C &c, std::vector<double> x) {
  auto size = static_cast<int64_t>(x.size());
  func::FuncOp function = reference.parse("%x: tensor<" + std::to_string(size) + "xf64>", c.result,
                                          std::string(c.body) + "\nreturn %y : " + c.result);
  EXPECT_TRUE(function) << reference.errors;
  if (!function)
    return failure();
  return interpret(function, {Tensor::floats({size}, std::move(x))});
}

class FloatSemantics : public testing::TestWithParam<FloatCase> {};
TEST_P(FloatSemantics, AreAsWorkedOutByHand) {
  Reference reference;
  auto results = run(reference, GetParam(), GetParam().x);
  ASSERT_TRUE(succeeded(results)) << reference.errors;
  const std::vector<double> &expected = GetParam().expected, &got = results->front().f();
  ASSERT_EQ(got.size(), expected.size());
  for (size_t k = 0; k < got.size(); ++k) {
    if (std::isnan(expected[k]) || std::isinf(expected[k]) || expected[k] == 0)
      EXPECT_TRUE(std::isnan(expected[k]) ? std::isnan(got[k]) : got[k] == expected[k])
          << "element " << k << ": " << got[k] << ", expected " << expected[k];
    else
      EXPECT_NEAR(got[k], expected[k], 1e-12 * std::fabs(expected[k])) << "element " << k;
  }
}

class IntegerSemantics : public testing::TestWithParam<IntegerCase> {};
TEST_P(IntegerSemantics, AreAsWorkedOutByHand) {
  Reference reference;
  auto results = run(reference, GetParam(), GetParam().x);
  ASSERT_TRUE(succeeded(results)) << reference.errors;
  ASSERT_FALSE(results->front().isFloat());
  EXPECT_THAT(results->front().i(), ElementsAreArray(GetParam().expected));
}

class Undefined : public testing::TestWithParam<ErrorCase> {};
TEST_P(Undefined, IsAnErrorOnTheOperator) {
  Reference reference;
  EXPECT_TRUE(failed(run(reference, GetParam(), {0})));
  EXPECT_THAT(reference.errors, HasSubstr(GetParam().error));
}

const double e = std::exp(1.0);

const FloatCase floats[] = {
    // NaN wins over everything, on either side; signs of infinity are kept.
    {"maximum_nan_left",
     "%c = arith.constant dense<1.0> : tensor<3xf64> %y = arith.maximumf %x, %c : tensor<3xf64>",
     "tensor<3xf64>",
     {nan, 0, inf},
     {nan, 1, inf}},
    {"minimum_nan_right",
     "%c = arith.constant dense<1.0> : tensor<3xf64> %y = arith.minimumf %c, %x : tensor<3xf64>",
     "tensor<3xf64>",
     {nan, 2, -inf},
     {nan, 1, -inf}},
    {"reduce_max_nan_first",
     "%y = nn.reduce max %x axes = [0] : tensor<3xf64> -> tensor<f64>",
     "tensor<f64>",
     {nan, 1, 2},
     {nan}},
    {"reduce_max_nan_last",
     "%y = nn.reduce max %x axes = [0] : tensor<3xf64> -> tensor<f64>",
     "tensor<f64>",
     {1, inf, nan},
     {nan}},
    {"reduce_min_nan",
     "%y = nn.reduce min %x axes = [0] : tensor<3xf64> -> tensor<f64>",
     "tensor<f64>",
     {1, nan, -inf},
     {nan}},
    {"reduce_max_of_minus_infinity",
     "%y = nn.reduce max %x axes = [0] : tensor<2xf64> -> tensor<f64>",
     "tensor<f64>",
     {-inf, -inf},
     {-inf}},
    {"reduce_sum_of_nothing",
     "%y = nn.reduce sum %x axes = [0] : tensor<0xf64> -> tensor<f64>",
     "tensor<f64>",
     {},
     {0}},
    {"reduce_prod_of_nothing",
     "%y = nn.reduce prod %x axes = [0] : tensor<0xf64> -> tensor<f64>",
     "tensor<f64>",
     {},
     {1}},

    // Softmax: large inputs, masks, NaN.
    {"softmax_large",
     "%y = nn.softmax %x axis = 0 : tensor<2xf64> -> tensor<2xf64>",
     "tensor<2xf64>",
     {1000, 1001},
     {1 / (1 + e), e / (1 + e)}},
    {"softmax_minus_infinity",
     "%y = nn.softmax %x axis = 0 : tensor<2xf64> -> tensor<2xf64>",
     "tensor<2xf64>",
     {-inf, 3},
     {0, 1}},
    {"softmax_row_without_allowed_element",
     "%m = arith.constant dense<[[false, false], [false, true]]> : tensor<2x2xi1> %z = nn.reshape %x : "
     "tensor<4xf64> -> tensor<2x2xf64> %y = nn.softmax %z mask %m axis = 1 : tensor<2x2xf64>, tensor<2x2xi1> "
     "-> tensor<2x2xf64>",
     "tensor<2x2xf64>",
     {nan, inf, nan, 3},
     {0, 0, 0, 1}},
    {"softmax_along_columns",
     "%m = arith.constant dense<[[true, false], [true, false]]> : tensor<2x2xi1> %z = nn.reshape %x : "
     "tensor<4xf64> -> tensor<2x2xf64> %y = nn.softmax %z mask %m axis = 0 : tensor<2x2xf64>, tensor<2x2xi1> "
     "-> tensor<2x2xf64>",
     "tensor<2x2xf64>",
     {0, 5, 1, 5},
     {1 / (1 + e), 0, e / (1 + e), 0}},
    {"softmax_nan",
     "%y = nn.softmax %x axis = 0 : tensor<2xf64> -> tensor<2xf64>",
     "tensor<2xf64>",
     {nan, 3},
     {nan, nan}},
    {"log_softmax_large",
     "%y = nn.log_softmax %x axis = 0 : tensor<2xf64>",
     "tensor<2xf64>",
     {-1000, 1000},
     {-2000, 0}},
    {"sigmoid_extremes",
     "%y = nn.sigmoid %x : tensor<4xf64>",
     "tensor<4xf64>",
     {-1000, 1000, nan, 0},
     {0, 1, nan, 0.5}},
    {"softplus_extremes",
     "%y = nn.softplus %x : tensor<4xf64>",
     "tensor<4xf64>",
     {-1000, 1000, nan, 0},
     {0, 1000, nan, std::log(2.0)}},

    // Rounding to even, scans, padding.
    {"roundeven", "%y = math.roundeven %x : tensor<4xf64>", "tensor<4xf64>", {0.5, 1.5, 2.5, -0.5}, {0, 2, 2, 0}},
    {"cumsum", "%y = nn.cumsum %x axis = 0 : tensor<3xf64>", "tensor<3xf64>", {1, 2, 4}, {1, 3, 7}},
    {"cumsum_exclusive", "%y = nn.cumsum %x axis = 0 exclusive : tensor<3xf64>", "tensor<3xf64>", {1, 2, 4}, {0, 1, 3}},
    {"cumsum_reverse", "%y = nn.cumsum %x axis = 0 reverse : tensor<3xf64>", "tensor<3xf64>", {1, 2, 4}, {7, 6, 4}},
    {"cumsum_exclusive_reverse",
     "%y = nn.cumsum %x axis = 0 exclusive reverse : tensor<3xf64>",
     "tensor<3xf64>",
     {1, 2, 4},
     {6, 4, 0}},
    {"pad_spaced",
     "%y = nn.pad %x starts = [1] steps = [2] : tensor<2xf64> -> tensor<5xf64>",
     "tensor<5xf64>",
     {nan, 7},
     {0, nan, 0, 7, 0}},
    {"slice_of_nothing",
     "%y = nn.slice %x starts = [2] steps = [1] : tensor<2xf64> -> tensor<0xf64>",
     "tensor<0xf64>",
     {1, 2},
     {}},
    {"scatter_add_twice",
     "%i = arith.constant dense<[2, 0, 2]> : tensor<3xi32> %y = nn.scatter_add %x, %i axis = 0 : "
     "tensor<3xf64>, tensor<3xi32> -> tensor<4xf64>",
     "tensor<4xf64>",
     {1, 10, 100},
     {10, 0, 101, 0}},
    {"rms_norm_of_zeros_without_epsilon",
     "%y = nn.rms_norm %x epsilon = 0.0 : tensor<2xf64>",
     "tensor<2xf64>",
     {0, 0},
     {nan, nan}},
    {"layer_norm", "%y = nn.layer_norm %x epsilon = 0.0 : tensor<2xf64>", "tensor<2xf64>", {3, 5}, {-1, 1}},

    // Attention: one head, D = 1, scale 0, so that every allowed key counts the same.
    {"attention_window_causal",
     "%k = nn.reshape %x : tensor<4xf64> -> tensor<1x1x4x1xf64> %y, %lse = nn.attention %k, %k, %k {causal, scale = "
     "0.0 : f64, window = 2 : i64} : (tensor<1x1x4x1xf64>, tensor<1x1x4x1xf64>, tensor<1x1x4x1xf64>) -> "
     "tensor<1x1x4x1xf64>",
     "tensor<1x1x4x1xf64>",
     {1, 2, 4, 8},
     {1, 1.5, 3, 6}},
    {"attention_fewer_queries_than_keys",
     "%k = nn.reshape %x : tensor<4xf64> -> tensor<1x1x4x1xf64> %q = nn.slice %k starts = [0, 0, 0, 0] steps = "
     "[1, 1, 1, 1] : tensor<1x1x4x1xf64> -> tensor<1x1x2x1xf64> %y, %lse = nn.attention %q, %k, %k {causal, scale = "
     "0.0 : f64} : (tensor<1x1x2x1xf64>, tensor<1x1x4x1xf64>, tensor<1x1x4x1xf64>) -> tensor<1x1x2x1xf64>",
     "tensor<1x1x2x1xf64>",
     {1, 2, 3, 6},
     {2, 3}},
    {"attention_query_that_may_read_nothing",
     "%m = arith.constant dense<[[false, true]]> : tensor<1x2xi1> %k = nn.reshape %x : tensor<2xf64> -> "
     "tensor<1x1x2x1xf64> %y, %lse = nn.attention %k, %k, %k valid %m {causal, scale = 0.0 : f64} : "
     "(tensor<1x1x2x1xf64>, tensor<1x1x2x1xf64>, tensor<1x1x2x1xf64>, tensor<1x2xi1>) -> tensor<1x1x2x1xf64>",
     "tensor<1x1x2x1xf64>",
     {5, 7},
     {0, 7}},
    {"attention_segments",
     "%s = arith.constant dense<[[0, 1, 1]]> : tensor<1x3xi64> %k = nn.reshape %x : tensor<3xf64> -> "
     "tensor<1x1x3x1xf64> %y, %lse = nn.attention %k, %k, %k segments %s {scale = 0.0 : f64} : (tensor<1x1x3x1xf64>, "
     "tensor<1x1x3x1xf64>, tensor<1x1x3x1xf64>, tensor<1x3xi64>) -> tensor<1x1x3x1xf64>",
     "tensor<1x1x3x1xf64>",
     {1, 2, 4},
     {1, 3, 3}},
    {"attention_shared_segments", // a prompt, two completions, a prompt; the last query reads an id that no key has
     "%s = arith.constant dense<[[[1, 2, 3, 3, 4, 5], [1, 1, 1, 1, 4, 9]]]> : tensor<1x2x6xi64> "
     "%k = nn.reshape %x : tensor<6xf64> -> tensor<1x1x6x1xf64> %y, %lse = nn.attention %k, %k, %k segments %s "
     "{causal, scale = 0.0 : f64} : (tensor<1x1x6x1xf64>, tensor<1x1x6x1xf64>, tensor<1x1x6x1xf64>, "
     "tensor<1x2x6xi64>) -> tensor<1x1x6x1xf64>",
     "tensor<1x1x6x1xf64>",
     {1, 3, 5, 9, 7, 8},
     {1, 2, 3, 5, 7, 8}},
    {"attention_shared_segments_of_the_next_sequence",
     "%s = arith.constant dense<[[[1, 1], [1, 1]], [[1, 2], [2, 2]]]> : tensor<2x2x2xi64> "
     "%k = nn.reshape %x : tensor<4xf64> -> tensor<2x1x2x1xf64> %y, %lse = nn.attention %k, %k, %k segments %s "
     "{scale = 0.0 : f64} : (tensor<2x1x2x1xf64>, tensor<2x1x2x1xf64>, tensor<2x1x2x1xf64>, tensor<2x2x2xi64>) -> "
     "tensor<2x1x2x1xf64>",
     "tensor<2x1x2x1xf64>",
     {1, 3, 5, 9},
     {2, 2, 7, 9}},
    {"attention_nan_is_not_hidden",
     "%k = nn.reshape %x : tensor<1xf64> -> tensor<1x1x1x1xf64> %v = arith.constant dense<1.0> : "
     "tensor<1x1x1x1xf64> %y, %lse = nn.attention %k, %k, %v {scale = 1.0 : f64} : (tensor<1x1x1x1xf64>, "
     "tensor<1x1x1x1xf64>, tensor<1x1x1x1xf64>) -> tensor<1x1x1x1xf64>",
     "tensor<1x1x1x1xf64>",
     {nan},
     {nan}},

    // Casts to floats: booleans by their sign.
    {"signed_boolean_to_float",
     "%c = arith.constant dense<[true, false]> : tensor<2xi1> %y = arith.sitofp %c : tensor<2xi1> to tensor<2xf64>",
     "tensor<2xf64>",
     {},
     {-1, 0}},
    {"unsigned_boolean_to_float",
     "%c = arith.constant dense<[true, false]> : tensor<2xi1> %y = arith.uitofp %c : tensor<2xi1> to tensor<2xf64>",
     "tensor<2xf64>",
     {},
     {1, 0}},
    {"unsigned_i32_to_float",
     "%c = arith.constant dense<[-1, 5]> : tensor<2xi32> %y = arith.uitofp %c : tensor<2xi32> to tensor<2xf64>",
     "tensor<2xf64>",
     {},
     {4294967295.0, 5}},

    // Objectives: what is masked has no influence; of nothing.
    {"sequence_max_masked",
     "%m = arith.constant dense<[[true, true], [false, false]]> : tensor<2x2xi1> %z = nn.reshape %x : tensor<4xf64> -> "
     "tensor<2x2xf64> %y = rl.sequence_reduce max %z mask %m : tensor<2x2xf64>, tensor<2x2xi1> -> tensor<2xf64>",
     "tensor<2xf64>",
     {-3, -5, nan, 9},
     {-3, 0}},
    {"sequence_broadcast_masked",
     "%m = arith.constant dense<[[true, false], [false, false]]> : tensor<2x2xi1> %y = rl.sequence_broadcast %x mask "
     "%m : tensor<2xf64>, tensor<2x2xi1> -> tensor<2x2xf64>",
     "tensor<2x2xf64>",
     {3, nan},
     {3, 0, 0, 0}},
    {"group_sum",
     "%g = arith.constant dense<[7, -1, 7, 7]> : tensor<4xi64> %r = arith.constant dense<[true, true, true, false]> : "
     "tensor<4xi1> %y = rl.group_reduce sum %x ids %g rows %r : tensor<4xf64>, tensor<4xi64>, tensor<4xi1> -> "
     "tensor<4xf64>",
     "tensor<4xf64>",
     {1, 2, 4, nan},
     {5, 2, 5, 0}},
    {"batch_sum_of_none",
     "%r = arith.constant dense<false> : tensor<2xi1> %y = rl.batch_reduce sum %x rows %r : tensor<2xf64>, "
     "tensor<2xi1> -> tensor<f64>",
     "tensor<f64>",
     {1, nan},
     {0}},
    {"batch_max_of_none",
     "%r = arith.constant dense<false> : tensor<2xi1> %y = rl.batch_reduce max %x rows %r : tensor<2xf64>, "
     "tensor<2xi1> -> tensor<f64>",
     "tensor<f64>",
     {1, nan},
     {-inf}},
    {"batch_min_nan",
     "%r = arith.constant dense<true> : tensor<2xi1> %y = rl.batch_reduce min %x rows %r : tensor<2xf64>, tensor<2xi1> "
     "-> tensor<f64>",
     "tensor<f64>",
     {nan, 1},
     {nan}},
    {"entropy_with_impossible_token",
     "%z = nn.reshape %x : tensor<3xf64> -> tensor<1x3xf64> %t = arith.constant dense<0> : tensor<1xi64> %l, %y, %n = "
     "rl.token_logprobs %z, %t : tensor<1x3xf64>, tensor<1xi64> -> tensor<1xf64>",
     "tensor<1xf64>",
     {1000, 1000, -inf},
     {std::log(2.0)}},
    {"lse_of_large_logits",
     "%z = nn.reshape %x : tensor<2xf64> -> tensor<1x2xf64> %t = arith.constant dense<1> : tensor<1xi64> %l, %h, %y = "
     "rl.token_logprobs %z, %t : tensor<1x2xf64>, tensor<1xi64> -> tensor<1xf64>",
     "tensor<1xf64>",
     {1000, 1000},
     {1000 + std::log(2.0)}},
};

const IntegerCase integers[] = {
    // Integers wrap to their type's width.
    {"i32_add",
     "%c = arith.constant dense<[2147483647, -2147483648]> : tensor<2xi32> %d = arith.constant dense<[1, -1]> : "
     "tensor<2xi32> %y = arith.addi %c, %d : tensor<2xi32>",
     "tensor<2xi32>",
     {},
     {-2147483648LL, 2147483647}},
    {"i32_multiply",
     "%c = arith.constant dense<65536> : tensor<1xi32> %y = arith.muli %c, %c : tensor<1xi32>",
     "tensor<1xi32>",
     {},
     {0}},
    {"i64_add",
     "%c = arith.constant dense<9223372036854775807> : tensor<1xi64> %y = arith.addi %c, %c : tensor<1xi64>",
     "tensor<1xi64>",
     {},
     {-2}},
    {"i32_least_by_minus_one",
     "%c = arith.constant dense<-2147483648> : tensor<1xi32> %d = arith.constant dense<-1> : tensor<1xi32> %y = "
     "arith.divsi %c, %d : tensor<1xi32>",
     "tensor<1xi32>",
     {},
     {-2147483648LL}},
    {"i64_least_by_minus_one",
     "%c = arith.constant dense<-9223372036854775808> : tensor<1xi64> %d = arith.constant dense<-1> : tensor<1xi64> %y "
     "= arith.remsi %c, %d : tensor<1xi64>",
     "tensor<1xi64>",
     {},
     {0}},
    {"division_truncates",
     "%c = arith.constant dense<[7, -7]> : tensor<2xi64> %d = arith.constant dense<2> : tensor<2xi64> %y = arith.divsi "
     "%c, %d : tensor<2xi64>",
     "tensor<2xi64>",
     {},
     {3, -3}},
    {"i32_sum",
     "%c = arith.constant dense<[2147483647, 1]> : tensor<2xi32> %y = nn.reduce sum %c axes = [0] : tensor<2xi32> -> "
     "tensor<i32>",
     "tensor<i32>",
     {},
     {-2147483648LL}},
    {"i64_prod",
     "%c = arith.constant dense<4294967296> : tensor<2xi64> %y = nn.reduce prod %c axes = [0] : tensor<2xi64> -> "
     "tensor<i64>",
     "tensor<i64>",
     {},
     {0}},
    {"i32_cumsum",
     "%c = arith.constant dense<2147483647> : tensor<2xi32> %y = nn.cumsum %c axis = 0 : tensor<2xi32>",
     "tensor<2xi32>",
     {},
     {2147483647, -2}},
    {"i32_scatter_add",
     "%c = arith.constant dense<2147483647> : tensor<2xi32> %i = arith.constant dense<0> : tensor<2xi64> %y = "
     "nn.scatter_add %c, %i axis = 0 : tensor<2xi32>, tensor<2xi64> -> tensor<1xi32>",
     "tensor<1xi32>",
     {},
     {-2}},
    {"i32_from_i64",
     "%c = arith.constant dense<[4294967297, 2147483648]> : tensor<2xi64> %y = arith.trunci %c : tensor<2xi64> to "
     "tensor<2xi32>",
     "tensor<2xi32>",
     {},
     {1, -2147483648LL}},

    // Floats to integers truncate and saturate; NaN is 0.
    {"float_to_i64",
     "%y = arith.fptosi %x : tensor<6xf64> to tensor<6xi64>",
     "tensor<6xi64>",
     {-1.9, 1.9, 1e30, -1e30, nan, inf},
     {-1, 1, most, least, 0, most}},
    {"float_to_i32",
     "%y = arith.fptosi %x : tensor<4xf64> to tensor<4xi32>",
     "tensor<4xi32>",
     {2147483648.0, -2147483649.0, -inf, 2147483646.5},
     {2147483647, -2147483648LL, -2147483648LL, 2147483646}},

    // Booleans are 0 and 1; to integers by their sign.
    {"boolean_unsigned",
     "%c = arith.constant dense<[true, false]> : tensor<2xi1> %y = arith.extui %c : tensor<2xi1> to tensor<2xi64>",
     "tensor<2xi64>",
     {},
     {1, 0}},
    {"boolean_signed",
     "%c = arith.constant dense<[true, false]> : tensor<2xi1> %y = arith.extsi %c : tensor<2xi1> to tensor<2xi64>",
     "tensor<2xi64>",
     {},
     {-1, 0}},
    {"i32_unsigned",
     "%c = arith.constant dense<-1> : tensor<1xi32> %y = arith.extui %c : tensor<1xi32> to tensor<1xi64>",
     "tensor<1xi64>",
     {},
     {4294967295LL}},
    {"boolean_truncated",
     "%c = arith.constant dense<[2, 3, -1]> : tensor<3xi64> %y = arith.trunci %c : tensor<3xi64> to tensor<3xi1>",
     "tensor<3xi1>",
     {},
     {0, 1, 1}},
    {"boolean_not",
     "%c = arith.constant dense<[true, false]> : tensor<2xi1> %t = arith.constant dense<true> : tensor<2xi1> %y = "
     "arith.xori %c, %t : tensor<2xi1>",
     "tensor<2xi1>",
     {},
     {0, 1}},
    {"boolean_any",
     "%c = arith.constant dense<[[true, false], [false, false]]> : tensor<2x2xi1> %y = nn.reduce max %c axes = [1] : "
     "tensor<2x2xi1> -> tensor<2xi1>",
     "tensor<2xi1>",
     {},
     {1, 0}},
    {"boolean_all",
     "%c = arith.constant dense<[[true, true], [true, false]]> : tensor<2x2xi1> %y = nn.reduce min %c axes = [1] : "
     "tensor<2x2xi1> -> tensor<2xi1>",
     "tensor<2xi1>",
     {},
     {1, 0}},

    // Comparisons with NaN; unsigned comparison of integers by width.
    {"ordered_is_false_on_nan", "%y = arith.cmpf one, %x, %x : tensor<2xf64>", "tensor<2xi1>", {nan, 1}, {0, 0}},
    {"unordered_is_true_on_nan", "%y = arith.cmpf une, %x, %x : tensor<2xf64>", "tensor<2xi1>", {nan, 1}, {1, 0}},
    {"unsigned_less",
     "%c = arith.constant dense<-1> : tensor<1xi32> %d = arith.constant dense<1> : tensor<1xi32> %y = arith.cmpi ult, "
     "%c, %d : tensor<1xi32>",
     "tensor<1xi1>",
     {},
     {0}},
};

const ErrorCase undefined[] = {
    {"division_by_zero",
     "%c = arith.constant dense<[1, 1]> : tensor<2xi64> %d = arith.constant dense<[1, 0]> : tensor<2xi64> %y = "
     "arith.divsi %c, %d : tensor<2xi64>",
     "tensor<2xi64>", "integer division by zero"},
    {"remainder_by_zero", "%c = arith.constant dense<0> : tensor<1xi32> %y = arith.remsi %c, %c : tensor<1xi32>",
     "tensor<1xi32>", "integer division by zero"},
    {"gather_beyond",
     "%i = arith.constant dense<1> : tensor<1xi64> %y = nn.gather %x, %i axis = 0 : tensor<1xf64>, tensor<1xi64> -> "
     "tensor<1xf64>",
     "tensor<1xf64>", "index 1 is not in [0, 1)"},
    {"gather_negative",
     "%i = arith.constant dense<-1> : tensor<1xi32> %y = nn.gather %x, %i axis = 0 : tensor<1xf64>, tensor<1xi32> -> "
     "tensor<1xf64>",
     "tensor<1xf64>", "index -1 is not in [0, 1)"},
    {"scatter_beyond",
     "%i = arith.constant dense<2> : tensor<1xi64> %y = nn.scatter_add %x, %i axis = 0 : tensor<1xf64>, tensor<1xi64> "
     "-> tensor<2xf64>",
     "tensor<2xf64>", "index 2 is not in [0, 2)"},
    {"gather_elements_beyond",
     "%i = arith.constant dense<7> : tensor<1xi64> %y = nn.gather_elements %x, %i axis = 0 : tensor<1xf64>, "
     "tensor<1xi64> -> tensor<1xf64>",
     "tensor<1xf64>", "index 7 is not in [0, 1)"},
    {"scatter_elements_negative",
     "%i = arith.constant dense<-2> : tensor<1xi64> %y = nn.scatter_elements_add %x, %i axis = 0 : tensor<1xf64>, "
     "tensor<1xi64> -> tensor<3xf64>",
     "tensor<3xf64>", "index -2 is not in [0, 3)"},
    {"label_beyond",
     "%z = nn.reshape %x : tensor<1xf64> -> tensor<1x1xf64> %i = arith.constant dense<1> : tensor<1xi64> %y, %h, %n = "
     "rl.token_logprobs %z, %i : tensor<1x1xf64>, tensor<1xi64> -> tensor<1xf64>",
     "tensor<1xf64>", "label 1 is not in [0, 1)"},
};

template <typename Info> std::string nameOf(const Info &info) {
  return info.param.name;
}
INSTANTIATE_TEST_SUITE_P(Operators, FloatSemantics, testing::ValuesIn(floats),
                         nameOf<testing::TestParamInfo<FloatCase>>);
INSTANTIATE_TEST_SUITE_P(Operators, IntegerSemantics, testing::ValuesIn(integers),
                         nameOf<testing::TestParamInfo<IntegerCase>>);
INSTANTIATE_TEST_SUITE_P(Operators, Undefined, testing::ValuesIn(undefined), nameOf<testing::TestParamInfo<ErrorCase>>);

} // namespace
} // namespace graft
