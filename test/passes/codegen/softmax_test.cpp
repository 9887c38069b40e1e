// Softmax of attention scores with a causal and a key mask: maximum, scratch row, column and row index, boolean input.
#include "test/passes/codegen/Kernels.h"
#include <cmath>

namespace graft::test {
namespace {

// Rows [batch, heads, queries], columns = keys; the mask is [batch, keys].
constexpr const char *kSoftmax = R"(
!scores = !rt.access<f32, [HQK, QK, KEYS], 1, align 16>
!mask = !rt.access<i1, [KEYS, 0, 0], 1, align 16>
rt.row_program @softmax rows [BATCH, HEADS, QUERIES] columns KEYS (%x: !scores, %mask: !mask, %y: !scores) {
  %query = rt.row_index 2 : i32
  %hidden = arith.constant 0xFF800000 : f32
  %exps = rt.scratch : !rt.scratch<f32>
  %max = rt.sweep (%a = %x : !scores, %valid = %mask : !mask) reduces (max : f32) {
    %key = rt.column_index : i32
    %causal = arith.cmpi sle, %key, %query : i32
    %seen = arith.andi %causal, %valid : i1
    %b = arith.select %seen, %a, %hidden : f32
    rt.yield %b : f32
  }
  %sum = rt.sweep (%a = %x : !scores, %valid = %mask : !mask) writes (%exps : !rt.scratch<f32>) reduces (add : f32) {
    %key = rt.column_index : i32
    %causal = arith.cmpi sle, %key, %query : i32
    %seen = arith.andi %causal, %valid : i1
    %b = arith.select %seen, %a, %hidden : f32
    %c = arith.subf %b, %max : f32
    %d = math.exp %c : f32
    rt.yield %d, %d : f32, f32
  }
  %one = arith.constant 1.0 : f32
  %inverse = arith.divf %one, %sum : f32
  rt.sweep (%a = %exps : !rt.scratch<f32>) writes (%y : !scores) {
    %b = arith.mulf %a, %inverse : f32
    rt.yield %b : f32
  }
})";

class Softmax : public testing::TestWithParam<int64_t> {};

TEST_P(Softmax, CausalWithKeyMask) {
  int64_t batch = 2, heads = 3, queries = GetParam(), keys = GetParam();
  std::string text = substitute(kSoftmax, {{"BATCH", "2"},
                                           {"HEADS", "3"},
                                           {"QUERIES", std::to_string(queries)},
                                           {"HQK", std::to_string(heads * queries * keys)},
                                           {"QK", std::to_string(queries * keys)},
                                           {"KEYS", std::to_string(keys)}});
  std::vector<float> x = randomFloats(batch * heads * queries * keys, 4, 3);
  std::vector<uint8_t> mask(batch * keys, 1);
  for (int64_t key = 1; key < keys; key += 3)
    mask[keys + key] = 0;
  for (const Machine &machine : machines()) {
    Kernels kernels = Kernels::compile(text, machine);
    std::vector<float> y(x.size());
    kernels.run("softmax", {x.data(), mask.data(), y.data()});
    for (int64_t row = 0; row < batch * heads * queries; ++row) {
      int64_t query = row % queries, b = row / (heads * queries);
      auto seen = [&](int64_t key) { return key <= query && mask[b * keys + key]; };
      double sum = 0;
      for (int64_t key = 0; key < keys; ++key)
        sum += seen(key) ? std::exp(double(x[row * keys + key])) : 0;
      for (int64_t key = 0; key < keys; ++key)
        ASSERT_NEAR(y[row * keys + key], seen(key) ? std::exp(double(x[row * keys + key])) / sum : 0, 1e-6)
            << name(machine) << " row " << row << " key " << key;
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Keys, Softmax, testing::Values(1, 7, 64, 77, 128, 144), testing::PrintToStringParamName());

constexpr const char *kExtrema = R"(
!rows = !rt.access<f32, [70], 1>
!row = !rt.access<f32, [1], 0>
rt.row_program @extrema rows [3] columns 70 (%x: !rows, %max: !row, %min: !row) {
  %a, %b = rt.sweep (%v = %x : !rows) reduces (max : f32, min : f32) { rt.yield %v, %v : f32, f32 }
  rt.store %a, %max : f32, !row
  rt.store %b, %min : f32, !row
})";

// Tests that the maximum and minimum ignore NaN, know infinities, and do not see the lanes behind a row's end.
TEST(Reductions, ExtremaIgnoreNaN) {
  std::vector<float> x(3 * 70, -5);
  x[3] = x[69] = std::nanf("");
  x[7] = -2;
  x[9] = -8;
  std::fill(x.begin() + 70, x.begin() + 140, std::nanf(""));
  x[140 + 69] = INFINITY;
  x[140] = -INFINITY;
  for (const Machine &machine : machines()) {
    Kernels kernels = Kernels::compile(kExtrema, machine);
    std::vector<float> max(3), min(3);
    kernels.run("extrema", {x.data(), max.data(), min.data()});
    EXPECT_EQ(max, (std::vector<float>{-2, -INFINITY, INFINITY})) << name(machine);
    EXPECT_EQ(min, (std::vector<float>{-8, INFINITY, -INFINITY})) << name(machine);
  }
}

constexpr const char *kIntegers = R"(
!ids = !rt.access<i64, [COLUMNS], 1>
!flags = !rt.access<i1, [COLUMNS], 1>
!i64 = !rt.access<i64, [1], 0>
!i32 = !rt.access<i32, [1], 0>
!i1 = !rt.access<i1, [1], 0>
rt.row_program @integers rows [4] columns COLUMNS
    (%ids: !ids, %flags: !flags, %sum: !i64, %max: !i64, %min: !i32, %all: !i1, %any: !i1) {
  %s, %m, %n, %a, %o = rt.sweep (%id = %ids : !ids, %flag = %flags : !flags)
      reduces (add : i64, max : i64, min : i32, and : i1, or : i1) {
    %small = arith.trunci %id : i64 to i32
    rt.yield %id, %id, %small, %flag, %flag : i64, i64, i32, i1, i1
  }
  rt.store %s, %sum : i64, !i64
  rt.store %m, %max : i64, !i64
  rt.store %n, %min : i32, !i32
  rt.store %a, %all : i1, !i1
  rt.store %o, %any : i1, !i1
})";

TEST(Reductions, IntegersAndBooleans) {
  for (int64_t columns : {5, 64, 130, 1024, 1100, 2048}) {
    std::vector<int64_t> ids(4 * columns);
    std::vector<uint8_t> flags(4 * columns, 0);
    for (size_t i = 0; i < ids.size(); ++i)
      ids[i] = static_cast<int64_t>(i * 7919 % 101) - 120;
    std::fill(flags.begin() + columns, flags.begin() + 2 * columns, 1);
    flags[3 * columns - 1] = 7; // any byte that is not zero is true
    for (const Machine &machine : machines()) {
      Kernels kernels = Kernels::compile(substitute(kIntegers, {{"COLUMNS", std::to_string(columns)}}), machine);
      std::vector<int64_t> sum(4), max(4);
      std::vector<int32_t> min(4);
      std::vector<uint8_t> all(4, 9), any(4, 9);
      kernels.run("integers", {ids.data(), flags.data(), sum.data(), max.data(), min.data(), all.data(), any.data()});
      for (int64_t row = 0; row < 4; ++row) {
        auto begin = ids.begin() + row * columns, end = begin + columns;
        EXPECT_EQ(sum[row], std::accumulate(begin, end, int64_t(0)));
        EXPECT_EQ(max[row], *std::max_element(begin, end));
        EXPECT_EQ(min[row], *std::min_element(begin, end));
      }
      EXPECT_EQ(all, (std::vector<uint8_t>{0, 1, 0, 0})) << name(machine);
      EXPECT_EQ(any, (std::vector<uint8_t>{0, 1, 1, 0})) << name(machine);
    }
  }
}

// y = x^2 * (old + 2 new) with x^2 in a scratch row and new = 2 old, which the row writes over old; sums and extremes
// in double.
constexpr const char *kLong = R"(
!rows = !rt.access<f32, [COLUMNS], 1, align 16>
!row = !rt.access<f32, [1], 0>
!double = !rt.access<f64, [1], 0>
rt.row_program @long rows [3] columns COLUMNS (%x: !rows, %y: !rows, %scale: !row, %sum: !double, %max: !double) {
  %squares = rt.scratch : !rt.scratch<f32>
  %s, %m = rt.sweep (%a = %x : !rows) writes (%squares : !rt.scratch<f32>) reduces (add : f64, max : f64) {
    %q = arith.mulf %a, %a : f32
    %d = arith.extf %a : f32 to f64
    rt.yield %q, %d, %d : f32, f64, f64
  }
  rt.store %s, %sum : f64, !double
  rt.store %m, %max : f64, !double
  %old = rt.load %scale : !row -> f32
  %two = arith.constant 2.0 : f32
  %new = arith.mulf %old, %two : f32
  rt.store %new, %scale : f32, !row
  %again = rt.load %scale : !row -> f32
  rt.sweep (%q = %squares : !rt.scratch<f32>, %r = %scale : !row) writes (%y : !rows) {
    %both = arith.addf %r, %again : f32
    %all = arith.addf %both, %old : f32
    %t = arith.mulf %q, %all : f32
    rt.yield %t : f32
  }
})";

