// Sequences of tensors with constant indices: there is no sequence in the program, only its elements.
#include "frontends/onnx/import/Table.h"

using namespace mlir;

namespace graft::onnx {

namespace {

/// Sizes of the pieces of a dimension of `size`: of one size each (the last may be smaller), or as listed.
Sizes pieces(Call &c, int64_t size) {
  Sizes out;
  if (!c.has(1)) {
    out.assign(static_cast<size_t>(std::min<int64_t>(size, maxPieces + 1)), 1);
  } else {
    std::vector<int64_t> split = c.constants(1);
    if (rankOf(c.input(1)) == 1) {
      out.assign(split.begin(), split.end());
    } else if (split[0] <= 0) {
      c.fail(Code::Range, "pieces of size " + std::to_string(split[0]));
    } else {
      if (size / split[0] >= maxPieces)
        c.fail(Code::Limit, "more than " + std::to_string(maxPieces) + " pieces");
      for (int64_t start = 0; start < size; start += split[0])
        out.push_back(std::min(split[0], size - start));
    }
  }
  return out;
}

void splitToSequence(Call &c) {
  bool keep = c.flag("keepdims", true) || c.has(1);
  Value x = c.input(0);
  int64_t axis = c.axis(c.integer("axis", 0), rankOf(x));
  SmallVector<Value, 1> values;
  for (Value part : split(c, x, axis, pieces(c, shapeOf(x)[axis]))) {
    Sizes shape(shapeOf(part));
    if (!keep)
      shape.erase(shape.begin() + axis);
    values.push_back(c.reshape(part, shape));
  }
  c.resultSequence(values);
}

void sequenceAt(Call &c) {
  ArrayRef<Value> values = c.sequence(0);
  int64_t index = c.constant(1), size = static_cast<int64_t>(values.size());
  if (index < -size || index >= size)
    c.fail(Code::Range, "element " + std::to_string(index) + " of a sequence of " + std::to_string(size));
  c.result(values[static_cast<size_t>(index < 0 ? index + size : index)]);
}

void sequenceConstruct(Call &c) {
  SmallVector<Value, 1> values;
  for (size_t i = 0; i < c.inputs(); ++i)
    values.push_back(c.input(i));
  c.resultSequence(values);
}

void concatFromSequence(Call &c) {
  int64_t axis = c.requiredInteger("axis");
  bool stacked = c.flag("new_axis", false);
  SmallVector<Value> values(c.sequence(0));
  if (values.empty())
    c.fail(Code::Range, "an empty sequence");
  if (stacked) {
    axis = c.axis(axis, rankOf(values[0]) + 1);
    for (Value &value : values) {
      Sizes shape(shapeOf(value));
      if (axis > static_cast<int64_t>(shape.size()))
        c.fail(Code::Range, "elements of different ranks");
      shape.insert(shape.begin() + axis, 1);
      value = c.reshape(value, shape);
    }
  }
  c.result(concat(c, values, axis));
}

constexpr Translation translations[] = {
    {"SplitToSequence", 11, splitToSequence},
    {"SequenceAt", 11, sequenceAt},
    {"SequenceConstruct", 11, sequenceConstruct},
    {"ConcatFromSequence", 11, concatFromSequence},
};

} // namespace

std::span<const Translation> sequenceTranslations() {
  return translations;
}

} // namespace graft::onnx
