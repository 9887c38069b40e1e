// The way: the group's shape becomes rows and columns. Members are ordered into sweeps: a member that needs a reduction
// of sweep s runs in sweep s + 1 (Grouping::level). Each sweep computes, from loads, exactly the values that are
// stored, reduced, or kept for a later sweep; values of an earlier sweep are loaded or computed again if that is cheap,
// and kept in a scratch row if not.
#include "passes/lower/KernelEmitter.h"

#include "dialects/nn/NNDialect.h"
#include "dialects/rl/RLDialect.h"
#include "passes/schedule/Arena.h"

#include "mlir/IR/Matchers.h"

using namespace mlir;

namespace graft {

namespace {

// Recomputing up to this many simple operations is cheaper than a scratch row (one store, one load, L1 traffic).
constexpr int kRecomputeCost = 8;
constexpr int kExpensive = 20;
// Rows that one unit adds up, at most, when a column reduction has too few independent units.
constexpr int64_t kRowsPerUnit = 256;
constexpr int64_t kEnoughUnits = 8;

/// One row dimension of the program: a dimension of the space, or a part of one that was split.
struct RowDimension {
  int64_t spaceDimension, size, multiplier; ///< space coordinate += multiplier * row coordinate
};

class KernelEmitter {
public:
  KernelEmitter(ModuleOp kernels, EntryBuilder &entry, const Grouping &grouping, int group)
      : kernels_(kernels), entry_(entry), grouping_(grouping), index_(group), group_(grouping.groups()[group]),
        builder_(kernels.getContext()) {}

  LogicalResult run();

private:
  struct Argument {
    Access access; ///< strides per row dimension
    int64_t columnStride;
    schema::Access mode;
    Value value;
  };

  // Shape of the program.
  void layOutRows();
  SmallVector<int64_t> rowStrides(ArrayRef<int64_t> spaceStrides) const;
  int64_t columns() const { return group_.space.empty() ? 1 : group_.space.back(); }
  size_t rank() const { return group_.space.size(); }

  // What must be stored, and where.
  bool needsMemory(Value value) const;
  bool endsHere(Value operand) const;
  std::optional<int64_t> pitchOf(Value value) const;
  int cost(Value value);
  bool isFullMember(Value value) const {
    Operation *op = value.getDefiningOp();
    return op && grouping_.groupOf(op) == index_ && !grouping_.isRowLevel(value) && !isa<nn::ReduceOp>(op);
  }
  bool isRowMember(Value value) const {
    return value.getDefiningOp() && grouping_.groupOf(value.getDefiningOp()) == index_ && grouping_.isRowLevel(value);
  }
  void findScratch(Value value, int sweep);

  // Emission.
  LogicalResult emitSweep(int sweep);
  Value full(Value value);
  Value row(Value value);
  Value leaf(Value value, const Index &index, bool perRow);
  Value virtualValue(Operation *op, const Index &index, bool perRow);
  Value affine(const Affine &expression, Type type);
  Value applyScalar(Operation *op, ValueRange operands);
  Value load(Value value, const Index &index, bool perRow);
  Value argument(const Access &perRow, int64_t columnStride, schema::Access mode, bool accumulate = false);
  Value accumulator(nn::ReduceOp reduce, const Place &target);
  Value sweepInput(Value access);
  void storeRowLevelResults();
  void emitPartialSum(nn::ReduceOp reduce, const Place &partial);
  void begin(ArrayRef<int64_t> rows, int64_t unitRows);
  void describeMemory();
  void finish(const std::string &origin);
  Index spaceIndex(size_t rank) const { return identityIndex(rank, group_.space.size()); }
  OpBuilder &at() { return inSweep_ ? *inSweep_ : builder_; }
  Location loc() const { return group_.members.back()->getLoc(); }

  ModuleOp kernels_;
  EntryBuilder &entry_;
  const Grouping &grouping_;
  int index_;
  const Group &group_;
  OpBuilder builder_; ///< at the end of the program's body

