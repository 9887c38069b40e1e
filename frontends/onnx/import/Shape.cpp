// Operators that move elements: shapes, slices, joins.
#include "frontends/onnx/import/Import.h"
#include "frontends/onnx/import/Table.h"

#include <algorithm>

using namespace mlir;

namespace graft::onnx {

SmallVector<Value> split(Call &c, Value value, int64_t axis, ArrayRef<int64_t> sizes) {
  if (static_cast<int64_t>(sizes.size()) > maxPieces)
    c.fail(Code::Limit, "more than " + std::to_string(maxPieces) + " pieces");
  int64_t start = 0, size = shapeOf(value)[axis];
  SmallVector<Value> out;
  for (int64_t piece : sizes) {
    if (piece < 0 || piece > size - start)
      c.fail(Code::Range, "pieces " + text(sizes) + " of a dimension of size " + std::to_string(size));
    out.push_back(c.b.sliceAxis(value, axis, start, piece));
    start += piece;
  }
  if (start != size)
    c.fail(Code::Range, "pieces " + text(sizes) + " of a dimension of size " + std::to_string(size));
  return out;
}

Value concat(Call &c, ArrayRef<Value> values, int64_t axis) {
  if (values.empty())
    c.fail(Code::Range, "nothing to join");
  axis = c.axis(axis, rankOf(values[0]));
  Sizes shape(shapeOf(values[0]));
  SmallVector<Value> filled;
  for (Value value : values) {
    c.sameTypes(values[0], value);
    Sizes other(shapeOf(value));
    if (other.size() == shape.size())
      other[axis] = shape[axis];
    if (other != shape)
      c.fail(Code::Range, "shapes " + text(shape) + " and " + text(shapeOf(value)) + " cannot be joined along axis " +
                              std::to_string(axis));
    if (shapeOf(value)[axis] > 0)
      filled.push_back(value);
  }
  return filled.empty() ? values[0] : c.b.concat(filled, axis);
}

Value triangle(Call &c, int64_t rows, int64_t columns, int64_t k, bool upper) {
  mlir::Type i64 = c.b.builder.getI64Type();
  Sizes shape{rows, columns};
  c.elements(shape);
  // j - i beyond the matrix says the same as at its edge.
  k = std::clamp(k, -rows - 1, columns + 1);
  Value distance = c.b.sub(c.b.iota(shape, 1, i64), c.b.iota(shape, 0, i64));
  return c.b.compare(upper ? arith::CmpIPredicate::sge : arith::CmpIPredicate::sle, distance,
                     c.b.like(distance, static_cast<double>(k)));
}

namespace {

//===-- Shapes ----------------------------------------------------------------------------------------------------===//

void shape(Call &c) {
  Value x = c.input(0);
  int64_t rank = rankOf(x);
  auto clamped = [&](int64_t value) { return std::clamp<int64_t>(value < 0 ? value + rank : value, 0, rank); };
  int64_t start = clamped(c.integer("start", 0)), end = clamped(c.integer("end", rank));
  c.result(c.constantIntegers(shapeOf(x).slice(start, std::max<int64_t>(end - start, 0))));
}

void size(Call &c) {
  c.result(c.constantIntegers({typeOf(c.input(0)).getNumElements()}, {}));
}

/// Splits `shape` into runs whose products are the sizes of `coarse`; nothing if it does not refine them.
std::optional<SmallVector<Sizes>> refine(ArrayRef<int64_t> coarse, ArrayRef<int64_t> shape) {
  SmallVector<Sizes> runs;
  size_t next = 0;
  for (int64_t size : coarse) {
    if (size < 1)
      return std::nullopt;
    Sizes run;
    int64_t product = 1;
    while (product < size && next < shape.size()) {
      run.push_back(shape[next]);
      product *= shape[next++];
    }
    if (product == 1 && next < shape.size() && shape[next] == 1)
      run.push_back(shape[next++]);
    if (product != size)
      return std::nullopt;
    runs.push_back(run);
  }
  if (next != shape.size())
    return std::nullopt;
  return runs;
}

/// Exporters transpose the last two of four dimensions as reshape, transpose of three, reshape: that is one transpose,
/// and products read a transposed operand as it lies. Null if `x` is not such a chain.
Value transposedRegroup(Call &c, Value x, ArrayRef<int64_t> shape) {
  auto transpose = x.getDefiningOp<nn::TransposeOp>();
  if (!transpose || !transpose.getInput().getDefiningOp<nn::ReshapeOp>())
    return {};
  auto runs = refine(shapeOf(x), shape);
  if (!runs)
    return {};
  ArrayRef<int64_t> permutation = transpose.getPermutation();
  SmallVector<int64_t> source(permutation.size()), order;
  for (auto [to, from] : llvm::enumerate(permutation))
    source[from] = static_cast<int64_t>(to);
  Sizes before;                                    // the shape with its runs in the order of the input
  SmallVector<int64_t> starts(permutation.size()); // where each run begins there
  for (size_t from = 0; from < source.size(); ++from) {
    starts[source[from]] = static_cast<int64_t>(before.size());
    llvm::append_range(before, (*runs)[source[from]]);
  }
  for (size_t to = 0; to < runs->size(); ++to)
    for (size_t k = 0; k < (*runs)[to].size(); ++k)
      order.push_back(starts[to] + static_cast<int64_t>(k));
  return c.b.transpose(c.reshape(transpose.getInput(), before), order);
}

void reshape(Call &c) {
  bool allowZero = c.flag("allowzero", false);
  Value x = c.input(0);
  std::vector<int64_t> wanted = c.constants(1);
  ArrayRef<int64_t> from = shapeOf(x);
  Sizes shape;
  std::optional<size_t> free;
  for (auto [d, size] : llvm::enumerate(wanted)) {
    if (size == -1 && free)
      c.fail(Code::Range, "two free sizes in the shape " + text(wanted));
    if (size < -1)
      c.fail(Code::Range, "a negative size in the shape " + text(wanted));
    if (size == 0 && !allowZero && d >= from.size())
      c.fail(Code::Range,
             "size " + std::to_string(d) + " of the shape " + text(wanted) + " copies none of " + text(from));
    if (size == -1)
      free = d;
    shape.push_back(size == -1 ? 1 : size == 0 && !allowZero ? from[d] : size);
  }
  if (free) {
    int64_t rest = c.elements(shape), count = typeOf(x).getNumElements();
    if (rest == 0 || count % rest != 0)
      c.fail(Code::Range, "a tensor of shape " + text(from) + " cannot take the shape " + text(wanted));
    shape[*free] = count / rest;
  }
  if (c.elements(shape) != typeOf(x).getNumElements())
    c.fail(Code::Range, "a tensor of shape " + text(from) + " cannot take the shape " + text(wanted));
  Value regrouped = transposedRegroup(c, x, shape);
  c.result(regrouped ? regrouped : c.reshape(x, shape));
}

void flatten(Call &c) {
  Value x = c.input(0);
  int64_t axis = c.integer("axis", 1), rank = rankOf(x);
  if (axis < -rank || axis > rank)
    c.fail(Code::Range, "axis " + std::to_string(axis) + " of a tensor of rank " + std::to_string(rank));
  ArrayRef<int64_t> shape = shapeOf(x);
  int64_t cut = axis < 0 ? axis + rank : axis;
  c.result(c.reshape(x, {c.elements(shape.take_front(cut)), c.elements(shape.drop_front(cut))}));
}

void unsqueeze(Call &c) {
  Value x = c.input(0);
  std::vector<int64_t> given = c.constants(1);
  if (given.size() > maxPieces)
    c.fail(Code::Limit, "more than " + std::to_string(maxPieces) + " axes");
  int64_t rank = rankOf(x) + static_cast<int64_t>(given.size());
  Sizes axes = c.axes(given, rank), shape;
  for (int64_t d = 0, from = 0; d < rank; ++d)
    shape.push_back(llvm::is_contained(axes, d) ? 1 : shapeOf(x)[from++]);
  c.result(c.reshape(x, shape));
}

void squeeze(Call &c) {
  Value x = c.input(0);
  Sizes shape, axes;
  ArrayRef<int64_t> from = shapeOf(x);
  if (c.has(1))
    axes = c.axes(c.constants(1), rankOf(x));
  for (auto [d, size] : llvm::enumerate(from)) {
    bool named = llvm::is_contained(axes, static_cast<int64_t>(d));
    if (named && size != 1)
      c.fail(Code::Range, "axis " + std::to_string(d) + " of the shape " + text(from) + " has not size 1");
    if (!(named || (!c.has(1) && size == 1)))
      shape.push_back(size);
  }
  c.result(c.reshape(x, shape));
}

void expand(Call &c) {
  Value x = c.input(0);
  c.result(c.broadcastTo(x, c.commonShape(shapeOf(x), c.constants(1))));
}

void transpose(Call &c) {
  Value x = c.input(0);
  int64_t rank = rankOf(x);
  Sizes permutation = llvm::to_vector(llvm::reverse(llvm::seq<int64_t>(0, rank)));
  if (auto given = c.integers("perm"))
    permutation.assign(given->begin(), given->end());
  Sizes sorted = permutation;
  llvm::sort(sorted);
  if (!llvm::equal(sorted, llvm::seq<int64_t>(0, rank)))
    c.fail(Code::Range, "attribute 'perm' is " + text(permutation) + ", expected each of the " + std::to_string(rank) +
                            " axes once");
  c.result(c.b.transpose(x, permutation));
}

//===-- Parts -----------------------------------------------------------------------------------------------------===//

void joinAll(Call &c) {
  int64_t axis = c.requiredInteger("axis");
  SmallVector<Value> values;
  for (size_t i = 0; i < c.inputs(); ++i)
    values.push_back(c.input(i));
  c.result(concat(c, values, axis));
}

void splitAll(Call &c) {
  Value x = c.input(0);
  int64_t axis = c.axis(c.integer("axis", 0), rankOf(x)), size = shapeOf(x)[axis];
  int64_t outputs = static_cast<int64_t>(c.node.outputs.size()), count = c.integer("num_outputs", outputs);
  Sizes sizes;
  if (c.has(1)) {
    std::vector<int64_t> given = c.constants(1);
    sizes.assign(given.begin(), given.end());
  } else {
    if (count < 1 || count != outputs)
      c.fail(Code::Range,
             "attribute 'num_outputs' is " + std::to_string(count) + " for " + std::to_string(outputs) + " outputs");
    int64_t piece = (size + count - 1) / count;
    for (int64_t i = 0; i < count; ++i)
      sizes.push_back(std::clamp<int64_t>(size - i * piece, 0, piece));
  }
  if (static_cast<int64_t>(sizes.size()) != outputs)
    c.fail(Code::Range, std::to_string(sizes.size()) + " pieces for " + std::to_string(outputs) + " outputs");
  for (Value part : split(c, x, axis, sizes))
    c.result(part);
}

/// One axis of Slice: where it starts and how many elements it takes, after clamping.
struct Cut {
  int64_t start, step, size;
};
Cut cut(int64_t n, int64_t start, int64_t end, int64_t step) {
  auto clamped = [&](int64_t value, int64_t low, int64_t high) {
    return std::clamp(value < 0 ? value + n : value, low, high);
  };
  // A step beyond the dimension reads one element, like one of its size.
  step = std::clamp(step, -std::max<int64_t>(n, 1), std::max<int64_t>(n, 1));
  int64_t size;
  if (step > 0) {
    start = clamped(start, 0, n);
    size = (clamped(end, 0, n) - start + step - 1) / step;
  } else {
    start = clamped(start, 0, n - 1);
    size = (start - clamped(end, -1, n - 1) - step - 1) / -step;
  }
  if (size <= 0 || n == 0)
    return {0, 1, 0};
  return {start, step, size};
}

void slice(Call &c) {
  Value x = c.input(0);
  std::vector<int64_t> starts = c.constants(1), ends = c.constants(2), axes, steps(starts.size(), 1);
  for (size_t i = 0; i < starts.size(); ++i)
    axes.push_back(static_cast<int64_t>(i));
  if (c.has(3))
    axes = c.constants(3);
  if (c.has(4))
    steps = c.constants(4);
  if (ends.size() != starts.size() || axes.size() != starts.size() || steps.size() != starts.size())
    c.fail(Code::Range, "starts, ends, axes and steps of different lengths");
  c.axes(axes, rankOf(x));
  Sizes begin(rankOf(x), 0), step(rankOf(x), 1), shape(shapeOf(x));
  SmallVector<std::pair<int64_t, Sizes>> backwards;
  for (size_t i = 0; i < axes.size(); ++i) {
    int64_t axis = c.axis(axes[i], rankOf(x));
    if (steps[i] == 0)
      c.fail(Code::Range, "a step of 0");
    Cut part = cut(shape[axis], starts[i], ends[i], steps[i]);
    if (part.step < 0 && part.size > 1) { // read forwards here, turned around below
      part.start += (part.size - 1) * part.step;
      part.step = -part.step;
      backwards.push_back({axis, llvm::to_vector(llvm::reverse(llvm::seq<int64_t>(0, part.size)))});
    }
    begin[axis] = part.start;
    step[axis] = std::max<int64_t>(part.step, 1);
    shape[axis] = part.size;
  }
  auto type = typeOf(x).clone(shape);
  Value y = c.b.builder.createOrFold<nn::SliceOp>(c.b.loc, type, x, begin, step);
  for (auto &[axis, order] : backwards)
    y = take(c, y, order, axis);
  c.result(y);
}

//===-- Repeating and surrounding ---------------------------------------------------------------------------------===//

void tile(Call &c) {
  Value x = c.input(0);
  std::vector<int64_t> repeats = c.constants(1);
  ArrayRef<int64_t> from = shapeOf(x);
  if (repeats.size() != from.size())
    c.fail(Code::Range, std::to_string(repeats.size()) + " repeats for rank " + std::to_string(from.size()));
  Sizes repeated, result, dimensions;
  for (auto [d, count] : llvm::enumerate(repeats)) {
    if (count < 0 || count > maxTensorElements)
      c.fail(count < 0 ? Code::Range : Code::Limit, "a repeat of " + std::to_string(count));
    if (count != 1)
      repeated.push_back(count);
    dimensions.push_back(static_cast<int64_t>(repeated.size()));
    repeated.push_back(from[d]);
    c.elements(repeated);
    result.push_back(from[d] * count);
  }
  c.result(c.reshape(c.b.broadcast(x, repeated, dimensions), result));
}

void trilu(Call &c) {
  bool upper = c.flag("upper", true);
  Value x = c.input(0);
  int64_t rank = rankOf(x), k = c.has(1) ? c.constant(1) : 0;
  if (rank < 2)
    c.fail(Code::Range, "a tensor of shape " + text(shapeOf(x)) + ", expected at least two dimensions");
  Value kept = triangle(c, shapeOf(x)[rank - 2], shapeOf(x)[rank - 1], k, upper);
  c.result(c.b.selectOrZero(c.b.broadcastTo(kept, shapeOf(x)), x));
}

/// Positions that an axis of Pad reads for the modes that repeat elements.
Sizes mirrored(Call &c, std::string_view mode, int64_t n, int64_t before, int64_t after) {
  Sizes out;
  c.elements({before + n + after});
  if (n == 0 || (mode == "reflect" && std::max(before, after) >= n && n > 0 && before + after > 0))
    c.fail(Code::Range, "padding of " + std::to_string(std::max(before, after)) + " around " + std::to_string(n) +
                            " elements in the mode " + std::string(mode));
  if (before + n + after > maxPieces)
    c.fail(Code::Limit,
           "padding to more than " + std::to_string(maxPieces) + " elements in the mode " + std::string(mode));
  for (int64_t i = -before; i < n + after; ++i)
    out.push_back(mode == "edge"   ? std::clamp<int64_t>(i, 0, n - 1)
                  : mode == "wrap" ? ((i % n) + n) % n
                                   : (i < 0    ? -i
                                      : i >= n ? 2 * n - 2 - i
                                               : i));
  return out;
}

/// Amounts before and after each axis.
std::pair<Sizes, Sizes> padding(Call &c, int64_t rank) {
  std::vector<int64_t> pads = c.constants(1);
  Sizes axes = llvm::to_vector(llvm::seq<int64_t>(0, rank)), before(rank, 0), after(rank, 0);
  if (c.has(3)) {
    axes.clear();
    for (int64_t axis : c.constants(3))
      axes.push_back(c.axis(axis, rank));
    c.axes(axes, rank);
  }
  if (pads.size() != 2 * axes.size())
    c.fail(Code::Range, std::to_string(pads.size()) + " amounts for " + std::to_string(axes.size()) + " axes");
  for (auto [i, axis] : llvm::enumerate(axes)) {
    before[axis] = pads[i];
    after[axis] = pads[axes.size() + i];
    for (int64_t amount : {before[axis], after[axis]})
      if (amount < -maxTensorElements || amount > maxTensorElements)
        c.fail(Code::Limit, "padding of " + std::to_string(amount));
  }
  return {before, after};
}

void pad(Call &c) {
  std::string_view mode = c.text("mode", "constant");
  if (mode != "constant" && mode != "reflect" && mode != "edge" && mode != "wrap")
    c.fail(Code::Range, "attribute 'mode' is '" + escaped(mode) + "', expected constant, reflect, edge or wrap");
  Value x = c.input(0);
  auto [before, after] = padding(c, rankOf(x));
  Sizes starts, sizes;
  for (auto [d, n] : llvm::enumerate(shapeOf(x))) { // negative amounts cut off
    starts.push_back(std::max<int64_t>(-before[d], 0));
    sizes.push_back(n - starts[d] - std::max<int64_t>(-after[d], 0));
    if (sizes[d] < 0)
      c.fail(Code::Range, "padding cuts off more than there is of " + text(shapeOf(x)));
    before[d] = std::max<int64_t>(before[d], 0);
    after[d] = std::max<int64_t>(after[d], 0);
  }
  x = c.b.slice(x, starts, sizes);
  if (mode != "constant") {
    c.ignoreInput(2);
    for (size_t d = 0; d < sizes.size(); ++d)
      if (before[d] + after[d] > 0)
        x = take(c, x, mirrored(c, mode, sizes[d], before[d], after[d]), static_cast<int64_t>(d));
    return c.result(x);
  }
  Sizes shape, steps(sizes.size(), 1);
  for (size_t d = 0; d < sizes.size(); ++d)
    shape.push_back(before[d] + sizes[d] + after[d]);
  c.elements(shape);
  auto padded = [&](Value value) {
    return c.b.builder.createOrFold<nn::PadOp>(c.b.loc, typeOf(value).clone(shape), value, before, steps);
  };
  Value y = padded(x), filling = c.optional(2);
  if (!filling || splatElement(filling) == 0.0)
    return c.result(y);
  c.sameTypes(x, filling);
  Value inside = padded(c.splat(sizes, c.b.builder.getI1Type(), 1));
  c.result(c.b.select(inside, y, c.broadcastTo(c.reshape(filling, {}), shape)));
}

void identity(Call &c) {
  const Binding &value = c.any(0);
  c.results.push_back(value);
}

/// At inference: the identity, and a mask of nothing dropped.
void dropout(Call &c) {
  c.ignore("seed");
  c.ignoreInput(1);
  if (c.has(2)) {
    std::optional<double> training = splatElement(c.boolean(2));
    if (!training || *training != 0)
      c.fail(Code::Unsupported, "Dropout in training mode", "export the model in evaluation mode");
  }
  Value x = c.input(0);
  c.result(x);
  c.result(c.splat(shapeOf(x), c.b.builder.getI1Type(), 1));
}

constexpr Translation translations[] = {
    {"Shape", 13, shape},         {"Size", 13, size},       {"Reshape", 13, reshape},  {"Flatten", 9, flatten},
    {"Unsqueeze", 13, unsqueeze}, {"Squeeze", 13, squeeze}, {"Expand", 8, expand},     {"Transpose", 1, transpose},
    {"Concat", 4, joinAll},       {"Split", 13, splitAll},  {"Slice", 10, slice},      {"Tile", 6, tile},
    {"Trilu", 14, trilu},         {"Pad", 11, pad},         {"Identity", 1, identity}, {"Dropout", 12, dropout},
};

} // namespace

std::span<const Translation> shapeTranslations() {
  return translations;
}

} // namespace graft::onnx
