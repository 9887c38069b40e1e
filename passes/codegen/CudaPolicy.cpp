// CUDA's answers to the questions of TargetPolicy: a group is a warp or a block.
//
// Values travel between lanes as words of 32 bits, whatever their type: a warp folds by a butterfly of shuffles, after
// which all lanes hold the same bits; a block folds the warps' values once more through shared memory. Units are dealt
// to groups in turn, so that any grid gives the same result.
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/LLVMIR/NVVMDialect.h"
#include "mlir/Dialect/MemRef/IR/MemRef.h"
#include "mlir/Dialect/SCF/IR/SCF.h"
#include "passes/codegen/Reductions.h"
#include "passes/codegen/TargetPolicy.h"
#include "llvm/Support/MathExtras.h"

using namespace mlir;

namespace graft {
namespace {

constexpr int64_t kWarp = 32;
constexpr int64_t kWarpColumns = 1024; ///< longer rows take a block
constexpr int64_t kWarpsPerBlock = 4;  ///< of groups that are one warp
constexpr int64_t kBlockWarps = 8;     ///< of a group that is a block
constexpr int64_t kSharedBytes = 48 << 10;
constexpr int64_t kSharedSpace = 3;

int64_t lanesFor(int64_t columns) {
  return columns <= kWarpColumns ? kWarp : kWarp * kBlockWarps;
}

/// The most elements, up to 16 bytes of the narrowest numbers, such that the vectors divide the columns, give every
/// lane of a warp some, and are aligned in every operand.
int64_t widthFor(rt::RowProgramOp program) {
  int64_t columns = program.getColumns(), narrowest = 16;
  SmallVector<rt::AccessType> rows;
  for (rt::AccessType access : program.getAccesses())
    if (!access.isPerRow()) {
      rows.push_back(access);
      narrowest = std::min<int64_t>(narrowest, access.getElementType().isInteger(1) ? 4 : access.getElementBytes());
    }
  int64_t width = 16 / narrowest;
  auto fits = [&] {
    return columns % width == 0 && columns >= kWarp * width && llvm::all_of(rows, [&](rt::AccessType access) {
             return access.getVectorAlignment(width) >= std::min<int64_t>(16, width * access.getElementBytes());
           });
  };
  while (width > 1 && !fits())
    width /= 2;
  return width;
}

Value toIndex(ImplicitLocOpBuilder &b, Value value) {
  return arith::IndexCastUIOp::create(b, b.getIndexType(), value);
}

class CudaPolicy final : public TargetPolicy {
public:
  explicit CudaPolicy(rt::RowProgramOp program)
      : TargetPolicy(widthFor(program), widthFor(program) * lanesFor(program.getColumns())),
        columns_(program.getColumns()), isBlock_(columns_ > kWarpColumns) {
    auto rows = program.getBody()->getOps<rt::ScratchOp>();
    int64_t scratchBytes = std::distance(rows.begin(), rows.end()) * columns_ * 4 * launch().blockUnits;
    isScratchShared_ = scratchBytes <= kSharedBytes - 64;
  }

  CudaLaunch launch() const {
    if (isBlock_)
      return {kWarp * kBlockWarps, 1};
    return {kWarp * kWarpsPerBlock, kWarpsPerBlock};
  }

  bool roundsToBf16() const override { return true; }
  void begin(ImplicitLocOpBuilder &b, func::FuncOp function) override;
  UnitSteps units(ImplicitLocOpBuilder &b, Value begin) override;
  Value firstColumn(OpBuilder &builder, Location loc) override { return firstColumn_; }
  ScratchMemory scratch(ImplicitLocOpBuilder &b, int64_t index) override;
  Value scratchColumn(OpBuilder &builder, Location loc, Value column) override;
  Value foldLanes(OpBuilder &builder, Location loc, rt::ReductionKind kind, Value partial) override;
  void storePerRow(OpBuilder &builder, Location loc, bool isRead, llvm::function_ref<void(OpBuilder &)> store) override;

private:
  Value shared(ImplicitLocOpBuilder &b, StringRef name, int64_t elements, Type type);
  Value foldWarp(ImplicitLocOpBuilder &b, rt::ReductionKind kind, Value value, int64_t lanes);
  Value foldWarps(ImplicitLocOpBuilder &b, rt::ReductionKind kind, Value value);
  void synchronize(ImplicitLocOpBuilder &b);
  Value allLanes(ImplicitLocOpBuilder &b) { return arith::ConstantIntOp::create(b, -1, 32); }

