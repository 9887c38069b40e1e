#include <cstdint>

namespace graft::kernels::GRAFT_TARGET {

void addTo(float *__restrict to, const float *__restrict from, int64_t count) {
  for (int64_t i = 0; i < count; ++i)
    to[i] += from[i];
}

} // namespace graft::kernels::GRAFT_TARGET
