// Runs CUDA kernels without a GPU: the code that becomes PTX, compiled for this CPU, with a fiber for each thread of a
// block.
//
// The special registers, shuffles and barriers become calls of functions here. Between two of these the lanes of a warp
// run one after the other, in random order, and so do warps between two barriers of the block: an index, a mask, a fold
// or an owner that is wrong shows in the numbers, and so does a barrier that is missing. Not shown: anything of ptxas
// and the GPU.
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
