// From row programs to machine code: one shared object for all kernels of a program, and one PTX module.
//
// The way: equal programs are found (Fingerprint.h) and compiled once; the distinct ones are dealt to a fixed number of
// parts (never a function of the thread count, so that bytes do not depend on it); each part is compiled in contexts of
// its own, on as many threads as allowed; the parts' objects are linked in order. The shared object has no dependency,
// not even on libc: a kernel that would call a function is refused.
#pragma once

#include "dialects/rt/RTOps.h"
#include "mlir/IR/BuiltinOps.h"
#include "passes/codegen/TargetPolicy.h"
#include "runtime/base/Status.h"
#include <string>
#include <vector>

namespace graft {

/// Levels of the x86-64 psABI: v3 has AVX2 and FMA, v4 has AVX-512 (F, BW, CD, DQ, VL).
enum class CpuLevel { X86_64_V3, X86_64_V4 };

/// "x86-64-v3", "x86-64-v4": LLVM's CPU names, also stored in program files.
std::string_view name(CpuLevel level);

/// The better level that this machine runs; an error when it runs neither.
Result<CpuLevel> hostCpuLevel();

struct CodegenOptions {
  CpuLevel level = CpuLevel::X86_64_V3; ///< what the code may use; see hostCpuLevel()
  unsigned threads = 2;                 ///< how many parts are compiled at a time; does not change the bytes
  std::vector<std::string> cuda = {};   ///< architectures for which a program also gets CUDA code; see Ptxas.h
  bool verifyPasses = false;            ///< run MLIR's verifier after every pass: for tests, costs about 10 %
};

/// What a row program of the module became.
struct CompiledKernel {
  std::string program;     ///< the row program's symbol
  std::string symbol;      ///< exported function; equal programs share the symbol of the first of them
  std::string fingerprint; ///< see Fingerprint.h
  int64_t units = 0;       ///< the kernel's unit range is [0, units)
  CudaLaunch launch;       ///< of the PTX kernel
};

struct CompiledPtx {
  std::string text;                    ///< PTX for sm_80 and later; empty when there are no programs
  std::vector<CompiledKernel> kernels; ///< in the module's order
};

struct CompiledKernels {
  std::string object;                  ///< bytes of an ELF shared object; empty when there are no programs
  std::vector<CompiledKernel> kernels; ///< in the module's order
};

/// The C type of an exported function; see rt.row_program.
using KernelFunction = void (*)(void *const *operands, int64_t unitBegin, int64_t unitEnd);

/// Compiles the row programs directly in `module`, which is not changed. Deterministic: same module and level, same
/// bytes. Errors: Unsupported when a kernel would need a library function; Internal when a program does not verify or a
/// tool fails.
Result<CompiledKernels> compileRowPrograms(mlir::ModuleOp module, const CodegenOptions &options);

/// The same programs as CUDA kernels `.entry NAME(operand pointers..., .u64 unitBegin, .u64 unitEnd)`, launched as
/// CudaLaunch says, from the same description by the same emitter. The level is not used. Deterministic; errors as
/// above.
Result<CompiledPtx> compileRowProgramsToPtx(mlir::ModuleOp module, const CodegenOptions &options);

} // namespace graft
