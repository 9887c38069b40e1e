// Element-wise kernels: gated MLP forward and backward, broadcasts over middle dimensions, slices, in place, sums over
// middle dimensions.
#include "test/passes/codegen/Kernels.h"
#include <cmath>
#include <cstring>

namespace graft::test {
namespace {

// h = silu(gate) * up, and its gradients; gate and up are halves of one packed row.
constexpr const char *kSwiGlu = R"(
!packed = !rt.access<f32, [PACKED], 1, align 16>
!rows = !rt.access<f32, [COLUMNS], 1, align 16>
rt.row_program @forward rows [ROWS] columns COLUMNS (%gate: !packed, %up: !packed, %h: !rows) {
  %one = arith.constant 1.0 : f32
  rt.sweep (%g = %gate : !packed, %u = %up : !packed) writes (%h : !rows) {
    %n = arith.negf %g : f32
    %e = math.exp %n : f32
    %d = arith.addf %one, %e : f32
    %s = arith.divf %g, %d : f32
    %y = arith.mulf %s, %u : f32
    rt.yield %y : f32
  }
}
rt.row_program @backward rows [ROWS] columns COLUMNS (%dh: !rows, %gate: !packed, %up: !packed, %dgate: !packed, %dup: !packed) {
  %one = arith.constant 1.0 : f32
  rt.sweep (%dy = %dh : !rows, %g = %gate : !packed, %u = %up : !packed) writes (%dgate : !packed, %dup : !packed) {
    %n = arith.negf %g : f32
    %e = math.exp %n : f32
    %d = arith.addf %one, %e : f32
    %s = arith.divf %one, %d : f32
    %silu = arith.mulf %g, %s : f32
    %du = arith.mulf %dy, %silu : f32
    %rest = arith.subf %one, %s : f32
    %t = arith.mulf %g, %rest : f32
    %t1 = arith.addf %one, %t : f32
    %slope = arith.mulf %s, %t1 : f32
    %dyu = arith.mulf %dy, %u : f32
    %dg = arith.mulf %dyu, %slope : f32
    rt.yield %dg, %du : f32, f32
  }
})";

class SwiGlu : public testing::TestWithParam<int64_t> {};

TEST_P(SwiGlu, ForwardAndBackward) {
  int64_t rows = 5, columns = GetParam();
  std::string text = substitute(
      kSwiGlu,
      {{"PACKED", std::to_string(2 * columns)}, {"COLUMNS", std::to_string(columns)}, {"ROWS", std::to_string(rows)}});
  std::vector<float> packed = randomFloats(rows * 2 * columns, 5), dh = randomFloats(rows * columns, 6);
  for (const Machine &machine : machines()) {
    Kernels kernels = Kernels::compile(text, machine);
    std::vector<float> h(rows * columns), gradient(packed.size());
    kernels.run("forward", {packed.data(), packed.data() + columns, h.data()});
    kernels.run("backward",
                {dh.data(), packed.data(), packed.data() + columns, gradient.data(), gradient.data() + columns});
    for (int64_t i = 0; i < rows; ++i)
      for (int64_t j = 0; j < columns; ++j) {
        double g = packed[i * 2 * columns + j], u = packed[i * 2 * columns + columns + j], dy = dh[i * columns + j];
        double s = 1 / (1 + std::exp(-g));
        ASSERT_NEAR(h[i * columns + j], g * s * u, 2e-6);
        ASSERT_NEAR(gradient[i * 2 * columns + j], dy * u * s * (1 + g * (1 - s)), 2e-6);
        ASSERT_NEAR(gradient[i * 2 * columns + columns + j], dy * g * s, 2e-6);
      }
  }
}

INSTANTIATE_TEST_SUITE_P(Columns, SwiGlu, testing::Values(1, 2, 31, 64, 96, 1536), testing::PrintToStringParamName());

// Rotary embedding of [batch, sequence, heads, dim] with tables [sequence, dim]: cos and sin repeat over batch and
// heads.
constexpr const char *kRotary = R"(
!half = !rt.access<f32, [240, 48, 16], 1>
!table = !rt.access<f32, [0, 8, 0], 1>
rt.row_program @rotary rows [2, 5, 3] columns 8 (%x0: !half, %x1: !half, %cos: !table, %sin: !table, %y0: !half, %y1: !half) {
  rt.sweep (%a = %x0 : !half, %b = %x1 : !half, %c = %cos : !table, %s = %sin : !table) writes (%y0 : !half, %y1 : !half) {
    %ac = arith.mulf %a, %c : f32
    %bs = arith.mulf %b, %s : f32
    %bc = arith.mulf %b, %c : f32
    %as = arith.mulf %a, %s : f32
    %p = arith.subf %ac, %bs : f32
    %q = arith.addf %bc, %as : f32
    rt.yield %p, %q : f32, f32
  }
})";

