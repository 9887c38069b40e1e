// Compiles row programs given as text, loads them into this process and runs them: for the tests of code generation.
#pragma once

#include "mlir/IR/MLIRContext.h"
#include "passes/codegen/CompileKernels.h"
#include "test/passes/codegen/CudaEmulator.h"
#include <gtest/gtest.h>
#include <memory>
#include <optional>
#include <random>
#include <string>
#include <vector>

namespace graft::test {

/// `text` with every occurrence of each first string replaced by the second, in order.
std::string substitute(std::string text, const std::vector<std::pair<std::string, std::string>> &values);

/// The levels that this machine runs: x86-64-v3 always, x86-64-v4 where there is AVX-512.
std::vector<CpuLevel> runnableLevels();

/// What runs kernels: this CPU, by the code for one of its levels, or an emulated GPU.
struct Machine {
  Machine(CpuLevel level) : level(level) {}
  static Machine emulatedGpu() { return Machine(); }

  std::optional<CpuLevel> level; ///< absent: the emulated GPU

private:
  Machine() = default;
};
std::string_view name(const Machine &machine);
/// The runnable levels, and the emulated GPU.
std::vector<Machine> machines();

/// Kernels ready to run.
class Kernels {
public:
  /// Compiles every row program of the text; a failed compile fails the test and leaves nothing to call.
  static Kernels compile(const std::string &text, const Machine &machine, unsigned threads = 1);
  Kernels(Kernels &&other);
  ~Kernels();

  /// Runs all units, or `begin` to `end`.
  void run(const std::string &program, std::vector<const void *> operands);
  void run(const std::string &program, std::vector<const void *> operands, int64_t begin, int64_t end);

  const CompiledKernels &compiled() const { return compiled_; }

private:
  Kernels() = default;
  void load();

  CompiledKernels compiled_;
  std::unique_ptr<CudaEmulator> emulator_; ///< null: the library
  void *library_ = nullptr;
  int descriptor_ = -1;
};

/// The text as a verified module; null after reporting a test failure.
mlir::OwningOpRef<mlir::ModuleOp> parse(mlir::MLIRContext &context, const std::string &text);
/// Loads the dialects of code generation.
void prepare(mlir::MLIRContext &context);
/// The error text of a compile that must fail.
std::string compileError(const std::string &text);

/// Normal values of standard deviation `scale`, the same in every run.
std::vector<float> randomFloats(size_t count, unsigned seed, float scale = 1);
uint16_t toBf16(float value); ///< nearest, ties to even
float fromBf16(uint16_t bits);

} // namespace graft::test
