// RMSNorm forward and backward against plain loops in double: sums over columns, values per row, weight gradients over
// rows.
#include "test/passes/codegen/Kernels.h"
#include <cmath>

namespace graft::test {
namespace {

constexpr float kEpsilon = 1e-5f;

std::vector<std::pair<std::string, std::string>> sizes(int64_t units, int64_t group, int64_t columns) {
  char inverse[32];
  snprintf(inverse, sizeof inverse, "%.9e", 1.0 / columns);
  return {{"UNITS", std::to_string(units)},
          {"GROUP", std::to_string(group)},
          {"SPAN", std::to_string(group * columns)},
          {"COLUMNS", std::to_string(columns)},
          {"INVERSE", inverse}};
}

constexpr const char *kForward = R"(
!rows = !rt.access<f32, [SPAN, COLUMNS], 1, align 16>
!column = !rt.access<f32, [0, 0], 1, align 16>
!row = !rt.access<f32, [GROUP, 1], 0>
rt.row_program @forward rows [UNITS, GROUP] columns COLUMNS (%x: !rows, %w: !column, %y: !rows, %rstd: !row) {
  %inverse = arith.constant INVERSE : f32
  %epsilon = arith.constant 1.0e-5 : f32
  %ss = rt.sweep (%a = %x : !rows) reduces (add : f32) {
    %q = arith.mulf %a, %a : f32
    rt.yield %q : f32
  }
  %mean = arith.mulf %ss, %inverse : f32
  %shifted = arith.addf %mean, %epsilon : f32
  %r = math.rsqrt %shifted : f32
  rt.store %r, %rstd : f32, !row
  rt.sweep (%a = %x : !rows, %b = %w : !column) writes (%y : !rows) {
    %t = arith.mulf %a, %r : f32
    %u = arith.mulf %t, %b : f32
    rt.yield %u : f32
  }
})";

// dx = r * (g*w - x * r^2 * mean(g*w*x)); dw = sum over rows of g * x * r, one partial per group of rows.
constexpr const char *kBackward = R"(
!rows = !rt.access<f32, [SPAN, COLUMNS], 1, align 16>
!column = !rt.access<f32, [0, 0], 1, align 16>
!row = !rt.access<f32, [GROUP, 1], 0>
!partial = !rt.access<f32, [COLUMNS, 0], 1, accumulate, align 16>
!total = !rt.access<f32, [1, 0], 0, accumulate>
rt.row_program @backward rows [UNITS, GROUP] columns COLUMNS group GROUP
    (%g: !rows, %x: !rows, %w: !column, %rstd: !row, %dx: !rows, %dw: !partial, %dots: !total) {
  %inverse = arith.constant INVERSE : f32
  %r = rt.load %rstd : !row -> f32
  %dot = rt.sweep (%a = %g : !rows, %b = %x : !rows, %c = %w : !column) writes (%dw : !partial) reduces (add : f32) {
    %ab = arith.mulf %a, %b : f32
    %d = arith.mulf %ab, %r : f32
    %e = arith.mulf %ab, %c : f32
    rt.yield %d, %e : f32, f32
  }
  rt.store %dot, %dots : f32, !total
  %mean = arith.mulf %dot, %inverse : f32
  %r2 = arith.mulf %r, %r : f32
  %scale = arith.mulf %mean, %r2 : f32
  rt.sweep (%a = %g : !rows, %b = %x : !rows, %c = %w : !column) writes (%dx : !rows) {
    %gw = arith.mulf %a, %c : f32
    %xs = arith.mulf %b, %scale : f32
    %d = arith.subf %gw, %xs : f32
    %e = arith.mulf %d, %r : f32
    rt.yield %e : f32
  }
})";

struct Case {
  int64_t units, group, columns;
  friend std::ostream &operator<<(std::ostream &stream, const Case &c) {
    return stream << c.units << "x" << c.group << "x" << c.columns;
  }
};

class RmsNorm : public testing::TestWithParam<Case> {
protected:
  void SetUp() override {
    auto [units, group, columns] = GetParam();
    rows_ = units * group;
    columns_ = columns;
    x_ = randomFloats(rows_ * columns, 1);
    w_ = randomFloats(columns, 2);
    g_ = randomFloats(rows_ * columns, 3);
  }
  double expectedRstd(int64_t row) const {
    double sum = 0;
    for (int64_t j = 0; j < columns_; ++j)
      sum += double(x_[row * columns_ + j]) * x_[row * columns_ + j];
    return 1 / std::sqrt(sum / columns_ + kEpsilon);
  }

