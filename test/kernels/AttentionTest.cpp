#include "kernels/attention/attention.h"
#include "kernels/Dispatch.h"
#include "kernels/attention/ranges.h"
#include "test/kernels/Support.h"

#include <algorithm>
#include <cmath>
#include <limits>

namespace graft::kernels {

namespace {

enum class Valid { All, RightPadded, LeftPadded, Holes };
/// Shared: rows of prompts with completions that read them; Swapped: the same with children before their parents;
/// SharedInterleaved: segments without order that read others.
enum class Segments { None, Packed, Interleaved, Shared, Swapped, SharedInterleaved };

struct Case {
  const char *name;
  int64_t batch, queryHeads, keyHeads, queries, keys, queryDim, valueDim;
  bool causal = true;
  int64_t window = 0;
  Valid valid = Valid::All;
  Segments segments = Segments::None;
  float softcap = 0;
  bool headsFirst = false;
  bool skipInvalidQueries = false;
  friend void PrintTo(const Case &c, std::ostream *to) { *to << c.name; }
};

/// [batch, heads, positions, dim] with gaps between rows; heads before or after positions.
struct Array {
  std::vector<float> values;
  HeadStrides strides;
  Array(int64_t batch, int64_t heads, int64_t positions, int64_t dim, bool headsFirst, unsigned seed) {
    int64_t row = dim + 3;
    strides = headsFirst ? HeadStrides{heads * positions * row, positions * row, row}
                         : HeadStrides{heads * positions * row, row, heads * row};
    values = seed ? randomFloats(batch * strides.batch, seed)
                  : std::vector<float>(static_cast<size_t>(batch * strides.batch), 9);
  }
  HeadsIn in() const { return {values.data(), strides}; }
  HeadsOut out() { return {values.data(), strides}; }
};

/// 64-byte aligned, exactly as long as asked, full of NaN: what is read before it is written shows.
class Scratch {
public:
  explicit Scratch(int64_t bytes)
      : count_(static_cast<size_t>(bytes) / sizeof(float)),
        floats_(count_ + 32, std::numeric_limits<float>::quiet_NaN()) {
    begin_ = floats_.data() + (64 - reinterpret_cast<uintptr_t>(floats_.data()) % 64) % 64 / 4;
    begin_[count_] = guard;
  }
  ~Scratch() { EXPECT_EQ(begin_[count_], guard) << "wrote behind its scratch"; }
  void *get() { return begin_; }

private:
  static constexpr float guard = 1234;
  size_t count_;
  std::vector<float> floats_;
  float *begin_;
};

/// Ids of a packed row: its own segment and the one that it reads besides, by position.
struct Ids {
  std::vector<int32_t> own, parent;
};

/// Two prompts of 21 and 90 tokens in turn, each with completions shorter than a vector, of one token, longer than a
/// panel and longer than two. `shift`: the first token of the row, so that sequences differ.
Ids sharedPrompts(int64_t count, int64_t shift) {
  constexpr int64_t lengths[2][5] = {{21, 9, 1, 70, 33}, {90, 140, 5, 65, 64}}; // the prompt, its completions
  Ids ids;
  for (int32_t id = 1, prompt = 0; static_cast<int64_t>(ids.own.size()) < count + shift; ++prompt)
    for (int32_t part = 0, first = id; part < 5; ++part, ++id) {
      auto length = static_cast<size_t>(lengths[prompt % 2][part]);
      ids.own.insert(ids.own.end(), length, id);
      ids.parent.insert(ids.parent.end(), length, first);
    }
  for (auto *row : {&ids.own, &ids.parent}) {
    row->erase(row->begin(), row->begin() + shift);
    row->resize(static_cast<size_t>(count));
  }
  return ids;
}

Ids sharedSegments(Segments kind, int64_t count, int64_t batch) {
  Ids ids = sharedPrompts(count, 8 * batch);
  if (kind == Segments::Swapped) {
    std::reverse(ids.own.begin(), ids.own.end());
    std::reverse(ids.parent.begin(), ids.parent.end());
  }
  if (kind == Segments::SharedInterleaved)
    for (size_t j = 0; j < ids.own.size(); ++j) {
      ids.own[j] = static_cast<int32_t>(j * j % 7 / 2);
      ids.parent[j] = static_cast<int32_t>(j / 10 % 5); // 4 is no segment
    }
  return ids;
}

/// Inputs and outputs of one case.
struct Problem {
  AttentionShape shape;
  std::vector<uint8_t> valid;
  std::vector<int64_t> wide;
  std::vector<int32_t> narrow;
  int64_t segmentRows = 1;
  Array q, k, v, dOut, o, dq, dk, dv;
  std::vector<float> lse;

