// nn.attention and its gradient as calls of the hand-written kernel (kernels/attention): operands are read where they
// lie, with strides; results are written [B, S, H, D], the order in which the products around them want to read them.
#include "passes/lower/EntryLowering.h"

using namespace mlir;

namespace graft {

namespace {

/// A call while its operands are being collected.
class AttentionCall {
public:
  AttentionCall(EntryBuilder &entry, StringRef function) : entry_(entry) { call_.function = function.str(); }

  /// Sizes and masks; `keyValid` and `segments` are added as operands by masks().
  template <typename Op> void form(Op op) {
    auto q = nn::shapeOf(op.getQuery()), k = nn::shapeOf(op.getKey()), v = nn::shapeOf(op.getValue());
    Value segments = op.getSegments();
    int64_t segmentBytes = !segments ? 0 : getElementTypeOrSelf(segments.getType()).isInteger(32) ? 4 : 8;
    call_.ints = {q[0],
                  q[1],
                  k[1],
                  q[2],
                  k[2],
                  q[3],
                  v[3],
                  op.getCausal(),
                  static_cast<int64_t>(op.getWindow()),
                  op.getKeyValid() != nullptr,
                  segmentBytes,
                  segments ? nn::typeOf(segments).getRank() - 1 : 0,
                  /*skip_invalid_queries=*/0};
    call_.floats = {static_cast<float>(op.getScale().convertToDouble()),
                    static_cast<float>(op.getSoftcap().convertToDouble())};
  }

  /// A tensor [B, H, S, D] that is read where it lies if its last dimension is contiguous and no element occurs twice.
  void read(Value value) {
    auto shape = nn::shapeOf(value);
    Access access = entry_.read(value);
    bool inPlace = shape[3] == 1 || access.strides[3] == 1;
    for (int d = 0; d < 3; ++d)
      inPlace &= shape[d] == 1 || access.strides[d] != 0;
    if (!inPlace)
      access = entry_.denseCopy(value);
    add(access, shape, schema::Access::Read);
  }
  /// A result [B, H, S, D], laid out as [B, S, H, D].
  void write(Value value) {
    auto shape = nn::shapeOf(value);
    if (!entry_.hasPlace(value)) {
      Place place = entry_.place(value);
      place.strides = {shape[1] * shape[2] * shape[3], shape[3], shape[1] * shape[3], 1};
      entry_.setPlace(value, place);
    }
    const Place &place = entry_.place(value);
    add({place.buffer, place.offset, place.strides}, shape, schema::Access::Write);
  }
  /// A dense tensor without strides of its own.
  void dense(Value value, schema::Access mode) {
    Access access;
    if (mode == schema::Access::Read) {
      access = entry_.readDense(value);
    } else {
      const Place &place = entry_.place(value);
      access = {place.buffer, place.offset, place.strides};
    }
    call_.operands.push_back(entry_.operand(access, nn::shapeOf(value), mode));
  }
  /// Masks that are there; for one that is not, nothing of the first operand.
  void masks(Value keyValid, Value segments) {
    for (Value mask : {keyValid, segments})
      if (mask)
        dense(mask, schema::Access::Read);
      else
        call_.operands.push_back(schema::Operand(call_.operands.front().buffer(), schema::Access::Read, 0, 0));
  }

  void append(Operation *op) {
    schema::InstructionT &instruction = entry_.append(std::move(call_), originOf(op), "attention");
    nn::Cost cost = cast<nn::CostOpInterface>(op).getCost();
    instruction.flops = cost.flops;
    instruction.bytes = cost.bytes;
  }

private:
  void add(const Access &access, ArrayRef<int64_t> shape, schema::Access mode) {
    call_.operands.push_back(entry_.operand(access, shape, mode));
    for (int d = 0; d < 3; ++d) // a dimension of size 1 has any stride
      call_.ints.push_back(shape[d] == 1 ? strideOfOne(access, shape, d) : access.strides[d]);
  }
  /// One that overlaps with nothing: as if the dimension were the outermost.
  static int64_t strideOfOne(const Access &access, ArrayRef<int64_t> shape, int dimension) {
    int64_t extent = 1;
    for (int d = 0; d < 4; ++d)
      if (d != dimension && shape[d] > 1)
        extent += (shape[d] - 1) * access.strides[d];
    return extent;
  }

  EntryBuilder &entry_;
  schema::HostCallT call_;
};

LogicalResult checkType(Operation *op) {
  if (getElementTypeOrSelf(op->getOperand(0).getType()).isF32())
    return success();
  return op->emitError() << "only float32 attention can be compiled";
}

} // namespace

LogicalResult EntryLowering::emitAttention(nn::AttentionOp op) {
  if (failed(checkType(op)))
    return failure();
  AttentionCall call(entry_, "attention_forward");
  call.form(op);
  for (Value value : {op.getQuery(), op.getKey(), op.getValue()})
    call.read(value);
  call.masks(op.getKeyValid(), op.getSegments());
  call.write(op.getResult());
  call.dense(op.getLse(), schema::Access::Write);
  call.append(op);
  return success();
}

LogicalResult EntryLowering::emitAttention(nn::AttentionGradientOp op) {
  if (failed(checkType(op)))
    return failure();
  AttentionCall call(entry_, "attention_backward");
  call.form(op);
  for (Value value : {op.getQuery(), op.getKey(), op.getValue(), op.getOutput(), op.getCotangent()})
    call.read(value);
  call.dense(op.getLse(), schema::Access::Read);
  call.masks(op.getKeyValid(), op.getSegments());
  for (Value value : op.getResults())
    call.write(value);
  call.append(op);
  return success();
}

} // namespace graft
