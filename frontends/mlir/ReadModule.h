// A forward graph as MLIR: text (.mlir) or bytecode (.mlirbc) with the function @forward of nn, rl, arith and math
// operators.
#pragma once

#include "runtime/base/Status.h"

#include "mlir/IR/BuiltinOps.h"
#include "mlir/IR/OwningOpRef.h"

namespace graft {

struct ReadModule {
  mlir::OwningOpRef<mlir::ModuleOp> module;
  uint64_t fingerprint = 0; ///< hash64 of the file
};

/// Reads and verifies. `context` must have rl::registerDialects() appended. Files above 256 MiB are refused.
/// Errors: Io, Limit, Format (with line and column, all that the parser reports), Graph (no @forward of one block,
/// arguments without rl.name), Unsupported (operators of other dialects, all of them; types without a static shape).
Result<ReadModule> readModule(const std::string &path, mlir::MLIRContext &context);

} // namespace graft
