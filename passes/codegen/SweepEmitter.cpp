// See SweepEmitter.h. A sweep becomes: broadcasts of the row's scalars, a loop over whole vectors that carries one
// vector of partial results per reduction, one masked step for the rest, and a fold of each partial vector.
#include "passes/codegen/SweepEmitter.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/MemRef/IR/MemRef.h"
#include "mlir/Dialect/SCF/IR/SCF.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"
#include "mlir/IR/ImplicitLocOpBuilder.h"
#include "passes/codegen/Reductions.h"
#include "passes/codegen/StorageConversion.h"

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

void storePerRow(OpBuilder &builder, Location loc, const RowPointer &pointer, Value value, const RowContext &row) {
  if (pointer.access.getAccumulate() && row.isFirst) {
    Value sum = arith::AddFOp::create(builder, loc, loadPerRow(builder, loc, pointer), value);
    value = arith::SelectOp::create(builder, loc, row.isFirst, value, sum);
  }
  Value stored = toBuffer(builder, loc, pointer.access.getElementType(), value, row.policy.roundsToBf16());
  memref::StoreOp::create(builder, loc, stored, pointer.buffer, elementIndex(builder, loc, pointer, {}));
}

/// extf and truncf of bf16 as storage is converted; null for any other operation.
static Value convertBf16(OpBuilder &builder, Operation &op, Value operand, const TargetPolicy &policy) {
  Location loc = op.getLoc();
  Type bf16 = builder.getBF16Type(), i16 = withShapeOf(operand.getType(), builder.getI16Type());
  if (isa<arith::TruncFOp>(op) && op.getResult(0).getType() == bf16)
    return arith::BitcastOp::create(builder, loc, withShapeOf(i16, bf16),
                                    toBuffer(builder, loc, bf16, operand, policy.roundsToBf16()));
  if (isa<arith::ExtFOp>(op) && op.getOperand(0).getType() == bf16)
    return fromBuffer(builder, loc, bf16, arith::BitcastOp::create(builder, loc, i16, operand));
  return {};
}

Value copyScalarOp(OpBuilder &builder, Operation &op, IRMapping &values, Type shape, const TargetPolicy &policy) {
  if (auto constant = dyn_cast<arith::ConstantOp>(op))
    return splatConstant(builder, op.getLoc(), withShapeOf(shape, constant.getType()), constant.getValue());
  if (op.getNumOperands() == 1)
    if (Value converted = convertBf16(builder, op, values.lookup(op.getOperand(0)), policy))
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

class SweepEmitter {
public:
  SweepEmitter(OpBuilder &builder, rt::SweepOp sweep, RowContext &row)
      : b(sweep.getLoc(), builder), sweep(sweep), row(row), policy(row.policy),
        columns(sweep->getParentOfType<rt::RowProgramOp>().getColumns()), width(policy.width()),
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
  Value indexOf(const RowPointer &pointer, Step step);
  llvm::Align alignmentOf(const RowPointer &pointer);

  ImplicitLocOpBuilder b;
  rt::SweepOp sweep;
  RowContext &row;
  TargetPolicy &policy;
  int64_t columns;
  int64_t width;
  Type vectorShape;
  IRMapping broadcasts; ///< what is the same for all columns, as vectors
  Value firstMask;      ///< row.isFirst as a vector
};

/// The index of the step's first element.
Value SweepEmitter::indexOf(const RowPointer &pointer, Step step) {
  Value column = pointer.access ? step.column : policy.scratchColumn(b, b.getLoc(), step.column);
  return elementIndex(b, b.getLoc(), pointer, column);
}

/// The alignment that every whole vector has.
llvm::Align SweepEmitter::alignmentOf(const RowPointer &pointer) {
  return llvm::Align(pointer.access ? pointer.access.getVectorAlignment(width) : std::min<int64_t>(64, 4 * width));
}

Value SweepEmitter::load(const RowPointer &pointer, Step step) {
  Type elementType = pointer.access ? pointer.access.getElementType() : b.getF32Type();
  auto type = cast<VectorType>(vectorOf(bufferType(elementType)));
  Value index = indexOf(pointer, step);
  llvm::Align alignment = alignmentOf(pointer);
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
  Value index = indexOf(pointer, step);
  llvm::Align alignment = alignmentOf(pointer);
  Value stored =
      pointer.access ? toBuffer(b, b.getLoc(), pointer.access.getElementType(), value, policy.roundsToBf16()) : value;
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
      values.map(op.getResult(0), copyScalarOp(b, op, values, vectorShape, policy));
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
    next.push_back(combine(b, b.getLoc(), kind, partials[index], update));
  }
  return next;
}

void SweepEmitter::emit() {
  broadcastRowValues();
  SmallVector<Value> partials;
  for (auto [index, type] : llvm::enumerate(sweep.getResultTypes()))
    partials.push_back(
        splatConstant(b, b.getLoc(), vectorOf(type), neutralElement(b, sweep.getReductionKind(index), type)));
  int64_t stride = policy.columnStep(), whole = columns - columns % width;
  Value first = policy.firstColumn(b, b.getLoc());
  if (whole == stride) { // one step for each member
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
    auto maskType = VectorType::get(width, b.getI1Type());
    Value mask = vector::ConstantMaskOp::create(b, maskType, b.getDenseI64ArrayAttr(columns - whole));
    partials = emitStep({arith::ConstantIndexOp::create(b, whole), mask}, partials);
  }
  for (auto [index, result] : llvm::enumerate(sweep.getResults()))
    row.values.map(result, policy.foldLanes(b, b.getLoc(), sweep.getReductionKind(index), partials[index]));
}

} // namespace

void emitSweep(OpBuilder &builder, rt::SweepOp sweep, RowContext &row) {
  SweepEmitter emitter(builder, sweep, row);
  emitter.emit();
}

} // namespace graft
