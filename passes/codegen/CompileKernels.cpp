// See CompileKernels.h.
#include "passes/codegen/CompileKernels.h"
#include "mlir/Parser/Parser.h"
#include "mlir/Pass/PassManager.h"
#include "mlir/Target/LLVMIR/Dialect/Builtin/BuiltinToLLVMIRTranslation.h"
#include "mlir/Target/LLVMIR/Dialect/LLVMIR/LLVMToLLVMIRTranslation.h"
#include "mlir/Target/LLVMIR/Dialect/NVVM/NVVMToLLVMIRTranslation.h"
#include "passes/codegen/Fingerprint.h"
#include "passes/codegen/NativeCode.h"
#include "passes/codegen/Passes.h"
#include "llvm/TargetParser/Host.h"
#include <atomic>
#include <thread>

using namespace mlir;

namespace graft {
namespace {

/// The distinct programs of a part, as the text of one module.
using Part = std::string;

/// Kernels per part at most, as long as there are fewer than kMaxParts parts.
constexpr size_t kKernelsPerPart = 12;
constexpr size_t kMaxParts = 8;

size_t partCount(size_t kernels) {
  return std::min(kMaxParts, (kernels + kKernelsPerPart - 1) / kKernelsPerPart);
}

/// Names every program and collects the text of the distinct ones, in the module's order.
std::vector<std::string> collectDistinct(ModuleOp module, std::vector<CompiledKernel> &kernels) {
  std::vector<std::string> texts;
  llvm::StringMap<std::string> symbols;                                // fingerprint -> symbol; only looked up
  llvm::DenseMap<rt::RowProgramOp, CompiledKernel, SameProgram> known; // only looked up
  for (auto program : module.getOps<rt::RowProgramOp>()) {
    std::string name = program.getSymName().str();
    auto [found, isFirst] = known.try_emplace(program);
    if (isFirst) {
      std::string print = fingerprint(program);
      auto [symbol, isNew] = symbols.try_emplace(print, name);
      if (isNew)
        texts.push_back(canonicalText(program, name));
      found->second = {name, symbol->second, print, program.getUnitCount(), cudaLaunch(program)};
    }
    kernels.push_back(found->second);
    kernels.back().program = name;
  }
  return texts;
}

/// Deals the programs out in turn, so that parts of similar programs take similar time.
std::vector<Part> makeParts(llvm::ArrayRef<std::string> texts) {
  std::vector<Part> parts(partCount(texts.size()));
  for (auto [index, text] : llvm::enumerate(texts))
    parts[index % parts.size()] += text + "\n";
  return parts;
}

/// The part's object file or PTX. Everything it uses is its own: no other thread is slowed down or seen.
Result<std::string> compilePart(const Part &part, CodeTarget target, const CodegenOptions &options) {
  DialectRegistry registry;
  registerCodegenDialects(registry);
  registerBuiltinDialectTranslation(registry);
  registerLLVMDialectTranslation(registry);
  registerNVVMDialectTranslation(registry);
  MLIRContext context(registry, MLIRContext::Threading::DISABLED);
  std::string messages;
  ScopedDiagnosticHandler handler(&context, [&](Diagnostic &diagnostic) {
    llvm::raw_string_ostream(messages) << (messages.empty() ? "" : "; ") << diagnostic;
    return success();
  });
  OwningOpRef<ModuleOp> module = parseSourceString<ModuleOp>(part, ParserConfig(&context, /*verifyAfterParse=*/true));
  if (!module)
    return Status::error(Code::Internal, "row programs do not verify: " + messages);
  PassManager manager(&context, ModuleOp::getOperationName());
  manager.enableVerifier(options.verifyPasses);
  buildRowProgramPipeline(manager, target);
  if (failed(manager.run(*module)))
    return Status::error(Code::Unsupported, "row programs cannot be compiled: " + messages);
  return target == CodeTarget::Cuda ? compileToPtx(*module)
                                    : compileToObject(*module, llvm::StringRef(name(options.level)));
}

/// The parts' code, in their order, each made by one of the threads.
Result<std::vector<std::string>> compileParts(llvm::ArrayRef<Part> parts, CodeTarget target,
                                              const CodegenOptions &options) {
  std::vector<std::string> pieces(parts.size());
  std::vector<Status> statuses(parts.size());
  std::atomic<size_t> next = 0;
  auto work = [&] {
    for (size_t part; (part = next++) < parts.size();) {
      Result<std::string> piece = compilePart(parts[part], target, options);
      if (piece.isOk())
        pieces[part] = std::move(*piece);
      else
        statuses[part] = piece.takeStatus();
    }
  };
  std::vector<std::thread> helpers;
  for (size_t i = 1; i < std::min<size_t>(options.threads, parts.size()); ++i)
    helpers.emplace_back(work);
  work();
  for (std::thread &helper : helpers)
    helper.join();
  Status all;
  for (Status &status : statuses)
    all.merge(std::move(status));
  if (!all.isOk())
    return all;
  return pieces;
}

} // namespace

std::string_view name(CpuLevel level) {
  return level == CpuLevel::X86_64_V4 ? "x86-64-v4" : "x86-64-v3";
}

Result<CpuLevel> hostCpuLevel() {
  llvm::StringMap<bool> features = llvm::sys::getHostCPUFeatures();
  auto has = [&](std::initializer_list<const char *> names) {
    return llvm::all_of(names, [&](const char *feature) { return features.lookup(feature); });
  };
  if (!has({"avx2", "bmi", "bmi2", "f16c", "fma", "lzcnt", "movbe"}))
    return Status::error(Code::Unsupported, "this CPU has no AVX2, BMI, FMA and F16C", "",
                         "Graft needs x86-64-v3 or later");
  if (has({"avx512f", "avx512bw", "avx512cd", "avx512dq", "avx512vl"}))
    return CpuLevel::X86_64_V4;
  return CpuLevel::X86_64_V3;
}

Result<CompiledKernels> compileRowPrograms(ModuleOp module, const CodegenOptions &options) {
  CompiledKernels compiled;
  std::vector<Part> parts = makeParts(collectDistinct(module, compiled.kernels));
  if (parts.empty())
    return compiled;
  GRAFT_ASSIGN_OR_RETURN(std::vector<std::string> objects, compileParts(parts, CodeTarget::Cpu, options));
  GRAFT_ASSIGN_OR_RETURN(compiled.object, linkSharedObject(objects));
  return compiled;
}

Result<CompiledPtx> compileRowProgramsToPtx(ModuleOp module, const CodegenOptions &options) {
  CompiledPtx compiled;
  std::vector<Part> parts = makeParts(collectDistinct(module, compiled.kernels));
  if (parts.empty())
    return compiled;
  GRAFT_ASSIGN_OR_RETURN(std::vector<std::string> modules, compileParts(parts, CodeTarget::Cuda, options));
  compiled.text = joinPtx(modules);
  return compiled;
}

} // namespace graft
