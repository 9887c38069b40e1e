// See SweepEmitter.h. A sweep becomes: broadcasts of the row's scalars, a loop over whole vectors that carries one
// vector of partial results per reduction, one masked step for the rest, and a fold of each partial vector.
#include "passes/codegen/SweepEmitter.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/MemRef/IR/MemRef.h"
#include "mlir/Dialect/SCF/IR/SCF.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"
#include "mlir/IR/ImplicitLocOpBuilder.h"
#include "passes/codegen/StorageConversion.h"
#include <limits>

using namespace mlir;

namespace graft {

Value elementIndex(OpBuilder &builder, Location loc, const RowPointer &pointer, Value column) {
  if (pointer.base && column)
    return builder.createOrFold<arith::AddIOp>(loc, pointer.base, column);
  Value only = pointer.base ? pointer.base : column;
  return only ? only : arith::ConstantIndexOp::create(builder, loc, 0);
}

Value loadPerRow(OpBuilder &builder, Location loc, const RowPointer &pointer) {
  Value stored = memref::LoadOp::create(builder, loc, pointer.buffer, elementIndex(builder, loc, pointer, {}));
  return fromBuffer(builder, loc, pointer.access.getElementType(), stored);
}

void storePerRow(OpBuilder &builder, Location loc, const RowPointer &pointer, Value value, Value isFirst) {
  if (pointer.access.getAccumulate() && isFirst) {
    Value sum = arith::AddFOp::create(builder, loc, loadPerRow(builder, loc, pointer), value);
    value = arith::SelectOp::create(builder, loc, isFirst, value, sum);
  }
  memref::StoreOp::create(builder, loc, toBuffer(builder, loc, pointer.access.getElementType(), value), pointer.buffer,
                          elementIndex(builder, loc, pointer, {}));
}

/// extf and truncf of bf16 in integer arithmetic, like storage; null for any other operation.
static Value convertBf16(OpBuilder &builder, Operation &op, Value operand) {
  Location loc = op.getLoc();
  Type bf16 = builder.getBF16Type(), i16 = withShapeOf(operand.getType(), builder.getI16Type());
  if (isa<arith::TruncFOp>(op) && op.getResult(0).getType() == bf16)
    return arith::BitcastOp::create(builder, loc, withShapeOf(i16, bf16), toBuffer(builder, loc, bf16, operand));
  if (isa<arith::ExtFOp>(op) && op.getOperand(0).getType() == bf16)
    return fromBuffer(builder, loc, bf16, arith::BitcastOp::create(builder, loc, i16, operand));
  return {};
}

Value copyScalarOp(OpBuilder &builder, Operation &op, IRMapping &values, Type shape) {
  if (auto constant = dyn_cast<arith::ConstantOp>(op))
    return splatConstant(builder, op.getLoc(), withShapeOf(shape, constant.getType()), constant.getValue());
  if (op.getNumOperands() == 1)
    if (Value converted = convertBf16(builder, op, values.lookup(op.getOperand(0))))
      return converted;
  Operation *copy = builder.clone(op, values);
  copy->getResult(0).setType(withShapeOf(shape, op.getResult(0).getType()));
  if (auto math = dyn_cast<arith::ArithFastMathInterface>(copy)) {
    arith::FastMathFlags flags =
        math.getFastMathFlagsAttr() ? math.getFastMathFlagsAttr().getValue() : arith::FastMathFlags::none;
    copy->setAttr(math.getFastMathAttrName(),
                  arith::FastMathFlagsAttr::get(builder.getContext(), flags | arith::FastMathFlags::contract));
  }
  return copy->getResult(0);
}

namespace {

/// The value that changes nothing under the reduction.
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

/// The partial result after one more value. Floating-point extrema compare and select, one instruction that drops a NaN
/// value.
Value combine(ImplicitLocOpBuilder &b, rt::ReductionKind kind, Value partial, Value value) {
  bool isFloat = isa<FloatType>(getElementTypeOrSelf(value.getType()));
  switch (kind) {
  case rt::ReductionKind::Add:
    if (isFloat)
      return arith::AddFOp::create(b, partial, value, arith::FastMathFlags::contract);
    return arith::AddIOp::create(b, partial, value);
  case rt::ReductionKind::Max:
  case rt::ReductionKind::Min: {
    bool isMax = kind == rt::ReductionKind::Max;
    if (!isFloat)
      return isMax ? Value(arith::MaxSIOp::create(b, partial, value))
                   : Value(arith::MinSIOp::create(b, partial, value));
    auto predicate = isMax ? arith::CmpFPredicate::OGT : arith::CmpFPredicate::OLT;
    return arith::SelectOp::create(b, arith::CmpFOp::create(b, predicate, value, partial), value, partial);
  }
  case rt::ReductionKind::And:
    return arith::AndIOp::create(b, partial, value);
  case rt::ReductionKind::Or:
    return arith::OrIOp::create(b, partial, value);
  }
  llvm_unreachable("all kinds are handled");
}

class SweepEmitter {
public:
  SweepEmitter(OpBuilder &builder, rt::SweepOp sweep, RowContext &row, const TargetPolicy &policy)
      : b(sweep.getLoc(), builder), sweep(sweep), row(row), policy(policy),
        columns(sweep->getParentOfType<rt::RowProgramOp>().getColumns()), width(policy.vectorWidth(columns)),
        vectorShape(VectorType::get(width, b.getF32Type())) {}

