#include "kernels/gemm/Gemm.h"

#include "kernels/Dispatch.h"
#include "kernels/gemm/TurnedProduct.h"
#include "runtime/device/cpu/WorkerPool.h"

#include <algorithm>
#include <bit>

namespace graft::kernels {

namespace {
/// Strides of dimensions of size 1 say nothing; give them the values that a dense matrix would have.
void canonicalize(Matrix &matrix, int64_t rows, int64_t columns) {
  if (columns == 1 && rows == 1)
    matrix.row = matrix.column = 1;
  else if (columns == 1 && matrix.row != 1)
    matrix.column = 1;
  else if (columns == 1)
    matrix.column = std::max<int64_t>(rows, 1);
  else if (rows == 1 && matrix.column != 1)
    matrix.row = 1;
  else if (rows == 1)
    matrix.row = columns;
}

Matrix transposed(Matrix matrix) {
  std::swap(matrix.row, matrix.column);
  return matrix;
}

/// The same product with c's rows contiguous: as it is, or as c^T = b^T a^T.
GemmShape rowMajor(GemmShape shape, bool &swapped) {
  canonicalize(shape.a, shape.m, shape.k);
  canonicalize(shape.b, shape.k, shape.n);
  canonicalize(shape.c, shape.m, shape.n);
  swapped = shape.c.column != 1;
  if (swapped) {
    Matrix a = transposed(shape.b), b = transposed(shape.a);
    shape.a = a;
    shape.b = b;
    shape.c = transposed(shape.c);
    std::swap(shape.m, shape.n);
  }
  return shape;
}

/// Drops batch dimensions of size 1 and merges neighbours whose strides nest in all three operands.
void mergeBatch(GemmShape &shape) {
  GemmShape merged = shape;
  for (auto *dims : {&merged.batch, &merged.a.batch, &merged.b.batch, &merged.c.batch})
    dims->clear();
  for (size_t i = 0; i < shape.batch.size(); ++i) {
    int64_t size = shape.batch[i];
    if (size == 1)
      continue;
    auto nests = [&](const Matrix &into, const Matrix &from) { return into.batch.back() == from.batch[i] * size; };
    if (!merged.batch.empty() && nests(merged.a, shape.a) && nests(merged.b, shape.b) && nests(merged.c, shape.c)) {
      merged.batch.back() *= size;
      merged.a.batch.back() = shape.a.batch[i];
      merged.b.batch.back() = shape.b.batch[i];
      merged.c.batch.back() = shape.c.batch[i];
    } else {
      merged.batch.push_back(size);
      merged.a.batch.push_back(shape.a.batch[i]);
      merged.b.batch.push_back(shape.b.batch[i]);
      merged.c.batch.push_back(shape.c.batch[i]);
    }
  }
  shape = std::move(merged);
}

int64_t batchCount(const GemmShape &shape) {
  int64_t count = 1;
  for (int64_t dim : shape.batch)
    count *= dim;
  return count;
}

/// Calls f(a offset, b offset, c offset) for every matrix of the batch.
template <typename F> void forEachMatrix(const GemmShape &shape, F f) {
  int64_t count = batchCount(shape);
  for (int64_t i = 0; i < count; ++i) {
    int64_t a = 0, b = 0, c = 0, rest = i;
    for (size_t d = shape.batch.size(); d-- > 0; rest /= shape.batch[d]) {
      a += rest % shape.batch[d] * shape.a.batch[d];
      b += rest % shape.batch[d] * shape.b.batch[d];
      c += rest % shape.batch[d] * shape.c.batch[d];
    }
    f(a, b, c);
  }
}

/// Dimensions and strides of one operand for the library; a repeated batch (stride 0) has size 1 there.
struct Operand {
  std::vector<int64_t> dims, strides;
  Operand(const GemmShape &shape, const Matrix &matrix, int64_t rows, int64_t columns) {
    for (size_t i = 0; i < shape.batch.size(); ++i) {
      bool repeats = matrix.batch[i] == 0;
      dims.push_back(repeats ? 1 : shape.batch[i]);
      strides.push_back(repeats ? std::max<int64_t>(1, rows * columns) : matrix.batch[i]);
    }
    dims.insert(dims.end(), {rows, columns});
    strides.insert(strides.end(), {matrix.row, matrix.column});
  }
  MatrixLayout layout() const { return {dims, strides}; }
};

// Below this the library's packing of whole operands costs more than it saves.
constexpr double smallProduct = 8e6;
// Up to so many rows, packing a turned b takes a good part of the time.
constexpr int64_t fewRows = 512;
// A bfloat16 primitive that accumulates reads all of c before it writes it: a block of so many rows is still in a
// cache.
constexpr int64_t accumulatedRows = 592;

double operations(const GemmShape &shape) {
  return 2.0 * double(shape.m) * double(shape.n) * double(shape.k);
}
} // namespace

// Rules, measured on Zen 5 and Sapphire Rapids (test/benchmarks/kernels.cpp):
//   k = 0                                  c is set to zero, or left alone when accumulating
//   no library                             our own loop
//   very few rows, a large b that is       TurnedProduct: the library would turn all of b for them
//     turned
//   bfloat16, a batch, a small product,    a prepared primitive: packs nothing or little, the batch in one call
//     few rows and a turned b
//   everything else                        sgemm: as fast or faster, reads c only when accumulating, nothing to prepare
void GemmPlanner::choose(Gemm::Piece &piece) {
  const GemmShape &shape = piece.shape;
  bool narrow = shape.type == MatrixType::BF16;
  bool prefersPrimitive = narrow || batchCount(shape) > 1 || operations(shape) < smallProduct ||
                          (shape.b.column != 1 && shape.m <= fewRows);
  if (shape.k == 0) {
    piece.routine = Gemm::Routine::Scale;
  } else if (!library_) {
    piece.routine = Gemm::Routine::Own;
  } else if (auto turned = TurnedProduct::plan(shape)) {
    piece.routine = Gemm::Routine::Turned;
    piece.turned = std::make_shared<const TurnedProduct>(*std::move(turned));
  } else if (prefersPrimitive && (piece.primitive = prepare(shape))) {
    piece.routine = Gemm::Routine::Primitive;
  } else {
    piece.routine = narrow ? Gemm::Routine::Own : Gemm::Routine::Library;
  }
}

std::shared_ptr<const MatrixPrimitive> GemmPlanner::prepare(const GemmShape &shape) {
  Operand a(shape, shape.a, shape.m, shape.k), b(shape, shape.b, shape.k, shape.n), c(shape, shape.c, shape.m, shape.n);
  std::vector<int64_t> key = {shape.accumulate, std::bit_cast<int32_t>(shape.alpha), static_cast<int64_t>(shape.type)};
  for (const Operand *operand : {&a, &b, &c}) {
    key.insert(key.end(), operand->dims.begin(), operand->dims.end());
    key.insert(key.end(), operand->strides.begin(), operand->strides.end());
  }
  auto [found, isNew] = prepared_.try_emplace(std::move(key));
  if (isNew)
    found->second = library_->prepare(shape.type, a.layout(), b.layout(), c.layout(), shape.alpha, shape.accumulate);
  return found->second;
}

Gemm GemmPlanner::plan(const GemmShape &original) {
  Gemm gemm;
  gemm.library_ = library_;
  GemmShape whole = rowMajor(original, gemm.swapped_);
  mergeBatch(whole);
  if (batchCount(whole) == 0 || whole.m == 0 || whole.n == 0)
    return gemm;
  int parts = std::max(2, workers_);
  bool cutsBatch = !whole.batch.empty() && whole.batch[0] >= parts;
  bool cutsRows = !cutsBatch && whole.m >= whole.n;
  if (cutsRows && whole.accumulate && whole.type == MatrixType::BF16)
    parts = std::max(parts, static_cast<int>(whole.m / accumulatedRows));
  for (int part = 0; part < parts; ++part) {
    Gemm::Piece piece;
    piece.shape = whole;
    Share share =
        cutsBatch ? shareOf(whole.batch[0], part, parts) : shareOf(cutsRows ? whole.m : whole.n, part, parts, 16);
    int64_t size = share.end - share.begin;
    if (size == 0)
      continue;
    if (cutsBatch) {
      piece.shape.batch[0] = size;
      piece.a = share.begin * whole.a.batch[0];
      piece.b = share.begin * whole.b.batch[0];
      piece.c = share.begin * whole.c.batch[0];
    } else if (cutsRows) {
      piece.shape.m = size;
      piece.a = share.begin * whole.a.row;
      piece.c = share.begin * whole.c.row;
    } else {
      piece.shape.n = size;
      piece.b = share.begin * whole.b.column;
      piece.c = share.begin;
    }
    choose(piece);
    gemm.pieces_.push_back(std::move(piece));
  }
  return gemm;
}

void Gemm::runMatrix(const Piece &piece, const void *a, const void *b, float *c) const {
  const GemmShape &shape = piece.shape;
  const auto *floatA = static_cast<const float *>(a), *floatB = static_cast<const float *>(b);
  if (piece.routine == Routine::Scale) {
    for (int64_t i = 0; i < shape.m && !shape.accumulate; ++i)
      std::fill_n(c + i * shape.c.row, shape.n, 0.0f);
  } else if (piece.routine == Routine::Own) {
    auto own = shape.type == MatrixType::BF16 ? vectorFunctions().gemmBF16 : vectorFunctions().gemm;
    own(shape.m, shape.n, shape.k, a, shape.a.row, shape.a.column, b, shape.b.row, shape.b.column, c, shape.c.row,
        shape.alpha, shape.accumulate);
  } else {
    bool transA = shape.a.column != 1, transB = shape.b.column != 1;
    library_->sgemm(transA, transB, shape.m, shape.n, shape.k, shape.alpha, floatA,
                    transA ? shape.a.column : shape.a.row, floatB, transB ? shape.b.column : shape.b.row,
                    shape.accumulate ? 1.0f : 0.0f, c, shape.c.row);
  }
}

bool Gemm::run(int part, const void *a, const void *b, float *c, MatrixWorkspace *workspace) const {
  const Piece &piece = pieces_[static_cast<size_t>(part)];
  int64_t width = piece.shape.type == MatrixType::BF16 ? 2 : 4;
  auto at = [&](const void *matrix, int64_t offset) { return static_cast<const uint8_t *>(matrix) + width * offset; };
  if (swapped_)
    std::swap(a, b);
  a = at(a, piece.a);
  b = at(b, piece.b);
  c += piece.c;
  if (piece.routine == Routine::Primitive)
    return library_->run(*piece.primitive, *workspace, a, b, c);
  if (piece.routine == Routine::Turned)
    return piece.turned->run(*library_, *workspace, static_cast<const float *>(a), static_cast<const float *>(b), c);
  forEachMatrix(piece.shape, [&](int64_t aOffset, int64_t bOffset, int64_t cOffset) {
    runMatrix(piece, at(a, aOffset), at(b, bOffset), c + cOffset);
  });
  return true;
}

} // namespace graft::kernels
