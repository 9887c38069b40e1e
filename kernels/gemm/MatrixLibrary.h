// oneDNN 2.x behind an interface of our own, opened at run time.
//
// The library is loaded with local, deep binding: another oneDNN in the process (PyTorch carries one) neither sees it
// nor is seen. Only C functions of the documented 2.x interface are used, and the version is checked. OpenMP inside the
// library is kept to one thread per worker of ours: each worker calls useOneThread() before its first product.
#pragma once

#include "runtime/base/Status.h"

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>

namespace graft::kernels {

/// Element type of the operands of a product; results are float32 and summed in float32 whatever it is.
enum class MatrixType : uint8_t { F32, BF16 };

/// Sizes and strides (elements) of one operand of a batched product: leading dimensions are the batch.
struct MatrixLayout {
  std::span<const int64_t> dims, strides;
};

/// Internals of the library that a worker needs for itself; make one per worker.
class MatrixWorkspace;
/// A prepared batched product; immutable, shared by all products of its shape, may run on several workers at once.
class MatrixPrimitive;

class MatrixLibrary {
public:
  /// Opens libdnnl.so.2. Io or Unsupported, with what to install, if there is none that fits.
  static Result<std::shared_ptr<const MatrixLibrary>> open();
  ~MatrixLibrary();

  /// "oneDNN 2.6.3"
  const std::string &version() const { return version_; }

  /// Makes the library single-threaded for products prepared and run by the calling thread. OpenMP's setting is per
  /// thread.
  void useOneThread() const;

  /// c = alpha op(a) op(b) + beta c in BLAS's sense but row-major; op is a transpose if transA or transB. lda, ldb, ldc
  /// in elements.
  void sgemm(bool transA, bool transB, int64_t m, int64_t n, int64_t k, float alpha, const float *a, int64_t lda,
             const float *b, int64_t ldb, float beta, float *c, int64_t ldc) const;

  /// Prepares c = alpha a b (+ c if accumulate) over batches, a and b of `type`; a batch dimension of a or b may be 1
  /// to repeat it. Call on a thread that used useOneThread. nullptr if the library has no optimized code for these
  /// strides, or this CPU none for the type.
  std::shared_ptr<const MatrixPrimitive> prepare(MatrixType type, const MatrixLayout &a, const MatrixLayout &b,
                                                 const MatrixLayout &c, float alpha, bool accumulate) const;
  std::shared_ptr<MatrixWorkspace> makeWorkspace() const;
  /// Memory of the worker, 64-byte aligned, until its next product; nullptr if there is none.
  float *scratch(MatrixWorkspace &workspace, int64_t floats) const;
  /// False if the library reports a failure.
  bool run(const MatrixPrimitive &primitive, MatrixWorkspace &workspace, const void *a, const void *b, float *c) const;

  struct Functions; // the table; private to MatrixLibrary.cpp

private:
  MatrixLibrary() = default;
  std::unique_ptr<Functions> functions_;
  std::string version_;
};

} // namespace graft::kernels
