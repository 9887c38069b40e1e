// FlatBuffers' verifier checks that a vector's length is aligned, not its elements (2.0.8): vectors of 8-byte elements
// are checked here, before anything reads them.
#include "runtime/program/VerifierSupport.h"

namespace graft {

namespace {
template <typename... Vectors> bool areAligned(const Vectors *...vectors) {
  auto isAligned = [](const auto *vector) { return !vector || reinterpret_cast<uintptr_t>(vector->Data()) % 8 == 0; };
  return (isAligned(vectors) && ...);
}

bool isAligned(const schema::Instruction &instruction) {
  switch (instruction.operation_type()) {
  case schema::Operation::KernelCall:
    return areAligned(instruction.operation_as_KernelCall()->operands());
  case schema::Operation::Gemm: {
    const schema::Gemm &gemm = *instruction.operation_as_Gemm();
    return areAligned(gemm.batch(), gemm.a()->batch_strides(), gemm.b()->batch_strides(), gemm.c()->batch_strides());
  }
  case schema::Operation::Copy: {
    const schema::Copy &copy = *instruction.operation_as_Copy();
    return areAligned(copy.shape(), copy.dst_strides(), copy.src_strides());
  }
  case schema::Operation::HostCall:
    return areAligned(instruction.operation_as_HostCall()->operands(), instruction.operation_as_HostCall()->ints());
  default:
    return true;
  }
}
} // namespace

bool vectorsAreAligned(const schema::Program &program) {
  for (unsigned i = 0; i < sizeOf(program.parameters()); ++i)
    if (!areAligned(program.parameters()->Get(i)->shape()))
      return false;
  for (unsigned i = 0; i < sizeOf(program.buffers()); ++i)
    if (!areAligned(program.buffers()->Get(i)->shape()))
      return false;
  for (unsigned i = 0; i < sizeOf(program.kernels()); ++i)
    if (!areAligned(program.kernels()->Get(i)->extents()))
      return false;
  for (unsigned i = 0; i < sizeOf(program.entries()); ++i) {
    const schema::Entry &entry = *program.entries()->Get(i);
    for (unsigned j = 0; j < sizeOf(entry.instructions()); ++j)
      if (!isAligned(*entry.instructions()->Get(j)))
        return false;
  }
  return true;
}

} // namespace graft
