// Says in words what a stretch of operators does: ["rms_norm", "attention(9:3 heads x 64, rope, causal)", "residual"].
//
// Only operators and the flow of values count. What the import passes recognised appears by its name; what they did not
// appears as what it is made of ("attention in plain operators", "norm in plain operators").
#pragma once

#include "dialects/rl/RLDialect.h"

#include <string>
#include <vector>

namespace graft::report {

/// The parameter behind views and conversions of a value; null if it is something else.
rl::ParameterOp parameterBehind(mlir::Value value);

/// `operators` in program order, all of one block.
std::vector<std::string> describeBlock(llvm::ArrayRef<mlir::Operation *> operators);

} // namespace graft::report
