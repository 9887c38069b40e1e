// Finds attention between two products.
//
// The idea: the equations of the two products say which dimension is what, so that no layout is a case of its own. Keys and values are
// followed through views with the head written as g R + r: where the r has vanished from the index, heads are not
// repeated yet, and that value is what nn.attention takes. Scales met on the way (some graphs scale both sides by the root) join.
#include "passes/import/MaskProof.h"
#include "passes/import/Match.h"
#include "passes/import/Passes.h"
#include "passes/lower/Indexing.h"

using namespace mlir;

namespace graft {

#define GEN_PASS_DEF_RECOGNISEATTENTION
#include "passes/import/Passes.h.inc"

namespace {

using nn::shapeOf;

//===-- Operands with heads ---------------------------------------------------------------------------------------===//

/// Coordinates of the space in which operands are followed: head = group * R + repeat.
enum Coordinate { Batch, Group, Repeat, Token, Feature, coordinateCount };
using Space = std::array<int64_t, coordinateCount>;

/// A value whose elements are those of an operand, up to the order of dimensions and a factor.
struct HeadView {
  Value value;
  SmallVector<int64_t> coordinateOf; ///< of each dimension of the value; -1 if its size is 1
  double factor = 1;
};

/// The coordinate of each dimension, if every dimension is a coordinate by itself and all coordinates but Repeat are there.
std::optional<SmallVector<int64_t>> plainDimensions(const Source &source, const Space &space) {
  SmallVector<int64_t> out;
  SmallVector<bool> seen(coordinateCount, false);
  for (auto [affine, size] : llvm::zip(source.index, shapeOf(source.value))) {
    int64_t found = -1;
    if (affine.constant != 0)
      return std::nullopt;
    for (int64_t c = 0; c < coordinateCount; ++c) {
      if (space[c] == 1 || affine.coefficients[c] == 0)
        continue;
      if (found >= 0 || c == Repeat || affine.coefficients[c] != 1 || space[c] != size || seen[c])
        return std::nullopt;
      found = c;
      seen[c] = true;
    }
    if (found < 0 && size != 1)
      return std::nullopt;
    out.push_back(found);
  }
  for (int64_t c = 0; c < coordinateCount; ++c)
    if (c != Repeat && space[c] > 1 && !seen[c])
      return std::nullopt;
  return out;
}

/// Follows an operand through views and, if `scaled`, products with numbers, to the last value that is plain.
std::optional<HeadView> followHeads(Value operand, const Index &index, const Space &space, bool scaled) {
  Source source{operand, index};
  double factor = 1;
  std::optional<HeadView> last;
  for (;;) {
    if (auto dims = plainDimensions(source, space))
      last = HeadView{source.value, *dims, factor};
    Operation *op = source.value.getDefiningOp();
    if (op && isView(op)) {
      auto next = stepThroughView(op, source.index, space);
      if (!next)
        return last;
      source = *next;
      continue;
    }
    Scaled stripped = scaled ? stripFactors(source.value) : Scaled{source.value};
    if (stripped.value == source.value)
      return last;
    factor *= stripped.factor;
    source.value = stripped.value;
  }
}

/// The value as [batch, group, token, feature].
Value buildHeads(nn::Build &build, const HeadView &view, const Space &space) {
  SmallVector<int64_t> order = llvm::to_vector(llvm::seq<int64_t>(0, view.coordinateOf.size()));
  llvm::stable_sort(order, [&](int64_t a, int64_t b) { return view.coordinateOf[a] < view.coordinateOf[b]; });
  return build.reshape(build.transpose(view.value, order), {space[Batch], space[Group], space[Token], space[Feature]});
}

//===-- The pattern -----------------------------------------------------------------------------------------------===//

/// One side of a product and what its letters are.
struct Side {
  Value value;
  StringRef labels;
};

/// The pieces of attention, as the two products have them.
struct Pattern {
  Side query, key, value;
  std::string scores; ///< letters of batch, head, row, column in the first product
  std::string output; ///< the same in the second, with the value's feature for the column
  std::string permuted; ///< the second product's result
  char feature = 0;   ///< what the first product sums over
  double scale = 1, softcap = 0;
  nn::SoftmaxOp softmax;
};

/// The letter of `labels` that `others` lacks, if there is exactly one.
std::optional<char> onlyIn(StringRef labels, StringRef others) {
  std::optional<char> found;
  for (char label : labels) {
    if (others.contains(label))
      continue;
    if (found)
      return std::nullopt;
    found = label;
  }
  return found;
}

/// probabilities x values, with the softmax on one side.
bool matchSecondProduct(nn::ContractOp op, Pattern &out) {
  auto [lhs, rhs, result] = op.getLabels();
  Side left{op.getLhs(), lhs}, right{op.getRhs(), rhs};
  for (auto [probabilities, values] : {std::pair(left, right), std::pair(right, left)}) {
    auto softmax = probabilities.value.getDefiningOp<nn::SoftmaxOp>();
    if (!softmax || softmax.getAxis() != 3 || probabilities.labels.size() != 4 || result.size() != 4)
      continue;
    StringRef p = probabilities.labels;
    auto feature = onlyIn(values.labels, p);
    // The row belongs to the queries alone, the column is summed over, batch and head stay.
    if (!feature || values.labels.contains(p[2]) || !values.labels.contains(p[3]) || result.contains(p[3]))
      continue;
    out.softmax = softmax;
    out.value = values;
    out.scores = p.str();
    out.output = {p[0], p[1], p[2], *feature};
    out.permuted = result.str();
    return llvm::all_of(result, [&](char label) { return StringRef(out.output).contains(label); });
  }
  return false;
}

/// scale and soft-cap on the way from the softmax to the first product.
nn::ContractOp stripScores(Value input, Pattern &out) {
  Scaled outer = stripFactors(input);
  if (auto tanh = outer.value.getDefiningOp<math::TanhOp>()) {
    Scaled inner = stripFactors(tanh.getOperand());
    out.softcap = outer.factor;
    out.scale = inner.factor * outer.factor;
    return inner.value.getDefiningOp<nn::ContractOp>();
  }
  out.scale = outer.factor;
  return outer.value.getDefiningOp<nn::ContractOp>();
}

/// queries x keys.
bool matchFirstProduct(nn::ContractOp op, Pattern &out) {
  auto [lhs, rhs, result] = op.getLabels();
  if (result.size() != 4)
    return false;
  Side left{op.getLhs(), lhs}, right{op.getRhs(), rhs};
  for (auto [queries, keys] : {std::pair(left, right), std::pair(right, left)}) {
    auto feature = onlyIn(keys.labels, result);
    if (!feature || !queries.labels.contains(*feature) || !queries.labels.contains(result[2]) ||
        queries.labels.contains(result[3]) || !keys.labels.contains(result[3]) || keys.labels.contains(result[2]))
      continue;
    out.query = queries;
    out.key = keys;
    out.feature = *feature;
    out.scores = result.str();
    return true;
  }
  return false;
}

/// Index of an operand in the space, its head written as group * repeats + repeat.
Index operandIndex(StringRef labels, char batch, char head, char token, char feature, int64_t repeats) {
  Index index;
  for (char label : labels) {
    Affine affine{SmallVector<int64_t>(coordinateCount, 0), 0};
    if (label == batch)
      affine.coefficients[Batch] = 1;
    if (label == head) {
      affine.coefficients[Group] = repeats;
      affine.coefficients[Repeat] = 1;
    }
    if (label == token)
      affine.coefficients[Token] = 1;
    if (label == feature)
      affine.coefficients[Feature] = 1;
    index.push_back(affine);
  }
  return index;
}

struct RecogniseAttention final : impl::RecogniseAttentionBase<RecogniseAttention> {
  void runOnOperation() override {
    MaskProver prover;
    SmallVector<nn::ContractOp> products;
    getOperation().walk([&](nn::ContractOp op) { products.push_back(op); });
    for (nn::ContractOp op : products) {
      Pattern pattern;
      if (!matchSecondProduct(op, pattern))
        continue;
      if (StringRef why = replace(op, pattern, prover); !why.empty())
        op.emitRemark() << "not recognised as attention: " << why;
    }
  }

