// What a program file says about its memory and its instructions: the analyses behind `graft explain`.
//
// Needs no compiler. Programs have passed the verifier (runtime/program/Program.h): offsets and indices are used
// unchecked.
#pragma once

#include "runtime/program/Instructions.h"

#include <cstdint>
#include <string>
#include <vector>

namespace graft::report {

/// The moment at which an entry holds most bytes in the arena.
struct PeakMemory {
  int entry = 0;
  int time = -1;              ///< instruction index; -1: inputs are written; number of instructions: outputs are read
  int64_t lowerBound = 0;     ///< bytes live then, each buffer rounded up to the arena's alignment: no plan is smaller
  int64_t planned = 0;        ///< what the entry uses of the arena
  int64_t lent = 0;           ///< bytes live then that lie in the gradients' memory instead
  std::vector<uint32_t> live; ///< indices of buffers, largest first
};
/// One per entry.
std::vector<PeakMemory> peakMemory(const schema::Program &program);

struct BufferUse {
  int entry = 0, instruction = 0;
  schema::Access access = schema::Access::Read;
};
/// For every buffer the instructions that touch it, in order.
std::vector<std::vector<BufferUse>> bufferUses(const schema::Program &program);

/// What becomes of a tensor of the forward pass that the backward pass reads.
enum class Fate {
  Temporary, ///< the backward pass does not read it
  Kept,      ///< it stays in the arena from the forward to the backward pass
  MadeAgain, ///< the backward pass computes it again
};
/// By the instructions that write and read the buffer, which lies in the arena.
Fate fateOf(const schema::Program &program, const std::vector<BufferUse> &uses);

/// Things of one kind and place, as "model.layers.N.mlp.gate_proj": numbers in module paths stand for all of them.
struct Family {
  std::string name;
  int64_t count = 0;
  int64_t bytes = 0, flops = 0;
};
/// What an entry keeps for its backward pass (bytes of buffers) and what it computes again (bytes and FLOPs of
/// instructions), largest first.
struct Retention {
  std::vector<Family> kept, madeAgain;
};
Retention retention(const schema::Program &program, int entry);

/// Buffers that lie in the parameter's weights, in their working copy or in the gradient block; and gradients in the
/// arena that it is updated by.
std::vector<uint32_t> buffersOf(const schema::Program &program, const schema::Parameter &parameter);

} // namespace graft::report
