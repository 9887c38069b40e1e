// Matrix products of bfloat16 inputs that are summed in float32.
#pragma once

#include "mlir/Dialect/Func/IR/FuncOps.h"

#include <set>
#include <string>

namespace graft {

/// Lets every matrix product of `function` read bfloat16: inputs are rounded where they are made, parameters are read
/// from their working copies, and results stay float32, as everything else does.
///   Requires  float32 nn, rl, arith and math; token loops are entered.
///   Ensures   the types of all other operators, arguments and results as they were.
/// Products that only scale (nothing is summed) or only sum (a vector of ones) stay as they are: they are bound by
/// memory, and what they compute, angles of positions and sums over tokens, needs the digits. Returns how many products
/// were narrowed.
int narrowProducts(mlir::func::FuncOp function);

/// Names of the parameters that functions of the module read in bfloat16.
std::set<std::string> narrowParameters(mlir::ModuleOp module);

} // namespace graft