// Tests that strides of 0 repeat an operand over outer and middle dimensions, and that a kernel may work in place.
TEST(Broadcast, OverOuterAndMiddleDimensionsInPlace) {
  std::vector<float> x = randomFloats(2 * 5 * 3 * 16, 7), cos = randomFloats(5 * 8, 8), sin = randomFloats(5 * 8, 9);
  for (const Machine &machine : machines()) {
    Kernels kernels = Kernels::compile(kRotary, machine);
    std::vector<float> y = x;
    // In pieces, so that some ranges begin in the middle of the carried dimensions.
    for (auto [begin, end] : {std::pair{0, 4}, {4, 17}, {17, 30}})
      kernels.run("rotary", {y.data(), y.data() + 8, cos.data(), sin.data(), y.data(), y.data() + 8}, begin, end);
    for (int64_t row = 0; row < 30; ++row)
      for (int64_t j = 0; j < 8; ++j) {
        int64_t s = row / 3 % 5;
        float a = x[row * 16 + j], b = x[row * 16 + 8 + j], c = cos[s * 8 + j], d = sin[s * 8 + j];
        ASSERT_NEAR(y[row * 16 + j], a * c - b * d, 1e-6) << name(machine) << " row " << row;
        ASSERT_NEAR(y[row * 16 + 8 + j], b * c + a * d, 1e-6) << name(machine) << " row " << row;
      }
  }
}

// Tests that bfloat16 rows may be written over the float32 rows that they are made of, in pieces of any length.
TEST(Broadcast, NarrowRowsInPlace) {
  for (int64_t columns : {1, 2, 63, 64, 65, 129, 1000}) {
    std::string own = std::to_string(columns), twice = std::to_string(2 * columns);
    std::string wide = "!rt.access<f32, [" + own + "], 1>", narrow = "!rt.access<bf16, [" + twice + "], 1>";
    std::string text = "rt.row_program @shift rows [5] columns " + own + " (%x: " + wide + ", %y: " + narrow +
                       ") { %m = rt.sweep (%a = %x : " + wide + ") reduces (max : f32) { rt.yield %a : f32 }" +
                       " rt.sweep (%a = %x : " + wide + ") writes (%y : " + narrow +
                       ") { %s = arith.subf %a, %m : f32 rt.yield %s : f32 } }";
    std::vector<float> x = randomFloats(5 * columns, 12);
    for (CpuLevel level : runnableLevels()) { // a GPU runs columns in any order
      Kernels kernels = Kernels::compile(text, level);
      std::vector<uint16_t> apart(static_cast<size_t>(10 * columns));
      kernels.run("shift", {x.data(), apart.data()});
      std::vector<float> inPlace = x;
      kernels.run("shift", {inPlace.data(), inPlace.data()});
      for (int64_t row = 0; row < 5; ++row)
        ASSERT_EQ(std::memcmp(&inPlace[row * columns], &apart[row * 2 * columns], 2 * columns), 0)
            << name(level) << " row " << row << " of " << columns;
    }
  }
}

// y[b, k] = sum over s, h of x[b, s, h, k]; x is stored as [b, h, s, k].
constexpr const char *kMiddleSum = R"(
!x = !rt.access<f32, [420, 30, 210], 1>
!y = !rt.access<f32, [30, 0, 0], 1, accumulate>
rt.row_program @sum rows [3, 7, 2] columns 30 group 14 (%x: !x, %y: !y) {
  rt.sweep (%a = %x : !x) writes (%y : !y) { rt.yield %a : f32 }
})";

TEST(Accumulate, SumsOverMiddleDimensions) {
  std::vector<float> x = randomFloats(3 * 420, 10);
  for (const Machine &machine : machines()) {
    Kernels kernels = Kernels::compile(kMiddleSum, machine);
    ASSERT_EQ(kernels.compiled().kernels[0].units, 3);
    std::vector<float> y(90, std::nanf(""));
    kernels.run("sum", {x.data(), y.data()});
    for (int64_t b = 0; b < 3; ++b)
      for (int64_t k = 0; k < 30; ++k) {
        double sum = 0;
        for (int64_t r = 0; r < 14; ++r)
          sum += x[b * 420 + r * 30 + k];
        ASSERT_NEAR(y[b * 30 + k], sum, 1e-5) << name(machine);
      }
  }
}

