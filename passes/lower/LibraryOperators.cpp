// Operators that are an instruction of their own, other than products: concatenation, padding, gathers and scatters.
#include "passes/lower/EntryLowering.h"

using namespace mlir;

namespace graft {

schema::Operand EntryLowering::denseOperand(Value value) {
  return entry_.operand(entry_.readDense(value), nn::shapeOf(value), schema::Access::Read);
}

void EntryLowering::hostCall(Operation *op, StringRef function, std::initializer_list<schema::Operand> operands,
                             std::vector<int64_t> ints) {
  schema::HostCallT call;
  call.function = function.str();
  call.operands.assign(operands.begin(), operands.end());
  call.ints = std::move(ints);
  entry_.append(std::move(call), originOf(op), "gather");
}

void EntryLowering::emitConcat(nn::ConcatOp op) {
  const Place outer = entry_.place(op.getResult());
  int64_t start = 0;
  for (Value input : op.getInputs()) {
    auto shape = nn::shapeOf(input);
    Access to{outer.buffer, outer.offset + start * outer.strides[op.getAxis()], outer.strides};
    bool inPlace =
        !isView(input.getDefiningOp()) && entry_.hasPlace(input) && entry_.place(input).buffer == outer.buffer;
    if (!inPlace)
      entry_.copy(to, entry_.read(input), shape, originOf(op));
    start += shape[op.getAxis()];
  }
}

void EntryLowering::emitPad(nn::PadOp op) {
  const Place outer = entry_.place(op.getResult());
  entry_.fillZero(outer, nn::shapeOf(op.getResult()), originOf(op));
  Access box{outer.buffer, outer.offset, outer.strides};
  for (auto [d, start] : llvm::enumerate(op.getStarts())) {
    box.offset += start * outer.strides[d];
    box.strides[d] *= op.getSteps()[d];
  }
  entry_.copy(box, entry_.read(op.getInput()), nn::shapeOf(op.getInput()), originOf(op));
}

int64_t indexBytes(Value indices) {
  return getElementTypeOrSelf(indices.getType()).isInteger(32) ? 4 : 8;
}

LogicalResult EntryLowering::emitGather(nn::GatherOp op) {
  auto shape = nn::shapeOf(op.getData());
  int64_t count = nn::typeOf(op.getIndices()).getNumElements(),
          width = nn::typeOf(op.getData()).getNumElements() / std::max<int64_t>(shape[0], 1);
  Type element = getElementTypeOrSelf(op.getData().getType());
  bool pairs = element.isBF16() && width % 2 == 0; // two by two, as float32s are moved
  if (op.getAxis() != 0 || !(element.isF32() || pairs))
    return op.emitError()
           << "only rows of float32, or of an even number of bfloat16, can be gathered by the compiled program";
  width /= pairs ? 2 : 1;
  auto index = denseOperand(op.getIndices()), table = denseOperand(op.getData());
  Access out{entry_.place(op.getResult()).buffer, 0, denseStrides(nn::shapeOf(op.getResult()))};
  hostCall(op, "gather_rows", {index, table, entry_.operand(out, nn::shapeOf(op.getResult()), schema::Access::Write)},
           {count, width, shape[0], width, indexBytes(op.getIndices())});
  return success();
}

LogicalResult EntryLowering::emitScatter(nn::ScatterAddOp op) {
  auto shape = nn::shapeOf(op.getResult());
  int64_t count = nn::typeOf(op.getIndices()).getNumElements(),
          width = nn::typeOf(op.getResult()).getNumElements() / std::max<int64_t>(shape[0], 1);
  if (op.getAxis() != 0 || !getElementTypeOrSelf(op.getResult().getType()).isF32())
    return op.emitError() << "only float32 rows can be scattered by the compiled program";
  auto index = denseOperand(op.getIndices()), values = denseOperand(op.getUpdates());
  const Place &place = entry_.place(op.getResult());
  bool adds = addsInto(op.getResult(), place);
  auto mode = adds ? schema::Access::ReadWrite : schema::Access::Write;
  hostCall(op, "scatter_add_rows",
           {index, values, entry_.operand({place.buffer, place.offset, place.strides}, shape, mode)},
           {count, width, shape[0], width, indexBytes(op.getIndices()), adds ? 0 : 1});
  return success();
}

LogicalResult EntryLowering::emitElements(Operation *op, StringRef function, Value wide, Value indices, Value narrow,
                                          int64_t axis, bool scatters) {
  auto shape = nn::shapeOf(wide);
  if (axis != static_cast<int64_t>(shape.size()) - 1 || !getElementTypeOrSelf(wide.getType()).isF32())
    return op->emitError() << "only float32 elements along the last dimension can be picked by the compiled program";
  int64_t columns = shape.back(), rows = nn::typeOf(wide).getNumElements() / std::max<int64_t>(columns, 1),
          picks = nn::shapeOf(indices).back();
  auto index = denseOperand(indices), source = denseOperand(scatters ? narrow : wide);
  Value result = op->getResult(0);
  const Place &place = entry_.place(result);
  auto out = entry_.operand({place.buffer, place.offset, place.strides}, nn::shapeOf(result), schema::Access::Write);
  std::vector<int64_t> ints = {rows, picks, columns, columns, indexBytes(indices)};
  if (scatters)
    ints.push_back(1);
  hostCall(op, function, {index, source, out}, ints);
  return success();
}

} // namespace graft
