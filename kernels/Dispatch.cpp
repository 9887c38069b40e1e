#include "kernels/Dispatch.h"

#include "runtime/device/cpu/Target.h"

namespace graft::kernels {

// Defined by the *_cpu.cpp files, once per instruction set.
#define GRAFT_DECLARE(TARGET)                                                                                          \
  namespace TARGET {                                                                                                   \
  void adamw(const AdamWArrays &, const Moments &, int64_t, int64_t, const AdamWNumbers &, uint32_t);                  \
  void unpackMoment(const Moments &, bool, int64_t, float *);                                                          \
  void packMoment(const Moments &, bool, int64_t, const float *);                                                      \
  double squaredNorm(const float *, int64_t);                                                                          \
  void addTo(float *, const float *, int64_t);                                                                         \
  void gemm(int64_t, int64_t, int64_t, const void *, int64_t, int64_t, const void *, int64_t, int64_t, float *,        \
            int64_t, float, bool);                                                                                     \
  void gemmBF16(int64_t, int64_t, int64_t, const void *, int64_t, int64_t, const void *, int64_t, int64_t, float *,    \
                int64_t, float, bool);                                                                                 \
  void attentionForwardItem(const AttentionForward &, const AttentionRanges &, float *, int64_t, int64_t);             \
  void attentionBackwardItem(const AttentionBackward &, const AttentionRanges &, float *, int64_t, int64_t);           \
  }
GRAFT_DECLARE(baseline)
GRAFT_DECLARE(v3)
GRAFT_DECLARE(v4)
#undef GRAFT_DECLARE

std::span<const VectorFunctions> availableVectorFunctions() {
  static constexpr VectorFunctions tables[] = {
      {baseline::adamw, baseline::unpackMoment, baseline::packMoment, baseline::squaredNorm, baseline::addTo,
       baseline::gemm, baseline::gemmBF16, baseline::attentionForwardItem, baseline::attentionBackwardItem},
      {v3::adamw, v3::unpackMoment, v3::packMoment, v3::squaredNorm, v3::addTo, v3::gemm, v3::gemmBF16,
       v3::attentionForwardItem, v3::attentionBackwardItem},
      {v4::adamw, v4::unpackMoment, v4::packMoment, v4::squaredNorm, v4::addTo, v4::gemm, v4::gemmBF16,
       v4::attentionForwardItem, v4::attentionBackwardItem}};
  static const size_t count = isTargetAvailable("x86-64-v4") ? 3 : isTargetAvailable("x86-64-v3") ? 2 : 1;
  return std::span(tables).first(count);
}

const VectorFunctions &vectorFunctions() {
  static const VectorFunctions &best = availableVectorFunctions().back();
  return best;
}

} // namespace graft::kernels
