#include "dialects/rl/RLDialect.h"

using namespace mlir;

#include "dialects/rl/RLDialect.cpp.inc"

namespace graft::rl {

void RLDialect::initialize() {
  addOperations<
#define GET_OP_LIST
#include "dialects/rl/RLOps.cpp.inc"
      >();
}

void registerDialects(DialectRegistry &registry) {
  nn::registerDialects(registry);
  registry.insert<RLDialect>();
}

} // namespace graft::rl
