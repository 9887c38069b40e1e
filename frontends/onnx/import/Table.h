// Which translation an operator has.
#pragma once

#include <span>

#include "frontends/onnx/import/Call.h"

namespace graft::onnx {

struct Translation {
  std::string_view op;
  int64_t minOpset; ///< below it the operator means something else or does not exist
  void (*translate)(Call &call);
};

/// Null if the operator is not supported.
const Translation *findTranslation(std::string_view op);
/// What to do about an operator that is not supported: the nearest form that is; may be empty.
std::string_view nearestForm(std::string_view op);

// The families.
std::span<const Translation> elementwiseTranslations();
std::span<const Translation> shapeTranslations();
std::span<const Translation> constantTranslations();
std::span<const Translation> reduceTranslations();
std::span<const Translation> normTranslations();
std::span<const Translation> productTranslations();
std::span<const Translation> indexingTranslations();
std::span<const Translation> attentionTranslations();
std::span<const Translation> sequenceTranslations();

// Pieces that several families use.

/// data[..., indices, ...] along `axis`; the indices may be negative.
Value gather(Call &call, Value data, Value indices, int64_t axis);
/// Elements of one axis, chosen by constants.
Value take(Call &call, Value data, ArrayRef<int64_t> indices, int64_t axis);
/// Trilu's boolean: true at (i, j) where j - i <= k (lower) or j - i >= k (upper).
Value triangle(Call &call, int64_t rows, int64_t columns, int64_t k, bool upper);
/// The tensor cut along `axis` into pieces of these sizes.
SmallVector<Value> split(Call &call, Value value, int64_t axis, ArrayRef<int64_t> sizes);
inline constexpr int64_t maxPieces = 65536;
/// Joins tensors along an axis.
Value concat(Call &call, ArrayRef<Value> values, int64_t axis);
/// One operand of a product: its dimensions' letters.
struct Factor {
  Value value;
  std::string letters;
};
/// The product of two tensors, summed over letters that `out` lacks. Views of the operands become part of the equation.
Value contract(Call &call, Factor lhs, Factor rhs, std::string out);

} // namespace graft::onnx
