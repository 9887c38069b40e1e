// How patterns are applied here.
#pragma once

#include "mlir/Transforms/GreedyPatternRewriteDriver.h"

namespace graft {

/// Functions of nn and rl are one block without branches, so there is no control flow to simplify, and what nobody uses
/// is erased by the driver itself: looking for more costs as much as the patterns do.
inline mlir::GreedyRewriteConfig straightLineRewriting() {
  return mlir::GreedyRewriteConfig().setRegionSimplificationLevel(mlir::GreedySimplifyRegionLevel::Disabled);
}

} // namespace graft
