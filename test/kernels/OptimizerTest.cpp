#include "kernels/Dispatch.h"
#include "kernels/adamw/adamw.h"
#include "kernels/squared_norm/squared_norm.h"
#include "runtime/base/Convert.h"
#include "test/kernels/Support.h"

#include <array>
#include <cmath>
#include <cstring>

namespace graft::kernels {
namespace {

/// A parameter with moments of some form, and room for all of them.
struct Trained {
  MomentForm form;
  std::vector<float> p, gradient;
  std::vector<uint8_t> mean, square;
  std::vector<float> meanScales, squareScales;

  Trained(MomentForm form, std::vector<float> values)
      : form(form), p(std::move(values)), gradient(p.size()), mean(4 * p.size()), square(4 * p.size()),
        meanScales(p.size() / 256 + 1), squareScales(p.size() / 256 + 1) {}
  Moments moments() { return {form, {mean.data(), meanScales.data()}, {square.data(), squareScales.data()}}; }
  void step(const AdamWNumbers &numbers, uint32_t seed, uint16_t *working = nullptr) {
    vectorFunctions().adamw({p.data(), gradient.data(), working}, moments(), 0, static_cast<int64_t>(p.size()), numbers,
                            seed);
  }
  std::vector<float> unpacked(bool isSquare) {
    if (form == MomentForm::F32)
      return floats(isSquare ? square : mean);
    std::vector<float> out(p.size());
    vectorFunctions().unpackMoment(moments(), isSquare, static_cast<int64_t>(p.size()), out.data());
    return out;
  }
  std::vector<float> floats(const std::vector<uint8_t> &bytes) const {
    std::vector<float> out(p.size());
    if (!out.empty())
      std::memcpy(out.data(), bytes.data(), 4 * out.size());
    return out;
  }
};

// Tests ten steps against the float64 loop, for odd, one and zero counts.
TEST(AdamW, AgreesWithReference) {
  for (int64_t count : {0, 1, 15, 17, 1000}) {
    Trained ours(MomentForm::F32, randomFloats(count, 1));
    auto p64 = ours.p, m64 = std::vector<float>(p64.size()), v64 = m64;
    std::vector<uint16_t> working(p64.size());
    for (unsigned step = 1; step <= 10; ++step) {
      ours.gradient = randomFloats(count, 10 + step);
      AdamWNumbers numbers = adamwNumbers(1e-3, 0.9, 0.95, 1e-8, 0.1, step, 0.5);
      ours.step(numbers, step, step > 5 ? working.data() : nullptr);
      adamwReference({p64.data(), ours.gradient.data(), nullptr}, m64.data(), v64.data(), count, numbers);
    }
    for (size_t i = 0; i < p64.size(); ++i)
      EXPECT_EQ(working[i], floatToBfloat(ours.p[i]));
    expectClose(ours.p, p64, 1e-6);
    expectClose(ours.floats(ours.mean), m64, 1e-6);
    expectClose(ours.floats(ours.square), v64, 1e-6);
  }
}

// Tests the numbers of one step by hand: first step, m and v corrected to g and g^2, so p moves by lr.
TEST(AdamW, FirstStepMovesByTheLearningRate) {
  float p = 2, g = -3, m = 0, v = 0;
  adamwReference({&p, &g, nullptr}, &m, &v, 1, adamwNumbers(0.01, 0.9, 0.999, 0, 0.5, 1, 1));
  EXPECT_NEAR(p, 2 * (1 - 0.01 * 0.5) + 0.01, 1e-6);
  EXPECT_NEAR(m, -0.3, 1e-6);
  EXPECT_NEAR(v, 0.009, 1e-6);
}

class FormOfMoments : public testing::TestWithParam<MomentForm> {
protected:
  /// Half of the distance between neighbours, relative: what a moment may be off by after rounding either way is twice
  /// it.
  double step() const { return std::array{1.0 / (1 << 23), 1.0 / 128, 1.0 / 8}[static_cast<size_t>(GetParam())]; }
};

// Tests that padding stays zero, whatever decay and epsilon.
TEST_P(FormOfMoments, KeepPaddingZero) {
  Trained ours(GetParam(), std::vector<float>(300));
  ours.step(adamwNumbers(1, 0.9, 0.9, 1e-8, 0.1, 1, 1), 7);
  EXPECT_EQ(ours.p, std::vector<float>(300));
}

// Tests moments of one step against exact ones: each within a step of its form, over nine decades of gradients.
TEST_P(FormOfMoments, RoundToANeighbour) {
  Trained ours(GetParam(), randomFloats(1000, 1));
  ours.gradient = randomFloats(1000, 2);
  auto sizeOf = [](size_t i) { return std::array{1.0, 1e-3, 1e-6, 1e-9}[i / 256]; }; // of block by block
  for (size_t i = 0; i < 1000; ++i)
    ours.gradient[i] *= float(sizeOf(i));
  AdamWNumbers numbers = adamwNumbers(1e-3, 0.9, 0.999, 1e-8, 0.1, 1, 1);
  ours.step(numbers, 3);
  auto mean = ours.unpacked(false), square = ours.unpacked(true);
  for (size_t i = 0; i < 1000; ++i) {
    double m = 0.1 * ours.gradient[i], v = 0.001 * double(ours.gradient[i]) * ours.gradient[i];
    double tiny = 1e-4 * sizeOf(i); // flushed: far below the largest of its block
    EXPECT_NEAR(mean[i], m, step() * std::abs(m) + tiny) << i;
    EXPECT_NEAR(std::sqrt(square[i]), std::sqrt(v), step() * std::sqrt(v) + tiny) << i;
  }
}

// Tests that rounding is right on average, so that a moment moves by less than a step of its form: v goes to g^2.
TEST_P(FormOfMoments, MoveByLessThanTheirStep) {
  Trained ours(GetParam(), std::vector<float>(1024, 1.0f));
  ours.gradient.assign(1024, 0.5f);
  for (unsigned step = 1; step <= 3000; ++step)
    ours.step(adamwNumbers(0, 0.9, 0.999, 1e-8, 0, step, 1), step);
  double mean = 0, square = 0;
  for (float value : ours.unpacked(false))
    mean += value / 1024;
  for (float value : ours.unpacked(true))
    square += value / 1024;
  EXPECT_NEAR(mean, 0.5, 0.01);
  EXPECT_NEAR(square, 0.25 * (1 - std::pow(0.999, 3000)), 0.01);
}

// Tests that what was unpacked packs to the same bytes, for a checkpoint to lose nothing; also after the largest of a
// block was rounded down.
TEST_P(FormOfMoments, PackWhatWasUnpacked) {
  Trained ours(GetParam(), randomFloats(1000, 1));
  for (unsigned step = 1; step <= 5; ++step) {
    ours.gradient = randomFloats(1000, 20 + step);
    ours.step(adamwNumbers(1e-3, 0.9, 0.999, 1e-8, 0.1, step, 1), step);
  }
  Trained copy(GetParam(), ours.p);
  for (bool isSquare : {false, true}) {
    if (GetParam() == MomentForm::F32)
      continue; // is never packed
    auto values = ours.unpacked(isSquare);
    vectorFunctions().packMoment(copy.moments(), isSquare, 1000, values.data());
    EXPECT_EQ(copy.unpacked(isSquare), values);
  }
}

// Tests that a mean is never divided by epsilon alone because its square went to zero.
TEST_P(FormOfMoments, KeepSmallSquares) {
  Trained ours(GetParam(), std::vector<float>(256, 1.0f));
  ours.gradient.assign(256, 1e-7f);
  ours.gradient[0] = 1;
  for (unsigned step = 1; step <= 20; ++step)
    ours.step(adamwNumbers(1e-3, 0.9, 0.999, 1e-12, 0, step, 1), step);
  for (size_t i = 0; i < 256; ++i)
    EXPECT_NEAR(ours.p[i], 1, 20 * 1.5e-3) << i;
}

// Tests that instruction sets agree in every bit of the moments' bytes.
TEST_P(FormOfMoments, AreTheSameOnEveryInstructionSet) {
  std::vector<std::vector<uint8_t>> means;
  for (const VectorFunctions &functions : availableVectorFunctions()) {
    Trained ours(GetParam(), randomFloats(777, 1));
    ours.gradient = randomFloats(777, 2);
    functions.adamw({ours.p.data(), ours.gradient.data(), nullptr}, ours.moments(), 0, 777,
                    adamwNumbers(1e-3, 0.5, 0.5, 1e-8, 0.1, 1, 1), 9);
    means.push_back(ours.mean);
  }
  for (const auto &mean : means)
    EXPECT_EQ(mean, means.front());
}

// Tests that weights in bfloat16 move by their steps on average, though each is a hundredth of the distance to the next
// bfloat16.
TEST_P(FormOfMoments, LetNarrowWeightsMove) {
  Trained ours(GetParam(), std::vector<float>(1000));
  ours.gradient.assign(1000, 1);
  std::vector<uint16_t> weights(1000, floatToBfloat(1));
  for (unsigned step = 1; step <= 500; ++step)
    vectorFunctions().adamw({nullptr, ours.gradient.data(), nullptr, weights.data()}, ours.moments(), 0, 1000,
                            adamwNumbers(1e-4, 0.9, 0.999, 1e-8, 0, step, 1), step);
  double mean = 0;
  for (uint16_t weight : weights)
    mean += double(bfloatToFloat(weight)) / 1000;
  EXPECT_NEAR(mean, 1 - 500 * 1e-4, 2e-3);
}

std::string formName(const testing::TestParamInfo<MomentForm> &info) {
  return std::array{"float32", "bfloat16", "blocks8"}[static_cast<size_t>(info.param)];
}
INSTANTIATE_TEST_SUITE_P(Forms, FormOfMoments, testing::Values(MomentForm::F32, MomentForm::BF16, MomentForm::Blocks8),
                         formName);

TEST(SquaredNorm, AgreesWithReference) {
  for (int64_t count : {0L, 1L, 31L, 32L, 33L, 65535L, squaredNormBlock}) {
    auto values = randomFloats(count, 7);
    double want = squaredNormReference(values.data(), count);
    EXPECT_NEAR(vectorFunctions().squaredNorm(values.data(), count), want, 1e-13 * want);
  }
}

// Tests that large and not finite values are not lost on the way.
TEST(SquaredNorm, KeepsLargeAndNotFiniteValues) {
  std::vector<float> values = {1e30f, 1e30f};
  EXPECT_NEAR(vectorFunctions().squaredNorm(values.data(), 2), 2e60, 1e54);
  values[0] = std::nanf("");
  EXPECT_TRUE(std::isnan(vectorFunctions().squaredNorm(values.data(), 2)));
}

} // namespace
} // namespace graft::kernels
