// Kernels in place: which buffers may lie where an operand lay that nobody reads any more.
#pragma once

#include "dialects/rt/RTOps.h"
#include "runtime/program/Program_generated.h"

#include "mlir/IR/BuiltinOps.h"
#include "llvm/ADT/DenseMap.h"

namespace graft {

/// A buffer that a kernel reads last, and the operands of that kernel: what it reads and what it writes.
struct InPlace {
  uint32_t from;
  rt::RowProgramOp kernel;
  unsigned read, written;
};

/// For buffers of the entry that a kernel writes: the operand of that kernel whose memory they may take over. Both are
/// used from their beginning, the operand's buffer ends there, the result's begins there, and the row program reads an
/// element before it writes it. Each buffer is taken over once at most.
///   Requires  final lifetimes; calls that count the row programs of `kernels`.
llvm::DenseMap<uint32_t, InPlace> findInPlace(const schema::EntryT &entry, const schema::ProgramT &program,
                                              mlir::ModuleOp kernels);

} // namespace graft
