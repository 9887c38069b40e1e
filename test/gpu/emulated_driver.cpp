// A libcuda.so.1 without a GPU: memory is this process's, and kernels run in test/passes/codegen/CudaEmulator.h.
//
// Module code is not looked at: the file of row programs that it was made from, named by EMULATED_ROW_PROGRAMS, is
// compiled instead. With this in front of the library path, gpu_kernels is tested as well as the kernels.
#include "test/passes/codegen/CudaEmulator.h"

#include "mlir/Parser/Parser.h"
#include "passes/codegen/Passes.h"

#include <cstdlib>
#include <cstring>
#include <map>

using namespace graft;
using namespace graft::test;

namespace {

struct Kernel {
  std::string symbol;
  size_t operands = 0;
};

/// A file of row programs, compiled.
struct Module {
  std::unique_ptr<CudaEmulator> emulator;
  std::map<std::string, Kernel> kernels;
};

std::unique_ptr<Module> loadModule(const char *path) {
  mlir::DialectRegistry registry;
  registerCodegenDialects(registry);
  mlir::MLIRContext context(registry, mlir::MLIRContext::Threading::DISABLED);
  auto programs = mlir::parseSourceFile<mlir::ModuleOp>(path, &context);
  Result<CompiledPtx> compiled = Status::error(Code::Format, "is not a text of row programs");
  if (programs)
    compiled = compileRowProgramsToPtx(*programs, {});
  if (!compiled.isOk())
    return nullptr;
  auto module = std::make_unique<Module>();
  for (const CompiledKernel &kernel : compiled->kernels) {
    auto program = programs->lookupSymbol<rt::RowProgramOp>(kernel.program);
    if (kernel.symbol == kernel.program)
      module->kernels[kernel.symbol] = {kernel.symbol, program.getBody()->getNumArguments()};
    else
      program.erase(); // the same as an earlier one
  }
  module->emulator = CudaEmulator::compile(*programs);
  return module->emulator ? std::move(module) : nullptr;
}

Module *current = nullptr; ///< the last that was loaded; modules live as long as the process

constexpr int kInvalidImage = 200, kNotFound = 500; // of CUresult

} // namespace

// As cuda.h declares them.
extern "C" {
int cuInit(unsigned) {
  return 0;
}
int cuGetErrorString(int, const char **text) {
  *text = "the emulated driver cannot";
  return 0;
}
int cuDeviceGetCount(int *count) {
  *count = 1;
  return 0;
}
int cuDeviceGet(int *device, int) {
  *device = 0;
  return 0;
}
int cuDeviceGetName(char *name, int length, int) {
  std::strncpy(name, "emulated GPU", static_cast<size_t>(length));
  return 0;
}
int cuDeviceGetAttribute(int *value, int, int) {
  *value = 8; // sm_88: runs what sm_86 and sm_80 run
  return 0;
}
int cuDevicePrimaryCtxRetain(void **context, int) {
  *context = nullptr;
  return 0;
}
int cuCtxSetCurrent(void *) {
  return 0;
}
int cuCtxSynchronize() {
  return 0;
}
int cuModuleLoadData(void **module, const void *) {
  const char *path = std::getenv("EMULATED_ROW_PROGRAMS");
  current = path ? loadModule(path).release() : nullptr;
  *module = current;
  return current ? 0 : kInvalidImage;
}
int cuModuleGetFunction(void **function, void *module, const char *name) {
  auto &kernels = static_cast<Module *>(module)->kernels;
  auto found = kernels.find(name);
  *function = found == kernels.end() ? nullptr : &found->second;
  return *function ? 0 : kNotFound;
}
int cuMemAlloc_v2(uint64_t *memory, size_t bytes) {
  *memory = reinterpret_cast<uint64_t>(std::aligned_alloc(256, (bytes + 255) / 256 * 256));
  return 0;
}
int cuMemFree_v2(uint64_t memory) {
  std::free(reinterpret_cast<void *>(memory));
  return 0;
}
int cuMemcpyHtoD_v2(uint64_t to, const void *from, size_t bytes) {
  std::memcpy(reinterpret_cast<void *>(to), from, bytes);
  return 0;
}
int cuMemcpyDtoH_v2(void *to, uint64_t from, size_t bytes) {
  std::memcpy(to, reinterpret_cast<void *>(from), bytes);
  return 0;
}
int cuMemcpyDtoD_v2(uint64_t to, uint64_t from, size_t bytes) {
  std::memcpy(reinterpret_cast<void *>(to), reinterpret_cast<void *>(from), bytes);
  return 0;
}
int cuLaunchKernel(void *function, unsigned blocks, unsigned, unsigned, unsigned threads, unsigned, unsigned, unsigned,
                   void *, void **parameters, void **) {
  const Kernel &kernel = *static_cast<Kernel *>(function);
  std::vector<void *> operands;
  for (size_t i = 0; i < kernel.operands; ++i)
    operands.push_back(*static_cast<void **>(parameters[i]));
  int64_t begin = *static_cast<int64_t *>(parameters[kernel.operands]);
  int64_t end = *static_cast<int64_t *>(parameters[kernel.operands + 1]);
  CudaLaunch launch{static_cast<int32_t>(threads), 0};
  current->emulator->run(kernel.symbol, launch, static_cast<int>(blocks), operands.data(), begin, end);
  return 0;
}
}
