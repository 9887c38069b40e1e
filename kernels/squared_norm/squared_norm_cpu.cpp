// 32 running sums, so that additions overlap; they are added in order at the end.
#include "kernels/squared_norm/squared_norm.h"

namespace graft::kernels::GRAFT_TARGET {

double squaredNorm(const float *values, int64_t count) {
  constexpr int lanes = 32;
  double sums[lanes] = {};
  int64_t i = 0;
  for (; i + lanes <= count; i += lanes)
    for (int lane = 0; lane < lanes; ++lane)
      sums[lane] += double(values[i + lane]) * double(values[i + lane]);
  for (int lane = 0; i < count; ++i, ++lane)
    sums[lane] += double(values[i]) * double(values[i]);
  double sum = 0;
  for (double part : sums)
    sum += part;
  return sum;
}

} // namespace graft::kernels::GRAFT_TARGET
