// RMSNorm forward and backward against plain loops: sums over columns, values per row, and weight gradients summed over
// rows.
#include "test/passes/codegen/Kernels.h"
#include <cmath>

namespace graft::test {
namespace {

std::string replaceAll(std::string text, const std::vector<std::pair<std::string, std::string>> &values) {
  for (const auto &[from, to] : values)
    for (size_t at; (at = text.find(from)) != std::string::npos;)
      text.replace(at, from.size(), to);
  return text;
}

std::string rmsnorm(int64_t rows, int64_t columns) {
  return replaceAll(R"(
rt.row_program @rmsnorm rows [ROWS] columns COLUMNS
    (%x: !rt.access<f32, [COLUMNS], 1>, %w: !rt.access<f32, [0], 1>, %y: !rt.access<f32, [COLUMNS], 1>, %rstd: !rt.access<f32, [1], 0>) {
  %inverse = arith.constant INVERSE : f32
  %epsilon = arith.constant 1.0e-5 : f32
  %ss = rt.sweep (%a = %x : !rt.access<f32, [COLUMNS], 1>) reduces (add : f32) {
    %q = arith.mulf %a, %a : f32
    rt.yield %q : f32
  }
  %mean = arith.mulf %ss, %inverse : f32
  %shifted = arith.addf %mean, %epsilon : f32
  %r = math.rsqrt %shifted : f32
  rt.store %r, %rstd : f32, !rt.access<f32, [1], 0>
  rt.sweep (%a = %x : !rt.access<f32, [COLUMNS], 1>, %b = %w : !rt.access<f32, [0], 1>) writes (%y : !rt.access<f32, [COLUMNS], 1>) {
    %t = arith.mulf %a, %r : f32
    %u = arith.mulf %t, %b : f32
    rt.yield %u : f32
  }
})",
                    {{"ROWS", std::to_string(rows)},
                     {"COLUMNS", std::to_string(columns)},
                     {"INVERSE", std::to_string(1.0 / columns)}});
}

class RmsNorm : public testing::TestWithParam<int64_t> {};

TEST_P(RmsNorm, Forward) {
  int64_t rows = 7, columns = GetParam();
  Kernels kernels = Kernels::compile(rmsnorm(rows, columns));
  std::vector<float> x = randomFloats(rows * columns, 1), w = randomFloats(columns, 2), y(rows * columns), rstd(rows);
  kernels.run("rmsnorm", {x.data(), w.data(), y.data(), rstd.data()});
  for (int64_t i = 0; i < rows; ++i) {
    double sum = 0;
    for (int64_t j = 0; j < columns; ++j)
      sum += double(x[i * columns + j]) * x[i * columns + j];
    double r = 1 / std::sqrt(sum * std::stod(std::to_string(1.0 / columns)) + 1e-5);
    ASSERT_NEAR(rstd[i], r, 2e-6 * r);
    for (int64_t j = 0; j < columns; ++j)
      ASSERT_NEAR(y[i * columns + j], x[i * columns + j] * r * w[j], 1e-5);
  }
}

INSTANTIATE_TEST_SUITE_P(Columns, RmsNorm, testing::Values(1, 3, 16, 63, 64, 65, 100, 128, 576, 577),
                         testing::PrintToStringParamName());

} // namespace
} // namespace graft::test
