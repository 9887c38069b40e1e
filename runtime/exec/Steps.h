// Instructions made ready to run: pointers resolved, products planned, kernels found.
//
// Whatever can fail or take time is done once, when a session opens; running a step only computes.
#pragma once

#include "kernels/gemm/Gemm.h"
#include "runtime/base/Status.h"
#include "runtime/device/cpu/Memory.h"
#include "runtime/device/cpu/WorkerPool.h"
#include "runtime/exec/KernelObject.h"
#include "runtime/exec/Optimizer.h"
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
  uint8_t *working = nullptr;   ///< likewise, by instructions

  uint8_t *address(const schema::Buffer &buffer) const;
};

/// The pass of a RowLoop that is running; outside of one, the only one.
struct Pass {
  bool first = true;
  int64_t part = 1, parts = 1; ///< the share of the chunk, or of a packed row, that is in use
};

/// What steps run on.
struct Workers {
  WorkerPool &pool;
  std::vector<kernels::GemmWorkspace> gemm; ///< one per worker
  std::vector<HostBlock> scratch;           ///< one per worker, as large as any step's scratchBytes
  Pass pass;
  Pass whole;           ///< what holds outside of loops
  bool updates = false; ///< do updates take place? Optimizer::begin() was called then
};

class Step {
public:
  virtual ~Step() = default;
  /// On worker 0, within WorkerPool::drive. Range or Failed errors; the entry's arena is garbage then.
  virtual Status run(Workers &workers) const = 0;
  /// What each worker must have in Workers::scratch.
  virtual int64_t scratchBytes() const { return 0; }
};

/// A RowLoop: begin(), then the body as long as next() says so. The steps of the body follow it.
class LoopStep {
public:
  LoopStep(const uint8_t *mask, int64_t *indices, const schema::RowLoop &loop)
      : mask_(mask), indices_(indices), rows_(loop.rows()), chunk_(loop.chunk()), parts_(loop.parts()),
        body_(static_cast<size_t>(loop.body())) {}

  size_t body() const { return body_; } ///< number of steps
  void begin(Pass &pass);
  /// False after the last pass.
  bool next(Pass &pass);

private:
  void select(Pass &pass);

  const uint8_t *mask_;
  int64_t *indices_;
  int64_t rows_, chunk_, parts_;
  size_t body_;
  int64_t next_ = 0; ///< the first row that no chunk has seen
};

struct StepMaker {
  const schema::Program &program;
  Blocks blocks;
  const KernelObject *object; ///< nullptr only if the program has no kernels
  kernels::GemmPlanner &planner;
  Optimizer *optimizer; ///< nullptr only if nothing is updated

  /// The step of an instruction of the entry. Verify error if the object code lacks a kernel. `loop`: the RowLoop
  /// around the instruction, or nullptr.
  Result<std::unique_ptr<Step>> make(const schema::Entry &entry, const schema::Instruction &instruction,
                                     const schema::RowLoop *loop) const;
  LoopStep makeLoop(const schema::RowLoop &loop) const;
  uint8_t *address(unsigned buffer, int64_t byteOffset) const {
    return blocks.address(*program.buffers()->Get(buffer)) + byteOffset;
  }
  uint8_t *address(const schema::Operand &operand) const { return address(operand.buffer(), operand.byte_offset()); }
};

} // namespace graft
