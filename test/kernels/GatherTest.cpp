#include "kernels/gather/gather.h"
#include "test/kernels/Support.h"

namespace graft::kernels {
namespace {

/// `count` indices in [0, limit) with repetitions, as 4 or 8 byte integers.
std::vector<int64_t> indices(int64_t count, int64_t limit, int64_t bytes) {
  std::vector<int64_t> wide(static_cast<size_t>(count));
  for (int64_t i = 0; i < count; ++i)
    wide[static_cast<size_t>(i)] = i * i * 7 % limit;
  if (bytes == 4)
    for (int64_t i = 0; i < count; ++i)
      reinterpret_cast<int32_t *>(wide.data())[i] = static_cast<int32_t>(i * i * 7 % limit);
  return wide;
}

class Rows : public testing::TestWithParam<std::tuple<RowsShape, bool>> {};

TEST_P(Rows, GatherAgreesWithReference) {
  RowsShape shape = std::get<0>(GetParam());
  auto index = indices(shape.count, shape.rows, shape.indexBytes);
  auto table = randomFloats(shape.rows * shape.pitch, 1);
  std::vector<float> got(static_cast<size_t>(shape.count * shape.width), 9), want = got;
  EXPECT_EQ(gatherRowsReference(shape, index.data(), table.data(), want.data()), -1);
  EXPECT_EQ(gatherRows(shape, index.data(), table.data(), got.data(), 0, shape.count / 2), -1);
  EXPECT_EQ(gatherRows(shape, index.data(), table.data(), got.data(), shape.count / 2, shape.count), -1);
  EXPECT_EQ(got, want);
}

TEST_P(Rows, ScatterAgreesWithReferenceAndDoesNotDependOnTheCut) {
  auto [shape, overwrite] = GetParam();
  auto index = indices(shape.count, shape.rows, shape.indexBytes);
  auto values = randomFloats(shape.count * shape.width, 2), start = randomFloats(shape.rows * shape.pitch, 3);
  std::vector<float> whole = start, cut = start, want = start;
  scatterAddRowsReference(shape, index.data(), values.data(), want.data(), overwrite);
  EXPECT_EQ(scatterAddRows(shape, index.data(), values.data(), whole.data(), overwrite, 0, shape.width), -1);
  for (auto [begin, end] : {std::pair{shape.width / 3, shape.width}, std::pair{int64_t(0), shape.width / 3}})
    EXPECT_EQ(scatterAddRows(shape, index.data(), values.data(), cut.data(), overwrite, begin, end), -1);
  EXPECT_EQ(whole, cut);
  expectClose(whole, want, 1e-6);
}

INSTANTIATE_TEST_SUITE_P(Sizes, Rows,
                         testing::Combine(testing::Values(RowsShape{1, 1, 1, 1, 8}, RowsShape{0, 4, 3, 4, 4},
                                                          RowsShape{13, 7, 5, 7, 4}, RowsShape{40, 64, 11, 80, 8},
                                                          RowsShape{9, 0, 4, 0, 4}),
                                          testing::Bool()));

// Tests that an index outside of the table is reported by position and touches nothing.
TEST(Rows, ReportsTheFirstBadIndex) {
  RowsShape shape{4, 2, 3, 2, 8};
  std::vector<int64_t> index = {0, 3, -1, 2};
  std::vector<float> table = {1, 2, 3, 4, 5, 6}, out(8, 9), values(8, 1);
  EXPECT_EQ(gatherRows(shape, index.data(), table.data(), out.data(), 0, 4), 1);
  EXPECT_EQ(out, (std::vector<float>{1, 2, 9, 9, 9, 9, 5, 6}));
  EXPECT_EQ(scatterAddRows(shape, index.data(), values.data(), table.data(), false, 0, 2), 1);
  EXPECT_EQ(table, (std::vector<float>{2, 3, 3, 4, 6, 7}));
}

class Elements : public testing::TestWithParam<std::tuple<ElementsShape, bool>> {};

TEST_P(Elements, AgreeWithReference) {
  auto [shape, overwrite] = GetParam();
  auto index = indices(shape.rows * shape.picks, shape.columns, shape.indexBytes);
  auto source = randomFloats(shape.rows * shape.pitch, 1), values = randomFloats(shape.rows * shape.picks, 2);
  std::vector<float> got(values.size(), 9), want = got;
  gatherElementsReference(shape, index.data(), source.data(), want.data());
  EXPECT_EQ(gatherElements(shape, index.data(), source.data(), got.data(), 0, shape.rows), -1);
  EXPECT_EQ(got, want);
  std::vector<float> target = source, expected = source;
  scatterAddElementsReference(shape, index.data(), values.data(), expected.data(), overwrite);
  EXPECT_EQ(scatterAddElements(shape, index.data(), values.data(), target.data(), overwrite, 0, shape.rows), -1);
  expectClose(target, expected, 1e-6);
}

INSTANTIATE_TEST_SUITE_P(Sizes, Elements,
                         testing::Combine(testing::Values(ElementsShape{1, 1, 1, 1, 4}, ElementsShape{5, 1, 17, 17, 8},
                                                          ElementsShape{7, 3, 9, 12, 4}, ElementsShape{0, 2, 3, 3, 8}),
                                          testing::Bool()));

TEST(Elements, ReportTheFirstBadIndex) {
  ElementsShape shape{2, 1, 3, 3, 4};
  std::vector<int32_t> index = {1, 3};
  std::vector<float> source(6, 1), out(2, 9), values(2, 1);
  EXPECT_EQ(gatherElements(shape, index.data(), source.data(), out.data(), 0, 2), 1);
  EXPECT_EQ(scatterAddElements(shape, index.data(), values.data(), source.data(), false, 0, 2), 1);
}

} // namespace
} // namespace graft::kernels
