// Normalizations and the rotary embedding.
#include "frontends/onnx/import/Table.h"

using namespace mlir;

namespace graft::onnx {

namespace {

double epsilon(Call &c) {
  double value = c.number("epsilon", 1e-5f);
  if (value < 0)
    c.fail(Code::Range, "attribute 'epsilon' is negative");
  return value;
}

/// The operand as rows [.., n] in the type to compute in: float32 where `stash_type` says so and the operand is
/// narrower.
struct Rows {
  Value wide;
  Sizes shape; ///< the operand's
  int64_t axis, size;
};
Rows rowsOf(Call &c, Value x) {
  int64_t axis = c.axis(c.integer("axis", -1), rankOf(x)), stash = c.integer("stash_type", 1);
  mlir::Type own = typeOf(x).getElementType(), computed = c.elementType(stash);
  if (!isa<FloatType>(computed))
    c.fail(Code::Range, "attribute 'stash_type' is " + std::to_string(stash) + ", expected a floating-point type");
  if (computed.getIntOrFloatBitWidth() < own.getIntOrFloatBitWidth())
    computed = own;
  Sizes shape(shapeOf(x)), rows(shape.begin(), shape.begin() + axis);
  rows.push_back(c.elements(ArrayRef<int64_t>(shape).drop_front(axis)));
  if (rows.back() == 0)
    c.fail(Code::Range, "nothing to normalize over: the shape is " + text(shapeOf(x)));
  return {c.reshape(c.b.cast(x, computed), rows), shape, axis, rows.back()};
}

template <typename Norm> Value normalize(Call &c, const Rows &rows, double eps, mlir::Type type) {
  Value y = Norm::create(c.b.builder, c.b.loc, rows.wide, llvm::APFloat(eps));
  return c.b.cast(c.reshape(y, rows.shape), type);
}

void rmsNorm(Call &c) {
  Value x = c.real(0), scale = c.real(1);
  Value y = normalize<nn::RMSNormOp>(c, rowsOf(c, x), epsilon(c), typeOf(x).getElementType());
  c.result(c.b.mul(c.b.cast(y, typeOf(scale).getElementType()), c.broadcastTo(scale, shapeOf(x))));
}

/// Outputs 1 and 2 of LayerNormalization: the mean of each row and 1 / its standard deviation.
void statistics(Call &c, const Rows &rows, double eps) {
  Build &b = c.b;
  int64_t last = rankOf(rows.wide) - 1;
  double n = 1 / static_cast<double>(rows.size);
  Sizes kept(rows.shape);
  std::fill(kept.begin() + rows.axis, kept.end(), 1);
  Value mean = b.scale(b.sum(rows.wide, {last}), n);
  Value centered = b.sub(rows.wide, b.broadcastAlong(mean, shapeOf(rows.wide), {last}));
  Value variance = b.scale(b.sum(b.mul(centered, centered), {last}), n);
  c.result(c.reshape(mean, kept));
  c.result(c.reshape(b.rsqrt(b.add(variance, b.like(variance, eps))), kept));
}

void layerNorm(Call &c) {
  Value x = c.real(0), scale = c.real(1);
  c.sameTypes(x, scale);
  Rows rows = rowsOf(c, x);
  double eps = epsilon(c);
  Value y = normalize<nn::LayerNormOp>(c, rows, eps, typeOf(x).getElementType());
  y = c.b.mul(y, c.broadcastTo(scale, shapeOf(x)));
  if (Value bias = c.optional(2)) {
    c.sameTypes(x, bias);
    y = c.b.add(y, c.broadcastTo(bias, shapeOf(x)));
  }
  c.result(y);
  if (c.node.outputs.size() > 1)
    statistics(c, rows, eps);
}

/// cos or sin, as [B, S, R / 2], from a table [positions, R / 2] and position ids, or as it is; then repeated per head.
Value rotaryTable(Call &c, size_t index, Value x, int64_t half) {
  Value table = c.real(index);
  c.sameTypes(x, table);
  ArrayRef<int64_t> shape = shapeOf(x); // [B, H, S, D]
  if (c.has(3)) {
    if (rankOf(table) != 2)
      c.fail(Code::Range, "a cache of shape " + text(shapeOf(table)) + " with position ids, expected two dimensions");
    table = gather(c, table, c.integral(3), 0);
  }
  if (rankOf(table) != 3 || shapeOf(table)[2] < half)
    c.fail(Code::Range, "a cache of shape " + text(shapeOf(table)) + ", expected batch, sequence and " +
                            std::to_string(half) + " elements");
  table = c.b.sliceAxis(table, 2, 0, half);
  Value perHead = c.reshape(table, {shapeOf(table)[0], 1, shapeOf(table)[1], half});
  return c.broadcastTo(perHead, {shape[0], shape[1], shape[2], half});
}

/// x as [B, H, S, D]; three-dimensional operands are [B, S, H D].
Value splitHeads(Call &c, Value x, int64_t heads) {
  if (rankOf(x) == 4)
    return x;
  if (rankOf(x) != 3)
    c.fail(Code::Range, "input 0 has shape " + text(shapeOf(x)) + ", expected three or four dimensions");
  ArrayRef<int64_t> shape = shapeOf(x);
  if (heads <= 0 || shape[2] % heads != 0)
    c.fail(Code::Range, "attribute 'num_heads' is " + std::to_string(heads) + " for " + std::to_string(shape[2]) +
                            " elements per token");
  return c.b.transpose(c.reshape(x, {shape[0], shape[1], heads, shape[2] / heads}), {0, 2, 1, 3});
}

void rotaryEmbedding(Call &c) {
  bool interleaved = c.flag("interleaved", false);
  int64_t heads = c.integer("num_heads", 0), rotated = c.integer("rotary_embedding_dim", 0);
  Value input = c.real(0), x = splitHeads(c, input, heads);
  Sizes shape(shapeOf(x));
  int64_t size = shape[3];
  if (rotated == 0)
    rotated = size;
  if (rotated < 0 || rotated > size || rotated % 2 != 0)
    c.fail(Code::Range, "rotary dimension " + std::to_string(rotated) + " of heads of size " + std::to_string(size) +
                            ", expected an even number up to that");
  Build &b = c.b;
  Value cos = rotaryTable(c, 1, x, rotated / 2), sin = rotaryTable(c, 2, x, rotated / 2);
  Value head = b.sliceAxis(x, 3, 0, rotated);
  Value y = nn::RopeOp::create(b.builder, b.loc, head.getType(), head, cos, sin, interleaved);
  if (rotated < size)
    y = b.concat({y, b.sliceAxis(x, 3, rotated, size - rotated)}, 3);
  if (rankOf(input) == 3)
    y = c.reshape(b.transpose(y, {0, 2, 1, 3}), shapeOf(input));
  c.result(y);
}

constexpr Translation translations[] = {
    {"LayerNormalization", 17, layerNorm},
    {"RMSNormalization", 23, rmsNorm},
    {"RotaryEmbedding", 23, rotaryEmbedding},
};

} // namespace

std::span<const Translation> normTranslations() {
  return translations;
}

} // namespace graft::onnx
