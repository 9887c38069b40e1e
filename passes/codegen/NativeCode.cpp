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

constexpr const char *kPasses = "function(early-cse<memssa>,loop-mssa(licm),simplifycfg)";

/// What LLVM is asked for.
struct MachineName {
  const char *triple, *features;
  llvm::StringRef cpu;
};

/// null when LLVM was built without the target.
std::unique_ptr<llvm::TargetMachine> makeMachine(const MachineName &name) {
  static std::once_flag initialized;
  std::call_once(initialized, [] {
    LLVMInitializeX86TargetInfo();
    LLVMInitializeX86Target();
    LLVMInitializeX86TargetMC();
    LLVMInitializeX86AsmPrinter();
    LLVMInitializeNVPTXTargetInfo();
    LLVMInitializeNVPTXTarget();
    LLVMInitializeNVPTXTargetMC();
    LLVMInitializeNVPTXAsmPrinter();
  });
  std::string error;
  llvm::Triple triple(name.triple);
  const llvm::Target *target = llvm::TargetRegistry::lookupTarget(triple, error);
  if (!target)
    return nullptr;
  llvm::TargetOptions options;
  options.AllowFPOpFusion = llvm::FPOpFusion::Standard; // contraction only where the IR says so
  return std::unique_ptr<llvm::TargetMachine>(target->createTargetMachine(
      triple, name.cpu, name.features, options, llvm::Reloc::PIC_, std::nullopt, llvm::CodeGenOptLevel::Aggressive));
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

/// Explicit vectors of 512 bits stay in registers of 512 bits.
void allowWideVectors(llvm::Module &module) {
  for (llvm::Function &function : module) {
    function.addFnAttr("prefer-vector-width", "512");
    function.addFnAttr("min-legal-vector-width", "512");
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

/// An error that names the functions that the code would call, if any.
Status refuseCalls(std::vector<std::string> missing) {
  if (missing.empty())
    return Status::ok();
  std::sort(missing.begin(), missing.end());
  return Status::error(Code::Unsupported,
                       "generated kernels would call library functions: " + llvm::join(missing, ", "), "",
                       "express the operation with functions that compile to instructions");
}

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
  return refuseCalls(std::move(missing));
}

/// The functions that PTX text declares without a body: "... .extern .func (.param .b32 result) name".
Status checkPtxSelfContained(llvm::StringRef ptx) {
  std::vector<std::string> missing;
  while (true) {
    size_t at = ptx.find(".extern .func");
    if (at == llvm::StringRef::npos)
      return refuseCalls(std::move(missing));
    ptx = ptx.drop_front(at + sizeof ".extern .func").ltrim();
    if (ptx.starts_with("("))
      ptx = ptx.drop_until([](char c) { return c == ')'; }).drop_front().ltrim();
    missing.push_back(ptx.take_until([](char c) { return c == '(' || llvm::isSpace(c); }).str());
  }
}

/// What compiling starts with: LLVM's form of the module, for the machine.
Result<std::unique_ptr<llvm::Module>> translate(mlir::ModuleOp module, llvm::LLVMContext &context,
                                                const llvm::TargetMachine &machine) {
  std::unique_ptr<llvm::Module> translated = mlir::translateModuleToLLVMIR(module, context, "kernels");
  if (!translated)
    return Status::error(Code::Internal, "kernels cannot be translated to LLVM IR");
  translated->setTargetTriple(machine.getTargetTriple());
  translated->setDataLayout(machine.createDataLayout());
  return translated;
}

/// Optimizes the module and writes it as the machine's object file or assembly text.
Result<std::string> generate(llvm::Module &module, llvm::TargetMachine &machine, llvm::CodeGenFileType type) {
  for (llvm::Function &function : module)
    function.addFnAttr(llvm::Attribute::NoUnwind);
  optimize(module, machine);
  llvm::SmallVector<char, 0> bytes;
  llvm::raw_svector_ostream stream(bytes);
  llvm::legacy::PassManager codegen;
  if (machine.addPassesToEmitFile(codegen, stream, nullptr, type))
    return Status::error(Code::Internal, "LLVM cannot write code for " + machine.getTargetTriple().str());
  codegen.run(module);
  return std::string(bytes.begin(), bytes.end());
}

} // namespace

void addEntries(llvm::Module &module) {
  llvm::SmallVector<llvm::Function *> bodies;
  for (llvm::Function &function : module)
    if (!function.isDeclaration())
      bodies.push_back(&function);
  for (llvm::Function *body : bodies)
    addEntry(*body);
}

Result<std::string> compileToObject(mlir::ModuleOp module, llvm::StringRef cpu) {
  std::unique_ptr<llvm::TargetMachine> machine = makeMachine({"x86_64-unknown-linux-gnu", "", cpu});
  if (!machine)
    return Status::error(Code::Internal, "LLVM has no x86-64 target");
  llvm::LLVMContext context;
  GRAFT_ASSIGN_OR_RETURN(std::unique_ptr<llvm::Module> translated, translate(module, context, *machine));
  addEntries(*translated);
  if (cpu == "x86-64-v4")
    allowWideVectors(*translated);
  GRAFT_ASSIGN_OR_RETURN(std::string object, generate(*translated, *machine, llvm::CodeGenFileType::ObjectFile));
  GRAFT_RETURN_IF_ERROR(checkSelfContained(object));
  return object;
}

Result<std::string> compileToPtx(mlir::ModuleOp module) {
  // PTX 7.0 is the first that knows sm_80: CUDA 11 and later read it.
  std::unique_ptr<llvm::TargetMachine> machine = makeMachine({"nvptx64-nvidia-cuda", "+ptx70", "sm_80"});
  if (!machine)
    return Status::error(Code::Internal, "LLVM has no NVPTX target");
  llvm::LLVMContext context;
  GRAFT_ASSIGN_OR_RETURN(std::unique_ptr<llvm::Module> translated, translate(module, context, *machine));
  for (llvm::Function &function : *translated)
    if (!function.isDeclaration())
      function.setCallingConv(llvm::CallingConv::PTX_Kernel);
  GRAFT_ASSIGN_OR_RETURN(std::string ptx, generate(*translated, *machine, llvm::CodeGenFileType::AssemblyFile));
  GRAFT_RETURN_IF_ERROR(checkPtxSelfContained(ptx));
  return ptx;
}

std::string joinPtx(llvm::ArrayRef<std::string> modules) {
  std::string joined;
  for (llvm::StringRef module : modules) {
    // Every module begins with the same three directives; the last of them ends its line.
    size_t header = module.find("\n", module.find(".address_size"));
    joined += joined.empty() ? module.drop_front(module.find(".version")) : module.drop_front(header);
  }
  return joined;
}

} // namespace graft
