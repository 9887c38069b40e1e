// nn.contract as matrix products of the library.
#pragma once

#include "passes/lower/EntryBuilder.h"

namespace graft::nn {
class ContractOp;
}

namespace graft {

/// Appends the Gemm for an einsum: its letters become batch dimensions, rows, columns and the summed dimension, with
/// strides read off the operands' places, so that transposed and grouped operands need no copy. Operands that a library
/// cannot read are copied into the order it can. With `accumulate` the product is added to what the result's place
/// holds.
void emitProduct(EntryBuilder &entry, nn::ContractOp op, bool accumulate);

} // namespace graft
