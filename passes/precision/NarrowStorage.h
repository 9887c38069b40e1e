// Parameters that are stored in bfloat16.
#pragma once

#include "mlir/Dialect/Func/IR/FuncOps.h"

#include <set>
#include <string>

namespace graft {

/// Reads float32 parameters of `function` that train and have two or more dimensions as bfloat16, and widens them where
/// they are used: `rl.parameter` gives bfloat16, `arith.extf` follows. Gathers take rows of bfloat16 and widen what
/// they took, never the table. Vectors and buffers stay float32: they are a thousandth of the memory, and norms and
/// frequencies of rotary angles need the digits. Run before narrowProducts(), which then reads the parameters
/// themselves. Returns their names: the same for all functions of a model.
std::set<std::string> narrowStorage(mlir::func::FuncOp function);

} // namespace graft