  int64_t columns_;
  bool isBlock_;
  bool isScratchShared_;
  func::FuncOp function_;
  Value lane_, warp_; ///< index: this thread's in its warp, its warp's in the block
  Value slots_;       ///< shared memory for two words of each warp; null: the group is a warp
  Value firstColumn_;
};

/// A static array in shared memory, named after the function.
Value CudaPolicy::shared(ImplicitLocOpBuilder &b, StringRef name, int64_t elements, Type type) {
  auto arrayType = MemRefType::get(elements, type, MemRefLayoutAttrInterface(), b.getI64IntegerAttr(kSharedSpace));
  std::string symbol = (function_.getSymName() + "." + name).str();
  OpBuilder module(function_);
  memref::GlobalOp::create(module, b.getLoc(), symbol, b.getStringAttr("private"), arrayType, b.getUnitAttr(),
                           /*constant=*/false, b.getI64IntegerAttr(64));
  return memref::GetGlobalOp::create(b, arrayType, symbol);
}

void CudaPolicy::begin(ImplicitLocOpBuilder &b, func::FuncOp function) {
  function_ = function;
  // As attributes of LLVM's function: PTX's .reqntid, and .minnctapersm, without which ptxas sometimes stops at fewer
  // registers than it needs, and spills. 256 threads leave 255 registers to each.
  int32_t threads = launch().blockThreads;
  auto pair = [&](StringRef name, int32_t value) { return b.getStrArrayAttr({name, std::to_string(value)}); };
  function->setAttr("passthrough",
                    b.getArrayAttr({pair("nvvm.reqntid", threads), pair("nvvm.minctasm", 256 / threads)}));
  Value thread = NVVM::ThreadIdXOp::create(b, b.getI32Type(), LLVM::ConstantRangeAttr());
  Value five = arith::ConstantIntOp::create(b, 5, 32), last = arith::ConstantIntOp::create(b, kWarp - 1, 32);
  lane_ = toIndex(b, arith::AndIOp::create(b, thread, last));
  warp_ = toIndex(b, arith::ShRUIOp::create(b, thread, five));
  Value member = isBlock_ ? toIndex(b, thread) : lane_;
  firstColumn_ = arith::MulIOp::create(b, member, arith::ConstantIndexOp::create(b, width()));
  if (isBlock_)
    slots_ = shared(b, "slots", 2 * kBlockWarps, b.getI32Type());
}

UnitSteps CudaPolicy::units(ImplicitLocOpBuilder &b, Value begin) {
  Value block = toIndex(b, NVVM::BlockIdXOp::create(b, b.getI32Type(), LLVM::ConstantRangeAttr()));
  Value blocks = toIndex(b, NVVM::GridDimXOp::create(b, b.getI32Type(), LLVM::ConstantRangeAttr()));
  if (!isBlock_) {
    Value groups = arith::ConstantIndexOp::create(b, kWarpsPerBlock);
    block = arith::AddIOp::create(b, arith::MulIOp::create(b, block, groups), warp_);
    blocks = arith::MulIOp::create(b, blocks, groups);
  }
  return {arith::AddIOp::create(b, begin, block), blocks};
}

/// Shared memory where it is large enough; else each lane's own, which holds the lane's vectors one after another.
ScratchMemory CudaPolicy::scratch(ImplicitLocOpBuilder &b, int64_t index) {
  if (!isScratchShared_) {
    auto type = MemRefType::get(llvm::divideCeil(columns_, columnStep()) * width(), b.getF32Type());
    return {memref::AllocaOp::create(b, type, b.getI64IntegerAttr(64)), {}};
  }
  Value rows = shared(b, "scratch" + std::to_string(index), columns_ * launch().blockUnits, b.getF32Type());
  if (isBlock_)
    return {rows, {}};
  return {rows, arith::MulIOp::create(b, warp_, arith::ConstantIndexOp::create(b, columns_))};
}

Value CudaPolicy::scratchColumn(OpBuilder &builder, Location loc, Value column) {
  if (isScratchShared_)
    return column;
  Value step = arith::DivUIOp::create(builder, loc, column, arith::ConstantIndexOp::create(builder, loc, columnStep()));
  return arith::MulIOp::create(builder, loc, step, arith::ConstantIndexOp::create(builder, loc, width()));
}

/// The value's bits, in words of 32.
SmallVector<Value> toWords(ImplicitLocOpBuilder &b, Value value) {
  if (value.getType().isInteger(1))
    return {arith::ExtUIOp::create(b, b.getI32Type(), value)};
  int64_t count = value.getType().getIntOrFloatBitWidth() / 32;
  Value one = vector::BroadcastOp::create(b, VectorType::get(1, value.getType()), value);
  Value words = vector::BitCastOp::create(b, VectorType::get(count, b.getI32Type()), one);
  SmallVector<Value> list;
  for (int64_t word = 0; word < count; ++word)
    list.push_back(vector::ExtractOp::create(b, words, word));
  return list;
}

Value fromWords(ImplicitLocOpBuilder &b, ValueRange words, Type type) {
  if (type.isInteger(1))
    return arith::TruncIOp::create(b, type, words.front());
  auto vectorType = VectorType::get(static_cast<int64_t>(words.size()), b.getI32Type());
  Value vector = vector::FromElementsOp::create(b, vectorType, words);
  Value one = vector::BitCastOp::create(b, VectorType::get(1, type), vector);
  return vector::ExtractOp::create(b, one, 0);
}

/// The fold of the values of neighbouring `lanes`, neighbours first: as Reductions.h adds doubles.
Value CudaPolicy::foldWarp(ImplicitLocOpBuilder &b, rt::ReductionKind kind, Value value, int64_t lanes) {
  Value last = arith::ConstantIntOp::create(b, kWarp - 1, 32);
  for (int64_t distance = 1; distance < lanes; distance *= 2) {
    Value offset = arith::ConstantIntOp::create(b, distance, 32);
    SmallVector<Value> words = toWords(b, value);
    for (Value &word : words)
      word = NVVM::ShflOp::create(b, b.getI32Type(), allLanes(b), word, offset, last, NVVM::ShflKind::bfly, UnitAttr());
    Value other = fromWords(b, words, value.getType());
    value = vector::makeArithReduction(b, b.getLoc(), combiningKind(kind, value.getType()), value, other);
  }
  return value;
}

/// The fold of the warps' values: the first lane of each leaves its own for all to read.
Value CudaPolicy::foldWarps(ImplicitLocOpBuilder &b, rt::ReductionKind kind, Value value) {
  Value zero = arith::ConstantIndexOp::create(b, 0), warps = arith::ConstantIndexOp::create(b, kBlockWarps);
  SmallVector<Value> words = toWords(b, value);
  Value isFirst = arith::CmpIOp::create(b, arith::CmpIPredicate::eq, lane_, zero);
  scf::IfOp::create(b, isFirst, [&](OpBuilder &then, Location loc) {
    Value slot = warp_;
    for (Value word : words) {
      memref::StoreOp::create(then, loc, word, slots_, slot);
      slot = arith::AddIOp::create(then, loc, slot, warps);
    }
    scf::YieldOp::create(then, loc);
  });
  synchronize(b);
  Value slot = arith::RemUIOp::create(b, lane_, warps);
  for (Value &word : words) {
    word = memref::LoadOp::create(b, slots_, slot);
    slot = arith::AddIOp::create(b, slot, warps);
  }
  synchronize(b); // before the next fold overwrites the slots
  return foldWarp(b, kind, fromWords(b, words, value.getType()), kBlockWarps);
}

Value CudaPolicy::foldLanes(OpBuilder &builder, Location loc, rt::ReductionKind kind, Value partial) {
  ImplicitLocOpBuilder b(loc, builder);
  Value value = foldWarp(b, kind, foldVector(b, loc, kind, partial), kWarp);
  return isBlock_ ? foldWarps(b, kind, value) : value;
}

void CudaPolicy::synchronize(ImplicitLocOpBuilder &b) {
  if (isBlock_)
    NVVM::Barrier0Op::create(b);
  else
    NVVM::SyncWarpOp::create(b, allLanes(b));
}

void CudaPolicy::storePerRow(OpBuilder &builder, Location loc, bool isRead,
                             llvm::function_ref<void(OpBuilder &)> store) {
  ImplicitLocOpBuilder b(loc, builder);
  if (isRead)
    synchronize(b);
  Value zero = arith::ConstantIndexOp::create(b, 0);
  Value isFirst = arith::CmpIOp::create(b, arith::CmpIPredicate::eq, firstColumn_, zero);
  scf::IfOp::create(b, isFirst, [&](OpBuilder &then, Location) {
    store(then);
    scf::YieldOp::create(then, loc);
  });
  if (isRead)
    synchronize(b);
}

} // namespace

std::unique_ptr<TargetPolicy> cudaPolicy(rt::RowProgramOp program) {
  return std::make_unique<CudaPolicy>(program);
}

CudaLaunch cudaLaunch(rt::RowProgramOp program) {
  return CudaPolicy(program).launch();
}

} // namespace graft
