// Gathers. Indices that follow from the shapes are constants by now; contiguous ones are slices, which need no gather.
#include "dialects/rl/Names.h"
#include "frontends/onnx/import/Table.h"

#include "mlir/Dialect/Func/IR/FuncOps.h"

using namespace mlir;

namespace graft::onnx {

namespace {

/// Whether an input of the graph holds token ids, positions or a mask, which are not negative by contract.
bool isTokenInput(BlockArgument argument) {
  StringRef name = argumentName(cast<func::FuncOp>(argument.getOwner()->getParentOp()), argument.getArgNumber());
  return name.ends_with("_ids") || name.ends_with("_mask");
}

/// Whether integers are surely not negative: constants that are not, token inputs, and what is made of such by
/// operators that keep it so.
bool isNonNegative(Value value, int depth = 8) {
  if (auto argument = dyn_cast<BlockArgument>(value))
    return isTokenInput(argument);
  if (auto elements = constantElements(value))
    return llvm::all_of(*elements, [](int64_t element) { return element >= 0; });
  Operation *op = value.getDefiningOp();
  if (depth == 0 || !op)
    return false;
  if (isa<nn::IotaOp, arith::ExtUIOp>(op))
    return true;
  auto same = [&](Value operand) { return isNonNegative(operand, depth - 1); };
  if (isa<arith::MaxSIOp>(op))
    return llvm::any_of(op->getOperands(), same);
  if (isa<nn::ReshapeOp, nn::TransposeOp, nn::BroadcastOp, nn::SliceOp, nn::ConcatOp, arith::AddIOp, arith::MulIOp,
          arith::ExtSIOp, arith::TruncIOp>(op))
    return llvm::all_of(op->getOperands(), same);
  return false;
}

/// Indices in [0, n): constants are checked, others are counted from the end where negative.
Value nonNegative(Call &c, Value indices, int64_t n) {
  if (auto elements = constantElements(indices)) {
    bool negative = false;
    for (int64_t &index : *elements) {
      if (index < -n || index >= n)
        c.fail(Code::Range, "index " + std::to_string(index) + " of a dimension of size " + std::to_string(n));
      negative = negative || index < 0;
      index += index < 0 ? n : 0;
    }
    return negative ? c.b.cast(c.constantIntegers(*elements, shapeOf(indices)), typeOf(indices).getElementType())
                    : indices;
  }
  if (isNonNegative(indices))
    return indices;
  Value below = c.b.compare(arith::CmpIPredicate::slt, indices, c.b.like(indices, 0));
  return c.b.select(below, c.b.add(indices, c.b.like(indices, static_cast<double>(n))), indices);
}

/// The first of consecutive constant indices; nothing if they are not consecutive.
std::optional<int64_t> contiguous(Value indices) {
  auto elements = constantElements(indices);
  if (!elements || elements->empty())
    return std::nullopt;
  for (size_t i = 1; i < elements->size(); ++i)
    if ((*elements)[i] != (*elements)[0] + static_cast<int64_t>(i))
      return std::nullopt;
  return elements->front();
}

} // namespace

Value gather(Call &c, Value data, Value indices, int64_t axis) {
  ArrayRef<int64_t> from = shapeOf(data);
  indices = nonNegative(c, indices, from[axis]);
  Sizes shape(from.take_front(axis));
  llvm::append_range(shape, shapeOf(indices));
  llvm::append_range(shape, from.drop_front(axis + 1));
  c.elements(shape);
  if (auto start = contiguous(indices); start && *start >= 0)
    return c.reshape(c.b.sliceAxis(data, axis, *start, typeOf(indices).getNumElements()), shape);
  return nn::GatherOp::create(c.b.builder, c.b.loc, typeOf(data).clone(shape), data, indices, axis);
}

Value take(Call &c, Value data, ArrayRef<int64_t> indices, int64_t axis) {
  return gather(c, data, c.constantIntegers(indices), axis);
}

namespace {

void gatherSlices(Call &c) {
  Value data = c.input(0), indices = c.integral(1);
  c.result(gather(c, data, indices, c.axis(c.integer("axis", 0), rankOf(data))));
}

void gatherElements(Call &c) {
  Value data = c.input(0), indices = c.integral(1);
  int64_t rank = rankOf(data), axis = c.axis(c.integer("axis", 0), rank);
  if (rankOf(indices) != rank)
    c.fail(Code::Range, "indices of shape " + text(shapeOf(indices)) + " for data of shape " + text(shapeOf(data)));
  Sizes box(shapeOf(indices));
  for (int64_t d = 0; d < rank; ++d)
    if (d != axis && box[d] > shapeOf(data)[d])
      c.fail(Code::Range, "indices of shape " + text(shapeOf(indices)) + " for data of shape " + text(shapeOf(data)));
  box[axis] = shapeOf(data)[axis];
  indices = nonNegative(c, indices, box[axis]);
  data = c.b.slice(data, Sizes(rank, 0), box); // data beyond the indices is never read
  auto type = typeOf(data).clone(shapeOf(indices));
  c.result(nn::GatherElementsOp::create(c.b.builder, c.b.loc, type, data, indices, axis));
}

/// The tuples in the last dimension as positions in the row-major order of `sizes`.
Value linearized(Call &c, Value tuples, ArrayRef<int64_t> sizes) {
  int64_t last = rankOf(tuples) - 1;
  Sizes shape(shapeOf(tuples).drop_back());
  Value out;
  for (auto [k, size] : llvm::enumerate(sizes)) {
    Value index = c.folded(c.b.sliceAxis(tuples, last, static_cast<int64_t>(k), 1));
    index = nonNegative(c, c.folded(c.reshape(index, shape)), size);
    out = out ? c.folded(c.b.add(c.folded(c.b.mul(out, c.b.like(out, static_cast<double>(size)))), index)) : index;
  }
  return out;
}

void gatherND(Call &c) {
  int64_t batch = c.integer("batch_dims", 0);
  Value data = c.input(0), tuples = c.integral(1);
  ArrayRef<int64_t> from = shapeOf(data), to = shapeOf(tuples);
  int64_t rank = rankOf(data), outer = rankOf(tuples) - 1;
  if (batch < 0 || batch >= rank || batch > outer || outer < 0 || from.take_front(batch) != to.take_front(batch))
    c.fail(Code::Range, "batch_dims " + std::to_string(batch) + " with data of shape " + text(from) +
                            " and indices of shape " + text(to));
  int64_t length = to.back();
  if (length < 1 || batch + length > rank)
    c.fail(Code::Range, "indices of length " + std::to_string(length) + " for data of shape " + text(from));
  ArrayRef<int64_t> indexed = from.slice(batch, length), rest = from.drop_front(batch + length);
  Value index = linearized(c, tuples, indexed);

  // The batch dimensions become part of the position, too.
  int64_t rows = c.elements(from.take_front(batch)), block = c.elements(indexed);
  if (batch > 0) {
    Value row = c.folded(c.b.iota({rows}, 0, typeOf(index).getElementType()));
    Value base = c.folded(c.b.mul(row, c.b.like(row, static_cast<double>(block))));
    base = c.folded(c.b.broadcast(c.folded(c.reshape(base, from.take_front(batch))), shapeOf(index),
                                  llvm::to_vector(llvm::seq<int64_t>(0, batch))));
    index = c.folded(c.b.add(index, base));
  }
  Sizes flat{rows * block};
  llvm::append_range(flat, rest);
  c.result(gather(c, c.reshape(data, flat), index, 0));
}

constexpr Translation translations[] = {
    {"Gather", 11, gatherSlices},
    {"GatherElements", 11, gatherElements},
    {"GatherND", 12, gatherND},
};

} // namespace

std::span<const Translation> indexingTranslations() {
  return translations;
}

} // namespace graft::onnx
