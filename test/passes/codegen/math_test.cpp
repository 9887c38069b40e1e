// Accuracy of every function that row programs may use, against the double-precision functions of libm.
#include "test/passes/codegen/Kernels.h"
#include <bit>
#include <cmath>

namespace graft::test {
namespace {

struct Function {
  const char *name; ///< in the math dialect
  double (*reference)(double);
  double from, to; ///< where it is tested
  double ulps;     ///< allowed error in units of the last place of the result ...
  double absolute; ///< ... or absolute, whichever is larger
  friend std::ostream &operator<<(std::ostream &stream, const Function &function) { return stream << function.name; }
};

double rsqrtOf(double x) {
  return 1 / std::sqrt(x);
}
double roundHalfAway(double x) {
  return std::round(x);
}

const Function kFunctions[] = {
    {"exp", std::exp, -87, 88, 3, 0},        {"exp2", std::exp2, -126, 127.9, 1, 0},
    {"expm1", std::expm1, -20, 20, 4, 0},    {"log", std::log, 1e-30, 1e30, 1.5, 0},
    {"log2", std::log2, 1e-30, 1e30, 3, 0},  {"log10", std::log10, 1e-30, 1e30, 3, 0},
    {"log1p", std::log1p, -0.99, 100, 4, 0}, {"rsqrt", rsqrtOf, 1e-30, 1e30, 1.6, 0},
    {"sqrt", std::sqrt, 0, 1e30, 0.51, 0},   {"tanh", std::tanh, -12, 12, 6, 0},
    {"erf", std::erf, -6, 6, 6, 0},          {"sin", std::sin, -8192, 8192, 0, 3e-7},
    {"cos", std::cos, -8192, 8192, 0, 3e-7}, {"sinh", std::sinh, -20, 20, 8, 1e-6},
    {"cosh", std::cosh, -20, 20, 6, 0},      {"atan", std::atan, -100, 100, 40, 0},
    {"round", roundHalfAway, -10, 10, 0, 0}, {"roundeven", std::nearbyint, -10, 10, 0, 0},
    {"floor", std::floor, -10, 10, 0, 0},    {"ceil", std::ceil, -10, 10, 0, 0},
    {"trunc", std::trunc, -10, 10, 0, 0},    {"absf", std::fabs, -10, 10, 0, 0},
};

double ulpOf(double value) {
  float f = std::fabs(static_cast<float>(value));
  return std::nextafter(f, INFINITY) - f;
}

std::string unary(const std::string &name, size_t columns) {
  return substitute(R"(
!rows = !rt.access<f32, [COLUMNS], 1>
rt.row_program @function rows [1] columns COLUMNS (%x: !rows, %y: !rows) {
  rt.sweep (%a = %x : !rows) writes (%y : !rows) {
    %b = math.FUNCTION %a : f32
    rt.yield %b : f32
  }
})",
                    {{"COLUMNS", std::to_string(columns)}, {"FUNCTION", name}});
}

class Math : public testing::TestWithParam<Function> {};

TEST_P(Math, IsAccurate) {
  const Function &function = GetParam();
  size_t count = 20000;
  std::vector<float> x(count), y(count);
  bool positive = function.from > 0;
  for (size_t i = 0; i < count; ++i) { // evenly, or evenly in the exponent for ranges of many magnitudes
    double t = double(i) / (count - 1);
    x[i] = positive ? function.from * std::pow(function.to / function.from, t)
                    : function.from + (function.to - function.from) * t;
  }
  for (const Machine &machine : machines()) {
    Kernels kernels = Kernels::compile(unary(function.name, count), machine);
    kernels.run("function", {x.data(), y.data()});
    double worst = 0;
    size_t at = 0;
    for (size_t i = 0; i < count; ++i) {
      double expected = function.reference(x[i]);
      double allowed = std::max({function.ulps * ulpOf(expected), function.absolute, 1e-45});
      double error = std::fabs(y[i] - expected) / allowed;
      if (!(error <= worst)) {
        worst = error;
        at = i;
      }
    }
    EXPECT_LE(worst, 1) << name(machine) << ": " << function.name << "(" << x[at] << ") = " << y[at] << ", expected "
                        << function.reference(x[at]);
  }
}

INSTANTIATE_TEST_SUITE_P(Functions, Math, testing::ValuesIn(kFunctions),
                         [](const auto &info) { return info.param.name; });

// Tests sine and cosine where one f32 step is a visible part of a turn.
TEST(Math, SineOfLargeArguments) {
  std::vector<float> x = {1e5f, -1e6f, 12345678.0f, 1e9f, 2e9f, -2147483648.0f, 0.0f, -0.0f, 1e-30f};
  for (const Machine &machine : machines()) {
    std::vector<float> sin(x.size()), cos(x.size());
    Kernels::compile(unary("sin", x.size()), machine).run("function", {x.data(), sin.data()});
    Kernels::compile(unary("cos", x.size()), machine).run("function", {x.data(), cos.data()});
    for (size_t i = 0; i < x.size(); ++i) {
      EXPECT_NEAR(sin[i], std::sin(double(x[i])), 3e-7) << x[i];
      EXPECT_NEAR(cos[i], std::cos(double(x[i])), 3e-7) << x[i];
    }
    EXPECT_EQ(sin[8], 1e-30f);
  }
}

std::vector<float> powers(const Machine &machine, const std::vector<float> &x, const std::vector<float> &y) {
  std::string text = substitute(R"(
!rows = !rt.access<f32, [COLUMNS], 1>
rt.row_program @power rows [1] columns COLUMNS (%x: !rows, %y: !rows, %z: !rows) {
  rt.sweep (%a = %x : !rows, %b = %y : !rows) writes (%z : !rows) {
    %c = math.powf %a, %b : f32
    rt.yield %c : f32
  }
})",
                                {{"COLUMNS", std::to_string(x.size())}});
  std::vector<float> z(x.size());
  Kernels::compile(text, machine).run("power", {x.data(), y.data(), z.data()});
  return z;
}

