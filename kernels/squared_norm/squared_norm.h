// Sum of squares of float32 arrays, in double: the global norm of gradients.
//
// Arrays are cut into blocks of `squaredNormBlock` values; a block's sum depends on nothing but its values, and the
// caller adds the blocks' sums in order: the same bits for any number of threads. (Squares of floats are exact in
// double, so neither does the instruction set matter.)
#pragma once

#include <cstdint>

namespace graft::kernels {

constexpr int64_t squaredNormBlock = 65536;

/// Obvious loop in extended precision.
double squaredNormReference(const float *values, int64_t count);

/// The vectorized one, for one block, is vectorFunctions().squaredNorm (Dispatch.h).

} // namespace graft::kernels
