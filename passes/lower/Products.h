// nn.contract as matrix products of the library.
#pragma once

#include "passes/lower/EntryBuilder.h"

namespace graft::nn {
class ContractOp;
}

namespace graft {

struct ProductOptions {
  bool accumulate = false; ///< add to what the result's place holds
  bool afterFirst = false; ///< add from the second pass of the loop around on
  char rowLetter = 0;      ///< the letter that counts rows of the loop's chunk, if any
  char placeLetter = 0;    ///< outside of loops: the letter that counts places of a packed row, if any
};

/// Appends the Gemm for an einsum: its letters become batch dimensions, rows, columns and the summed dimension, with
/// strides read off the operands' places, so that transposed and grouped operands need no copy. Operands that a library
/// cannot read are copied into the order it can.
void emitProduct(EntryBuilder &entry, nn::ContractOp op, const ProductOptions &options);

} // namespace graft
