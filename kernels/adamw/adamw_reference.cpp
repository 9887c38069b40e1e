#include "kernels/adamw/adamw.h"

#include "runtime/base/Convert.h"

#include <cmath>

namespace graft::kernels {

AdamWNumbers adamwNumbers(double learningRate, double beta1, double beta2, double epsilon, double decay, int64_t step,
                          double gradientScale) {
  auto t = static_cast<double>(step);
  return {static_cast<float>(gradientScale),
          static_cast<float>(1 - learningRate * decay),
          static_cast<float>(beta1),
          static_cast<float>(1 - beta1),
          static_cast<float>(beta2),
          static_cast<float>(1 - beta2),
          static_cast<float>(learningRate / (1 - std::pow(beta1, t))),
          static_cast<float>(1 / std::sqrt(1 - std::pow(beta2, t))),
          static_cast<float>(epsilon)};
}

void adamwReference(const AdamWArrays &arrays, float *mean, float *square, int64_t count, const AdamWNumbers &n) {
  auto [parameter, gradient, working, narrow] = arrays;
  for (int64_t i = 0; i < count; ++i) {
    double g = double(n.gradientScale) * gradient[i];
    double m = double(n.beta1) * mean[i] + double(n.oneMinusBeta1) * g;
    double v = double(n.beta2) * square[i] + double(n.oneMinusBeta2) * g * g;
    double p = double(n.keep) * parameter[i] - double(n.stepSize) * m / (std::sqrt(v) * n.inverseRoot + n.epsilon);
    mean[i] = static_cast<float>(m);
    square[i] = static_cast<float>(v);
    parameter[i] = static_cast<float>(p);
    if (working)
      working[i] = floatToBfloat(parameter[i]);
  }
}

} // namespace graft::kernels
