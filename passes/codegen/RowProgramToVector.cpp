// Writes row programs as loops over vectors.
//
// The one idea: a row program's body holds scalar operations that are element-wise mappable, so a sweep's region is
// *copied* at vector type. There is no table of operations. Around it stand two loops: over the units of a range and
// over a unit's rows; row addresses come from the loops' indices, which start at the range's first unit (divided once)
// and then count with a carry.
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/Dialect/LLVMIR/NVVMDialect.h"
#include "mlir/Dialect/MemRef/IR/MemRef.h"
#include "mlir/Dialect/SCF/IR/SCF.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"
#include "mlir/IR/ImplicitLocOpBuilder.h"
#include "passes/codegen/Passes.h"
#include "passes/codegen/RowSpace.h"
#include "passes/codegen/StorageConversion.h"
#include "passes/codegen/SweepEmitter.h"
#include "llvm/ADT/TypeSwitch.h"

namespace graft {
#define GEN_PASS_DEF_ROWPROGRAMTOVECTOR
#include "passes/codegen/Passes.h.inc"
} // namespace graft

using namespace mlir;
using namespace graft;

namespace {

class RowProgramEmitter {
public:
  RowProgramEmitter(rt::RowProgramOp program, TargetPolicy &policy)
      : b(program.getLoc(), program.getContext()), program(program), policy(policy), accesses(program.getAccesses()),
        space(RowSpace::of(program)), row(policy) {}

  /// Writes the function before the program and erases the program.
  void emit();

private:
  func::FuncOp createFunction();
  void allocateScratch();
  SmallVector<Value> delinearize(Value unit);
  SmallVector<Value> advance(ArrayRef<Value> indices);
  void emitUnits(Value begin, Value end);
  void emitUnit(ArrayRef<Value> unitIndices);
  void emitRow(ArrayRef<Value> rowIndices);
  void addBases(SmallVectorImpl<Value> &bases, ArrayRef<RowDimension> dimensions, ArrayRef<Value> indices);
  void mapRowIndices(ArrayRef<RowDimension> dimensions, ArrayRef<Value> indices);
  Value index(int64_t value) { return arith::ConstantIndexOp::create(b, value); }

