// Parameters that are stored in bfloat16.
#pragma once

#include "mlir/Dialect/Func/IR/FuncOps.h"

namespace graft {

/// Reads every float32 parameter of `function` as bfloat16 and widens it where it is used: `rl.parameter` gives
/// bfloat16, `arith.extf` follows. Gathers take rows of bfloat16 and widen what they took, never the table. Run before
/// narrowProducts(), which then reads the parameters themselves.
void narrowStorage(mlir::func::FuncOp function);

} // namespace graft
