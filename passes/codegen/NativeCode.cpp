// See NativeCode.h.
//
// Three cheap LLVM passes stand where -O3 could: the vectors are explicit already, and unrolling them makes short rows
// slower and compilation twice as long.
#include "passes/codegen/NativeCode.h"
#include "mlir/Target/LLVMIR/Export.h"
#include "llvm/ADT/StringSet.h"
#include "llvm/IR/IRBuilder.h"
#include "llvm/IR/LegacyPassManager.h"
#include "llvm/IR/Module.h"
#include "llvm/IR/Verifier.h"
#include "llvm/MC/TargetRegistry.h"
#include "llvm/Object/ObjectFile.h"
#include "llvm/Passes/PassBuilder.h"
#include "llvm/Support/TargetSelect.h"
#include "llvm/Target/TargetMachine.h"
#include "llvm/Target/TargetOptions.h"
#include <mutex>

namespace graft {
namespace {

constexpr const char *kTriple = "x86_64-unknown-linux-gnu";
constexpr const char *kPasses = "function(early-cse<memssa>,loop-mssa(licm),simplifycfg)";

/// A machine for the CPU; null when LLVM was built without x86.
std::unique_ptr<llvm::TargetMachine> makeMachine(llvm::StringRef cpu) {
  static std::once_flag initialized;
  std::call_once(initialized, [] {
    LLVMInitializeX86TargetInfo();
    LLVMInitializeX86Target();
    LLVMInitializeX86TargetMC();
    LLVMInitializeX86AsmPrinter();
  });
  std::string error;
  llvm::Triple triple(kTriple);
  const llvm::Target *target = llvm::TargetRegistry::lookupTarget(triple, error);
  if (!target)
    return nullptr;
  llvm::TargetOptions options;
  options.AllowFPOpFusion = llvm::FPOpFusion::Standard; // contraction only where the IR says so
  return std::unique_ptr<llvm::TargetMachine>(target->createTargetMachine(
      triple, cpu, "", options, llvm::Reloc::PIC_, std::nullopt, llvm::CodeGenOptLevel::Aggressive));
}

/// Makes `body` internal and exports `void NAME(void *const *operands, i64 begin, i64 end)`, which loads the pointers
/// and calls it.
void addEntry(llvm::Function &body) {
  llvm::Module &module = *body.getParent();
  std::string name = body.getName().str();
  body.setName(name + ".rows");
  body.setLinkage(llvm::GlobalValue::InternalLinkage);
  llvm::IRBuilder<> builder(module.getContext());
  llvm::Type *pointer = builder.getPtrTy(), *i64 = builder.getInt64Ty();
  auto *type = llvm::FunctionType::get(builder.getVoidTy(), {pointer, i64, i64}, false);
  auto *entry = llvm::Function::Create(type, llvm::GlobalValue::ExternalLinkage, name, module);
  builder.SetInsertPoint(llvm::BasicBlock::Create(module.getContext(), "", entry));
  llvm::SmallVector<llvm::Value *> arguments;
  for (unsigned i = 0; i + 2 < body.arg_size(); ++i)
    arguments.push_back(builder.CreateLoad(pointer, builder.CreateConstInBoundsGEP1_64(pointer, entry->getArg(0), i)));
  arguments.push_back(entry->getArg(1));
  arguments.push_back(entry->getArg(2));
  builder.CreateCall(&body, arguments);
  builder.CreateRetVoid();
}

void prepare(llvm::Module &module, llvm::TargetMachine &machine, llvm::StringRef cpu) {
  module.setTargetTriple(machine.getTargetTriple());
  module.setDataLayout(machine.createDataLayout());
  llvm::SmallVector<llvm::Function *> bodies;
  for (llvm::Function &function : module)
    if (!function.isDeclaration())
      bodies.push_back(&function);
  for (llvm::Function *body : bodies)
    addEntry(*body);
  for (llvm::Function &function : module) {
    function.addFnAttr(llvm::Attribute::NoUnwind);
    if (cpu == "x86-64-v4") { // explicit vectors of 512 bits stay in registers of 512 bits
      function.addFnAttr("prefer-vector-width", "512");
      function.addFnAttr("min-legal-vector-width", "512");
    }
  }
}

void optimize(llvm::Module &module, llvm::TargetMachine &machine) {
  llvm::LoopAnalysisManager loops;
  llvm::FunctionAnalysisManager functions;
  llvm::CGSCCAnalysisManager components;
  llvm::ModuleAnalysisManager modules;
  llvm::PassBuilder builder(&machine);
  builder.registerModuleAnalyses(modules);
  builder.registerCGSCCAnalyses(components);
  builder.registerFunctionAnalyses(functions);
  builder.registerLoopAnalyses(loops);
  builder.crossRegisterProxies(loops, functions, components, modules);
  llvm::ModulePassManager passes;
  llvm::cantFail(builder.parsePassPipeline(passes, kPasses));
  passes.run(module, modules);
}

/// An error that names the functions that the object would call, if any.
Status checkSelfContained(llvm::StringRef object) {
  auto file = llvm::object::ObjectFile::createObjectFile(llvm::MemoryBufferRef(object, "kernels.o"));
  if (!file)
    return Status::error(Code::Internal, "generated object cannot be read: " + llvm::toString(file.takeError()));
  std::vector<std::string> missing;
  for (const llvm::object::SymbolRef &symbol : (*file)->symbols()) {
    llvm::Expected<uint32_t> flags = symbol.getFlags();
    llvm::Expected<llvm::StringRef> name = symbol.getName();
    bool named = name && !name->empty();
    if (flags && named && (*flags & llvm::object::SymbolRef::SF_Undefined))
      missing.push_back(name->str());
    llvm::consumeError(flags.takeError());
    llvm::consumeError(name.takeError());
  }
  if (missing.empty())
    return Status::ok();
  std::sort(missing.begin(), missing.end());
  return Status::error(Code::Unsupported,
                       "generated kernels would call library functions: " + llvm::join(missing, ", "), "",
                       "express the operation with functions that compile to instructions");
}

} // namespace

Result<std::string> compileToObject(mlir::ModuleOp module, llvm::StringRef cpu) {
  std::unique_ptr<llvm::TargetMachine> machine = makeMachine(cpu);
  if (!machine)
    return Status::error(Code::Internal, "LLVM has no x86-64 target");
  llvm::LLVMContext context;
  std::unique_ptr<llvm::Module> translated = mlir::translateModuleToLLVMIR(module, context, "kernels");
  if (!translated)
    return Status::error(Code::Internal, "kernels cannot be translated to LLVM IR");
  prepare(*translated, *machine, cpu);
  optimize(*translated, *machine);
  llvm::SmallVector<char, 0> bytes;
  llvm::raw_svector_ostream stream(bytes);
  llvm::legacy::PassManager codegen;
  if (machine->addPassesToEmitFile(codegen, stream, nullptr, llvm::CodeGenFileType::ObjectFile))
    return Status::error(Code::Internal, "LLVM cannot write object files for x86-64");
  codegen.run(*translated);
  std::string object(bytes.begin(), bytes.end());
  GRAFT_RETURN_IF_ERROR(checkSelfContained(object));
  return object;
}

} // namespace graft
