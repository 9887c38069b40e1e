#include "kernels/copy/copy.h"
#include "test/kernels/Support.h"

#include <algorithm>
#include <numeric>

namespace graft::kernels {
namespace {

struct Case {
  std::vector<int64_t> shape; ///< of the source, dense
  std::vector<int> order;     ///< target dimension i is source dimension order[i]
};

/// Row-major strides.
std::vector<int64_t> dense(const std::vector<int64_t> &shape) {
  std::vector<int64_t> strides(shape.size(), 1);
  for (size_t i = shape.size(); i-- > 1;)
    strides[i - 1] = strides[i] * shape[i];
  return strides;
}

// Tests permutations with odd, one, zero and long sizes and every element width, cut into shares at odd places.
TEST(StridedCopy, AgreesWithReference) {
  const Case cases[] = {{{}, {}},
                        {{1}, {0}},
                        {{0, 3}, {1, 0}},
                        {{10007}, {0}},
                        {{37, 65}, {1, 0}},
                        {{1, 64}, {1, 0}},
                        {{5, 7, 9}, {2, 0, 1}},
                        {{2, 33, 3, 8}, {0, 2, 1, 3}},
                        {{2, 3, 33, 8}, {0, 1, 3, 2}},
                        {{3, 1, 40, 41}, {3, 1, 0, 2}},
                        {{2, 3, 2, 3, 2}, {4, 2, 0, 3, 1}}};
  for (const Case &test : cases)
    for (int64_t width : {1, 2, 4, 8}) {
      SCOPED_TRACE(testing::Message() << testing::PrintToString(test.shape) << " width " << width);
      std::vector<int64_t> shape, srcStrides, all = dense(test.shape);
      for (int dim : test.order) {
        shape.push_back(test.shape[static_cast<size_t>(dim)]);
        srcStrides.push_back(all[static_cast<size_t>(dim)]);
      }
      std::vector<int64_t> dstStrides = dense(shape);
      int64_t count = std::accumulate(shape.begin(), shape.end(), int64_t(1), std::multiplies<>());
      std::vector<uint8_t> src(static_cast<size_t>(count * width)), got(src.size() + 1, 77), want(src.size() + 1, 77);
      for (size_t i = 0; i < src.size(); ++i)
        src[i] = static_cast<uint8_t>(i * 31 + i / 251);
      copyReference(width, shape, dstStrides, srcStrides, want.data(), src.data());
      StridedCopy copy(width, shape, dstStrides, srcStrides);
      for (int64_t begin = 0; begin < copy.units(); begin += 3)
        copy.run(got.data(), src.data(), begin, std::min(begin + 3, copy.units()));
      EXPECT_EQ(got, want);
    }
}

// Tests that gaps in the target stay as they were and a source stride of 0 repeats.
TEST(StridedCopy, LeavesGapsAlone) {
  std::vector<float> src = {1, 2, 3}, got(12, -1), want(12, -1);
  const int64_t shape[] = {2, 3}, dst[] = {6, 2}, repeats[] = {0, 1};
  copyReference(4, shape, dst, repeats, want.data(), src.data());
  StridedCopy copy(4, shape, dst, repeats);
  copy.run(got.data(), src.data(), 0, copy.units());
  EXPECT_EQ(got, want);
  EXPECT_EQ(got[8], 2);
  EXPECT_EQ(got[1], -1);
}

} // namespace
} // namespace graft::kernels