  rt::RowProgramOp program_;
  uint32_t kernelIndex_ = 0;
  SmallVector<RowDimension> rows_;
  SmallVector<int64_t> reducedAxes_; ///< of the column reductions
  int64_t unitRows_ = 1;             ///< rows of a unit
  size_t keptDims_ = 0;              ///< leading row dimensions that no column reduction sums over
  size_t partialDims_ = 0;           ///< the row dimensions after them that enumerate units: parts to be summed later

  SmallVector<Argument> arguments_;

  int sweep_ = 0;
  OpBuilder *inSweep_ = nullptr;
  SmallVector<Value> sweepInputs_;
  DenseMap<Value, Value> fullValues_; ///< of the current sweep
  DenseMap<Value, Value> rowValues_;
  DenseMap<Value, Value> scratch_; ///< full member -> scratch row, made in the sweep of its level
  DenseMap<Value, int> costs_;
  SmallVector<std::pair<nn::ReduceOp, Place>> partials_;
  bool failed_ = false;
};

//===-- Shape -----------------------------------------------------------------------------------------------------===//

void KernelEmitter::layOutRows() {
  for (Operation *member : group_.members)
    if (auto reduce = dyn_cast<nn::ReduceOp>(member); reduce && !grouping_.isRowLevel(reduce.getResult()))
      reducedAxes_.assign(reduce.getAxes().begin(), reduce.getAxes().end());
  auto rowRank = static_cast<int64_t>(rank()) - 1;
  for (int64_t d = 0; d < rowRank; ++d)
    if (!llvm::is_contained(reducedAxes_, d))
      rows_.push_back({d, group_.space[d], 1});
  int64_t units = 1;
  for (const RowDimension &dimension : rows_)
    units *= dimension.size;
  // Reduced dimensions come last. With few units otherwise, their leading part enumerates units too.
  SmallVector<RowDimension> reduced;
  for (int64_t d : reducedAxes_)
    reduced.push_back({d, group_.space[d], 1});
  unitRows_ = 1;
  for (size_t i = reduced.size(); i-- > 0;) {
    int64_t size = reduced[i].size;
    if (units >= kEnoughUnits || unitRows_ * size <= kRowsPerUnit) {
      unitRows_ *= size;
      continue;
    }
    int64_t inner = 1; // the largest divisor that keeps the unit short
    for (int64_t divisor = 1; divisor * unitRows_ <= kRowsPerUnit && divisor <= size; ++divisor)
      if (size % divisor == 0)
        inner = divisor;
    if (inner == 1 && unitRows_ == 1) // a large prime: one unit
      inner = size;
    unitRows_ *= inner;
    partialDims_ = inner == size ? i : i + 1;
    if (inner != size && inner > 1)
      reduced.insert(reduced.begin() + static_cast<int64_t>(i) + 1, {reduced[i].spaceDimension, inner, 1});
    if (inner != size) {
      reduced[i].size = size / inner;
      reduced[i].multiplier = inner;
    }
    break;
  }
  keptDims_ = rows_.size();
  llvm::append_range(rows_, reduced);
  if (rows_.empty())
    rows_.push_back({0, 1, 0});
}

SmallVector<int64_t> KernelEmitter::rowStrides(ArrayRef<int64_t> spaceStrides) const {
  SmallVector<int64_t> strides;
  for (const RowDimension &dimension : rows_)
    strides.push_back(dimension.multiplier == 0 ? 0 : dimension.multiplier * spaceStrides[dimension.spaceDimension]);
  return strides;
}

//===-- What must be stored or kept -------------------------------------------------------------------------------===//

bool KernelEmitter::needsMemory(Value value) const {
  return llvm::any_of(value.getUsers(), [&](Operation *user) {
    if (grouping_.groupOf(user) == index_)
      return false;
    if (!isView(user))
      return true;
    return llvm::any_of(user->getResult(0).getUsers(),
                        [&](Operation *next) { return grouping_.groupOf(next) != index_; });
  });
}

/// Is it a product of this block that the group reads element by element, and nobody else?
bool KernelEmitter::endsHere(Value operand) const {
  return isa_and_nonnull<nn::ContractOp>(operand.getDefiningOp()) && nn::shapeOf(operand) == ArrayRef(group_.space) &&
         llvm::all_of(operand.getUsers(), [&](Operation *user) { return grouping_.groupOf(user) == index_; });
}

/// Within a loop, rows of a value that is narrower than an operand of which it is made, and that nobody reads after it,
/// are as far apart as that one's: then it may take its memory (InPlace.h). A chunk of a head's logits is by far the
/// largest array of a program.
std::optional<int64_t> KernelEmitter::pitchOf(Value value) const {
  bool inLoop = isa<rl::TokenLoopOp>(value.getParentBlock()->getParentOp());
  if (!inLoop || !rt::runsColumnsInOrder(kernels_) || !nn::typeOf(value).getElementType().isBF16())
    return std::nullopt;
  for (Operation *member : group_.members)
    for (Value operand : member->getOperands())
      if (endsHere(operand) && nn::typeOf(operand).getElementType().isF32())
        return 2 * columns();
  return std::nullopt;
}

/// Operations it takes to compute a full member in a later sweep from loads and row values.
int KernelEmitter::cost(Value value) {
  auto [it, isNew] = costs_.insert({value, 0});
  if (!isNew)
    return it->second;
  Operation *op = value.getDefiningOp();
  int sum = isa<math::MathDialect>(op->getDialect()) || isa<arith::DivFOp>(op) ? kExpensive : 1;
  for (Value operand : op->getOperands())
    sum += isFullMember(operand) ? cost(operand) : 1;
  return costs_[value] = std::min(sum, 1000);
}

/// Marks the members that `value`, computed in `sweep`, takes from scratch.
void KernelEmitter::findScratch(Value value, int sweep) {
  if (!isFullMember(value))
    return;
  bool fits = (static_cast<int64_t>(scratch_.size()) + 1) * columns() * 4 <= rt::kMaxScratchBytes;
  if (grouping_.level(value) < sweep && cost(value) > kRecomputeCost && getElementTypeOrSelf(value.getType()).isF32() &&
      fits) {
    scratch_[value] = {};
    return;
  }
  for (Value operand : value.getDefiningOp()->getOperands())
    findScratch(operand, sweep);
}

//===-- Values ----------------------------------------------------------------------------------------------------===//

/// The kernel's argument for an access with one stride per row dimension; equal reads share one.
Value KernelEmitter::argument(const Access &perRow, int64_t columnStride, schema::Access mode, bool accumulate) {
  for (Argument &known : arguments_)
    if (mode == schema::Access::Read && known.mode == mode && known.access.buffer == perRow.buffer &&
        known.access.offset == perRow.offset && known.access.strides == perRow.strides &&
        known.columnStride == columnStride)
      return known.value;
  Type type = builder_.getF32Type();
  switch (entry_.buffer(perRow.buffer).dtype) {
  case schema::DType::BF16:
    type = builder_.getBF16Type();
    break;
  case schema::DType::F16:
    type = builder_.getF16Type();
    break;
  case schema::DType::F64:
    type = builder_.getF64Type();
    break;
  case schema::DType::I32:
    type = builder_.getI32Type();
    break;
  case schema::DType::I64:
    type = builder_.getI64Type();
    break;
  case schema::DType::Bool:
    type = builder_.getI1Type();
    break;
  default:
    break;
  }
  rt::AccessFlags flags;
  flags.accumulate = accumulate;
  Value value = program_.getBody()->addArgument(rt::AccessType::get(type, perRow.strides, columnStride, flags), loc());
  arguments_.push_back({perRow, columnStride, mode, value});
  return value;
}

Value KernelEmitter::sweepInput(Value access) {
  Block *body = inSweep_->getInsertionBlock();
  for (auto [i, known] : llvm::enumerate(sweepInputs_))
    if (known == access)
      return body->getArgument(i);
  sweepInputs_.push_back(access);
  return body->addArgument(rt::computeType(access.getType()), loc());
}

Value KernelEmitter::applyScalar(Operation *op, ValueRange operands) {
  Type type = rt::computeType(getElementTypeOrSelf(op->getResult(0).getType()));
  if (isa<arith::ExtFOp, arith::TruncFOp>(op) && operands[0].getType() == type) // storage types exist in memory only
    return operands[0];
  Operation *scalar = Operation::create(op->getLoc(), op->getName(), type, operands, op->getDiscardableAttrDictionary(),
                                        op->getPropertiesStorage(), /*successors=*/{}, /*numRegions=*/0);
  return at().insert(scalar)->getResult(0);
}

Value KernelEmitter::affine(const Affine &expression, Type type) {
  OpBuilder &b = at();
  Type i64 = b.getI64Type();
  auto constant = [&](int64_t value) -> Value {
    return arith::ConstantOp::create(b, loc(), b.getIntegerAttr(i64, value));
  };
  Value sum;
  auto add = [&](Value index, int64_t coefficient) {
    if (coefficient == 0)
      return;
    Value term = coefficient == 1 ? index : arith::MulIOp::create(b, loc(), index, constant(coefficient)).getResult();
    sum = sum ? arith::AddIOp::create(b, loc(), sum, term).getResult() : term;
  };
  for (auto [r, dimension] : llvm::enumerate(rows_)) {
    int64_t coefficient =
        dimension.multiplier == 0 ? 0 : expression.coefficients[dimension.spaceDimension] * dimension.multiplier;
    if (coefficient != 0 && dimension.size > 1) {
      add(rt::RowIndexOp::create(builder_, loc(), i64, builder_.getI64IntegerAttr(static_cast<int64_t>(r))),
          coefficient);
    }
  }
  if (rank() > 0 && expression.coefficients.back() != 0)
    add(rt::ColumnIndexOp::create(b, loc(), i64), expression.coefficients.back());
  if (!sum || expression.constant != 0)
    sum = sum ? arith::AddIOp::create(b, loc(), sum, constant(expression.constant)).getResult()
              : constant(expression.constant);
  if (isa<FloatType>(type))
    return arith::SIToFPOp::create(b, loc(), rt::computeType(type), sum);
  return type == i64 ? sum : arith::TruncIOp::create(b, loc(), type, sum).getResult();
}

Value KernelEmitter::virtualValue(Operation *op, const Index &index, bool perRow) {
  Type type = getElementTypeOrSelf(op->getResult(0).getType());
  DenseElementsAttr elements;
  if (matchPattern(op, m_Constant(&elements))) {
    if (isa<FloatType>(type)) {
      auto computed = cast<FloatType>(rt::computeType(type));
      APFloat value = elements.getSplatValue<APFloat>();
      bool loses;
      value.convert(computed.getFloatSemantics(), APFloat::rmNearestTiesToEven, &loses);
      return arith::ConstantOp::create(at(), loc(), at().getFloatAttr(computed, value));
    }
    return arith::ConstantOp::create(at(), loc(), at().getIntegerAttr(type, elements.getSplatValue<APInt>()));
  }
  if (auto iota = dyn_cast<nn::IotaOp>(op))
    return affine(index[iota.getAxis()], type);
  SmallVector<Value> operands;
  for (Value operand : op->getOperands())
    operands.push_back(leaf(operand, index, perRow));
  return applyScalar(op, operands);
}

/// A value from outside of the group at `index`, as a scalar of the sweep, or of the row when `perRow`.
Value KernelEmitter::leaf(Value value, const Index &index, bool perRow) {
  auto source = resolve(value, index, group_.space, [&](Value v) { return entry_.isCopied(v); });
  Operation *producer = source ? source->value.getDefiningOp() : nullptr;
  if (producer && grouping_.role(producer) == Role::Virtual)
    return virtualValue(producer, source->index, perRow);
  return load(value, index, perRow);
}

Value KernelEmitter::load(Value value, const Index &index, bool perRow) {
  Access access = entry_.read(value, index, group_.space);
  int64_t columnStride = rank() == 0 ? 0 : access.strides.back();
  if (columnStride > 1 && columns() > 1) { // a transposed operand: turned once, in memory
    entry_.denseCopy(value);
    access = entry_.read(value, index, group_.space);
    columnStride = access.strides.back();
  }
  if (columnStride > 1) {
    if (columns() > 1) {
      group_.members.back()->emitError() << "an operand cannot be read in the order of the kernel";
      failed_ = true;
    }
    columnStride = 1;
  }
  Value operand = argument({access.buffer, access.offset, rowStrides(access.strides)}, perRow ? 0 : columnStride,
                           schema::Access::Read);
  if (perRow)
    return rt::LoadOp::create(builder_, loc(), operand);
  return sweepInput(operand);
}

Value KernelEmitter::full(Value value) {
  if (Value known = fullValues_.lookup(value))
    return known;
  Value result;
  auto scratch = scratch_.find(value);
  if (scratch != scratch_.end() && grouping_.level(value) < sweep_) {
    result = sweepInput(scratch->second);
  } else {
    Operation *op = value.getDefiningOp();
    SmallVector<Value> operands;
    if (auto iota = dyn_cast<nn::IotaOp>(op)) {
      result = affine(spaceIndex(rank())[iota.getAxis()], getElementTypeOrSelf(value.getType()));
    } else {
      for (Value operand : op->getOperands()) {
        auto broadcast = operand.getDefiningOp<nn::BroadcastOp>();
        if (isFullMember(operand))
          operands.push_back(full(operand));
        else if (broadcast && isRowMember(broadcast.getInput()) && !entry_.isCopied(operand))
          operands.push_back(row(broadcast.getInput()));
        else
          operands.push_back(leaf(operand, spaceIndex(rank()), false));
      }
      result = applyScalar(op, operands);
    }
  }
  return fullValues_[value] = result;
}

Value KernelEmitter::row(Value value) {
  if (Value known = rowValues_.lookup(value))
    return known;
  OpBuilder *saved = inSweep_;
  inSweep_ = nullptr; // row-level arithmetic goes before the sweep
  Operation *op = value.getDefiningOp();
  SmallVector<Value> operands;
  for (Value operand : op->getOperands())
    operands.push_back(isRowMember(operand) ? row(operand) : leaf(operand, spaceIndex(rank() - 1), true));
  Value result = applyScalar(op, operands);
  inSweep_ = saved;
  return rowValues_[value] = result;
}

//===-- Sweeps ----------------------------------------------------------------------------------------------------===//

/// The reduction that a sweep folds for nn.reduce over the last dimension; nothing if row programs lack it.
std::optional<rt::ReductionKind> reductionKind(nn::ReduceOp reduce) {
  bool isBoolean = getElementTypeOrSelf(reduce.getInput().getType()).isInteger(1);
  switch (reduce.getKind()) {
  case nn::ReduceKind::Sum:
    return rt::ReductionKind::Add;
  case nn::ReduceKind::Max:
    return isBoolean ? rt::ReductionKind::Or : rt::ReductionKind::Max;
  case nn::ReduceKind::Min:
    return isBoolean ? rt::ReductionKind::And : rt::ReductionKind::Min;
  case nn::ReduceKind::Prod:
    return std::nullopt;
  }
  return std::nullopt;
}

LogicalResult KernelEmitter::emitSweep(int sweep) {
  sweep_ = sweep;
  fullValues_.clear();
  sweepInputs_.clear();

  // What this sweep yields: stores, scratch rows, column sums; then row reductions.
  SmallVector<Value> stored, writes;
  SmallVector<nn::ReduceOp> reduces;
  SmallVector<rt::ReductionKind> kinds;
  SmallVector<Type> reducedTypes;
  for (Operation *member : group_.members) {
    Value value = member->getResult(0);
    if (auto reduce = dyn_cast<nn::ReduceOp>(member)) {
      if (grouping_.level(value) != sweep + 1)
        continue;
      if (!grouping_.isRowLevel(value)) {
        if (reduce.getKind() != nn::ReduceKind::Sum || !getElementTypeOrSelf(value.getType()).isF32())
          return reduce.emitError() << "only float sums over leading dimensions can be compiled";
        Place target;
        if (partialDims_ > 0) {
          SmallVector<int64_t> shape;
          for (const RowDimension &dimension : ArrayRef(rows_).slice(keptDims_, partialDims_))
            shape.push_back(dimension.size);
          llvm::append_range(shape, nn::shapeOf(value));
          target = entry_.newBuffer(nn::typeOf(value).clone(shape), "partial", originOf(member));
          partials_.push_back({reduce, target});
        } else {
          target = entry_.place(value);
        }
        writes.push_back(accumulator(reduce, target));
        stored.push_back(reduce.getInput());
        continue;
      }
      auto kind = reductionKind(reduce);
      if (!kind)
        return reduce.emitError() << "a product over a dimension cannot be compiled";
      reduces.push_back(reduce);
      kinds.push_back(*kind);
      reducedTypes.push_back(rt::computeType(getElementTypeOrSelf(value.getType())));
      continue;
    }
    if (grouping_.isRowLevel(value) || grouping_.level(value) != sweep)
      continue;
    if (needsMemory(value)) {
      const Place &place = entry_.place(value, pitchOf(value));
      stored.push_back(value);
      writes.push_back(argument({place.buffer, place.offset, rowStrides(place.strides)}, 1, schema::Access::Write));
    }
    if (auto it = scratch_.find(value); it != scratch_.end()) {
      it->second = rt::ScratchOp::create(builder_, loc());
      stored.push_back(value);
      writes.push_back(it->second);
    }
  }
  if (stored.empty() && reduces.empty())
    return success();

  OpBuilder sweepBuilder(
      builder_); // of its own: builder_ stays in front of the sweep, for row-level values that its body asks for
  auto sweepOp = rt::SweepOp::create(
      sweepBuilder, loc(), {}, writes, kinds, reducedTypes, [&](OpBuilder &b, Location, ValueRange) {
        inSweep_ = &b;
        SmallVector<Value> yields;
        auto operand = [&](Value value) {
          return isFullMember(value) ? full(value) : leaf(value, spaceIndex(rank()), false);
        };
        for (Value value : stored)
          yields.push_back(operand(value));
        for (nn::ReduceOp reduce : reduces)
          yields.push_back(operand(reduce.getInput()));
        inSweep_ = nullptr;
        return yields;
      });
  sweepOp.getInputsMutable().assign(sweepInputs_);
  for (auto [reduce, value] : llvm::zip(reduces, sweepOp.getResults()))
    rowValues_[reduce.getResult()] = value;
  return success();
}

//===-- Row values, column sums, the call -------------------------------------------------------------------------===//

void KernelEmitter::storeRowLevelResults() {
  for (Operation *member : group_.members) {
    Value value = member->getResult(0);
    if (!grouping_.isRowLevel(value) || !needsMemory(value))
      continue;
    Value scalar = row(value);
    const Place &place = entry_.place(value);
    rt::StoreOp::create(builder_, loc(), scalar,
                        argument({place.buffer, place.offset, rowStrides(place.strides)}, 0, schema::Access::Write));
  }
}

/// Where a column reduction adds: `target` has the parts first (if any), then the dimensions of the reduction's result.
Value KernelEmitter::accumulator(nn::ReduceOp reduce, const Place &target) {
  SmallVector<int64_t> strides(rows_.size(), 0);
  ArrayRef<int64_t> own = target.strides;
  for (size_t r = 0; r < partialDims_; ++r)
    strides[keptDims_ + r] = own[r];
  own = own.drop_front(partialDims_);
  for (size_t r = 0; r < keptDims_; ++r)
    strides[r] = own[r];
  return argument({target.buffer, target.offset, strides}, 1, schema::Access::Write, true);
}

/// Sums the parts of a column reduction: rows are the kept dimensions, each unit adds its parts in order.
void KernelEmitter::emitPartialSum(nn::ReduceOp reduce, const Place &partial) {
  KernelEmitter sum(kernels_, entry_, grouping_, index_);
  int64_t parts = 1;
  SmallVector<int64_t> rows, from, to;
  const Place &target = entry_.place(reduce.getResult());
  for (size_t r = 0; r < keptDims_; ++r) {
    rows.push_back(rows_[r].size);
    from.push_back(partial.strides[partialDims_ + r]);
    to.push_back(target.strides[r]);
  }
  for (size_t r = 0; r < partialDims_; ++r) {
    rows.push_back(rows_[keptDims_ + r].size);
    parts *= rows.back();
    from.push_back(partial.strides[r]);
    to.push_back(0);
  }
  sum.begin(rows, parts);
  Value in = sum.argument({partial.buffer, partial.offset, from}, 1, schema::Access::Read);
  Value out = sum.argument({target.buffer, target.offset, to}, 1, schema::Access::Write, true);
  rt::SweepOp::create(sum.builder_, loc(), in, out, {}, {},
                      [](OpBuilder &, Location, ValueRange values) { return llvm::to_vector(values); });
  sum.finish(originOf(reduce));
}

void KernelEmitter::begin(ArrayRef<int64_t> rows, int64_t unitRows) {
  kernelIndex_ = entry_.takeKernelIndex();
  builder_.setInsertionPointToEnd(kernels_.getBody());
  program_ = rt::RowProgramOp::create(builder_, loc(), "k" + std::to_string(kernelIndex_), rows, columns(), unitRows,
                                      ArrayRef<rt::AccessType>{});
  builder_.setInsertionPointToEnd(program_.getBody());
}

/// What the memory plan promises: buffers begin on multiples of 64 bytes, and those in use at one time do not overlap,
/// unless the plan lets a program run in place (EntryLowering::planOffsets), which takes the promise back.
void KernelEmitter::describeMemory() {
  for (const Argument &argument : arguments_) {
    auto access = cast<rt::AccessType>(argument.value.getType());
    rt::AccessFlags flags{.accumulate = access.getAccumulate()};
    int64_t offset = argument.access.offset * access.getElementBytes();
    flags.align = offset == 0 ? arenaAlignment : std::min(arenaAlignment, offset & -offset);
    auto sharesBuffer = [&](const Argument &other) { return other.access.buffer == argument.access.buffer; };
    flags.noalias = llvm::count_if(arguments_, sharesBuffer) == 1;
    Value value = argument.value;
    value.setType(
        rt::AccessType::get(access.getElementType(), access.getRowStrides(), access.getColumnStride(), flags));
  }
}

void KernelEmitter::finish(const std::string &origin) {
  schema::KernelCallT call;
  call.kernel = kernelIndex_;
  auto space = llvm::to_vector(program_.getRows());
  space.push_back(columns());
  int64_t bytes = 0;
  for (const Argument &argument : arguments_) {
    Access access = argument.access;
    access.strides.push_back(argument.columnStride);
    call.operands.push_back(entry_.operand(access, space, argument.mode));
    int64_t touched = entry_.elementBytes(access.buffer);
    for (auto [size, stride] : llvm::zip(space, access.strides))
      touched *= stride == 0 ? 1 : size;
    bytes += touched;
  }
  simplifySpace(program_);
  describeMemory();
  call.units = program_.getUnitCount();
  entry_.append(std::move(call), origin, "element-wise").bytes = bytes;
}

LogicalResult KernelEmitter::run() {
  if (llvm::is_contained(group_.space, 0))
    return group_.members.front()->emitError() << "tensors without elements cannot be compiled";
  layOutRows();
  SmallVector<int64_t> sizes;
  for (const RowDimension &dimension : rows_)
    sizes.push_back(dimension.size);
  begin(sizes, unitRows_);

  int sweeps = 0;
  for (Operation *member : group_.members) {
    Value value = member->getResult(0);
    int level = grouping_.level(value);
    sweeps = std::max(sweeps, level + 1);
    if (auto reduce = dyn_cast<nn::ReduceOp>(member))
      findScratch(reduce.getInput(), level - 1);
    else if (!grouping_.isRowLevel(value) && needsMemory(value))
      findScratch(value, level);
  }
  for (int sweep = 0; sweep < sweeps; ++sweep)
    if (mlir::failed(emitSweep(sweep)))
      return failure();
  storeRowLevelResults();
  if (failed_)
    return failure();
  finish(originOf(group_.members.back()));
  for (auto &[reduce, partial] : partials_)
    emitPartialSum(reduce, partial);
  return success();
}

} // namespace

LogicalResult emitGroup(ModuleOp kernels, EntryBuilder &entry, const Grouping &grouping, int group) {
  return KernelEmitter(kernels, entry, grouping, group).run();
}

} // namespace graft