// Tests rows of a warp and of a block, with scratch in shared memory and beyond it, and values of a row that are read
// after they were written.
TEST(Rows, OfAnyLength) {
  for (int64_t columns : {3, 64, 100, 1024, 1028, 3000, 13000, 13001}) {
    std::vector<float> x = randomFloats(3 * columns, 12);
    for (const Machine &machine : machines()) {
      Kernels kernels = Kernels::compile(substitute(kLong, {{"COLUMNS", std::to_string(columns)}}), machine);
      std::vector<float> y(3 * columns), scale = {1, 2, 3};
      std::vector<double> sum(3), max(3);
      kernels.run("long", {x.data(), y.data(), scale.data(), sum.data(), max.data()});
      EXPECT_EQ(scale, (std::vector<float>{2, 4, 6})) << name(machine);
      for (int64_t row = 0; row < 3; ++row) {
        auto begin = x.begin() + row * columns, end = begin + columns;
        EXPECT_NEAR(sum[row], std::accumulate(begin, end, 0.0), 1e-10) << name(machine) << " " << columns;
        EXPECT_EQ(max[row], *std::max_element(begin, end)) << name(machine);
      }
      for (int64_t i = 0; i < 3 * columns; ++i)
        ASSERT_EQ(y[i], x[i] * x[i] * (2.5f * scale[i / columns]))
            << name(machine) << " " << columns << " element " << i;
    }
  }
}

} // namespace
} // namespace graft::test