  ImplicitLocOpBuilder b;
  rt::RowProgramOp program;
  TargetPolicy &policy;
  SmallVector<rt::AccessType> accesses;
  RowSpace space;
  RowContext row;
  SmallVector<Value> unitBases;              ///< per access; null: 0
  llvm::DenseMap<int64_t, Value> rowIndices; ///< program dimension -> index
};

/// Whether the row program writes through the access, and whether it reads there.
bool isWritten(Value access) {
  return llvm::any_of(access.getUses(), rt::isWrite);
}
bool isRead(Value access) {
  return !llvm::all_of(access.getUses(), rt::isWrite);
}

/// Whether the body may read values of the row where it writes this one.
bool mayBeRead(BlockArgument written) {
  auto isAlone = [](Value access) { return cast<rt::AccessType>(access.getType()).getNoalias(); };
  return llvm::any_of(written.getOwner()->getArguments(), [&](BlockArgument other) {
    if (!cast<rt::AccessType>(other.getType()).isPerRow() || !isRead(other))
      return false;
    return other == written || (!isAlone(other) && !isAlone(written));
  });
}

/// One static buffer per access, then the range of units.
func::FuncOp RowProgramEmitter::createFunction() {
  SmallVector<Type> types;
  for (rt::AccessType access : accesses)
    types.push_back(MemRefType::get(access.getExtent(program.getRows(), program.getColumns()),
                                    bufferType(access.getElementType())));
  types.append(2, b.getIndexType());
  b.setInsertionPoint(program);
  auto function = func::FuncOp::create(b, program.getSymName(), b.getFunctionType(types, {}));
  for (auto [position, access] : llvm::enumerate(accesses)) {
    function.setArgAttr(position, "llvm.align", b.getI64IntegerAttr(access.getAlign()));
    if (access.getNoalias())
      function.setArgAttr(position, "llvm.noalias", b.getUnitAttr());
    if (!isWritten(program.getBody()->getArgument(position)))
      function.setArgAttr(position, "llvm.readonly", b.getUnitAttr());
  }
  return function;
}

/// Scratch rows, one of each for all rows of a call.
void RowProgramEmitter::allocateScratch() {
  for (auto [index, scratch] : llvm::enumerate(program.getBody()->getOps<rt::ScratchOp>())) {
    ScratchMemory memory = policy.scratch(b, static_cast<int64_t>(index));
    row.pointers[scratch.getRow()] = {{}, memory.buffer, memory.base};
  }
}

/// The indices of a unit, outermost first.
SmallVector<Value> RowProgramEmitter::delinearize(Value unit) {
  SmallVector<Value> indices(space.units.size());
  for (size_t d = space.units.size(); d-- > 1;) {
    Value size = index(space.units[d].size);
    indices[d] = arith::RemUIOp::create(b, unit, size);
    unit = arith::DivUIOp::create(b, unit, size);
  }
  if (!indices.empty())
    indices[0] = unit;
  return indices;
}

/// The indices of the next unit: one more, with a carry.
SmallVector<Value> RowProgramEmitter::advance(ArrayRef<Value> indices) {
  SmallVector<Value> next(indices.size());
  Value carry = index(1), zero = index(0);
  for (size_t d = indices.size(); d-- > 1;) {
    Value more = arith::AddIOp::create(b, indices[d], carry);
    Value wraps = arith::CmpIOp::create(b, arith::CmpIPredicate::eq, more, index(space.units[d].size));
    next[d] = arith::SelectOp::create(b, wraps, zero, more);
    carry = arith::IndexCastUIOp::create(b, b.getIndexType(), wraps);
  }
  next[0] = arith::AddIOp::create(b, indices[0], carry);
  return next;
}

/// Adds each access's offset along the dimensions.
void RowProgramEmitter::addBases(SmallVectorImpl<Value> &bases, ArrayRef<RowDimension> dimensions,
                                 ArrayRef<Value> indices) {
  for (size_t access = 0; access < accesses.size(); ++access)
    for (auto [dimension, position] : llvm::zip(dimensions, indices)) {
      int64_t stride = dimension.strides[access];
      if (stride == 0)
        continue;
      Value offset = stride == 1 ? position : Value(arith::MulIOp::create(b, position, index(stride)));
      bases[access] = bases[access] ? Value(arith::AddIOp::create(b, bases[access], offset)) : offset;
    }
}

void RowProgramEmitter::mapRowIndices(ArrayRef<RowDimension> dimensions, ArrayRef<Value> indices) {
  for (auto [dimension, position] : llvm::zip(dimensions, indices))
    if (dimension.source >= 0)
      rowIndices[dimension.source] = position;
}

void RowProgramEmitter::emitUnits(Value begin, Value end) {
  UnitSteps steps = policy.units(b, begin);
  bool carries = space.units.size() > 1 && !steps.step;
  SmallVector<Value> initial = carries ? delinearize(steps.first) : SmallVector<Value>();
  auto loop = scf::ForOp::create(b, steps.first, end, steps.step ? steps.step : index(1), initial);
  OpBuilder::InsertionGuard guard(b);
  b.setInsertionPointToStart(loop.getBody());
  SmallVector<Value> indices(loop.getRegionIterArgs());
  if (!carries)
    indices = delinearize(loop.getInductionVar());
  emitUnit(indices);
  if (carries)
    scf::YieldOp::create(b, advance(indices));
}

/// The rows of a unit, as nested loops around one row.
void RowProgramEmitter::emitUnit(ArrayRef<Value> unitIndices) {
  unitBases.assign(accesses.size(), {});
  addBases(unitBases, space.units, unitIndices);
  mapRowIndices(space.units, unitIndices);
  OpBuilder::InsertionGuard guard(b);
  SmallVector<Value> indices;
  for (const RowDimension &dimension : space.rows) {
    auto loop = scf::ForOp::create(b, index(0), index(dimension.size), index(1));
    b.setInsertionPointToStart(loop.getBody());
    indices.push_back(loop.getInductionVar());
  }
  emitRow(indices);
}

void RowProgramEmitter::emitRow(ArrayRef<Value> indices) {
  SmallVector<Value> bases = unitBases;
  addBases(bases, space.rows, indices);
  mapRowIndices(space.rows, indices);
  for (auto [access, base] : llvm::enumerate(bases))
    row.pointers[program.getBody()->getArgument(access)].base = base;
  for (Value position : indices) {
    Value isZero = arith::CmpIOp::create(b, arith::CmpIPredicate::eq, position, index(0));
    row.isFirst = row.isFirst ? Value(arith::AndIOp::create(b, row.isFirst, isZero)) : isZero;
  }
  for (Operation &op : *program.getBody())
    TypeSwitch<Operation *>(&op)
        .Case([&](rt::SweepOp sweep) { emitSweep(b, sweep, row); })
        .Case([&](rt::LoadOp load) {
          row.values.map(load.getValue(), loadPerRow(b, op.getLoc(), row.pointers[load.getAccess()]));
        })
        .Case([&](rt::StoreOp store) {
          bool isRead = mayBeRead(cast<BlockArgument>(store.getAccess()));
          policy.storePerRow(b, op.getLoc(), isRead, [&](OpBuilder &builder) {
            storePerRow(builder, op.getLoc(), row.pointers[store.getAccess()], row.values.lookup(store.getValue()),
                        row);
          });
        })
        .Case([&](rt::RowIndexOp position) { // dimensions of size 1 have no loop
          Value found = rowIndices.lookup(position.getDimension());
          row.values.map(position.getIndex(),
                         arith::IndexCastOp::create(b, position.getType(), found ? found : index(0)));
        })
        .Case([](rt::ScratchOp) {}) // allocated before the loops
        .Default([&](Operation *) {
          row.values.map(op.getResult(0), copyScalarOp(b, op, row.values, op.getResult(0).getType(), policy));
        });
}

void RowProgramEmitter::emit() {
  func::FuncOp function = createFunction();
  Block *entry = function.addEntryBlock();
  b.setInsertionPointToStart(entry);
  for (auto [position, access] : llvm::enumerate(accesses))
    row.pointers[program.getBody()->getArgument(position)] = {access, entry->getArgument(position), {}};
  policy.begin(b, function);
  allocateScratch();
  emitUnits(entry->getArgument(accesses.size()), entry->getArgument(accesses.size() + 1));
  func::ReturnOp::create(b);
  program.erase();
}

struct RowProgramToVector final : graft::impl::RowProgramToVectorBase<RowProgramToVector> {
  using RowProgramToVectorBase::RowProgramToVectorBase;
  void runOnOperation() override {
    for (auto program : llvm::make_early_inc_range(getOperation().getOps<rt::RowProgramOp>())) {
      std::unique_ptr<TargetPolicy> policy = target == CodeTarget::Cuda ? cudaPolicy(program) : cpuPolicy(program);
      RowProgramEmitter(program, *policy).emit();
    }
  }
};

} // namespace
