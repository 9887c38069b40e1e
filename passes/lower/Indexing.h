// Views without copies: how an element of a value is found in the memory of the value it is a view of.
//
// The idea: give every dimension of a value an affine expression over the coordinates of an iteration space. Walking a
// chain of view operators (reshape, transpose, slice, broadcast) from a value towards its source only rewrites these
// expressions:
//   transpose permutes them, broadcast drops some, slice multiplies and adds, reshape joins them (i n + j) or splits
//   one where its terms separate into multiples of n and a rest below n.
// At the source they become strides and an offset. A reshape that cannot be split is where a copy must be made.
#pragma once

#include "dialects/nn/NNDialect.h"
#include "mlir/IR/Value.h"
#include "llvm/ADT/SmallVector.h"

#include <optional>

namespace graft {

/// constant + sum of coefficients[i] * coordinate i of the iteration space.
struct Affine {
  llvm::SmallVector<int64_t> coefficients;
  int64_t constant = 0;
};

/// One expression per dimension of a value.
using Index = llvm::SmallVector<Affine, 4>;

/// Coordinate d of the space for dimension d of the value; the space's first dimensions are the value's.
Index identityIndex(size_t rank, size_t spaceRank);

/// The source of a value and where its elements lie in it.
struct Source {
  mlir::Value value;
  Index index;
};

using nn::isView;

/// One step: the operand of the view `op` and its index, given the index of the result. Nothing if a reshape cannot be
/// split.
std::optional<Source> stepThroughView(mlir::Operation *op, const Index &index, llvm::ArrayRef<int64_t> space);

/// Follows views as far as possible, but not through values for which `stop` holds. Nothing if a reshape cannot be
/// split.
std::optional<Source> resolve(mlir::Value value, Index index, llvm::ArrayRef<int64_t> space,
                              llvm::function_ref<bool(mlir::Value)> stop);

/// Strides (one per coordinate of the space) and offset in elements of an index into a dense row-major tensor of
/// `shape`.
struct Strides {
  llvm::SmallVector<int64_t> strides;
  int64_t offset = 0;
};
Strides linearize(const Index &index, llvm::ArrayRef<int64_t> shape, size_t spaceRank);

/// Row-major strides of a dense tensor.
llvm::SmallVector<int64_t> denseStrides(llvm::ArrayRef<int64_t> shape);

} // namespace graft
