// The rules of the rt dialect's operations. Numbers refer to the descriptions in RTOps.td.
#include "dialects/rt/RTOps.h"
#include "llvm/Support/CheckedArithmetic.h"

using namespace mlir;
using namespace graft::rt;

static constexpr int64_t kMaxReach = int64_t(1) << 62;

/// Whether the row program's access type of `value` is one of its arguments.
static bool isProgramArgument(Value value) {
  auto argument = dyn_cast<BlockArgument>(value);
  return argument && isa<RowProgramOp>(argument.getOwner()->getParentOp());
}

/// Whether the operation is scalar arithmetic that the emitter can copy at vector type. Floats are f32 or f64; bf16 and
/// f16 only appear between a truncf and an extf, which rounds a value as storage would.
static bool isScalarArithmetic(Operation &op) {
  if (!isa<arith::ArithDialect, math::MathDialect>(op.getDialect()) || op.getNumResults() != 1 ||
      op.getNumRegions() != 0)
    return false;
  bool converts = isa<arith::TruncFOp, arith::ExtFOp>(op);
  auto isScalar = [&](Type type) {
    return type.isF32() || type.isF64() || (converts && (type.isBF16() || type.isF16())) ||
           (type.isSignlessInteger() && llvm::is_contained({1, 8, 16, 32, 64}, type.getIntOrFloatBitWidth()));
  };
  if (!llvm::all_of(op.getOperandTypes(), isScalar) || !llvm::all_of(op.getResultTypes(), isScalar))
    return false;
  return op.hasTrait<OpTrait::ConstantLike>() || op.hasTrait<OpTrait::Vectorizable>();
}

/// Product of the positive `sizes`, nothing when it reaches 2^62.
static std::optional<int64_t> checkedProduct(ArrayRef<int64_t> sizes) {
  int64_t product = 1;
  for (int64_t size : sizes) {
    std::optional<int64_t> next = llvm::checkedMul(product, size);
    if (!next || *next >= kMaxReach)
      return std::nullopt;
    product = *next;
  }
  return product;
}

/// Bytes from the first to the last element that the access reaches, nothing when it reaches 2^62.
static std::optional<int64_t> checkedReach(AccessType access, ArrayRef<int64_t> rows, int64_t columns) {
  int64_t reach = columns;
  for (auto [size, stride] : llvm::zip_equal(rows, access.getRowStrides())) {
    std::optional<int64_t> span = llvm::checkedMulAdd(size - 1, stride, reach);
    if (!span)
      return std::nullopt;
    reach = *span;
  }
  std::optional<int64_t> bytes = llvm::checkedMul(reach, access.getElementBytes());
  return bytes && *bytes < kMaxReach ? bytes : std::nullopt;
}

/// Whether the access maps different rows (over the first `rank` row dimensions) to different elements.
static bool isInjective(AccessType access, ArrayRef<int64_t> rows, int64_t columns, size_t rank) {
  SmallVector<std::pair<int64_t, int64_t>> dimensions; // stride, size
  for (size_t d = 0; d < rank; ++d)
    if (rows[d] > 1)
      dimensions.push_back({access.getRowStrides()[d], rows[d]});
  llvm::sort(dimensions);
  int64_t span = access.isPerRow() ? 1 : columns;
  for (auto [stride, size] : dimensions) {
    if (stride < span)
      return false;
    span += (size - 1) * stride;
  }
  return true;
}

namespace {
/// Who reads and writes a program's access or scratch.
struct Uses {
  unsigned reads = 0;
  unsigned writes = 0;
};
} // namespace

static Uses usesOf(Value value) {
  Uses uses;
  for (OpOperand &use : value.getUses()) {
    bool writes = isa<StoreOp>(use.getOwner());
    if (auto sweep = dyn_cast<SweepOp>(use.getOwner()))
      writes = use.getOperandNumber() >= sweep.getInputs().size();
    ++(writes ? uses.writes : uses.reads);
  }
  return uses;
}

