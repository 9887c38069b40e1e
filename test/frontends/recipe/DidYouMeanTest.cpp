#include "frontends/recipe/DidYouMean.h"

#include <gtest/gtest.h>

#include <vector>

namespace graft {
namespace {

const std::vector<std::string_view> names = {"lr", "betas", "weight_decay", "clip_grad_norm", "decay"};

TEST(DidYouMean, FindsNamesWithFewEdits) {
  EXPECT_EQ(closestName("wieght_decay", names), "weight_decay"); // neighbours swapped
  EXPECT_EQ(closestName("weight-decay", names), "weight_decay"); // spelling of another tool
  EXPECT_EQ(closestName("Betas", names), "betas");
  EXPECT_EQ(closestName("clip_grad", names), ""); // five edits of nine characters: not a slip of the finger
  EXPECT_EQ(closestName("clip_grad_nrm", names), "clip_grad_norm");
}

TEST(DidYouMean, PrefersTheNearestAndTheFirstOfEquals) {
  EXPECT_EQ(closestName("decays", names), "decay");
  const std::vector<std::string_view> twins = {"ab", "ac"};
  EXPECT_EQ(closestName("ad", twins), "ab");
}

TEST(DidYouMean, SaysNothingWhenNothingIsNear) {
  EXPECT_EQ(didYouMean("momentum", names), "");
  EXPECT_EQ(didYouMean("", names), "");
  EXPECT_EQ(didYouMean("lr", {}), "");
  EXPECT_EQ(didYouMean(std::string(1000, 'x'), names), "");
  EXPECT_EQ(didYouMean("beta", names), "did you mean 'betas'?");
}

} // namespace
} // namespace graft
