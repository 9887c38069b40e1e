// What may be sharded, chunked, padded, and what it costs: all read off one description, the operator's factors.
//
// A rule maps each dimension of each operand and result to a list of factors (major to minor), as an einsum maps
// dimensions to letters. Most dimensions are one factor: "bsk,nk->bsn". A reshape [8, 64] -> [512] has a composite:
// operand [[i], [j]], result [[i, j]]. A dimension of size 1 may have no factor at all.
// A factor that occurs in operands and in no result is a reduction: sharding it leaves the result partial.
#pragma once

#include "llvm/ADT/SmallVector.h"

#include <cstdint>

namespace graft::nn {

enum class FactorKind {
  PassThrough,   ///< independent per index: shard, chunk, pad freely
  Reduction,     ///< summed (or max'ed) over: sharding gives partial results
  MustReplicate, ///< every index needs all others: softmax rows, scans, sorted dimensions
  Blocked,       ///< slices and pads: may be sharded only where the sharded part is not cut
};

struct Factor {
  int64_t size = 1;
  FactorKind kind = FactorKind::PassThrough;
};

/// Factors of one tensor: for each dimension the indices of its factors, major to minor.
using DimensionFactors = llvm::SmallVector<llvm::SmallVector<int, 1>, 4>;

struct ShardingRule {
  llvm::SmallVector<Factor> factors;
  llvm::SmallVector<DimensionFactors> operands;
  llvm::SmallVector<DimensionFactors> results;

  /// Number of points of the iteration space: the product of all factor sizes.
  int64_t points() const {
    int64_t product = 1;
    for (const Factor &factor : factors)
      product *= factor.size;
    return product;
  }
};

struct Cost {
  int64_t flops = 0; ///< floating-point operations; a multiply-add counts two
  int64_t bytes = 0; ///< bytes of operands and results, each counted once
};

/// May the backward pass compute a value again instead of keeping it, and what does that cost?
enum class RecomputeClass {
  Free,       ///< a view: reshape, transpose, broadcast, slice, constants
  Cheap,      ///< element-wise and reductions: bandwidth
  Gemm,       ///< a matrix product
  Attention,  ///< attention: between the two
  Discrete,   ///< a choice (top-k, routing, random): never replayed
  Collective, ///< communication: never replayed
};

} // namespace graft::nn
