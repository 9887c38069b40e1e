// The CPU's answers to the questions of TargetPolicy.
#include "passes/codegen/TargetPolicy.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"
#include "llvm/Support/MathExtras.h"

using namespace mlir;

namespace graft {
namespace {

vector::CombiningKind combiningKind(rt::ReductionKind kind, bool isFloat) {
  switch (kind) {
  case rt::ReductionKind::Add:
    return vector::CombiningKind::ADD;
  case rt::ReductionKind::Max:
    return isFloat ? vector::CombiningKind::MAXNUMF : vector::CombiningKind::MAXSI;
  case rt::ReductionKind::Min:
    return isFloat ? vector::CombiningKind::MINNUMF : vector::CombiningKind::MINSI;
  case rt::ReductionKind::And:
    return vector::CombiningKind::AND;
  case rt::ReductionKind::Or:
    return vector::CombiningKind::OR;
  }
  llvm_unreachable("all kinds are handled");
}

/// The sum of a vector's elements as a tree of neighbours: ((0 + 1) + (2 + 3)) + .... Sums of doubles are few and short
/// (rewards of a group), and what follows compares them with their terms: the order is that of a pairwise sum
/// elsewhere.
Value sumNeighbours(OpBuilder &builder, Location loc, Value vector) {
  for (int64_t width = cast<VectorType>(vector.getType()).getDimSize(0); width > 1; width /= 2) {
    SmallVector<int64_t> even, odd;
    for (int64_t lane = 0; lane < width; lane += 2) {
      even.push_back(lane);
      odd.push_back(lane + 1);
    }
    Value left = vector::ShuffleOp::create(builder, loc, vector, vector, even);
    Value right = vector::ShuffleOp::create(builder, loc, vector, vector, odd);
    vector = arith::AddFOp::create(builder, loc, left, right);
  }
  return vector::ExtractOp::create(builder, loc, vector, 0);
}

class CpuPolicy final : public TargetPolicy {
public:
  int64_t vectorWidth(int64_t columns) const override { return std::min<int64_t>(64, llvm::PowerOf2Ceil(columns)); }
  Value firstColumn(OpBuilder &builder, Location loc, int64_t width) const override {
    return arith::ConstantIndexOp::create(builder, loc, 0);
  }
  int64_t columnStep(int64_t width) const override { return width; }
  Value tailMask(OpBuilder &builder, Location loc, int64_t width, int64_t tail) const override {
    auto type = VectorType::get(width, builder.getI1Type());
    return vector::ConstantMaskOp::create(builder, loc, type, builder.getDenseI64ArrayAttr(tail));
  }
  Value foldLanes(OpBuilder &builder, Location loc, rt::ReductionKind kind, Value partial) const override {
    Type type = getElementTypeOrSelf(partial.getType());
    bool isFloat = isa<FloatType>(type);
    if (kind == rt::ReductionKind::Add && type.isF64())
      return sumNeighbours(builder, loc, partial);
    // A partial maximum is never NaN (the loop's comparison drops NaN), so the fold need not look for it.
    arith::FastMathFlags flags = kind == rt::ReductionKind::Add
                                     ? arith::FastMathFlags::reassoc | arith::FastMathFlags::contract
                                     : arith::FastMathFlags::nnan;
    return vector::ReductionOp::create(builder, loc, combiningKind(kind, isFloat), partial,
                                       isFloat ? flags : arith::FastMathFlags::none);
  }
  void storePerRow(OpBuilder &builder, Location loc, llvm::function_ref<void(OpBuilder &)> store) const override {
    store(builder);
  }
};

} // namespace

const TargetPolicy &cpuPolicy() {
  static const CpuPolicy policy;
  return policy;
}

} // namespace graft