  int64_t rows_, columns_;
  std::vector<float> x_, w_, g_;
};

TEST_P(RmsNorm, Forward) {
  auto [units, group, columns] = GetParam();
  for (const Machine &machine : machines()) {
    Kernels kernels = Kernels::compile(substitute(kForward, sizes(units, group, columns)), machine);
    std::vector<float> y(rows_ * columns), rstd(rows_);
    kernels.run("forward", {x_.data(), w_.data(), y.data(), rstd.data()});
    for (int64_t i = 0; i < rows_; ++i) {
      double r = expectedRstd(i);
      ASSERT_NEAR(rstd[i], r, 1e-6 * r) << name(machine);
      for (int64_t j = 0; j < columns; ++j)
        ASSERT_NEAR(y[i * columns + j], x_[i * columns + j] * r * w_[j], 1e-5)
            << name(machine) << " row " << i << " column " << j;
    }
  }
}

TEST_P(RmsNorm, Backward) {
  auto [units, group, columns] = GetParam();
  std::vector<float> rstd(rows_);
  for (int64_t i = 0; i < rows_; ++i)
    rstd[i] = expectedRstd(i);
  for (const Machine &machine : machines()) {
    Kernels kernels = Kernels::compile(substitute(kBackward, sizes(units, group, columns)), machine);
    // NaN in the outputs: the first row of a group must store, not add.
    float nan = std::nanf("");
    std::vector<float> dx(rows_ * columns, nan), dw(units * columns, nan), dots(units, nan);
    kernels.run("backward", {g_.data(), x_.data(), w_.data(), rstd.data(), dx.data(), dw.data(), dots.data()});
    std::vector<double> expectedDw(units * columns), expectedDots(units);
    for (int64_t i = 0; i < rows_; ++i) {
      double dot = 0;
      const float *g = &g_[i * columns], *x = &x_[i * columns];
      for (int64_t j = 0; j < columns; ++j) {
        dot += double(g[j]) * x[j] * w_[j];
        expectedDw[i / group * columns + j] += double(g[j]) * x[j] * rstd[i];
      }
      expectedDots[i / group] += dot;
      double scale = dot / columns * rstd[i] * rstd[i];
      for (int64_t j = 0; j < columns; ++j)
        ASSERT_NEAR(dx[i * columns + j], (g[j] * w_[j] - x[j] * scale) * rstd[i], 2e-5)
            << name(machine) << " row " << i;
    }
    for (int64_t i = 0; i < units * columns; ++i)
      ASSERT_NEAR(dw[i], expectedDw[i], 1e-5 * (1 + group)) << name(machine) << " element " << i;
    for (int64_t i = 0; i < units; ++i)
      ASSERT_NEAR(dots[i], expectedDots[i], 1e-5 * (1 + group * std::sqrt(columns))) << name(machine);
  }
}

// Tests that a range of units run in two calls gives the bits of one call.
TEST_P(RmsNorm, SplitRangesGiveTheSameBits) {
  auto [units, group, columns] = GetParam();
  Kernels kernels = Kernels::compile(substitute(kBackward, sizes(units, group, columns)), machines().back());
  std::vector<float> rstd(rows_, 0.5f);
  auto run = [&](int64_t cut) {
    std::vector<float> dx(rows_ * columns), dw(units * columns), dots(units);
    std::vector<const void *> operands = {g_.data(), x_.data(), w_.data(),  rstd.data(),
                                          dx.data(), dw.data(), dots.data()};
    kernels.run("backward", operands, cut, units);
    kernels.run("backward", operands, 0, cut);
    dx.insert(dx.end(), dw.begin(), dw.end());
    dx.insert(dx.end(), dots.begin(), dots.end());
    return dx;
  };
  EXPECT_EQ(run(0), run(units / 2));
}

INSTANTIATE_TEST_SUITE_P(Sizes, RmsNorm,
                         testing::Values(Case{5, 3, 1}, Case{5, 3, 3}, Case{1, 1, 16}, Case{2, 7, 63}, Case{3, 5, 64},
                                         Case{4, 1, 65}, Case{2, 4, 100}, Case{1, 9, 128}, Case{2, 8, 576},
                                         Case{2, 8, 577}, Case{3, 4, 1025}, Case{2, 3, 2048}, Case{1, 5, 4100}),
                         testing::PrintToStringParamName());

} // namespace
} // namespace graft::test
