#include "passes/import/PointEvaluation.h"

#include "dialects/nn/FactorRules.h"
#include "passes/import/Match.h"
#include "passes/lower/Indexing.h"

#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/IR/Diagnostics.h"
#include "mlir/IR/Matchers.h"

using namespace mlir;

namespace graft {

using nn::shapeOf;
using Points = std::vector<int64_t>;

namespace {

/// Applies `map`, from the coordinates in a tensor of `shape` to a position, to every point.
template <typename Map> Points mapPoints(const Points &points, ArrayRef<int64_t> shape, Map map) {
  SmallVector<int64_t> coordinates(shape.size());
  Points out(points.size());
  bool within = false; // the next point differs in the last coordinate only: most do
  for (auto [k, point] : llvm::enumerate(points)) {
    if (within && point == points[k - 1] + 1) {
      ++coordinates.back();
    } else {
      int64_t rest = point;
      for (size_t d = shape.size(); d-- > 0;) {
        coordinates[d] = rest % shape[d];
        rest /= shape[d];
      }
    }
    within = !shape.empty() && coordinates.back() + 1 < shape.back();
    out[k] = map(ArrayRef<int64_t>(coordinates));
  }
  return out;
}

bool isIntegerArgument(Value value) {
  return isa<BlockArgument>(value) && isa<IntegerType>(nn::typeOf(value).getElementType());
}

/// Elements `points` of a tensor.
Tensor take(const Tensor &from, const Points &points) {
  Tensor out = from.zeros({static_cast<int64_t>(points.size())});
  if (from.isFloat())
    for (auto [k, point] : llvm::enumerate(points))
      out.f()[k] = from.f()[point];
  else
    for (auto [k, point] : llvm::enumerate(points))
      out.i()[k] = from.i()[point];
  return out;
}

PointValues constantPoints(Tensor values) {
  return {values, values, {}};
}

llvm::SmallBitVector dimensionsAboveOne(Value value) {
  ArrayRef<int64_t> shape = shapeOf(value);
  llvm::SmallBitVector out(shape.size());
  for (auto [d, size] : llvm::enumerate(shape))
    if (size > 1)
      out.set(d);
  return out;
}

} // namespace

//===-- Views -----------------------------------------------------------------------------------------------------===//

Points pointsThroughView(Operation *view, const Points &points) {
  if (isa<nn::ReshapeOp>(view))
    return points;
  ArrayRef<int64_t> shape = shapeOf(view->getResult(0));
  // Stride of each result dimension in the operand.
  SmallVector<int64_t> inner = denseStrides(shapeOf(view->getOperand(0))), strides(shape.size(), 0);
  int64_t offset = 0;
  if (auto transpose = dyn_cast<nn::TransposeOp>(view)) {
    for (auto [i, d] : llvm::enumerate(transpose.getPermutation()))
      strides[i] = inner[d];
  } else if (auto broadcast = dyn_cast<nn::BroadcastOp>(view)) {
    for (auto [i, d] : llvm::enumerate(broadcast.getDimensions()))
      strides[d] = inner[i];
  } else {
    auto slice = cast<nn::SliceOp>(view);
    for (size_t d = 0; d < strides.size(); ++d) {
      strides[d] = inner[d] * slice.getSteps()[d];
      offset += inner[d] * slice.getStarts()[d];
    }
  }
  return mapPoints(points, shape, [&](ArrayRef<int64_t> at) {
    int64_t position = offset;
    for (size_t d = 0; d < at.size(); ++d)
      position += at[d] * strides[d];
    return position;
  });
}

llvm::SmallBitVector varyingThroughView(Operation *view, const llvm::SmallBitVector &operand) {
  ArrayRef<int64_t> out = shapeOf(view->getResult(0));
  llvm::SmallBitVector varying(out.size());
  if (auto transpose = dyn_cast<nn::TransposeOp>(view)) {
    for (auto [i, d] : llvm::enumerate(transpose.getPermutation()))
      varying[i] = operand[d];
  } else if (auto broadcast = dyn_cast<nn::BroadcastOp>(view)) {
    for (auto [i, d] : llvm::enumerate(broadcast.getDimensions()))
      varying[d] = operand[i];
  } else if (isa<nn::SliceOp>(view)) {
    varying = operand;
  } else {
    // Runs of dimensions with equal products: where one of them varies, all of them may.
    ArrayRef<int64_t> in = shapeOf(view->getOperand(0));
    for (size_t i = 0, j = 0; i < in.size() && j < out.size();) {
      size_t firstIn = i, firstOut = j;
      int64_t left = in[i++], right = out[j++];
      while (left != right)
        left < right ? left *= in[i++] : right *= out[j++];
      for (size_t d = firstIn; d < i; ++d)
        if (operand[d])
          varying.set(firstOut, j);
    }
    varying &= dimensionsAboveOne(view->getResult(0));
  }
  return varying;
}

//===-- What can be known without values --------------------------------------------------------------------------===//

namespace {

constexpr int maxDepth = 256;                 ///< operators on one path: the evaluation recurses
constexpr int64_t maxWork = int64_t{1} << 29; ///< points computed for one question
constexpr int64_t stepCost = 1000;            ///< what a step costs beside its points, in points

/// Does the argument hold 0 and 1 by its type or by its role?
bool holdsBits(BlockArgument argument) {
  if (nn::typeOf(argument).getElementType().isInteger(1))
    return true;
  auto function = dyn_cast<func::FuncOp>(argument.getOwner()->getParentOp());
  auto name = function ? function.getArgAttrOfType<StringAttr>(argument.getArgNumber(), "rl.name") : StringAttr();
  return isIntegerArgument(argument) && name && name.getValue().contains("mask");
}

/// `argument != 0`, perhaps of a view of it: a bit, whatever integers the argument holds.
bool isTruthOfArgument(Operation *op) {
  auto compare = dyn_cast<arith::CmpIOp>(op);
  if (!compare || compare.getPredicate() != arith::CmpIPredicate::ne || splatNumber(compare.getRhs()) != 0.0)
    return false;
  Value value = compare.getLhs();
  while (value.getDefiningOp() && isView(value.getDefiningOp()))
    value = value.getDefiningOp()->getOperand(0);
  return isIntegerArgument(value);
}

bool isFollowed(Operation *op) {
  return isView(op) || isa<nn::ConcatOp, nn::GatherOp>(op) ||
         (nn::isElementwise(op) && isa<nn::EvaluateOpInterface>(op));
}

} // namespace

bool PointEvaluation::canEvaluate(Value value, int depth) {
  if (auto known = canEvaluate_.find(value); known != canEvaluate_.end())
    return known->second;
  bool can = false;
  Operation *op = value.getDefiningOp();
  if (!op)
    can = holdsBits(cast<BlockArgument>(value));
  else if (isa<arith::ConstantOp, nn::IotaOp>(op) || isTruthOfArgument(op))
    can = true;
  else if (isFollowed(op) && depth < maxDepth)
    can = llvm::all_of(op->getOperands(), [&](Value operand) { return canEvaluate(operand, depth + 1); });
  return canEvaluate_[value] = can;
}

const llvm::SmallBitVector &PointEvaluation::varying(Value value) {
  if (auto known = varying_.find(value); known != varying_.end())
    return known->second;
  llvm::SmallBitVector all = dimensionsAboveOne(value), out = all;
  Operation *op = value.getDefiningOp();
  if (op && splatNumber(value)) {
    out.reset();
  } else if (auto iota = dyn_cast_if_present<nn::IotaOp>(op)) {
    out.reset();
    out[iota.getAxis()] = all[iota.getAxis()];
  } else if (op && isView(op)) {
    out = varyingThroughView(op, varying(op->getOperand(0)));
  } else if (auto gather = dyn_cast_if_present<nn::GatherOp>(op)) {
    const llvm::SmallBitVector data = varying(gather.getData()), indices = varying(gather.getIndices());
    int64_t axis = gather.getAxis(), indexRank = indices.size();
    out.reset();
    for (int64_t d = 0; d < static_cast<int64_t>(data.size()); ++d)
      if (d != axis)
        out[d < axis ? d : d + indexRank - 1] = data[d];
    for (int64_t d = 0; d < indexRank; ++d)
      out[axis + d] = indices[d];
  } else if (nn::isElementwise(op)) {
    out.reset();
    for (Value operand : op->getOperands())
      out |= varying(operand);
  }
  return varying_[value] = out;
}

//===-- Values ----------------------------------------------------------------------------------------------------===//

std::optional<PointValues> PointEvaluation::refuse(Value value) {
  Operation *op = value.getDefiningOp();
  reason_ =
      op ? "'" + op->getName().getStringRef().str() + "' is not followed" : "it depends on an argument that is no mask";
  return std::nullopt;
}

std::optional<PointValues> PointEvaluation::evaluate(Value value, const Points &points) {
  Operation *op = value.getDefiningOp();
  work_ += static_cast<int64_t>(points.size()) + stepCost;
  if (work_ > maxWork) {
    reason_ = "it takes too long to check";
    return std::nullopt;
  }
  if (!op) {
    if (!isIntegerArgument(value))
      return refuse(value);
    auto count = static_cast<int64_t>(points.size());
    PointValues out{Tensor::integers({count}, 0), Tensor::integers({count}, 1), points};
    for (int64_t &point : out.source)
      point = source::of(cast<BlockArgument>(value).getArgNumber(), point);
    return out;
  }
  if (DenseElementsAttr elements; matchPattern(value, m_Constant(&elements))) {
    auto [it, isNew] = constants_.try_emplace(value);
    if (isNew)
      it->second = nn::tensorFromAttribute(elements);
    return constantPoints(take(it->second, points));
  }
  if (auto iota = dyn_cast<nn::IotaOp>(op)) {
    Points along = mapPoints(points, shapeOf(value), [&](ArrayRef<int64_t> at) { return at[iota.getAxis()]; });
    Tensor out =
        isa<FloatType>(nn::typeOf(value).getElementType())
            ? Tensor::floats({static_cast<int64_t>(along.size())}, std::vector<double>(along.begin(), along.end()))
            : Tensor::integers({static_cast<int64_t>(along.size())}, along);
    return constantPoints(out);
  }
  if (isView(op))
    return evaluate(op->getOperand(0), pointsThroughView(op, points));
  if (isa<nn::GatherOp>(op))
    return evaluateGather(op, points);
  if (isa<nn::ConcatOp>(op))
    return evaluateConcat(op, points);
  if (nn::isElementwise(op) && isa<nn::EvaluateOpInterface>(op))
    return evaluateElementwise(op, points);
  return refuse(value);
}

std::optional<PointValues> PointEvaluation::evaluateGather(Operation *op, const Points &points) {
  auto gather = cast<nn::GatherOp>(op);
  ArrayRef<int64_t> data = shapeOf(gather.getData()), indices = shapeOf(gather.getIndices()),
                    out = shapeOf(gather.getResult());
  int64_t axis = gather.getAxis();
  SmallVector<int64_t> indexStrides = denseStrides(indices), dataStrides = denseStrides(data);
  Points indexPoints = mapPoints(points, out, [&](ArrayRef<int64_t> at) {
    int64_t position = 0;
    for (size_t d = 0; d < indices.size(); ++d)
      position += at[axis + d] * indexStrides[d];
    return position;
  });
  auto index = evaluate(gather.getIndices(), indexPoints);
  if (!index)
    return std::nullopt;
  if (!index->source.empty()) {
    reason_ = "an index depends on an argument";
    return std::nullopt;
  }
  const std::vector<int64_t> &chosen = index->zero.i();
  size_t k = 0;
  bool inside = true;
  Points dataPoints = mapPoints(points, out, [&](ArrayRef<int64_t> at) {
    int64_t along = chosen[k++], position = along * dataStrides[axis];
    inside = inside && along >= 0 && along < data[axis];
    for (int64_t d = 0; d < static_cast<int64_t>(data.size()); ++d)
      if (d != axis)
        position += at[d < axis ? d : d + indices.size() - 1] * dataStrides[d];
    return position;
  });
  if (!inside) {
    reason_ = "an index is out of range";
    return std::nullopt;
  }
  return evaluate(gather.getData(), dataPoints);
}

std::optional<PointValues> PointEvaluation::evaluateConcat(Operation *op, const Points &points) {
  auto concat = cast<nn::ConcatOp>(op);
  int64_t axis = concat.getAxis(), begin = 0, count = static_cast<int64_t>(points.size());
  ArrayRef<int64_t> shape = shapeOf(concat.getResult());
  bool isFloat = isa<FloatType>(nn::typeOf(concat.getResult()).getElementType());
  Tensor empty = isFloat ? Tensor::floats({count}) : Tensor::integers({count});
  PointValues out{empty, empty, {}};
  for (Value input : concat.getInputs()) {
    int64_t end = begin + shapeOf(input)[axis];
    SmallVector<int64_t> strides = denseStrides(shapeOf(input));
    Points mapped = mapPoints(points, shape, [&](ArrayRef<int64_t> at) {
      if (at[axis] < begin || at[axis] >= end)
        return int64_t{-1};
      int64_t position = -begin * strides[axis];
      for (size_t d = 0; d < at.size(); ++d)
        position += at[d] * strides[d];
      return position;
    });
    Points places, inner;
    for (auto [k, point] : llvm::enumerate(mapped))
      if (point >= 0) {
        places.push_back(static_cast<int64_t>(k));
        inner.push_back(point);
      }
    auto values = evaluate(input, inner);
    if (!values)
      return std::nullopt;
    if (!values->source.empty() && out.source.empty())
      out.source.assign(points.size(), source::none);
    for (auto [k, place] : llvm::enumerate(places)) {
      out.zero.copyElement(place, values->zero, static_cast<int64_t>(k));
      out.one.copyElement(place, values->one, static_cast<int64_t>(k));
      if (!values->source.empty())
        out.source[place] = values->source[k];
    }
    begin = end;
  }
  return out;
}

std::optional<PointValues> PointEvaluation::evaluateElementwise(Operation *op, const Points &points) {
  SmallVector<Tensor> zeros, ones;
  PointValues out;
  for (Value operand : op->getOperands()) {
    auto values = evaluate(operand, points);
    if (!values)
      return std::nullopt;
    zeros.push_back(values->zero);
    ones.push_back(values->one);
    if (values->source.empty())
      continue;
    if (out.source.empty()) {
      out.source = values->source;
      continue;
    }
    for (auto [mine, other] : llvm::zip(out.source, values->source))
      mine = mine == source::none || mine == other ? other : other == source::none ? mine : source::many;
  }
  auto reference = cast<nn::EvaluateOpInterface>(op);
  ScopedDiagnosticHandler silent(op->getContext(), [](Diagnostic &) { return success(); });
  auto zero = reference.evaluate(zeros);
  auto one = out.source.empty() ? zero : reference.evaluate(ones);
  if (failed(zero) || failed(one)) {
    reason_ = "'" + op->getName().getStringRef().str() + "' has no value for some elements";
    return std::nullopt;
  }
  out.zero = (*zero)[0];
  out.one = (*one)[0];
  return out;
}

} // namespace graft
