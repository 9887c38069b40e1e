// LLVM's half of code generation: from a module of the LLVM dialect to an object file or to PTX, and from object files
// to a shared object.
#pragma once

#include "mlir/IR/BuiltinOps.h"
#include "runtime/base/Status.h"
#include "llvm/ADT/ArrayRef.h"
#include <string>

namespace llvm {
class Module;
}

namespace graft {

/// Makes every function defined in the module internal and gives each an exported one of its name, with the C type
/// KernelFunction, that calls it. The functions take bare pointers, then the two ends of a range of units.
void addEntries(llvm::Module &module);

/// Translates `module` and compiles it for `cpu` (an LLVM name such as "x86-64-v3"), with entries. Thread-safe for
/// modules of different contexts. Refuses objects with undefined symbols.
Result<std::string> compileToObject(mlir::ModuleOp module, llvm::StringRef cpu);

/// Translates `module` to PTX text for sm_80 and later; every function defined in it becomes a kernel. Thread-safe for
/// modules of different contexts. Refuses code that would call functions from elsewhere.
Result<std::string> compileToPtx(mlir::ModuleOp module);

/// One PTX module of several; no symbol may be in two of them.
std::string joinPtx(llvm::ArrayRef<std::string> modules);

/// Links the objects in order, without any library. One link at a time per process (lld has global state); callers may
/// be on any thread. The bytes depend on nothing but the objects.
Result<std::string> linkSharedObject(llvm::ArrayRef<std::string> objects);

} // namespace graft