constexpr const char *kNegativeZero = R"(
!x = !rt.access<f32, [64], 1>
!y = !rt.access<f32, [0], 1, accumulate>
rt.row_program @one rows [1] columns 64 (%x: !x, %y: !y) {
  rt.sweep (%a = %x : !x) writes (%y : !y) { rt.yield %a : f32 }
}
!two = !rt.access<f32, [0], 1, accumulate>
rt.row_program @two rows [2] columns 64 group 2 (%x: !x, %y: !y) {
  rt.sweep (%a = %x : !x) writes (%y : !y) { rt.yield %a : f32 }
})";

// Tests that a group's first row is stored, not added to zero: -0 stays -0.
TEST(Accumulate, FirstRowIsStored) {
  Kernels kernels = Kernels::compile(kNegativeZero, runnableLevels().back());
  std::vector<float> x(128, -0.0f), y(64, 1);
  kernels.run("one", {x.data(), y.data()});
  EXPECT_TRUE(std::signbit(y[5]));
  std::fill(y.begin(), y.end(), 1);
  kernels.run("two", {x.data(), y.data()});
  EXPECT_TRUE(std::signbit(y[5])) << "-0 + -0 is -0";
}

constexpr const char *kIndices = R"(
!y = !rt.access<i64, [70, 350, 70], 1>
rt.row_program @indices rows [1, 3, 5] columns 70 (%y: !y) {
  %z = rt.row_index 0 : i64
  %i = rt.row_index 1 : i64
  %j = rt.row_index 2 : i32
  %hundred = arith.constant 100 : i64
  %wide = arith.extsi %j : i32 to i64
  %h = arith.muli %i, %hundred : i64
  %s = arith.addi %h, %wide : i64
  %t = arith.addi %s, %z : i64
  rt.sweep () writes (%y : !y) {
    %k = rt.column_index : i64
    %a = arith.muli %t, %hundred : i64
    %b = arith.addi %a, %k : i64
    rt.yield %b : i64
  }
})";

TEST(Indices, OfRowsAndColumns) {
  for (const Machine &machine : machines()) {
    Kernels kernels = Kernels::compile(kIndices, machine);
    std::vector<int64_t> y(15 * 70);
    kernels.run("indices", {y.data()}, 0, 7);
    kernels.run("indices", {y.data()}, 7, 15);
    for (int64_t row = 0; row < 15; ++row)
      for (int64_t k = 0; k < 70; ++k)
        ASSERT_EQ(y[row * 70 + k], (row / 5 * 100 + row % 5) * 100 + k) << name(machine);
  }
}

// Tests that nothing behind a row's last column is read or written.
TEST(Tails, StayInsideTheRow) {
  constexpr const char *text = R"(
!x = !rt.access<TYPE, [COLUMNS], 1, align 16>
rt.row_program @copy rows [1] columns COLUMNS (%x: !x, %y: !x) {
  rt.sweep (%a = %x : !x) writes (%y : !x) { rt.yield %a : COMPUTE }
})";
  struct Storage {
    const char *type, *compute;
    size_t bytes;
  };
  for (Storage storage :
       {Storage{"f32", "f32", 4}, {"bf16", "f32", 2}, {"f16", "f32", 2}, {"i1", "i1", 1}, {"i64", "i64", 8}})
    for (size_t columns : {1, 5, 63, 64, 65, 127, 1032, 1033})
      for (const Machine &machine : machines()) {
        Kernels kernels = Kernels::compile(
            substitute(text,
                       {{"COLUMNS", std::to_string(columns)}, {"TYPE", storage.type}, {"COMPUTE", storage.compute}}),
            machine);
        std::vector<uint8_t> x(columns * storage.bytes, 1), y((columns + 64) * storage.bytes, 0xcc);
        kernels.run("copy", {x.data(), y.data()});
        for (size_t i = 0; i < y.size(); ++i)
          ASSERT_EQ(y[i], i < x.size() ? 1 : 0xcc)
              << storage.type << " " << columns << " byte " << i << " " << name(machine);
      }
}

} // namespace
} // namespace graft::test
