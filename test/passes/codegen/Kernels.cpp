#include "test/passes/codegen/Kernels.h"
#include "mlir/Parser/Parser.h"
#include "passes/codegen/Passes.h"
#include <bit>
#include <cmath>
#include <dlfcn.h>
#include <sys/mman.h>
#include <unistd.h>

namespace graft::test {

void prepare(mlir::MLIRContext &context) {
  mlir::DialectRegistry registry;
  registerCodegenDialects(registry);
  context.appendDialectRegistry(registry);
  context.loadAllAvailableDialects();
}

mlir::OwningOpRef<mlir::ModuleOp> parse(mlir::MLIRContext &context, const std::string &text) {
  prepare(context);
  auto module = mlir::parseSourceString<mlir::ModuleOp>(text, &context);
  EXPECT_TRUE(module) << text;
  return module;
}

std::string substitute(std::string text, const std::vector<std::pair<std::string, std::string>> &values) {
  for (const auto &[from, to] : values)
    for (size_t at = 0; (at = text.find(from, at)) != std::string::npos; at += to.size())
      text.replace(at, from.size(), to);
  return text;
}

std::vector<CpuLevel> runnableLevels() {
  Result<CpuLevel> host = hostCpuLevel();
  EXPECT_TRUE(host.isOk()) << host.status().text();
  std::vector<CpuLevel> levels = {CpuLevel::X86_64_V3};
  if (host.isOk() && *host == CpuLevel::X86_64_V4)
    levels.push_back(CpuLevel::X86_64_V4);
  return levels;
}

/// Loads the bytes through an anonymous file, which stays open as long as the library is loaded: dlopen takes a path
/// that it has loaded before for the same library, and a closed descriptor's number is used again.
void Kernels::load() {
  const std::string &object = compiled_.object;
  descriptor_ = memfd_create("kernels.so", MFD_CLOEXEC);
  ASSERT_EQ(write(descriptor_, object.data(), object.size()), static_cast<ssize_t>(object.size()));
  library_ = dlopen(("/proc/self/fd/" + std::to_string(descriptor_)).c_str(), RTLD_NOW | RTLD_LOCAL);
  ASSERT_NE(library_, nullptr) << dlerror();
}

std::string_view name(const Machine &machine) {
  return machine.level ? name(*machine.level) : "emulated GPU";
}

std::vector<Machine> machines() {
  std::vector<Machine> machines;
  for (CpuLevel level : runnableLevels())
    machines.push_back(level);
#if !__has_feature(address_sanitizer) // it does not follow fibers
  machines.push_back(Machine::emulatedGpu());
#endif
  return machines;
}

Kernels Kernels::compile(const std::string &text, const Machine &machine, unsigned threads) {
  CodegenOptions options{
      .level = machine.level.value_or(CpuLevel::X86_64_V3), .threads = threads, .verifyPasses = true};
  Kernels kernels;
  mlir::MLIRContext context;
  auto module = parse(context, text);
  if (!module)
    return kernels;
  Result<CompiledKernels> compiled = compileRowPrograms(*module, options);
  EXPECT_TRUE(compiled.isOk()) << compiled.status().text();
  if (!compiled.isOk())
    return kernels;
  kernels.compiled_ = std::move(*compiled);
  if (!machine.level) {
    Result<CompiledPtx> ptx = compileRowProgramsToPtx(*module, options);
    EXPECT_TRUE(ptx.isOk()) << ptx.status().text();
    kernels.emulator_ = CudaEmulator::compile(*module);
  } else if (!kernels.compiled_.kernels.empty()) {
    kernels.load();
  }
  return kernels;
}

Kernels::Kernels(Kernels &&other)
    : compiled_(std::move(other.compiled_)), emulator_(std::move(other.emulator_)),
      library_(std::exchange(other.library_, nullptr)), descriptor_(std::exchange(other.descriptor_, -1)) {}

Kernels::~Kernels() {
  if (library_)
    dlclose(library_);
  if (descriptor_ >= 0)
    close(descriptor_);
}

void Kernels::run(const std::string &program, std::vector<const void *> operands) {
  for (const CompiledKernel &kernel : compiled_.kernels)
    if (kernel.program == program)
      return run(program, std::move(operands), 0, kernel.units);
  ADD_FAILURE() << "no kernel " << program;
}

void Kernels::run(const std::string &program, std::vector<const void *> operands, int64_t begin, int64_t end) {
  for (const CompiledKernel &kernel : compiled_.kernels) {
    if (kernel.program != program)
      continue;
    if (emulator_) // two blocks: each has some of the units
      return emulator_->run(kernel.program, kernel.launch, 2, const_cast<void *const *>(operands.data()), begin, end);
    auto function = reinterpret_cast<KernelFunction>(dlsym(library_, kernel.symbol.c_str()));
    ASSERT_NE(function, nullptr) << kernel.symbol;
    function(const_cast<void *const *>(operands.data()), begin, end);
    return;
  }
  FAIL() << "no kernel " << program;
}

std::string compileError(const std::string &text) {
  mlir::MLIRContext context;
  auto module = parse(context, text);
  if (!module)
    return "";
  Result<CompiledKernels> compiled = compileRowPrograms(*module, {});
  EXPECT_FALSE(compiled.isOk());
  return compiled.status().text();
}

std::vector<float> randomFloats(size_t count, unsigned seed, float scale) {
  std::mt19937 generator(seed);
  std::normal_distribution<float> normal(0, scale);
  std::vector<float> values(count);
  for (float &value : values)
    value = normal(generator);
  return values;
}

uint16_t toBf16(float value) {
  uint32_t bits = std::bit_cast<uint32_t>(value);
  if (std::isnan(value))
    return static_cast<uint16_t>(bits >> 16 | 0x40);
  return static_cast<uint16_t>((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}

float fromBf16(uint16_t bits) {
  return std::bit_cast<float>(uint32_t(bits) << 16);
}

} // namespace graft::test
