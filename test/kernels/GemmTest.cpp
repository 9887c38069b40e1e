#include "kernels/gemm/Gemm.h"
#include "runtime/device/cpu/WorkerPool.h"
#include "test/kernels/Support.h"

#include <bit>
#include <cmath>

namespace graft::kernels {
namespace {

enum class Layout { RowMajor, Transposed, Padded };

struct Case {
  std::vector<int64_t> batch;
  int64_t m, n, k;
  Layout a, b, c;
  bool accumulate;
  float alpha;
  MatrixType type = MatrixType::F32;
};

/// Strides of a [rows, columns] matrix; returns the elements that one takes.
int64_t layOut(Matrix &matrix, Layout layout, int64_t rows, int64_t columns) {
  int64_t pad = layout == Layout::Padded ? 5 : 0;
  matrix.row = layout == Layout::Transposed ? 1 : columns + pad;
  matrix.column = layout == Layout::Transposed ? rows : 1;
  return std::max<int64_t>(1, rows * (columns + pad));
}

/// The upper half of each float: bfloat16, rounded toward zero.
std::vector<uint16_t> narrowed(const std::vector<float> &values) {
  std::vector<uint16_t> narrow;
  for (float value : values)
    narrow.push_back(static_cast<uint16_t>(std::bit_cast<uint32_t>(value) >> 16));
  return narrow;
}

struct Problem {
  GemmShape shape;
  std::vector<float> a, b, c;