  void emit();

private:
  /// Columns `column` .. `column + width`; with a mask (vector of i1), only those it says.
  struct Step {
    Value column;
    Value mask;
  };

  Type vectorOf(Type element) { return withShapeOf(vectorShape, element); }
  void broadcastRowValues();
  SmallVector<Value> emitStep(Step step, ValueRange partials);
  Value load(const RowPointer &pointer, Step step);
  void store(const RowPointer &pointer, Step step, Value value);
  Value columnIndex(Type type, Value column);
  int64_t alignmentOf(const RowPointer &pointer);

  ImplicitLocOpBuilder b;
  rt::SweepOp sweep;
  RowContext &row;
  const TargetPolicy &policy;
  int64_t columns;
  int64_t width;
  Type vectorShape;
  IRMapping broadcasts; ///< what is the same for all columns, as vectors
  Value firstMask;      ///< row.isFirst as a vector
};

/// The alignment in bytes that every whole vector of the access has.
int64_t SweepEmitter::alignmentOf(const RowPointer &pointer) {
  if (!pointer.access)
    return 64;
  int64_t bytes = pointer.access.getElementBytes(), alignment = pointer.access.getAlign();
  auto divide = [&](int64_t step) {
    if (step != 0)
      alignment = std::min(alignment, step & -step);
  };
  divide(width * bytes);
  for (int64_t stride : pointer.access.getRowStrides())
    divide(stride * bytes);
  return alignment;
}

Value SweepEmitter::load(const RowPointer &pointer, Step step) {
  Type elementType = pointer.access ? pointer.access.getElementType() : b.getF32Type();
  auto type = cast<VectorType>(vectorOf(bufferType(elementType)));
  Value index = elementIndex(b, b.getLoc(), pointer, step.column);
  llvm::Align alignment(alignmentOf(pointer));
  // Scratch rows are padded to whole vectors and need no mask.
  if (!step.mask || !pointer.access)
    return fromBuffer(b, b.getLoc(), elementType,
                      vector::LoadOp::create(b, type, pointer.buffer, index, false, alignment));
  Value zero = splatConstant(b, b.getLoc(), type, 0);
  return fromBuffer(b, b.getLoc(), elementType,
                    vector::MaskedLoadOp::create(b, type, pointer.buffer, index, step.mask, zero, alignment));
}

void SweepEmitter::store(const RowPointer &pointer, Step step, Value value) {
  if (firstMask && pointer.access && pointer.access.getAccumulate()) {
    Value sum = arith::AddFOp::create(b, load(pointer, step), value);
    value = arith::SelectOp::create(b, firstMask, value, sum);
  }
  Value index = elementIndex(b, b.getLoc(), pointer, step.column);
  llvm::Align alignment(alignmentOf(pointer));
  Value stored = pointer.access ? toBuffer(b, b.getLoc(), pointer.access.getElementType(), value) : value;
  if (step.mask && pointer.access) {
    vector::MaskedStoreOp::create(b, pointer.buffer, index, step.mask, stored, alignment);
    return;
  }
  // Only whole cache lines go past the caches.
  bool nontemporal = pointer.access && pointer.access.getNontemporal() && alignment.value() >= 64;
  vector::StoreOp::create(b, stored, pointer.buffer, index, nontemporal, alignment);
}

Value SweepEmitter::columnIndex(Type type, Value column) {
  auto vectorType = cast<VectorType>(vectorOf(type));
  SmallVector<Attribute> lanes;
  for (int64_t lane = 0; lane < width; ++lane)
    lanes.push_back(b.getIntegerAttr(type, lane));
  Value steps = arith::ConstantOp::create(b, DenseElementsAttr::get(vectorType, lanes));
  Value start = arith::IndexCastOp::create(b, type, column);
  return arith::AddIOp::create(b, steps, vector::BroadcastOp::create(b, vectorType, start));
}

/// Broadcasts, before the loop, the row's values that the region uses and the inputs that are one value per row.
void SweepEmitter::broadcastRowValues() {
  auto broadcast = [&](Value scalar) -> Value {
    return vector::BroadcastOp::create(b, vectorOf(scalar.getType()), scalar);
  };
  for (auto [argument, input] : llvm::zip(sweep.getBody()->getArguments(), sweep.getInputs()))
    if (auto access = dyn_cast<rt::AccessType>(input.getType()); access && access.isPerRow())
      broadcasts.map(argument, broadcast(loadPerRow(b, b.getLoc(), row.pointers.lookup(input))));
  for (Operation &op : *sweep.getBody())
    for (Value operand : op.getOperands())
      if (operand.getParentBlock() != sweep.getBody() && !broadcasts.contains(operand))
        broadcasts.map(operand, broadcast(row.values.lookup(operand)));
  auto accumulates = [](Value write) {
    auto access = dyn_cast<rt::AccessType>(write.getType());
    return access && access.getAccumulate();
  };
  if (row.isFirst && llvm::any_of(sweep.getWrites(), accumulates))
    firstMask = broadcast(row.isFirst);
}

/// One step over `width` columns; the partial results after it.
SmallVector<Value> SweepEmitter::emitStep(Step step, ValueRange partials) {
  IRMapping values = broadcasts;
  for (auto [argument, input] : llvm::zip(sweep.getBody()->getArguments(), sweep.getInputs()))
    if (!values.contains(argument))
      values.map(argument, load(row.pointers.lookup(input), step));
  for (Operation &op : sweep.getBody()->without_terminator()) {
    if (auto index = dyn_cast<rt::ColumnIndexOp>(op))
      values.map(index.getResult(), columnIndex(index.getType(), step.column));
    else
      values.map(op.getResult(0), copyScalarOp(b, op, values, vectorShape));
  }
  ValueRange yielded = sweep.getYield().getValues();
  for (auto [write, value] : llvm::zip(sweep.getWrites(), yielded))
    store(row.pointers.lookup(write), step, values.lookup(value));
  SmallVector<Value> next;
  for (auto [index, value] : llvm::enumerate(yielded.drop_front(sweep.getWrites().size()))) {
    rt::ReductionKind kind = sweep.getReductionKind(index);
    Value update = values.lookup(value);
    if (step.mask) {
      Value neutral = splatConstant(b, b.getLoc(), update.getType(), neutralElement(b, kind, value.getType()));
      update = arith::SelectOp::create(b, step.mask, update, neutral);
    }
    next.push_back(combine(b, kind, partials[index], update));
  }
  return next;
}

void SweepEmitter::emit() {
  broadcastRowValues();
  SmallVector<Value> partials;
  for (auto [index, type] : llvm::enumerate(sweep.getResultTypes()))
    partials.push_back(
        splatConstant(b, b.getLoc(), vectorOf(type), neutralElement(b, sweep.getReductionKind(index), type)));
  int64_t stride = policy.columnStep(width), whole = columns / stride * stride;
  Value first = policy.firstColumn(b, b.getLoc(), width);
  if (whole == stride) {
    partials = emitStep({first, {}}, partials);
  } else if (whole > 0) {
    Value end = arith::ConstantIndexOp::create(b, whole), by = arith::ConstantIndexOp::create(b, stride);
    auto loop = scf::ForOp::create(b, first, end, by, partials);
    OpBuilder::InsertionGuard guard(b);
    b.setInsertionPointToStart(loop.getBody());
    SmallVector<Value> next = emitStep({loop.getInductionVar(), {}}, loop.getRegionIterArgs());
    if (!next.empty()) // a loop without results has its terminator already
      scf::YieldOp::create(b, next);
    partials = loop.getResults();
  }
  if (whole < columns) {
    Value column = arith::ConstantIndexOp::create(b, whole);
    partials = emitStep({column, policy.tailMask(b, b.getLoc(), width, columns - whole)}, partials);
  }
  for (auto [index, result] : llvm::enumerate(sweep.getResults()))
    row.values.map(result, policy.foldLanes(b, b.getLoc(), sweep.getReductionKind(index), partials[index]));
}

} // namespace

void emitSweep(OpBuilder &builder, rt::SweepOp sweep, RowContext &row, const TargetPolicy &policy) {
  SweepEmitter emitter(builder, sweep, row, policy);
  emitter.emit();
}

} // namespace graft
