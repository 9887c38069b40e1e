// Finds rotary position embeddings in arithmetic.
//
// The idea: the tables of cosines and sines repeat each angle, once per half or once per neighbour. Whether they do is
// a property of how they are computed, followed through the operators (or read off the elements of a constant), and the
// same walk rebuilds them with each angle once.
#include "passes/import/FoldConstants.h"
#include "passes/import/Match.h"
#include "passes/import/Passes.h"

#include "dialects/nn/FactorRules.h"

#include "mlir/IR/Matchers.h"

using namespace mlir;

namespace graft {

#define GEN_PASS_DEF_RECOGNISEROPE
#include "passes/import/Passes.h.inc"

namespace {

using nn::shapeOf;

/// Which elements of the last dimension form a pair: i and i + D/2, or 2i and 2i + 1.
enum class Pairing : uint8_t { Halves, Neighbours };

int64_t lastSize(Value value) {
  return shapeOf(value).back();
}
int64_t lastAxis(Value value) {
  return static_cast<int64_t>(shapeOf(value).size()) - 1;
}

SmallVector<int64_t> withLast(ArrayRef<int64_t> shape, int64_t last) {
  SmallVector<int64_t> out(shape);
  out.back() = last;
  return out;
}

//===-- Tables ----------------------------------------------------------------------------------------------------===//

/// Tables with each angle once, built where the full table is built and remembered.
class Tables {
public:
  /// The table with one element per pair along the last dimension; null if pairs are not proved to be equal.
  Value once(Value table, Pairing pairing, int depth = 0);

private:
  Value build(Value table, Pairing pairing, int depth);
  Value fromConstant(OpBuilder &builder, Value table, DenseElementsAttr elements, Pairing pairing);
  Value fromBroadcast(nn::Build &build, nn::BroadcastOp op, Pairing pairing, int depth);
  Value fromReshape(nn::Build &build, nn::ReshapeOp op, Pairing pairing, int depth);

