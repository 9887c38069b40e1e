// See CudaEmulator.h.
#include "test/passes/codegen/CudaEmulator.h"
#include "mlir/Pass/PassManager.h"
#include "mlir/Target/LLVMIR/Dialect/Builtin/BuiltinToLLVMIRTranslation.h"
#include "mlir/Target/LLVMIR/Dialect/LLVMIR/LLVMToLLVMIRTranslation.h"
#include "mlir/Target/LLVMIR/Dialect/NVVM/NVVMToLLVMIRTranslation.h"
#include "mlir/Target/LLVMIR/Export.h"
#include "passes/codegen/NativeCode.h"
#include "passes/codegen/Passes.h"
#include "llvm/ExecutionEngine/Orc/LLJIT.h"
#include "llvm/IR/Module.h"
#include "llvm/Support/TargetSelect.h"
#include <bit>
#include <functional>
#include <gtest/gtest.h>
#include <numeric>
#include <random>
#include <ucontext.h>
#include <vector>

namespace graft::test {
namespace {

constexpr int kWarp = 32;

/// What a thread has come to.
enum class Meeting { Warp, Block, End };

/// The threads of one block, as fibers of the calling thread. Warps, and the lanes of a warp between two meetings, run
/// in random order.
class Block {
public:
  explicit Block(int threads) : fibers_(threads), stacks_(threads * kStackBytes), meetings_(threads) {}

  /// Runs `body` once as every thread.
  void run(const std::function<void()> &body);
  /// Waits for the other threads of the warp or the block to come to the same meeting.
  void meet(Meeting meeting) {
    meetings_[thread] = meeting;
    swapcontext(&fibers_[thread], &scheduler_);
  }

  int thread = 0;               ///< the one that runs
  int block = 0, blocks = 1;    ///< this block's place in the grid
  std::vector<int32_t> offered; ///< by each thread to the lanes of its warp

private:
  static constexpr size_t kStackBytes = 256 << 10;
  static void enter();
  void start();
  void advance(int warp);
  std::vector<int> warpsAt(Meeting meeting) const;

