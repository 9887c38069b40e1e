// Data for kernel tests: fixed seeds, arrays with guards at both ends.
#pragma once

#include <cstdint>
#include <gtest/gtest.h>
#include <random>
#include <vector>

namespace graft::kernels {

/// `count` normal numbers; the same for the same seed.
inline std::vector<float> randomFloats(int64_t count, unsigned seed) {
  std::mt19937 generator(seed);
  std::normal_distribution<float> normal;
  std::vector<float> values(static_cast<size_t>(count));
  for (float &value : values)
    value = normal(generator);
  return values;
}

/// |got - want| at most `relative` times the largest |want|.
inline void expectClose(const std::vector<float> &got, const std::vector<float> &want, double relative) {
  ASSERT_EQ(got.size(), want.size());
  double scale = 1e-30, worst = 0;
  for (size_t i = 0; i < got.size(); ++i) {
    scale = std::max(scale, std::abs(double(want[i])));
    worst = std::max(worst, std::abs(double(got[i]) - want[i]));
  }
  EXPECT_LE(worst, relative * scale);
}

} // namespace graft::kernels