TEST(Power, IsAccurate) {
  std::vector<float> x = randomFloats(20000, 12, 3), y = randomFloats(20000, 13, 5);
  for (size_t i = 0; i < x.size(); ++i) {
    if (i % 2 == 0)
      x[i] = std::exp(x[i]); // wide range of positive bases
    else
      y[i] = std::round(y[i]); // negative bases need whole exponents
    if (i % 5 == 0)
      x[i] = 1e6f, y[i] = -float(i) / x.size(); // frequencies of rotary embeddings
  }
  for (const Machine &machine : machines()) {
    std::vector<float> z = powers(machine, x, y);
    for (size_t i = 0; i < x.size(); ++i) {
      double expected = std::pow(double(x[i]), double(y[i]));
      if (std::fabs(expected) < 3e38 && std::fabs(expected) > 1e-37)
        ASSERT_NEAR(z[i], expected, 1.01 * ulpOf(expected)) << x[i] << " ^ " << y[i];
    }
  }
}

TEST(Power, OfSpecialValuesIsThatOfC) {
  float inf = INFINITY, nan = NAN;
  std::vector<float> values = {0.0f, -0.0f, 1, -1, 2, -2, 0.5f, -0.5f, 3, -3, inf, -inf, nan, 1e30f, -1e30f, 1e-30f}, x,
                     y;
  for (float a : values)
    for (float b : values) {
      x.push_back(a);
      y.push_back(b);
    }
  for (const Machine &machine : machines()) {
    std::vector<float> z = powers(machine, x, y);
    for (size_t i = 0; i < x.size(); ++i) {
      float expected = std::pow(x[i], y[i]);
      if (std::isnan(expected)) {
        EXPECT_TRUE(std::isnan(z[i])) << x[i] << " ^ " << y[i] << " = " << z[i];
        continue;
      }
      EXPECT_FLOAT_EQ(z[i], expected) << x[i] << " ^ " << y[i];
      EXPECT_EQ(std::signbit(z[i]), std::signbit(expected)) << x[i] << " ^ " << y[i] << " = " << z[i];
    }
  }
}

TEST(Math, ExpOfSpecialValues) {
  std::vector<float> x = {-INFINITY, INFINITY, NAN, -200, 200, 0, -88, 88.8f}, y(8);
  for (const Machine &machine : machines()) {
    Kernels::compile(unary("exp", 8), machine).run("function", {x.data(), y.data()});
    EXPECT_EQ(y[0], 0);
    EXPECT_EQ(y[1], INFINITY);
    EXPECT_TRUE(std::isnan(y[2]));
    EXPECT_EQ(y[3], 0);
    EXPECT_EQ(y[4], INFINITY);
    EXPECT_EQ(y[5], 1);
    EXPECT_LT(y[6], 1e-37);
    EXPECT_GT(y[7], 3e38);
  }
}

} // namespace
} // namespace graft::test
