// The numbered rules of NNOps.td. Each check carries its rule's number; test/dialects/nn/invalid.mlir has a case for
// each.
#include "dialects/nn/NNDialect.h"

#include "llvm/ADT/SmallSet.h"
#include "llvm/ADT/StringExtras.h"

using namespace mlir;

namespace graft::nn {

namespace {

RankedTensorType tensorType(Value value) {
  return cast<RankedTensorType>(value.getType());
}

std::string shapeText(ArrayRef<int64_t> shape) {
  return "[" + llvm::join(llvm::map_range(shape, [](int64_t n) { return std::to_string(n); }), ", ") + "]";
}

LogicalResult verifyElementTypes(Operation *op, Value a, Value b) {
  if (tensorType(a).getElementType() != tensorType(b).getElementType())
    return op->emitOpError() << "element types must be equal, got " << tensorType(a).getElementType() << " and "
                             << tensorType(b).getElementType();
  return success();
}

LogicalResult verifyAxis(Operation *op, int64_t axis, int64_t rank) {
  if (axis < 0 || axis >= rank)
    return op->emitOpError() << "axis " << axis << " is not a dimension of a tensor of rank " << rank;
  return success();
}

LogicalResult verifyShape(Operation *op, StringRef what, Value value, ArrayRef<int64_t> expected) {
  if (tensorType(value).getShape() != expected)
    return op->emitOpError() << what << " must have shape " << shapeText(expected) << ", got "
                             << shapeText(tensorType(value).getShape());
  return success();
}

/// The shape of `shape` with `axis` replaced by the dimensions of `inserted`.
SmallVector<int64_t> replaceAxis(ArrayRef<int64_t> shape, int64_t axis, ArrayRef<int64_t> inserted) {
  SmallVector<int64_t> out(shape.take_front(axis));
  llvm::append_range(out, inserted);
  llvm::append_range(out, shape.drop_front(axis + 1));
  return out;
}

/// Rules 1 to 4 of nn.slice and nn.pad: the box `inner` lies inside `outer`.
LogicalResult verifyBox(Operation *op, Value inner, Value outer, ArrayRef<int64_t> starts, ArrayRef<int64_t> steps) {
  auto innerType = tensorType(inner), outerType = tensorType(outer);
  auto rank = static_cast<size_t>(outerType.getRank());
  if (starts.size() != rank || steps.size() != rank || static_cast<size_t>(innerType.getRank()) != rank) // 1
    return op->emitOpError() << "needs one start and one step per dimension and equal ranks, got " << starts.size()
                             << " starts, " << steps.size() << " steps for ranks " << innerType.getRank() << " and "
                             << rank;
  for (size_t d = 0; d < rank; ++d) {
    if (starts[d] < 0 || steps[d] < 1) // 2
      return op->emitOpError() << "dimension " << d << " needs a start of at least 0 and a step of at least 1, got "
                               << starts[d] << " and " << steps[d];
    int64_t size = innerType.getDimSize(d), last = 0;
    bool overflow = __builtin_mul_overflow(std::max<int64_t>(size - 1, 0), steps[d], &last) ||
                    __builtin_add_overflow(last, starts[d], &last);
    if (overflow || (size > 0 && last >= outerType.getDimSize(d)) || starts[d] > outerType.getDimSize(d)) // 3
      return op->emitOpError() << "dimension " << d << ": " << size << " elements from " << starts[d] << " by "
                               << steps[d] << " do not lie inside size " << outerType.getDimSize(d);
  }
  return verifyElementTypes(op, inner, outer); // 4
}

/// Rules of the two element-wise indexing operators: `small` equals `large` except along the axis.
LogicalResult verifyElementsIndexing(Operation *op, Value large, Value indices, Value small, int64_t axis,
                                     StringRef smallName) {
  if (failed(verifyAxis(op, axis, tensorType(large).getRank()))) // 1
    return failure();
  auto shape = tensorType(indices).getShape();
  if (failed(verifyShape(op, smallName, small, shape))) // 2
    return failure();
  auto expected = llvm::to_vector(tensorType(large).getShape());
  if (shape.size() == expected.size())
    expected[axis] = shape[axis];
  if (failed(verifyShape(op, "indices", indices, expected))) // 2
    return failure();
  return verifyElementTypes(op, large, small); // 3
}

template <typename NormOp> LogicalResult verifyNorm(NormOp op) {
  auto type = tensorType(op.getInput());
  if (type.getRank() == 0 || type.getShape().back() == 0) // 1
    return op.emitOpError() << "needs a last dimension that is not empty, got shape " << shapeText(type.getShape());
  if (!op.getEpsilon().isFinite() || op.getEpsilon().isNegative()) // 2
    return op.emitOpError() << "epsilon must be finite and not negative";
  return success();
}

} // namespace

LogicalResult BroadcastOp::verify() {
  auto input = tensorType(getInput()), result = tensorType(getResult());
  auto dims = getDimensions();
  if (static_cast<int64_t>(dims.size()) != input.getRank()) // 1
    return emitOpError() << "needs one dimension per input dimension, got " << dims.size() << " for rank "
                         << input.getRank();
  for (size_t i = 0; i < dims.size(); ++i) {
    if (dims[i] < 0 || dims[i] >= result.getRank() || (i > 0 && dims[i] <= dims[i - 1])) // 1
      return emitOpError() << "dimensions must be strictly increasing and below the result's rank " << result.getRank()
                           << ", got " << shapeText(dims);
    if (input.getDimSize(i) != result.getDimSize(dims[i])) // 2
      return emitOpError() << "input dimension " << i << " of size " << input.getDimSize(i)
                           << " does not equal result dimension " << dims[i] << " of size "
                           << result.getDimSize(dims[i]);
  }
  return verifyElementTypes(*this, getInput(), getResult()); // 3
}

LogicalResult ReshapeOp::verify() {
  auto input = tensorType(getInput()), result = tensorType(getResult());
  if (input.getNumElements() != result.getNumElements()) // 1
    return emitOpError() << "cannot make " << result.getNumElements() << " elements out of " << input.getNumElements();
  return verifyElementTypes(*this, getInput(), getResult()); // 2
}

LogicalResult TransposeOp::verify() {
  auto permutation = getPermutation();
  SmallVector<bool> seen(tensorType(getInput()).getRank(), false);
  bool good = permutation.size() == seen.size();
  for (int64_t d : permutation) {
    good = good && d >= 0 && d < static_cast<int64_t>(seen.size()) && !seen[d];
    if (good)
      seen[d] = true;
  }
  if (!good) // 1
    return emitOpError() << shapeText(permutation) << " is not a permutation of the input's " << seen.size()
                         << " dimensions";
  return success();
}

LogicalResult SliceOp::verify() {
  return verifyBox(*this, getResult(), getInput(), getStarts(), getSteps());
}
LogicalResult PadOp::verify() {
  return verifyBox(*this, getInput(), getResult(), getStarts(), getSteps());
}

LogicalResult ConcatOp::verify() {
  auto result = tensorType(getResult());
  if (getInputs().empty()) // 1
    return emitOpError() << "needs at least one input";
  int64_t axis = getAxis(), total = 0;
  if (failed(verifyAxis(*this, axis, result.getRank()))) // 2
    return failure();
  for (auto [i, input] : llvm::enumerate(getInputs())) {
    auto type = tensorType(input);
    auto expected = llvm::to_vector(result.getShape());
    if (type.getRank() == result.getRank())
      expected[axis] = type.getDimSize(axis);
    if (type != result.clone(expected)) // 1, 3
      return emitOpError() << "input " << i << " of type " << type << " does not fit the result " << result
                           << " along axis " << axis;
    total += type.getDimSize(axis);
  }
  if (total != result.getDimSize(axis)) // 3
    return emitOpError() << "inputs have " << total << " elements along axis " << axis << ", the result has "
                         << result.getDimSize(axis);
  return success();
}

LogicalResult IotaOp::verify() {
  return verifyAxis(*this, getAxis(), tensorType(getResult()).getRank());
}

LogicalResult ReduceOp::verify() {
  auto input = tensorType(getInput());
  auto axes = getAxes();
  for (size_t i = 0; i < axes.size(); ++i) {
    if (axes[i] < 0 || axes[i] >= input.getRank() || (i > 0 && axes[i] <= axes[i - 1])) // 1
      return emitOpError() << "axes must be strictly increasing dimensions of a tensor of rank " << input.getRank()
                           << ", got " << shapeText(axes);
    bool extreme = getKind() == ReduceKind::Max || getKind() == ReduceKind::Min;
    if (extreme && input.getDimSize(axes[i]) == 0) // 2
      return emitOpError() << "the " << stringifyReduceKind(getKind()) << " of no element (dimension " << axes[i]
                           << " is empty) is not defined";
  }
  if (input.getElementType().isInteger(1) && (getKind() == ReduceKind::Sum || getKind() == ReduceKind::Prod)) // 3
    return emitOpError() << "booleans are reduced with max or min, not " << stringifyReduceKind(getKind());
  return success();
}

LogicalResult CumsumOp::verify() {
  return verifyAxis(*this, getAxis(), tensorType(getInput()).getRank());
}

LogicalResult SoftmaxOp::verify() {
  if (failed(verifyAxis(*this, getAxis(), tensorType(getInput()).getRank()))) // 1
    return failure();
  if (getMask() && failed(verifyShape(*this, "mask", getMask(), tensorType(getInput()).getShape()))) // 2
    return failure();
  if (getResult().getType() != getInput().getType()) // 3
    return emitOpError() << "result type " << getResult().getType() << " must be the input's " << getInput().getType();
  return success();
}

LogicalResult LogSoftmaxOp::verify() {
  return verifyAxis(*this, getAxis(), tensorType(getInput()).getRank());
}

LogicalResult ContractOp::verify() {
  auto isLabels = [](StringRef text) { return llvm::all_of(text, [](char c) { return llvm::isAlpha(c); }); };
  auto labels = getLabels();
  std::array<RankedTensorType, 3> types = {tensorType(getLhs()), tensorType(getRhs()), tensorType(getResult())};
  bool wellFormed = getEquation().count("->") == 1 && getEquation().count(',') == 1;
  for (int t = 0; t < 3; ++t)
    wellFormed = wellFormed && isLabels(labels[t]) && static_cast<int64_t>(labels[t].size()) == types[t].getRank();
  if (!wellFormed) // 1
    return emitOpError() << "equation \"" << getEquation()
                         << "\" must be letters,letters->letters with one letter per dimension of " << types[0] << ", "
                         << types[1] << " and " << types[2];
  std::map<char, int64_t> sizes;
  for (int t = 0; t < 3; ++t)
    for (auto [d, label] : llvm::enumerate(labels[t])) {
      if (labels[t].count(label) > 1) // 2
        return emitOpError() << "letter '" << label << "' occurs twice in \"" << labels[t] << "\"";
      auto [it, isNew] = sizes.insert({label, types[t].getDimSize(d)});
      if (it->second != types[t].getDimSize(d)) // 3
        return emitOpError() << "letter '" << label << "' has sizes " << it->second << " and "
                             << types[t].getDimSize(d);
    }
  for (auto [label, size] : sizes) {
    bool l = labels[0].contains(label), r = labels[1].contains(label), out = labels[2].contains(label);
    if ((out && !l && !r) || (!out && !(l && r))) // 4
      return emitOpError() << "letter '" << label << "' must be in the result and an input, or in both inputs";
  }
  if (failed(verifyElementTypes(*this, getLhs(), getRhs()))) // 5
    return failure();
  if (types[0].getElementType().isBF16() && types[2].getElementType().isF32())
    return success();
  return verifyElementTypes(*this, getLhs(), getResult()); // 5
}

LogicalResult GatherOp::verify() {
  auto data = tensorType(getData());
  if (failed(verifyAxis(*this, getAxis(), data.getRank()))) // 1
    return failure();
  if (failed(verifyShape(*this, "result", getResult(),
                         replaceAxis(data.getShape(), getAxis(), tensorType(getIndices()).getShape())))) // 2
    return failure();
  return verifyElementTypes(*this, getData(), getResult()); // 2
}

LogicalResult ScatterAddOp::verify() {
  auto result = tensorType(getResult());
  if (failed(verifyAxis(*this, getAxis(), result.getRank()))) // 1
    return failure();
  if (failed(verifyShape(*this, "updates", getUpdates(),
                         replaceAxis(result.getShape(), getAxis(), tensorType(getIndices()).getShape())))) // 2
    return failure();
  return verifyElementTypes(*this, getUpdates(), getResult()); // 2
}

LogicalResult GatherElementsOp::verify() {
  return verifyElementsIndexing(*this, getData(), getIndices(), getResult(), getAxis(), "result");
}
LogicalResult ScatterElementsAddOp::verify() {
  return verifyElementsIndexing(*this, getResult(), getIndices(), getUpdates(), getAxis(), "updates");
}

LogicalResult RMSNormOp::verify() {
  return verifyNorm(*this);
}
LogicalResult LayerNormOp::verify() {
  return verifyNorm(*this);
}

LogicalResult RopeOp::verify() {
  auto input = tensorType(getInput());
  if (input.getRank() == 0 || input.getShape().back() % 2 != 0) // 1
    return emitOpError() << "needs an even last dimension, got shape " << shapeText(input.getShape());
  auto half = llvm::to_vector(input.getShape());
  half.back() /= 2;
  for (Value table : {getCos(), getSin()}) {
    if (failed(verifyShape(*this, "cos and sin", table, half))) // 1
      return failure();
    if (failed(verifyElementTypes(*this, getInput(), table))) // 2
      return failure();
  }
  if (getResult().getType() != input) // 2
    return emitOpError() << "result type " << getResult().getType() << " must be the input's " << input;
  return success();
}

/// `segments` is [B, T] or [B, 2, T], and there are as many queries as keys.
static LogicalResult verifySegments(AttentionOp op, int64_t batch, int64_t queries, int64_t keys) {
  auto shape = tensorType(op.getSegments()).getShape();
  for (int64_t positions : {keys, queries}) {
    std::array<int64_t, 2> one = {batch, positions};
    std::array<int64_t, 3> two = {batch, 2, positions};
    if (shape != ArrayRef(one) && shape != ArrayRef(two))
      return op.emitOpError() << "segments must have shape " << shapeText(one) << " or " << shapeText(two) << ", got "
                              << shapeText(shape);
  }
  return success();
}

LogicalResult AttentionOp::verify() {
  auto q = tensorType(getQuery()), k = tensorType(getKey()), v = tensorType(getValue());
  if (q.getRank() != 4 || k.getRank() != 4 || v.getRank() != 4) // 1
    return emitOpError() << "query, key and value must have rank 4, got " << q.getRank() << ", " << k.getRank()
                         << " and " << v.getRank();
  int64_t B = q.getDimSize(0), Hq = q.getDimSize(1), S = q.getDimSize(2), D = q.getDimSize(3), Hkv = k.getDimSize(1),
          T = k.getDimSize(2);
  if (Hkv == 0 || Hq % Hkv != 0) // 1
    return emitOpError() << Hkv << " key heads do not divide " << Hq << " query heads";
  if (failed(verifyShape(*this, "key", getKey(), {B, Hkv, T, D})) ||
      failed(verifyShape(*this, "value", getValue(), {B, Hkv, T, v.getDimSize(3)})) ||
      failed(verifyShape(*this, "result", getResult(), {B, Hq, S, v.getDimSize(3)}))) // 1
    return failure();
  if ((getKeyValid() && failed(verifyShape(*this, "key_valid", getKeyValid(), {B, T}))) ||
      (getSegments() && failed(verifySegments(*this, B, S, T))) ||
      (getBias() && failed(verifyShape(*this, "bias", getBias(), {B, Hq, S, T})))) // 1
    return failure();
  if (static_cast<int64_t>(getWindow()) < 0 || getSoftcap().isNegative() || !getSoftcap().isFinite() ||
      !getScale().isFinite()) // 2
    return emitOpError() << "window and softcap must not be negative, scale and softcap must be finite";
  for (Value other : {Value(getKey()), Value(getValue()), Value(getBias()), Value(getResult())}) // 3
    if (other && failed(verifyElementTypes(*this, getQuery(), other)))
      return failure();
  return success();
}

} // namespace graft::nn
