// The CPU's answers to the questions of TargetPolicy: a group is one thread.
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/MemRef/IR/MemRef.h"
#include "passes/codegen/Reductions.h"
#include "passes/codegen/TargetPolicy.h"
#include "llvm/Support/MathExtras.h"

using namespace mlir;

namespace graft {
namespace {

int64_t widthFor(int64_t columns) {
  return std::min<int64_t>(64, llvm::PowerOf2Ceil(columns));
}

class CpuPolicy final : public TargetPolicy {
public:
  explicit CpuPolicy(int64_t columns)
      : TargetPolicy(widthFor(columns), widthFor(columns)), padded_(llvm::alignTo(columns, width())) {}

  bool roundsToBf16() const override { return false; }
  void begin(ImplicitLocOpBuilder &builder, func::FuncOp function) override {}
  UnitSteps units(ImplicitLocOpBuilder &builder, Value begin) override { return {begin, {}}; }
  Value firstColumn(OpBuilder &builder, Location loc) override {
    return arith::ConstantIndexOp::create(builder, loc, 0);
  }
  ScratchMemory scratch(ImplicitLocOpBuilder &b, int64_t index) override {
    auto type = MemRefType::get(padded_, b.getF32Type());
    return {memref::AllocaOp::create(b, type, b.getI64IntegerAttr(64)), {}};
  }
  Value scratchColumn(OpBuilder &builder, Location loc, Value column) override { return column; }
  Value foldLanes(OpBuilder &builder, Location loc, rt::ReductionKind kind, Value partial) override {
    return foldVector(builder, loc, kind, partial);
  }
  void storePerRow(OpBuilder &builder, Location loc, bool isRead,
                   llvm::function_ref<void(OpBuilder &)> store) override {
    store(builder);
  }

private:
  int64_t padded_;
};

} // namespace

std::unique_ptr<TargetPolicy> cpuPolicy(rt::RowProgramOp program) {
  return std::make_unique<CpuPolicy>(program.getColumns());
}

} // namespace graft
