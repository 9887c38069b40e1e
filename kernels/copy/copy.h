// Strided copies of any rank: transposes, slices, concatenations.
//
// A StridedCopy is planned once: dimensions of size 1 dropped, ordered by the target's strides, neighbours merged where
// both sides allow it. Then the copy is one of two things: runs of elements that are contiguous (or equally strided) on
// both sides, or a batch of transposes, done in 32 x 32 tiles so that both sides use whole cache lines.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace graft::kernels {

class StridedCopy {
public:
  /// dst[sum i_d dst_d] = src[sum i_d src_d] for all i within shape; strides in elements of `elementBytes` (1, 2, 4 or
  /// 8). The target's elements are distinct, and neither side overlaps the other.
  StridedCopy(int64_t elementBytes, std::span<const int64_t> shape, std::span<const int64_t> dst,
              std::span<const int64_t> src);

  /// Work items that can be cut anywhere between workers.
  int64_t units() const { return units_; }
  void run(void *dst, const void *src, int64_t begin, int64_t end) const;

private:
  struct Dim {
    int64_t size, dst, src;
  };
  enum class Form { Run, Rows, Transpose };
  template <typename T> void copyTile(T *to, const T *from, int64_t count) const;
  template <typename T> void runAs(T *dst, const T *src, int64_t begin, int64_t end) const;

  int64_t elementBytes_;
  Form form_ = Form::Run;
  std::vector<Dim> outer_; ///< outermost first
  Dim tiled_{1, 0, 0};     ///< the dimension cut into tiles: the source's fastest, the rows, or the run itself
  Dim run_{1, 1, 1};       ///< the target's fastest
  int64_t tile_ = 1;       ///< of tiled_
  int64_t units_ = 0;      ///< outer elements x tiles
};

void copyReference(int64_t elementBytes, std::span<const int64_t> shape, std::span<const int64_t> dstStrides,
                   std::span<const int64_t> srcStrides, void *dst, const void *src);

} // namespace graft::kernels
