// The interfaces of arith and math operators, and of nn's own element-wise ones, from one table (Elementwise.cpp).
#pragma once

namespace mlir {
class DialectRegistry;
}

namespace graft::nn {

/// Attaches DifferentiableOpInterface, ShardingRuleOpInterface, CostOpInterface and EvaluateOpInterface to every arith
/// and math operator that the tables of Elementwise.cpp list, as soon as those dialects are loaded.
void registerElementwiseModels(mlir::DialectRegistry &registry);

} // namespace graft::nn