/// Rules 5, 6 and 7: what a written access must fulfil.
static LogicalResult verifyWrites(RowProgramOp program, BlockArgument argument) {
  auto access = cast<AccessType>(argument.getType());
  auto complain = [&](StringRef what) {
    return program.emitOpError() << "argument " << argument.getArgNumber() << ": " << what;
  };
  Uses uses = usesOf(argument);
  size_t rank = program.getRows().size();
  if (access.getAccumulate()) {
    size_t unitRank = program.getUnitRank();
    if (llvm::any_of(access.getRowStrides().drop_front(unitRank), [](int64_t stride) { return stride != 0; }))
      return complain("an accumulate access must have stride 0 along the dimensions of the group"); // rule 6
    if (uses.reads != 0 || uses.writes != 1)
      return complain("an accumulate access must be written exactly once and never read"); // rule 6
    rank = unitRank;
  }
  if (uses.writes && !isInjective(access, program.getRows(), program.getColumns(), rank))
    return complain("a written access must not map two rows to one element"); // rules 5, 6
  if (!access.getNontemporal())
    return success();
  auto misaligned = [&](int64_t stride) { return stride * access.getElementBytes() % 64 != 0; };
  if (uses.reads != 0 || uses.writes == 0)
    return complain("a nontemporal access must be written and never read"); // rule 7
  if (access.getAlign() < 64 || llvm::any_of(access.getRowStrides(), misaligned))
    return complain("rows of a nontemporal access must begin on multiples of 64 bytes"); // rule 7
  return success();
}

LogicalResult RowProgramOp::verify() {
  ArrayRef<int64_t> rows = getRows();
  int64_t columns = getColumns();
  if (rows.empty() || rows.size() > 8 || llvm::any_of(rows, [](int64_t size) { return size < 1; }))
    return emitOpError("rows must have 1 to 8 dimensions of at least 1"); // rule 1
  if (columns < 1)
    return emitOpError("columns must be at least 1"); // rule 1
  SmallVector<int64_t> space(rows);
  space.push_back(columns);
  if (!checkedProduct(space))
    return emitOpError("rows times columns must fit in 62 bits"); // rule 1
  int64_t group = getGroup(), product = 1;
  for (size_t d = rows.size(); d > 0 && product < group; --d)
    product *= rows[d - 1];
  if (group != product)
    return emitOpError("group must be the product of trailing row dimensions, got ") << group; // rule 2
  return success();
}

LogicalResult RowProgramOp::verifyRegions() {
  for (BlockArgument argument : getBody()->getArguments()) {
    auto access = dyn_cast<AccessType>(argument.getType());
    if (!access || access.getRowStrides().size() != getRows().size())
      return emitOpError("argument ") << argument.getArgNumber() << " must be an access with " << getRows().size()
                                      << " row strides, got " << argument.getType(); // rule 3
    if (!checkedReach(access, getRows(), getColumns()))
      return emitOpError("argument ") << argument.getArgNumber() << " reaches 2^62 bytes or more"; // rule 3
  }
  int64_t scratchRows = 0;
  for (Operation &op : *getBody()) {
    if (!isa<RTDialect>(op.getDialect()) && !isScalarArithmetic(op))
      return op.emitOpError(
          "must not stand in a row program: only scalar arith and math operations and those of rt"); // rule 4
    scratchRows += isa<ScratchOp>(op);
  }
  for (BlockArgument argument : getBody()->getArguments())
    if (failed(verifyWrites(*this, argument)))
      return failure();
  if (scratchRows && static_cast<int64_t>(getColumns()) > kMaxScratchBytes / 4 / scratchRows)
    return emitOpError("scratch rows must take at most ") << kMaxScratchBytes << " bytes together"; // rule 8
  DenseSet<Value> written;
  for (SweepOp sweep : getBody()->getOps<SweepOp>()) {
    for (Value input : sweep.getInputs())
      if (isa<ScratchType>(input.getType()) && !written.contains(input))
        return sweep.emitOpError("reads scratch that no earlier sweep wrote"); // rule 9
    written.insert(sweep.getWrites().begin(), sweep.getWrites().end());
  }
  return success();
}

