// See Reductions.h.
#include "passes/codegen/Reductions.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include <limits>

using namespace mlir;

namespace graft {

vector::CombiningKind combiningKind(rt::ReductionKind kind, Type type) {
  bool isFloat = isa<FloatType>(type);
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

TypedAttr neutralElement(OpBuilder &builder, rt::ReductionKind kind, Type type) {
  bool isMax = kind == rt::ReductionKind::Max;
  if (kind == rt::ReductionKind::Max || kind == rt::ReductionKind::Min) {
    if (isa<FloatType>(type)) {
      double infinity = std::numeric_limits<double>::infinity();
      return builder.getFloatAttr(type, isMax ? -infinity : infinity);
    }
    unsigned bits = type.getIntOrFloatBitWidth();
    return builder.getIntegerAttr(type, isMax ? APInt::getSignedMinValue(bits) : APInt::getSignedMaxValue(bits));
  }
  if (kind == rt::ReductionKind::And)
    return builder.getBoolAttr(true);
  return builder.getZeroAttr(type);
}

Value combine(OpBuilder &builder, Location loc, rt::ReductionKind kind, Value partial, Value value) {
  Type type = getElementTypeOrSelf(value.getType());
  bool isExtremum = kind == rt::ReductionKind::Max || kind == rt::ReductionKind::Min;
  if (isExtremum && isa<FloatType>(type)) {
    auto predicate = kind == rt::ReductionKind::Max ? arith::CmpFPredicate::OGT : arith::CmpFPredicate::OLT;
    Value better = arith::CmpFOp::create(builder, loc, predicate, value, partial);
    return arith::SelectOp::create(builder, loc, better, value, partial);
  }
  auto contract = arith::FastMathFlagsAttr::get(builder.getContext(), arith::FastMathFlags::contract);
  return vector::makeArithReduction(builder, loc, combiningKind(kind, type), partial, value,
                                    isa<FloatType>(type) ? contract : nullptr);
}

/// The sum of a vector's elements as a tree of neighbours: ((0 + 1) + (2 + 3)) + .... Sums of doubles are few and short
/// (rewards of a group), and what follows compares them with their terms: the order is that of a pairwise sum
/// elsewhere.
static Value sumNeighbours(OpBuilder &builder, Location loc, Value vector) {
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

Value foldVector(OpBuilder &builder, Location loc, rt::ReductionKind kind, Value partial) {
  Type type = getElementTypeOrSelf(partial.getType());
  if (kind == rt::ReductionKind::Add && type.isF64())
    return sumNeighbours(builder, loc, partial);
  // A partial maximum is never NaN (the loop's comparison drops NaN), so the fold need not look for it.
  arith::FastMathFlags flags = kind == rt::ReductionKind::Add
                                   ? arith::FastMathFlags::reassoc | arith::FastMathFlags::contract
                                   : arith::FastMathFlags::nnan;
  return vector::ReductionOp::create(builder, loc, combiningKind(kind, type), partial,
                                     isa<FloatType>(type) ? flags : arith::FastMathFlags::none);
}

} // namespace graft