  explicit Problem(const Case &test) {
    shape.batch = test.batch;
    shape.m = test.m, shape.n = test.n, shape.k = test.k;
    shape.alpha = test.alpha, shape.accumulate = test.accumulate, shape.type = test.type;
    a = fill(shape.a, layOut(shape.a, test.a, test.m, test.k), 1);
    b = fill(shape.b, layOut(shape.b, test.b, test.k, test.n), 2);
    c = fill(shape.c, layOut(shape.c, test.c, test.m, test.n), 3);
  }
  std::vector<float> fill(Matrix &matrix, int64_t size, unsigned seed) {
    matrix.batch.resize(shape.batch.size());
    for (size_t i = shape.batch.size(); i-- > 0; size *= shape.batch[i])
      matrix.batch[i] = size;
    return randomFloats(size, seed);
  }
  /// Calls f(a, b) with the operands as the shape's type.
  template <typename F> void withOperands(F f) const {
    if (shape.type == MatrixType::F32)
      return f(a.data(), b.data());
    std::vector<uint16_t> narrowA = narrowed(a), narrowB = narrowed(b);
    f(narrowA.data(), narrowB.data());
  }
  std::vector<float> reference() const {
    std::vector<float> out = c;
    withOperands([&](const void *left, const void *right) { gemmReference(shape, left, right, out.data()); });
    return out;
  }
  std::vector<float> run(std::shared_ptr<const MatrixLibrary> library, int workers) const {
    std::vector<float> out = c;
    withOperands([&](const void *left, const void *right) { run(std::move(library), workers, left, right, out); });
    return out;
  }
  void run(std::shared_ptr<const MatrixLibrary> library, int workers, const void *left, const void *right,
           std::vector<float> &out) const {
    WorkerPool pool(workers, [&](int) {
      if (library)
        library->useOneThread();
    });
    bool good = true;
    pool.drive([&] {
      GemmPlanner planner(library, workers);
      Gemm gemm = planner.plan(shape);
      std::vector<GemmWorkspace> workspaces;
      for (int i = 0; i < workers; ++i)
        workspaces.push_back(planner.makeWorkspace());
      std::atomic<bool> all = true;
      pool.parallel([&](int worker) {
        for (int part = worker; part < gemm.parts(); part += workers)
          if (!gemm.run(part, left, right, out.data(), workspaces[static_cast<size_t>(worker)].get()))
            all = false;
      });
      good = all;
    });
    EXPECT_TRUE(good);
  }
};

std::shared_ptr<const MatrixLibrary> openLibrary() {
  auto library = MatrixLibrary::open();
  return library.isOk() ? *library : nullptr;
}

std::vector<Case> cases() {
  std::vector<Case> all;
  const int64_t sizes[][3] = {{1, 1, 1},   {7, 5, 3},      {1, 33, 65},    {33, 1, 17},
                              {64, 48, 1}, {130, 67, 129}, {300, 200, 150}};
  for (auto &size : sizes)
    for (Layout a : {Layout::RowMajor, Layout::Transposed, Layout::Padded})
      for (Layout b : {Layout::RowMajor, Layout::Transposed})
        for (Layout c : {Layout::RowMajor, Layout::Transposed, Layout::Padded})
          for (bool accumulate : {false, true})
            all.push_back({{}, size[0], size[1], size[2], a, b, c, accumulate, accumulate ? 1.0f : 0.5f});
  for (Layout b : {Layout::RowMajor, Layout::Transposed})
    for (bool accumulate : {false, true}) {
      all.push_back({{6}, 17, 19, 23, Layout::RowMajor, b, Layout::RowMajor, accumulate, 1});
      all.push_back({{2, 3}, 34, 8, 64, Layout::Transposed, b, Layout::Padded, accumulate, 2});
      all.push_back({{1, 1}, 20, 21, 0, Layout::RowMajor, b, Layout::RowMajor, accumulate, 1});
    }
  all.push_back({{3, 0}, 4, 4, 4, Layout::RowMajor, Layout::RowMajor, Layout::RowMajor, false, 1});
  all.push_back({{}, 0, 4, 4, Layout::RowMajor, Layout::RowMajor, Layout::RowMajor, false, 1});
  for (size_t i = 0, count = all.size(); i < count; ++i) {
    all.push_back(all[i]);
    all.back().type = MatrixType::BF16;
  }
  return all;
}

// Tests that every layout agrees with the obvious loops, and that padding between rows is left alone.
TEST(Gemm, AgreesWithReference) {
  auto library = openLibrary();
  if (!library)
    GTEST_SKIP() << "oneDNN is not installed";
  for (const Case &test : cases()) {
    Problem problem(test);
    SCOPED_TRACE(testing::Message() << "type " << int(test.type) << " m " << test.m << " n " << test.n << " k "
                                    << test.k << " a " << int(test.a) << " b " << int(test.b) << " c " << int(test.c)
                                    << " batch " << test.batch.size() << " accumulate " << test.accumulate);
    expectClose(problem.run(library, 2), problem.reference(), 1e-6 * std::sqrt(double(test.k) + 1));
  }
}

// Tests that without a library our own loop computes the same.
TEST(Gemm, OwnLoopAgreesWithReference) {
  for (const Case &test : cases()) {
    Problem problem(test);
    SCOPED_TRACE(testing::Message() << "type " << int(test.type) << " m " << test.m << " n " << test.n << " k "
                                    << test.k);
    expectClose(problem.run(nullptr, 2), problem.reference(), 1e-6 * std::sqrt(double(test.k) + 1));
  }
}

// Tests that one and two workers give the same bits, also in shapes of a real model.
TEST(Gemm, OneAndTwoWorkersGiveTheSameBits) {
  auto library = openLibrary();
  std::vector<Case> all = cases();
  all.push_back({{}, 408, 576, 576, Layout::RowMajor, Layout::Transposed, Layout::RowMajor, false, 1});
  all.push_back({{}, 576, 1536, 408, Layout::Transposed, Layout::RowMajor, Layout::RowMajor, true, 1});
  all.push_back({{4, 9}, 102, 102, 64, Layout::RowMajor, Layout::Transposed, Layout::RowMajor, false, 0.125f});
  all.push_back(
      {{}, 408, 576, 576, Layout::RowMajor, Layout::Transposed, Layout::RowMajor, false, 1, MatrixType::BF16});
  for (const Case &test : all) {
    Problem problem(test);
    EXPECT_EQ(problem.run(library, 1), problem.run(library, 2));
  }
}

// Tests few rows against large turned weights, in whole blocks of columns and in what is left of them.
TEST(Gemm, TurnsFewRowsInsteadOfTheWeights) {
  auto library = openLibrary();
  if (!library)
    GTEST_SKIP() << "oneDNN is not installed";
  for (int64_t n : {66048, 66001})
    for (Layout padded : {Layout::RowMajor, Layout::Padded}) {
      Problem problem({{}, 19, n, 64, padded, Layout::Transposed, padded, false, 0.5f});
      std::vector<float> got = problem.run(library, 2);
      expectClose(got, problem.reference(), 1e-5);
      EXPECT_EQ(got, problem.run(library, 1));
    }
}

// Tests that a batch stride of 0 repeats one matrix: grouped heads.
TEST(Gemm, RepeatsAMatrixWithoutCopies) {
  Problem problem({{2, 3}, 40, 24, 16, Layout::RowMajor, Layout::Transposed, Layout::RowMajor, false, 1});
  problem.shape.b.batch[1] = 0;
  expectClose(problem.run(openLibrary(), 2), problem.reference(), 1e-5);
}

// Tests that heads interleaved in rows ([B, S, H, D]) need no copy.
TEST(Gemm, TakesInterleavedHeads) {
  const int64_t batch = 2, tokens = 21, heads = 3, dim = 8;
  GemmShape shape{{batch, heads}, tokens, tokens, dim, {}, {}, {}, 0.5f, false};
  shape.a = {{tokens * heads * dim, dim}, heads * dim, 1};
  shape.b = {{tokens * heads * dim, dim}, 1, heads * dim};
  shape.c = {{heads * tokens * tokens, tokens * tokens}, tokens, 1};
  Problem problem({{}, 1, 1, 1, Layout::RowMajor, Layout::RowMajor, Layout::RowMajor, false, 1});
  problem.shape = shape;
  problem.a = randomFloats(batch * tokens * heads * dim, 4);
  problem.b = randomFloats(batch * tokens * heads * dim, 5);
  problem.c = randomFloats(batch * heads * tokens * tokens, 6);
  expectClose(problem.run(openLibrary(), 2), problem.reference(), 1e-5);
}

} // namespace
} // namespace graft::kernels
