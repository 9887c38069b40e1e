#include "kernels/Dispatch.h"
#include "kernels/adamw/adamw.h"
#include "kernels/squared_norm/squared_norm.h"
#include "runtime/base/Convert.h"
#include "test/kernels/Support.h"

#include <cmath>

namespace graft::kernels {
namespace {

// Tests ten steps against the float64 loop, for odd, one and zero counts.
TEST(AdamW, AgreesWithReference) {
  for (int64_t count : {0, 1, 15, 17, 1000}) {
    auto p = randomFloats(count, 1), m = std::vector<float>(p.size()), v = m, p64 = p, m64 = m, v64 = v;
    std::vector<uint16_t> working(p.size());
    for (int step = 1; step <= 10; ++step) {
      auto g = randomFloats(count, 10 + static_cast<unsigned>(step));
      AdamWNumbers numbers = adamwNumbers(1e-3, 0.9, 0.95, 1e-8, 0.1, step, 0.5);
      vectorFunctions().adamw(p.data(), g.data(), m.data(), v.data(), step > 5 ? working.data() : nullptr, count, numbers);
      adamwReference(p64.data(), g.data(), m64.data(), v64.data(), nullptr, count, numbers);
    }
    for (size_t i = 0; i < p.size(); ++i)
      EXPECT_EQ(working[i], floatToBfloat(p[i]));
    expectClose(p, p64, 1e-6);
    expectClose(m, m64, 1e-6);
    expectClose(v, v64, 1e-6);
  }
}

// Tests the numbers of one step by hand: first step, m and v corrected to g and g^2, so p moves by lr.
TEST(AdamW, FirstStepMovesByTheLearningRate) {
  float p = 2, g = -3, m = 0, v = 0;
  adamwReference(&p, &g, &m, &v, nullptr, 1, adamwNumbers(0.01, 0.9, 0.999, 0, 0.5, 1, 1));
  EXPECT_NEAR(p, 2 * (1 - 0.01 * 0.5) + 0.01, 1e-6);
  EXPECT_NEAR(m, -0.3, 1e-6);
  EXPECT_NEAR(v, 0.009, 1e-6);
}

// Tests that padding stays zero, whatever decay and epsilon.
TEST(AdamW, KeepsPaddingZero) {
  std::vector<float> zeros(33), p = zeros, m = zeros, v = zeros;
  vectorFunctions().adamw(p.data(), zeros.data(), m.data(), v.data(), nullptr, 33,
                          adamwNumbers(1, 0.9, 0.9, 1e-8, 0.1, 1, 1));
  EXPECT_EQ(p, zeros);
}

TEST(SquaredNorm, AgreesWithReference) {
  for (int64_t count : {0L, 1L, 31L, 32L, 33L, 65535L, squaredNormBlock}) {
    auto values = randomFloats(count, 7);
    double want = squaredNormReference(values.data(), count);
    EXPECT_NEAR(vectorFunctions().squaredNorm(values.data(), count), want, 1e-13 * want);
  }
}

// Tests that large and not finite values are not lost on the way.
TEST(SquaredNorm, KeepsLargeAndNotFiniteValues) {
  std::vector<float> values = {1e30f, 1e30f};
  EXPECT_NEAR(vectorFunctions().squaredNorm(values.data(), 2), 2e60, 1e54);
  values[0] = std::nanf("");
  EXPECT_TRUE(std::isnan(vectorFunctions().squaredNorm(values.data(), 2)));
}

} // namespace
} // namespace graft::kernels
