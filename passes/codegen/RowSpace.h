// A row program's row space as the emitter runs it: fewer dimensions that enumerate the same rows in the same order.
//
// Neighbouring dimensions become one wherever every operand steps through them evenly (stride[d] == size[d+1] *
// stride[d+1]), and dimensions of size 1 vanish, unless the body asks for their index. Most kernels are left with one
// dimension and no carry.
#pragma once

#include "dialects/rt/RTOps.h"

namespace graft {

struct RowDimension {
  int64_t size;
  llvm::SmallVector<int64_t> strides; ///< one per access, in elements
  int64_t source;                     ///< the program's dimension, -1 when merged from several
};

struct RowSpace {
  llvm::SmallVector<RowDimension> units; ///< enumerate the units of work
  llvm::SmallVector<RowDimension> rows;  ///< enumerate the rows of a unit

  static RowSpace of(rt::RowProgramOp program);
};

} // namespace graft
