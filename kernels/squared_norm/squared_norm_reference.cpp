#include "kernels/squared_norm/squared_norm.h"

namespace graft::kernels {

double squaredNormReference(const float *values, int64_t count) {
  long double sum = 0;
  for (int64_t i = 0; i < count; ++i)
    sum += static_cast<long double>(values[i]) * values[i];
  return static_cast<double>(sum);
}

} // namespace graft::kernels
