// Instructions made ready to run: pointers resolved, products planned, kernels found.
//
// Whatever can fail or take time is done once, when a session opens; running a step only computes.
#pragma once

#include "kernels/gemm/Gemm.h"
#include "runtime/base/Status.h"
#include "runtime/device/cpu/WorkerPool.h"
#include "runtime/exec/KernelObject.h"
#include "runtime/program/Program.h"

#include <cstdint>
#include <memory>
#include <vector>

namespace graft {

/// Where the storages of a program live; all verified offsets are inside.
struct Blocks {
  uint8_t *arena = nullptr;
  uint8_t *parameters = nullptr;
  uint8_t *gradients = nullptr;
  uint8_t *constants = nullptr; ///< never written: verified

  uint8_t *address(const schema::Buffer &buffer) const;
};

/// What steps run on.
struct Workers {
  WorkerPool &pool;
  std::vector<kernels::GemmWorkspace> gemm; ///< one per worker
};

class Step {
public:
  virtual ~Step() = default;
  /// On worker 0, within WorkerPool::drive. Range or Failed errors; the entry's arena is garbage then.
  virtual Status run(Workers &workers) const = 0;
};

struct StepMaker {
  const schema::Program &program;
  Blocks blocks;
  const KernelObject *object; ///< nullptr only if the program has no kernels
  kernels::GemmPlanner &planner;

  /// Verify error if the object code lacks a kernel.
  Result<std::unique_ptr<Step>> make(const schema::Instruction &instruction) const;
};

} // namespace graft