  ucontext_t scheduler_;
  std::vector<ucontext_t> fibers_;
  std::vector<char> stacks_;
  std::vector<Meeting> meetings_; ///< where each thread is
  const std::function<void()> *body_ = nullptr;
  std::mt19937 order_;
};

Block *current = nullptr;

void Block::enter() {
  (*current->body_)();
  current->meetings_[current->thread] = Meeting::End;
}

void Block::start() {
  std::fill(meetings_.begin(), meetings_.end(), Meeting::Warp);
  offered.assign(fibers_.size(), 0);
  for (size_t i = 0; i < fibers_.size(); ++i) {
    getcontext(&fibers_[i]);
    fibers_[i].uc_stack.ss_sp = &stacks_[i * kStackBytes];
    fibers_[i].uc_stack.ss_size = kStackBytes;
    fibers_[i].uc_link = &scheduler_;
    makecontext(&fibers_[i], enter, 0);
  }
}

/// Runs the warp's lanes to their next meeting, which is the same for all.
void Block::advance(int warp) {
  std::vector<int> lanes(kWarp);
  std::iota(lanes.begin(), lanes.end(), warp * kWarp);
  std::shuffle(lanes.begin(), lanes.end(), order_);
  for (int lane : lanes) {
    thread = lane;
    swapcontext(&scheduler_, &fibers_[lane]);
    EXPECT_EQ(meetings_[lane], meetings_[lanes.front()]) << "lanes of a warp go different ways";
  }
}

/// The warps that are there.
std::vector<int> Block::warpsAt(Meeting meeting) const {
  std::vector<int> warps;
  for (size_t warp = 0; warp < fibers_.size() / kWarp; ++warp)
    if (meetings_[warp * kWarp] == meeting)
      warps.push_back(static_cast<int>(warp));
  return warps;
}

void Block::run(const std::function<void()> &body) {
  current = this;
  body_ = &body;
  start();
  while (true) {
    if (std::vector<int> warps = warpsAt(Meeting::Warp); !warps.empty()) {
      int warp = warps[order_() % warps.size()];
      while (meetings_[warp * kWarp] == Meeting::Warp) // far ahead of the others
        advance(warp);
      continue;
    }
    std::vector<int> all = warpsAt(Meeting::Block);
    if (all.empty())
      break;
    for (int warp : all) // they have met
      std::fill_n(meetings_.begin() + warp * kWarp, kWarp, Meeting::Warp);
  }
  current = nullptr;
}

// What the instructions of the kernels do.

int32_t threadIndex() {
  return current->thread;
}
int32_t blockIndex() {
  return current->block;
}
int32_t blockCount() {
  return current->blocks;
}
void meetWarp(int32_t) {
  current->meet(Meeting::Warp);
}
void meetBlock(int32_t) {
  current->meet(Meeting::Block);
}
int32_t shuffle(int32_t mask, int32_t value, int32_t distance, int32_t clamp) {
  EXPECT_EQ(mask, -1);
  EXPECT_EQ(clamp, 31);
  current->offered[current->thread] = value;
  current->meet(Meeting::Warp);
  int32_t other = current->offered[current->thread ^ distance];
  current->meet(Meeting::Warp); // all have read before one offers again
  return other;
}
/// f32 to bf16, to nearest even: what x86 calls where PTX has an instruction. The result is the low half of the
/// register.
float roundToBf16(float value) {
  uint32_t bits = std::bit_cast<uint32_t>(value);
  return std::bit_cast<float>(value != value ? 0x7fff : (bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}

/// Functions of this file, by the names of the intrinsics that they stand for.
const std::pair<const char *, void *> kFunctions[] = {
    {"llvm.nvvm.read.ptx.sreg.tid.x", reinterpret_cast<void *>(threadIndex)},
    {"llvm.nvvm.read.ptx.sreg.ctaid.x", reinterpret_cast<void *>(blockIndex)},
    {"llvm.nvvm.read.ptx.sreg.nctaid.x", reinterpret_cast<void *>(blockCount)},
    {"llvm.nvvm.barrier.cta.sync.aligned.all", reinterpret_cast<void *>(meetBlock)},
    {"llvm.nvvm.bar.warp.sync", reinterpret_cast<void *>(meetWarp)},
    {"llvm.nvvm.shfl.sync.bfly.i32", reinterpret_cast<void *>(shuffle)}};

/// The intrinsic's name with an ordinary one's letters.
std::string plain(llvm::StringRef name) {
  std::string text = ("emulated." + name.drop_front(5)).str();
  std::replace(text.begin(), text.end(), '.', '_');
  return text;
}

/// Calls ordinary functions where the module calls intrinsics of the GPU.
void replaceIntrinsics(llvm::Module &module) {
  for (llvm::Function &function : llvm::make_early_inc_range(module)) {
    if (!function.getName().starts_with("llvm.nvvm."))
      continue;
    auto *replacement = llvm::Function::Create(function.getFunctionType(), llvm::Function::ExternalLinkage,
                                               plain(function.getName()), module);
    function.replaceAllUsesWith(replacement);
    function.eraseFromParent();
  }
}

class Emulator final : public CudaEmulator {
public:
  explicit Emulator(std::unique_ptr<llvm::orc::LLJIT> jit) : jit_(std::move(jit)) {}

  void run(const std::string &symbol, CudaLaunch launch, int blocks, void *const *operands, int64_t begin,
           int64_t end) override {
    auto address = jit_->lookup(symbol);
    if (!address) {
      ADD_FAILURE() << llvm::toString(address.takeError());
      return;
    }
    auto *kernel = address->toPtr<std::remove_pointer_t<KernelFunction>>();
    Block block(launch.blockThreads);
    block.blocks = blocks;
    for (block.block = 0; block.block < blocks; ++block.block)
      block.run([&] { kernel(operands, begin, end); });
  }

private:
  std::unique_ptr<llvm::orc::LLJIT> jit_;
};

llvm::Expected<std::unique_ptr<llvm::orc::LLJIT>> makeJit() {
  llvm::InitializeNativeTarget();
  llvm::InitializeNativeTargetAsmPrinter();
  llvm::orc::JITTargetMachineBuilder machine(llvm::Triple("x86_64-unknown-linux-gnu"));
  machine.setCPU("x86-64-v3");
  machine.getOptions().AllowFPOpFusion = llvm::FPOpFusion::Standard;
  auto jit = llvm::orc::LLJITBuilder().setJITTargetMachineBuilder(std::move(machine)).create();
  if (!jit)
    return jit.takeError();
  llvm::orc::SymbolMap symbols;
  auto add = [&](const std::string &name, void *address) {
    symbols[(*jit)->mangleAndIntern(name)] = {llvm::orc::ExecutorAddr::fromPtr(address),
                                              llvm::JITSymbolFlags::Exported};
  };
  for (auto [name, address] : kFunctions)
    add(plain(name), address);
  add("__truncsfbf2", reinterpret_cast<void *>(roundToBf16));
  if (llvm::Error error = (*jit)->getMainJITDylib().define(llvm::orc::absoluteSymbols(std::move(symbols))))
    return error;
  return jit;
}

} // namespace

std::unique_ptr<CudaEmulator> CudaEmulator::compile(mlir::ModuleOp module) {
  mlir::MLIRContext &mlirContext = *module.getContext();
  mlir::DialectRegistry registry;
  mlir::registerBuiltinDialectTranslation(registry);
  mlir::registerLLVMDialectTranslation(registry);
  mlir::registerNVVMDialectTranslation(registry);
  mlirContext.appendDialectRegistry(registry);
  mlir::PassManager manager(&mlirContext, mlir::ModuleOp::getOperationName());
  buildRowProgramPipeline(manager, CodeTarget::Cuda);
  auto context = std::make_unique<llvm::LLVMContext>();
  std::unique_ptr<llvm::Module> translated;
  if (succeeded(manager.run(module)))
    translated = mlir::translateModuleToLLVMIR(module, *context, "kernels");
  if (!translated) {
    ADD_FAILURE() << "row programs cannot be compiled for CUDA";
    return nullptr;
  }
  replaceIntrinsics(*translated);
  addEntries(*translated);
  auto jit = makeJit();
  llvm::Error error = jit ? llvm::Error::success() : jit.takeError();
  if (!error)
    error = (*jit)->addIRModule(llvm::orc::ThreadSafeModule(std::move(translated), std::move(context)));
  if (error) {
    ADD_FAILURE() << llvm::toString(std::move(error));
    return nullptr;
  }
  return std::make_unique<Emulator>(std::move(*jit));
}

} // namespace graft::test