LogicalResult SweepOp::verify() {
  for (Value operand : getOperands())
    if (isa<AccessType>(operand.getType()) && !isProgramArgument(operand))
      return emitOpError("accesses must be arguments of the row program"); // rule 3
  DenseSet<Value> seen;
  for (Value write : getWrites()) {
    if (auto access = dyn_cast<AccessType>(write.getType()); access && access.isPerRow())
      return emitOpError("a written access must have column stride 1"); // rule 4
    if (!seen.insert(write).second)
      return emitOpError("must not write one operand twice"); // rule 4
  }
  if (getReductions().size() != getNumResults())
    return emitOpError("must have one result per reduction"); // rule 5
  for (auto [index, type] : llvm::enumerate(getResultTypes())) {
    ReductionKind kind = getReductionKind(index);
    bool logical = kind == ReductionKind::And || kind == ReductionKind::Or;
    if (logical != type.isInteger(1))
      return emitOpError("reduction ") << stringifyReductionKind(kind) << " does not take " << type; // rule 5
  }
  return success();
}

LogicalResult SweepOp::verifyRegions() {
  if (getBody()->getNumArguments() != getInputs().size())
    return emitOpError("must have one block argument per input"); // rule 1
  for (auto [argument, input] : llvm::zip(getBody()->getArguments(), getInputs()))
    if (argument.getType() != computeType(input.getType()))
      return emitOpError("block argument ") << argument.getArgNumber() << " must be " << computeType(input.getType())
                                            << ", got " << argument.getType(); // rule 1
  if (!isa<YieldOp>(getBody()->back()))
    return emitOpError("must end with rt.yield"); // rule 2
  SmallVector<Type> expected = llvm::map_to_vector(getWrites().getTypes(), computeType);
  llvm::append_range(expected, getResultTypes());
  if (getYield()->getNumOperands() != expected.size())
    return getYield().emitOpError("must yield ")
           << expected.size() << " values, one per written operand and reduction, got "
           << getYield()->getNumOperands(); // rule 2
  for (auto [index, pair] : llvm::enumerate(llvm::zip(getYield()->getOperandTypes(), expected)))
    if (std::get<0>(pair) != std::get<1>(pair))
      return getYield().emitOpError("value ")
             << index << " must be " << std::get<1>(pair) << ", got " << std::get<0>(pair); // rule 2
  for (Operation &op : getBody()->without_terminator())
    if (!isa<ColumnIndexOp>(op) && !isScalarArithmetic(op))
      return op.emitOpError(
          "must not stand in a sweep: only scalar arith and math operations and rt.column_index"); // rule 6
  return success();
}

/// Rule 1 of rt.load and rt.store, then rule 2.
static LogicalResult verifyPerRow(Operation *op, Value access, Type value, bool mayAccumulate) {
  auto type = cast<AccessType>(access.getType());
  if (!isProgramArgument(access) || !type.isPerRow())
    return op->emitOpError("access must be an argument of the row program with column stride 0"); // rule 1
  if (type.getAccumulate() && !mayAccumulate)
    return op->emitOpError("must not read an accumulate access"); // rule 1
  if (value != type.getComputeType())
    return op->emitOpError("value must be ") << type.getComputeType() << ", got " << value; // rule 2
  return success();
}

LogicalResult LoadOp::verify() {
  return verifyPerRow(*this, getAccess(), getValue().getType(), /*mayAccumulate=*/false);
}
LogicalResult StoreOp::verify() {
  return verifyPerRow(*this, getAccess(), getValue().getType(), /*mayAccumulate=*/true);
}

/// Whether indices below `size` fit in the type, i32 or i64.
static bool indexFits(Type type, int64_t size) {
  return type.isInteger(64) || size <= int64_t(1) << 31;
}

LogicalResult RowIndexOp::verify() {
  ArrayRef<int64_t> rows = cast<RowProgramOp>((*this)->getParentOp()).getRows();
  int64_t dimension = getDimension();
  if (dimension < 0 || dimension >= static_cast<int64_t>(rows.size()))
    return emitOpError("dimension must be less than ") << rows.size() << ", got " << dimension; // rule 1
  if (!indexFits(getType(), rows[dimension]))
    return emitOpError("dimension of size ") << rows[dimension] << " does not fit in " << getType(); // rule 1
  return success();
}

LogicalResult ColumnIndexOp::verify() {
  int64_t columns = (*this)->getParentOfType<RowProgramOp>().getColumns();
  if (!indexFits(getType(), columns))
    return emitOpError() << columns << " columns do not fit in " << getType(); // rule 1
  return success();
}
