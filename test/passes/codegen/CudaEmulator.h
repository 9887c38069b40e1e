// Runs CUDA kernels without a GPU: the code that becomes PTX, compiled for this CPU, with a fiber for each thread of a
// block.
//
// The special registers, shuffles and barriers become calls of functions here. The fibers of a block take turns, each
// up to its next shuffle or barrier; lanes of a warp (and, where there are barriers, all threads of a block) meet the
// same ones in the same order, so that all have left their values before one reads. What this shows is that indices,
// masks, folds and ownership are right; it cannot show a missing barrier between turns, nor anything of ptxas.
#pragma once

#include "mlir/IR/BuiltinOps.h"
#include "passes/codegen/CompileKernels.h"
#include <memory>

namespace graft::test {

class CudaEmulator {
public:
  /// Compiles the row programs of the module; null after reporting a test failure.
  static std::unique_ptr<CudaEmulator> compile(mlir::ModuleOp module);
  virtual ~CudaEmulator() = default;

  /// Runs the units [begin, end) of a kernel by a grid of `blocks`.
  virtual void run(const std::string &symbol, CudaLaunch launch, int blocks, void *const *operands, int64_t begin,
                   int64_t end) = 0;
};

} // namespace graft::test