  DenseMap<std::pair<Value, int>, Value> known_;
};

Value Tables::once(Value table, Pairing pairing, int depth) {
  constexpr int maxDepth = 64;
  if (!table.getDefiningOp() || shapeOf(table).empty() || lastSize(table) % 2 != 0 || depth > maxDepth)
    return {};
  auto key = std::pair(table, static_cast<int>(pairing));
  if (auto known = known_.find(key); known != known_.end())
    return known->second;
  Value result = build(table, pairing, depth);
  return known_[key] = result;
}

Value Tables::build(Value table, Pairing pairing, int depth) {
  Operation *op = table.getDefiningOp();
  OpBuilder builder(op->getContext());
  builder.setInsertionPointAfter(op);
  nn::Build b(builder, op->getLoc());
  if (DenseElementsAttr elements; matchPattern(table, m_Constant(&elements)))
    return fromConstant(builder, table, elements, pairing);
  if (auto concat = dyn_cast<nn::ConcatOp>(op)) {
    bool twice = pairing == Pairing::Halves && static_cast<int64_t>(concat.getAxis()) == lastAxis(table) &&
                 concat.getInputs().size() == 2 && concat.getInputs()[0] == concat.getInputs()[1];
    return twice ? concat.getInputs()[0] : Value();
  }
  if (auto broadcast = dyn_cast<nn::BroadcastOp>(op))
    return fromBroadcast(b, broadcast, pairing, depth);
  if (auto reshape = dyn_cast<nn::ReshapeOp>(op))
    return fromReshape(b, reshape, pairing, depth);
  if (auto gather = dyn_cast<nn::GatherOp>(op)) {
    Value data = gather.getData();
    if (static_cast<int64_t>(gather.getAxis()) == lastAxis(data))
      return {};
    Value half = once(data, pairing, depth + 1);
    auto type = nn::typeOf(table).clone(withLast(shapeOf(table), lastSize(table) / 2));
    return half ? Value(nn::GatherOp::create(builder, op->getLoc(), type, half, gather.getIndices(), gather.getAxis()))
                : Value();
  }
  if (!nn::isElementwise(op))
    return {};
  SmallVector<Value> operands;
  for (Value operand : op->getOperands()) {
    operands.push_back(once(operand, pairing, depth + 1));
    if (!operands.back())
      return {};
  }
  return cloneElementwise(builder, op, operands);
}

Value Tables::fromConstant(OpBuilder &builder, Value table, DenseElementsAttr elements, Pairing pairing) {
  int64_t size = lastSize(table), half = size / 2;
  SmallVector<int64_t> shape = withLast(shapeOf(table), half);
  if (elements.isSplat())
    return splatOfShape(builder, table.getLoc(), table, shape);
  Tensor all = nn::tensorFromAttribute(elements), one = all.zeros(Tensor::Shape(shape.begin(), shape.end()));
  for (int64_t k = 0; k < one.size(); ++k) {
    int64_t row = k / half * size, i = k % half;
    int64_t first = row + (pairing == Pairing::Halves ? i : 2 * i),
            second = first + (pairing == Pairing::Halves ? half : 1);
    if (all.at(first) != all.at(second))
      return {};
    one.copyElement(k, all, first);
  }
  auto type = nn::typeOf(table).clone(shape);
  return arith::ConstantOp::create(builder, table.getLoc(), nn::attributeFromTensor(one, type));
}

Value Tables::fromBroadcast(nn::Build &build, nn::BroadcastOp op, Pairing pairing, int depth) {
  SmallVector<int64_t> shape = withLast(shapeOf(op.getResult()), lastSize(op.getResult()) / 2);
  bool repeatsLast = !llvm::is_contained(op.getDimensions(), lastAxis(op.getResult()));
  Value input = repeatsLast ? op.getInput() : once(op.getInput(), pairing, depth + 1);
  return input ? build.broadcast(input, shape, op.getDimensions()) : Value();
}

Value Tables::fromReshape(nn::Build &build, nn::ReshapeOp op, Pairing pairing, int depth) {
  Value input = op.getInput();
  int64_t size = lastSize(op.getResult());
  SmallVector<int64_t> shape = withLast(shapeOf(op.getResult()), size / 2);
  if (shapeOf(input).empty())
    return {};
  if (lastSize(input) == size) {
    Value half = once(input, pairing, depth + 1);
    return half ? build.reshape(half, shape) : Value();
  }
  // [..., D/2, 2] with the 2 repeated, as [..., D]: neighbours are equal. [..., 2, D/2] with the 2 repeated: halves
  // are.
  auto repeated = input.getDefiningOp<nn::BroadcastOp>();
  ArrayRef<int64_t> wide = shapeOf(input);
  if (!repeated || wide.size() < 2)
    return {};
  int64_t pair = lastAxis(input) - (pairing == Pairing::Halves ? 1 : 0);
  if (wide[pair] != 2 || wide[wide.size() - 1] * wide[wide.size() - 2] != size ||
      llvm::is_contained(repeated.getDimensions(), pair))
    return {};
  SmallVector<int64_t> once(wide), dimensions;
  once.erase(once.begin() + pair);
  for (int64_t d : repeated.getDimensions())
    dimensions.push_back(d > pair ? d - 1 : d);
  return build.reshape(build.broadcast(repeated.getInput(), once, dimensions), shape);
}

//===-- Rotation --------------------------------------------------------------------------------------------------===//

/// True if `value` is every `step`-th of D/2 elements of x's last dimension from `start` on, and everything in the
/// others.
bool isHalfOf(Value value, Value x, int64_t start, int64_t step) {
  auto slice = value.getDefiningOp<nn::SliceOp>();
  if (!slice || slice.getInput() != x || 2 * lastSize(value) != lastSize(x))
    return false;
  for (int64_t d = 0; d < lastAxis(x); ++d)
    if (shapeOf(value)[d] != shapeOf(x)[d] || slice.getSteps()[d] != 1)
      return false;
  return slice.getStarts().back() == start && slice.getSteps().back() == step;
}

/// y, if `value` is -y.
Value negated(Value value) {
  Scaled scaled = stripFactors(value);
  return scaled.factor == -1 ? scaled.value : Value();
}

/// A view that only adds or drops a dimension of size 1 at the end is looked through.
Value withoutUnitDimension(Value value) {
  auto reshape = value.getDefiningOp<nn::ReshapeOp>();
  if (!reshape)
    return value;
  SmallVector<int64_t> shape(shapeOf(reshape.getInput()));
  shape.push_back(1);
  return shapeOf(value) == ArrayRef<int64_t>(shape) ? reshape.getInput() : value;
}

/// How `value` is x with its pairs (a, b) replaced by (-b, a); nothing if it is not.
std::optional<Pairing> rotationOf(Value value, Value x) {
  if (shapeOf(x).empty() || lastSize(x) % 2 != 0)
    return std::nullopt;
  int64_t half = lastSize(x) / 2;
  auto isPair = [&](nn::ConcatOp concat, int64_t start, int64_t step) {
    if (!concat || concat.getInputs().size() != 2 ||
        static_cast<int64_t>(concat.getAxis()) != lastAxis(concat.getResult()))
      return false;
    Value first = withoutUnitDimension(concat.getInputs()[0]), second = withoutUnitDimension(concat.getInputs()[1]);
    Value minus = negated(first);
    return minus && isHalfOf(minus, x, start, step) && isHalfOf(second, x, 0, step);
  };
  auto concat = value.getDefiningOp<nn::ConcatOp>();
  if (concat && shapeOf(concat.getInputs()[0]).size() == shapeOf(x).size() && isPair(concat, half, 1))
    return Pairing::Halves;
  auto joined = value.getDefiningOp<nn::ReshapeOp>();
  if (!joined || shapeOf(value) != shapeOf(x))
    return std::nullopt;
  auto stacked = joined.getInput().getDefiningOp<nn::ConcatOp>();
  if (stacked && lastSize(stacked.getResult()) == 2 && isPair(stacked, 1, 2))
    return Pairing::Neighbours;
  return std::nullopt;
}

/// Replaces x cos + rotated(x) sin; returns false if `op` is something else.
bool replaceRotation(arith::AddFOp op, Tables &tables) {
  auto left = op.getLhs().getDefiningOp<arith::MulFOp>(), right = op.getRhs().getDefiningOp<arith::MulFOp>();
  if (!left || !right)
    return false;
  auto replace = [&](Value x, Value cos, Value sin, Pairing pairing) {
    Value c = tables.once(cos, pairing), s = tables.once(sin, pairing);
    if (!c || !s) {
      op.emitRemark() << "not recognised as rotary embedding: the tables are not proved to repeat each angle";
      return false;
    }
    OpBuilder builder(op);
    op.replaceAllUsesWith(
        Value(nn::RopeOp::create(builder, op.getLoc(), x.getType(), x, c, s, pairing == Pairing::Neighbours)));
    return true;
  };
  for (auto [plain, turned] : {std::pair(left, right), std::pair(right, left)})
    for (auto [x, cos] : {std::pair(plain.getLhs(), plain.getRhs()), std::pair(plain.getRhs(), plain.getLhs())})
      for (auto [y, sin] : {std::pair(turned.getLhs(), turned.getRhs()), std::pair(turned.getRhs(), turned.getLhs())})
        if (auto pairing = rotationOf(y, x))
          return replace(x, cos, sin, *pairing);
  return false;
}

struct RecogniseRope final : impl::RecogniseRopeBase<RecogniseRope> {
  void runOnOperation() override {
    Tables tables;
    SmallVector<arith::AddFOp> sums;
    getOperation().walk([&](arith::AddFOp op) { sums.push_back(op); });
    for (arith::AddFOp op : sums)
      replaceRotation(op, tables);
    // Not before: the tables remember values.
    eraseDeadOperators(getOperation().getBody().front());
  }
};

} // namespace
} // namespace graft