  /// Empty on success, otherwise what is missing.
  StringRef replace(nn::ContractOp op, Pattern &pattern, MaskProver &prover);
};

StringRef RecogniseAttention::replace(nn::ContractOp op, Pattern &pattern, MaskProver &prover) {
  std::string probabilities = pattern.scores;
  auto first = stripScores(pattern.softmax.getInput(), pattern);
  if (!first)
    return "the scores are not a scaled product";
  if (!matchFirstProduct(first, pattern))
    return "the scores are not a product of queries and keys";
  if (pattern.softcap < 0)
    return "the soft-cap is negative";
  MaskMeaning meaning;
  if (Value mask = pattern.softmax.getMask()) {
    auto proved = prover.prove(mask);
    if (!proved)
      return "the mask has no proven meaning";
    meaning = *proved;
  }

  ArrayRef<int64_t> scores = shapeOf(pattern.softmax.getInput());
  int64_t batch = scores[0], heads = scores[1], rows = scores[2], columns = scores[3];
  auto sizeOf = [](const Side &side, char label) { return shapeOf(side.value)[side.labels.find(label)]; };
  int64_t features = sizeOf(pattern.query, pattern.feature), valueFeatures = sizeOf(pattern.value, pattern.output[3]);
  auto index = [&](const Side &side, StringRef four, char token, char feature, int64_t repeats) {
    return operandIndex(side.labels, four[0], four[1], token, feature, repeats);
  };

  StringRef s = pattern.scores, p = probabilities;
  Space querySpace{batch, heads, 1, rows, features};
  auto query = followHeads(pattern.query.value, index(pattern.query, s, s[2], pattern.feature, 1), querySpace, true);
  // The most repetitions for which keys and values are there without them.
  std::optional<HeadView> key, value;
  Space keySpace, valueSpace;
  for (int64_t repeats = heads; repeats > 0 && !(key && value); --repeats) {
    if (heads % repeats != 0)
      continue;
    keySpace = {batch, heads / repeats, repeats, columns, features};
    valueSpace = {batch, heads / repeats, repeats, columns, valueFeatures};
    key = followHeads(pattern.key.value, index(pattern.key, s, s[3], pattern.feature, repeats), keySpace, true);
    value = followHeads(pattern.value.value, index(pattern.value, p, p[3], pattern.output[3], repeats), valueSpace, false);
  }
  if (!query || !key || !value)
    return "queries, keys or values are not there once per sequence and head";

  OpBuilder builder(op);
  nn::Build build(builder, op.getLoc());
  Value q = buildHeads(build, *query, querySpace), k = buildHeads(build, *key, keySpace), v = buildHeads(build, *value, valueSpace);
  double scale = pattern.scale * query->factor * key->factor;
  auto type = nn::typeOf(q).clone({batch, heads, rows, valueFeatures});
  Value result = nn::AttentionOp::create(builder, op.getLoc(), type, q, k, v, buildValidKeys(builder, op.getLoc(), meaning), Value(),
                                         Value(), builder.getF64FloatAttr(scale), meaning.causal ? builder.getUnitAttr() : UnitAttr(),
                                         builder.getI64IntegerAttr(meaning.window), builder.getF64FloatAttr(pattern.softcap));
  SmallVector<int64_t> permutation;
  for (char label : pattern.permuted)
    permutation.push_back(static_cast<int64_t>(pattern.output.find(label)));
  op.replaceAllUsesWith(build.transpose(result, permutation));
  op.erase();
  return "";
}

} // namespace
} // namespace graft
