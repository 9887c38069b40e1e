// Matrix products of a program: planned once when it is loaded, then run with pointers.
//
//   c[b] = alpha a[b] b[b]  (+ c[b] if accumulate)   a [m, k], b [k, n], c [m, n], for all b in batch
//
// c is float32; a and b are float32, or bfloat16 whose products are summed in float32.
//
// A product is cut into parts, over the batch or over m or n, never over k: each element is summed by one worker. The
// number of parts is max(2, workers), so that one thread and two run the same calls and give the same bits by
// construction. Which routine runs is a fixed table of rules over the shape (Gemm.cpp), not a measurement: artifacts
// must behave equally everywhere.
#pragma once

#include "kernels/gemm/MatrixLibrary.h"
#include "runtime/base/Status.h"

#include <cstdint>
#include <map>
#include <memory>
#include <vector>

namespace graft::kernels {

/// Strides in elements. One of row and column is 1 (or its dimension is); the rows of c do not overlap.
struct Matrix {
  std::vector<int64_t> batch;
  int64_t row = 0, column = 0;
};

struct GemmShape {
  std::vector<int64_t> batch;
  int64_t m = 0, n = 0, k = 0;
  Matrix a, b, c;
  float alpha = 1;
  bool accumulate = false;
  MatrixType type = MatrixType::F32; ///< of a and b
};

/// What a worker needs for itself: one per worker, made by GemmPlanner.
using GemmWorkspace = std::shared_ptr<MatrixWorkspace>;

class TurnedProduct;

class Gemm {
public:
  int parts() const { return static_cast<int>(pieces_.size()); }
  /// Runs part `part`; parts may run at the same time, each with its own workspace, on threads that used useOneThread.
  /// The pointers are those of the whole operands. False if the library failed.
  bool run(int part, const void *a, const void *b, float *c, MatrixWorkspace *workspace) const;

private:
  friend class GemmPlanner;
  enum class Routine { Library, Primitive, Turned, Own, Scale };
  /// The product of one part: offsets of its first elements, its sizes, and how to do it.
  struct Piece {
    int64_t a = 0, b = 0, c = 0;
    GemmShape shape;
    Routine routine = Routine::Own;
    std::shared_ptr<const MatrixPrimitive> primitive;
    std::shared_ptr<const TurnedProduct> turned;
  };
  void runMatrix(const Piece &piece, const void *a, const void *b, float *c) const;

  std::vector<Piece> pieces_;
  bool swapped_ = false; ///< planned as c^T = b^T a^T
  std::shared_ptr<const MatrixLibrary> library_;
};

/// Plans products; equal shapes share what the library prepared. Not thread-safe; plan on a thread that used
/// useOneThread.
class GemmPlanner {
public:
  /// Without a library, products run by a simple blocked loop of ours, about ten times slower.
  GemmPlanner(std::shared_ptr<const MatrixLibrary> library, int workers)
      : library_(std::move(library)), workers_(workers) {}

  Gemm plan(const GemmShape &shape);
  GemmWorkspace makeWorkspace() const { return library_ ? library_->makeWorkspace() : nullptr; }

private:
  void choose(Gemm::Piece &piece);
  std::shared_ptr<const MatrixPrimitive> prepare(const GemmShape &shape);

  std::shared_ptr<const MatrixLibrary> library_;
  int workers_;
  std::map<std::vector<int64_t>, std::shared_ptr<const MatrixPrimitive>> prepared_;
};

/// Obvious loops, summed in double and rounded once.
void gemmReference(const GemmShape &shape, const void *a, const void *b, float *c);

} // namespace graft::kernels
