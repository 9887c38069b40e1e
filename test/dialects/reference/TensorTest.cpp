// The interpreter's value type: copies share until one is written; walks through strided tensors.
#include "dialects/reference/Tensor.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace graft {
namespace {

using testing::ElementsAre;

const Tensor &constant(const Tensor &tensor) {
  return tensor;
}

TEST(Tensor, CopiesShareUntilOneIsWritten) {
  Tensor a = Tensor::floats({2}, {1, 2}), b = a;
  EXPECT_EQ(constant(a).f().data(), constant(b).f().data());
  b.f()[0] = 5;
  EXPECT_THAT(constant(a).f(), ElementsAre(1, 2));
  EXPECT_THAT(constant(b).f(), ElementsAre(5, 2));
}

TEST(Tensor, ReshapeSharesAndZerosKeepTheKind) {
  Tensor a = Tensor::integers({2, 3}, 7), b = a.reshaped({6});
  EXPECT_EQ(constant(a).i().data(), constant(b).i().data());
  EXPECT_THAT(b.shape(), ElementsAre(6));
  EXPECT_FALSE(a.zeros({4}).isFloat());
  EXPECT_THAT(constant(a.zeros({2})).i(), ElementsAre(0, 0));
}

TEST(Tensor, ReadsEitherKindAsDouble) {
  EXPECT_EQ(Tensor::integers({}, -3).at(0), -3.0);
  EXPECT_EQ(Tensor::floats({}, 0.5).at(0), 0.5);
}

TEST(Tensor, ScalarsHaveOneElementAndEmptyShapesNone) {
  EXPECT_EQ(Tensor::floats({}).size(), 1);
  EXPECT_EQ(Tensor::floats({3, 0}).size(), 0);
}

TEST(Walk, FollowsSeveralStridedTensorsInRowMajorOrder) {
  std::vector<int64_t> transposed, broadcast;
  for (Walk walk({2, 3}, {{1, 2}, {0, 1}}); !walk.done(); walk.next()) {
    transposed.push_back(walk.offset(0));
    broadcast.push_back(walk.offset(1));
  }
  EXPECT_THAT(transposed, ElementsAre(0, 2, 4, 1, 3, 5));
  EXPECT_THAT(broadcast, ElementsAre(0, 1, 2, 0, 1, 2));
}

TEST(Walk, VisitsAScalarOnceAndNothingNever) {
  int scalars = 0, nothing = 0;
  for (Walk walk({}, {{}}); !walk.done(); walk.next())
    ++scalars;
  for (Walk walk({2, 0}, {{1, 1}}); !walk.done(); walk.next())
    ++nothing;
  EXPECT_EQ(scalars, 1);
  EXPECT_EQ(nothing, 0);
}

TEST(Strides, AreRowMajor) {
  EXPECT_THAT(stridesOf({2, 3, 4}), ElementsAre(12, 4, 1));
  EXPECT_THAT(stridesOf({}), ElementsAre());
}

} // namespace
} // namespace graft