  explicit Problem(const Case &c)
      : shape{c.batch,
              c.queryHeads,
              c.keyHeads,
              c.queries,
              c.keys,
              c.queryDim,
              c.valueDim,
              c.causal,
              c.window,
              c.skipInvalidQueries,
              1.3f / std::sqrt(float(c.queryDim)),
              c.softcap},
        q(c.batch, c.queryHeads, c.queries, c.queryDim, c.headsFirst, 1),
        k(c.batch, c.keyHeads, c.keys, c.queryDim, c.headsFirst, 2),
        v(c.batch, c.keyHeads, c.keys, c.valueDim, c.headsFirst, 3),
        dOut(c.batch, c.queryHeads, c.queries, c.valueDim, c.headsFirst, 4),
        o(c.batch, c.queryHeads, c.queries, c.valueDim, c.headsFirst, 0),
        dq(c.batch, c.queryHeads, c.queries, c.queryDim, c.headsFirst, 0),
        dk(c.batch, c.keyHeads, c.keys, c.queryDim, c.headsFirst, 0),
        dv(c.batch, c.keyHeads, c.keys, c.valueDim, c.headsFirst, 0),
        lse(static_cast<size_t>(c.batch * c.queryHeads * c.queries), 9) {
    for (int64_t b = 0; b < c.batch; ++b)
      for (int64_t j = 0; j < c.keys; ++j)
        addMasks(c, b, j);
    if (c.segments >= Segments::Shared)
      addSharedSegments(c);
  }

  /// Two rows per sequence; SharedInterleaved has wide ids.
  void addSharedSegments(const Case &c) {
    segmentRows = 2;
    for (int64_t b = 0; b < c.batch; ++b) {
      Ids ids = sharedSegments(c.segments, c.keys, b);
      for (const auto *row : {&ids.own, &ids.parent})
        if (c.segments == Segments::SharedInterleaved)
          wide.insert(wide.end(), row->begin(), row->end());
        else
          narrow.insert(narrow.end(), row->begin(), row->end());
    }
  }

  void addMasks(const Case &c, int64_t b, int64_t j) {
    int64_t length = (b + 1) * c.keys / (c.batch + 1); // differs by sequence; the first may be empty
    if (c.valid == Valid::RightPadded)
      valid.push_back(j < length);
    else if (c.valid == Valid::LeftPadded)
      valid.push_back(j >= c.keys - length);
    else if (c.valid == Valid::Holes)
      valid.push_back((j * j + b) % 5 != 1 && j > 2);
    if (c.segments == Segments::Packed)
      wide.push_back((j + 3 * b) / 13 + (int64_t(1) << 40));
    else if (c.segments == Segments::Interleaved)
      narrow.push_back(static_cast<int32_t>(j * j % 3) - 1);
  }

  AttentionMasks masks() const {
    if (!narrow.empty())
      return {valid.empty() ? nullptr : valid.data(), narrow.data(), 4, segmentRows};
    return {valid.empty() ? nullptr : valid.data(), wide.empty() ? nullptr : wide.data(), 8, segmentRows};
  }
  AttentionForward forward() { return {shape, masks(), q.in(), k.in(), v.in(), o.out(), lse.data()}; }
  AttentionBackward backward() {
    return {shape, masks(), q.in(), k.in(), v.in(), o.in(), dOut.in(), lse.data(), dq.out(), dk.out(), dv.out()};
  }
  void reference() {
    attentionForwardReference(forward());
    attentionBackwardReference(backward());
  }
  void run(int64_t begin, int64_t end) {
    attentionForward(forward(), Scratch(attentionForwardScratch(shape)).get(), begin, end);
    attentionBackward(backward(), Scratch(attentionBackwardScratch(shape)).get(), begin, end);
  }
  void runAll() { run(0, attentionUnits(shape)); }
};

/// Relative to the largest value. A sum of n rounded terms is off by about sqrt(n) 2^-24 of their size; a score (n =
/// queryDim, of size |y| <= 6 for these normal numbers and scales) is off by that times |y| in absolute terms, which is
/// a relative error of its probability. Weights that sum to 1 keep it; then there are the sums over the row's keys, for
/// dk and dv over the rows that share the key. 2: from the standard deviation towards the worst of many elements (these
/// cases stay 4.7 times below the result).
double tolerance(const AttentionShape &s) {
  int64_t heads = s.queryHeads / s.keyHeads;
  double score = 6 * std::sqrt(double(s.queryDim)), keys = std::sqrt(double(s.keys));
  double rows = std::sqrt(double(s.queries * heads));
  return 2 * std::ldexp(1, -24) * (score + keys + rows);
}

void expectCloseLse(const std::vector<float> &got, const std::vector<float> &want, double absolute) {
  ASSERT_EQ(got.size(), want.size());
  for (size_t i = 0; i < got.size(); ++i)
    if (std::isinf(want[i]))
      EXPECT_EQ(got[i], want[i]) << i;
    else
      EXPECT_NEAR(got[i], want[i], absolute) << i;
}

/// Against the largest value or `size`, the size of the terms where they cancel (a query that reads one key has no
/// gradient). Gaps between rows, which hold 9 in `want`, must not have changed.
void expectCloseRows(const std::vector<float> &got, const std::vector<float> &want, double relative, double size) {
  int64_t touched = 0;
  double worst = 0;
  for (size_t i = 0; i < want.size(); ++i)
    if (want[i] == 9) {
      touched += got[i] != 9;
    } else {
      size = std::max(size, std::abs(double(want[i])));
      worst = std::max(worst, std::abs(double(got[i]) - want[i]));
    }
  EXPECT_EQ(touched, 0);
  EXPECT_LE(worst, relative * size);
}

void expectAgreement(const Problem &got, const Problem &want) {
  double relative = tolerance(got.shape);
  expectCloseLse(got.lse, want.lse, relative);
  double gradient = got.shape.scale * std::sqrt(double(got.shape.valueDim)); // of scale do . v, for normal numbers
  for (auto [name, g, w, size] :
       {std::tuple("o", &got.o, &want.o, 1.0), std::tuple("dq", &got.dq, &want.dq, gradient),
        std::tuple("dk", &got.dk, &want.dk, gradient), std::tuple("dv", &got.dv, &want.dv, 1.0)}) {
    SCOPED_TRACE(name);
    expectCloseRows(g->values, w->values, relative, size);
  }
}

const Case cases[] = {
    {"One", 1, 1, 1, 1, 1, 8, 8},
    {"Seventeen", 2, 3, 1, 17, 17, 64, 64},
    {"Grouped", 2, 6, 2, 65, 65, 64, 64},
    {"Batch", 2, 9, 3, 102, 102, 64, 64},
    {"HeadsFirst", 2, 4, 4, 64, 64, 64, 64, true, 0, Valid::All, Segments::None, 0, true},
    {"Bidirectional", 2, 4, 2, 65, 65, 64, 64, false},
    {"SmallDim", 1, 2, 1, 33, 33, 8, 8},
    {"OddDims", 1, 2, 2, 20, 20, 13, 7},
    {"Dim80", 1, 2, 1, 70, 70, 80, 80},
    {"Dim128", 1, 2, 1, 66, 66, 128, 128},
    {"ValueDimDiffers", 1, 4, 2, 65, 65, 96, 64},
    {"ValueDimLarger", 1, 2, 1, 17, 17, 8, 144},
    {"Window", 2, 2, 1, 130, 130, 64, 64, true, 17},
    {"WindowOfOne", 1, 2, 1, 65, 65, 16, 16, true, 1},
    {"WindowBothSides", 1, 2, 1, 130, 130, 64, 64, false, 9},
    {"WindowLarge", 1, 2, 1, 65, 65, 16, 16, true, int64_t(1) << 62},
    {"RightPadded", 3, 6, 2, 65, 65, 64, 64, true, 0, Valid::RightPadded},
    {"LeftPadded", 3, 6, 2, 65, 65, 64, 64, true, 0, Valid::LeftPadded},
    {"PaddedBidirectional", 3, 3, 3, 65, 65, 64, 64, false, 0, Valid::RightPadded},
    {"PaddedSkipped", 3, 3, 3, 65, 65, 64, 64, false, 0, Valid::RightPadded, Segments::None, 0, false, true},
    {"Holes", 2, 4, 2, 65, 65, 64, 64, true, 0, Valid::Holes},
    {"HolesInWindow", 2, 4, 2, 65, 65, 64, 64, true, 2, Valid::Holes},
    {"Packed", 2, 4, 2, 102, 102, 64, 64, true, 0, Valid::All, Segments::Packed},
    {"PackedPadded", 2, 4, 2, 102, 102, 64, 64, true, 0, Valid::RightPadded, Segments::Packed},
    {"Interleaved", 2, 4, 2, 65, 65, 64, 64, false, 0, Valid::All, Segments::Interleaved},
    {"InterleavedHoles", 2, 4, 2, 65, 65, 64, 64, true, 20, Valid::Holes, Segments::Interleaved},
    {"SharedPadded", 3, 4, 2, 135, 135, 64, 64, true, 0, Valid::RightPadded, Segments::Shared},
    {"SharedLeftPadded", 3, 2, 1, 135, 135, 32, 48, true, 0, Valid::LeftPadded, Segments::Shared},
    {"SharedSkipped", 3, 3, 3, 135, 135, 16, 16, true, 0, Valid::RightPadded, Segments::Shared, 0, false, true},
    {"SharedHoles", 2, 4, 2, 135, 135, 64, 64, true, 0, Valid::Holes, Segments::Shared},
    {"SharedWindow", 2, 4, 2, 135, 135, 64, 64, true, 50, Valid::All, Segments::Shared},
    {"SharedBidirectional", 2, 4, 2, 135, 135, 64, 64, false, 0, Valid::All, Segments::Shared},
    {"SharedTwoPrompts", 2, 6, 2, 600, 600, 64, 64, true, 0, Valid::All, Segments::Shared},
    {"SharedTwoPromptsPadded", 2, 1, 1, 640, 640, 16, 80, true, 0, Valid::RightPadded, Segments::Shared},
    {"SharedHeadsFirst", 1, 9, 3, 600, 600, 13, 7, true, 0, Valid::All, Segments::Shared, 0, true},
    {"SharedManyBlocks", 1, 2, 1, 1400, 1400, 16, 16, true, 0, Valid::All, Segments::Shared},
    {"ParentBehind", 2, 4, 2, 600, 600, 32, 32, false, 0, Valid::All, Segments::Swapped},
    {"ParentBehindPadded", 2, 4, 2, 135, 135, 64, 64, false, 0, Valid::LeftPadded, Segments::Swapped},
    {"ParentBehindCausal", 2, 4, 2, 135, 135, 64, 64, true, 0, Valid::All, Segments::Swapped},
    {"SharedInterleaved", 2, 4, 2, 65, 65, 64, 64, false, 0, Valid::All, Segments::SharedInterleaved},
    {"SharedInterleavedHoles", 2, 4, 2, 135, 135, 64, 64, true, 40, Valid::Holes, Segments::SharedInterleaved},
    {"Softcap", 2, 4, 2, 65, 65, 64, 64, true, 0, Valid::All, Segments::None, 2},
    {"SoftcapPackedWindow", 2, 4, 2, 65, 65, 64, 64, true, 9, Valid::RightPadded, Segments::Packed, 30},
    {"MoreKeys", 2, 4, 2, 17, 80, 64, 64},
    {"OneQuery", 2, 9, 3, 1, 130, 64, 64, true, 0, Valid::RightPadded},
    {"FewerKeys", 1, 2, 1, 80, 17, 64, 64}, // the first 63 queries read nothing
    {"KeyBlocks", 1, 2, 1, 600, 600, 64, 64},
    {"KeyBlocksWindow", 1, 2, 2, 600, 600, 32, 48, true, 100, Valid::LeftPadded},
    {"NoKeys", 1, 2, 1, 5, 0, 16, 16},
    {"NoQueries", 1, 2, 1, 0, 5, 16, 16},
    {"NoSequences", 0, 2, 1, 5, 5, 16, 16},
};

/// The cases above that may have segments and have none, with shared prompts.
std::vector<Case> casesWithSharedPrompts() {
  std::vector<Case> shared;
  for (Case c : cases)
    if (c.queries == c.keys && c.segments == Segments::None) {
      c.segments = Segments::Shared;
      shared.push_back(c);
    }
  return shared;
}

class Attention : public testing::TestWithParam<Case> {};

TEST_P(Attention, AgreesWithReference) {
  Problem got(GetParam()), want(GetParam());
  got.runAll();
  want.reference();
  expectAgreement(got, want);
}

// Tests that work items one by one, backwards, give the bits that all at once give.
TEST_P(Attention, DoesNotDependOnTheCut) {
  Problem whole(GetParam()), cut(GetParam());
  whole.runAll();
  for (int64_t unit = attentionUnits(cut.shape); unit-- > 0;)
    cut.run(unit, unit + 1);
  EXPECT_EQ(cut.o.values, whole.o.values);
  EXPECT_EQ(cut.lse, whole.lse);
  EXPECT_EQ(cut.dq.values, whole.dq.values);
  EXPECT_EQ(cut.dk.values, whole.dk.values);
  EXPECT_EQ(cut.dv.values, whole.dv.values);
}

INSTANTIATE_TEST_SUITE_P(Shapes, Attention, testing::ValuesIn(cases),
                         [](const auto &info) { return std::string(info.param.name); });
INSTANTIATE_TEST_SUITE_P(SharedPrompts, Attention, testing::ValuesIn(casesWithSharedPrompts()),
                         [](const auto &info) { return std::string(info.param.name); });

void runItems(Problem &p, const VectorFunctions &set) {
  Scratch forward(attentionForwardScratch(p.shape)), backward(attentionBackwardScratch(p.shape));
  for (int64_t unit = 0; unit < attentionUnits(p.shape); ++unit) {
    int64_t batch = unit / p.shape.keyHeads, head = unit % p.shape.keyHeads;
    AttentionRanges ranges;
    float *rest = layRanges(p.shape, static_cast<float *>(forward.get()), ranges);
    findRanges(p.shape, p.masks(), batch, ranges);
    set.attentionForwardItem(p.forward(), ranges, rest, batch, head);
    rest = layRanges(p.shape, static_cast<float *>(backward.get()), ranges);
    findRanges(p.shape, p.masks(), batch, ranges);
    set.attentionBackwardItem(p.backward(), ranges, rest, batch, head);
  }
}

TEST_P(Attention, AgreesOnEveryInstructionSet) {
  Problem want(GetParam());
  want.reference();
  std::span<const VectorFunctions> sets = availableVectorFunctions();
  for (size_t i = 0; i < sets.size(); ++i) {
    SCOPED_TRACE("instruction set " + std::to_string(i));
    Problem got(GetParam());
    runItems(got, sets[i]);
    expectAgreement(got, want);
  }
}

// Tests the reference's gradient against differences: only the loops' formula is in doubt, so that one small case with
// everything in it is enough.
TEST(AttentionReference, GradientIsTheSlopeOfTheForward) {
  Problem p(Case{"", 1, 2, 1, 6, 6, 4, 3, true, 4, Valid::Holes, Segments::SharedInterleaved, 1.5f});
  p.reference();
  auto loss = [&] {
    Problem moved = p;
    attentionForwardReference(moved.forward());
    double sum = 0;
    for (size_t i = 0; i < moved.o.values.size(); ++i)
      sum += moved.o.values[i] == 9 ? 0 : double(moved.o.values[i]) * moved.dOut.values[i];
    return sum;
  };
  for (auto [x, dx] : {std::pair(&p.q, &p.dq), std::pair(&p.k, &p.dk), std::pair(&p.v, &p.dv)})
    for (size_t i = 0; i < x->values.size(); ++i) {
      if (dx->values[i] == 9) // a gap
        continue;
      float step = 1.0f / 128, kept = x->values[i];
      x->values[i] = kept + step;
      double above = loss();
      x->values[i] = kept - step;
      double slope = (above - loss()) / (2 * step);
      x->values[i] = kept;
      EXPECT_NEAR(dx->values[i], slope, 2e-3);
    }
}

// Tests that NaN in a query reaches its output, and that keys that are not valid may hold anything.
TEST(AttentionValues, NotFiniteNumbersStayWhereTheyBelong) {
  Case c{"", 1, 1, 1, 9, 9, 16, 16, true, 0, Valid::RightPadded};
  Problem clean(c), dirty(c);
  clean.runAll();
  for (int64_t j = 4; j < 9; ++j) // not valid: 4 = 9 / 2
    for (int64_t d = 0; d < 16; ++d) {
      dirty.k.values[static_cast<size_t>(j * dirty.k.strides.position + d)] = std::nanf("");
      dirty.v.values[static_cast<size_t>(j * dirty.v.strides.position + d)] = INFINITY;
    }
  dirty.runAll();
  EXPECT_EQ(dirty.o.values, clean.o.values);
  EXPECT_EQ(dirty.dq.values, clean.dq.values);
  dirty.q.values[static_cast<size_t>(2 * dirty.q.strides.position)] = std::nanf("");
  dirty.runAll();
  EXPECT_TRUE(std::isnan(dirty.o.values[static_cast<size_t>(2 * dirty.o.strides.position)]));
  EXPECT_FALSE(std::isnan(dirty.o.values[static_cast<size_t>(3 * dirty.o.strides.position)]));
}

// Tests that a completion does not even touch the keys between its prompt and itself: NaN there leaves every bit of its
// outputs and gradients as it was, beginning with the first six rows (one product) that all belong to it.
TEST(AttentionValues, KeysBetweenPromptAndCompletionAreSkipped) {
  constexpr int64_t prompt = 21, begin = prompt + 9 + 1 + 70, end = begin + 33, first = (begin + 5) / 6 * 6;
  Case c{"", 1, 1, 1, end, end, 16, 16, true, 0, Valid::All, Segments::Shared};
  Problem clean(c), dirty(c);
  for (int64_t j = roundUp(prompt, attentionVector); j < begin / attentionVector * attentionVector; ++j)
    for (Array *array : {&dirty.k, &dirty.v})
      std::fill_n(array->values.data() + j * array->strides.position, 16, std::nanf(""));
  clean.runAll();
  dirty.runAll();
  for (int64_t i = first; i < end; ++i)
    for (auto [a, b] : {std::pair(&dirty.o, &clean.o), std::pair(&dirty.dq, &clean.dq)})
      for (int64_t d = 0; d < 16; ++d) {
        auto at = static_cast<size_t>(i * a->strides.position + d);
        ASSERT_EQ(a->values[at], b->values[at]) << i;
      }
}

// Tests scores far beyond the range of exp.
TEST(AttentionValues, LargeScoresDoNotOverflow) {
  Case c{"", 1, 2, 1, 33, 33, 16, 16};
  Problem got(c), want(c);
  for (Problem *p : {&got, &want})
    p->shape.scale = 50;
  got.runAll();
  want.reference();
  expectCloseLse(got.lse, want.lse, 1e-2);
  for (float value : got.dk.values)
    EXPECT_TRUE(std::isfinite(value));
}

// Tests that rows whose incoming gradient is zero leave no trace, whatever else they hold.
TEST(AttentionValues, RowsWithoutGradientAreSkipped) {
  Case c{"", 1, 2, 1, 70, 70, 16, 20};
  Problem got(c), want(c);
  for (Problem *p : {&got, &want})
    for (int64_t h = 0; h < 2; ++h)
      for (int64_t i = 0; i < 70; i += h == 0 ? 1 : 3)
        std::fill_n(p->dOut.values.data() + h * p->dOut.strides.head + i * p->dOut.strides.position, 20, 0.0f);
  got.runAll();
  want.reference();
  expectAgreement(got, want);
}

} // namespace
} // namespace graft::kernels
