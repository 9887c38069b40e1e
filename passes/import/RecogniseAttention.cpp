// Finds attention between two products.
//
// The idea: the equations of the two products say which dimension is what, so that no layout is a case of its own. Keys
// and values are followed through views with the head written as g R + r: where the r has vanished from the index,
// heads are not repeated yet, and that value is what nn.attention takes. Scales met on the way (some graphs scale both
// sides by the root) join.
#include "passes/import/FoldConstants.h"
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

/// The coordinate of each dimension, if every dimension is a coordinate by itself and all wanted coordinates are there.
std::optional<SmallVector<int64_t>> plainDimensions(const Source &source, const Space &space, bool repeats) {
  SmallVector<int64_t> out;
  SmallVector<bool> seen(coordinateCount, false);
  seen[Repeat] = !repeats;
  for (auto [affine, size] : llvm::zip(source.index, shapeOf(source.value))) {
    int64_t found = -1;
    if (affine.constant != 0)
      return std::nullopt;
    for (int64_t c = 0; c < coordinateCount; ++c) {
      if (space[c] == 1 || affine.coefficients[c] == 0)
        continue;
      if (found >= 0 || affine.coefficients[c] != 1 || space[c] != size || seen[c])
        return std::nullopt;
      found = c;
      seen[c] = true;
    }
    if (found < 0 && size != 1)
      return std::nullopt;
    out.push_back(found);
  }
  for (int64_t c = 0; c < coordinateCount; ++c)
    if (space[c] > 1 && !seen[c])
      return std::nullopt;
  return out;
}

/// What may be met on the way to an operand's source: products with numbers, heads that are repeated.
struct Follow {
  bool scaled, repeats;
};

/// Follows an operand through views and products with numbers to the last value that is plain.
std::optional<HeadView> followHeads(Value operand, const Index &index, const Space &space, Follow follow) {
  Source source{operand, index};
  double factor = 1;
  std::optional<HeadView> last;
  for (;;) {
    if (auto dims = plainDimensions(source, space, follow.repeats))
      last = HeadView{source.value, *dims, factor};
    Operation *op = source.value.getDefiningOp();
    if (op && isView(op)) {
      auto next = stepThroughView(op, source.index, space);
      if (!next)
        return last;
      source = *next;
      continue;
    }
    Scaled stripped = follow.scaled ? stripFactors(source.value) : Scaled{source.value};
    if (stripped.value == source.value)
      return last;
    factor *= stripped.factor;
    source.value = stripped.value;
  }
}

/// The value as [batch, heads, token, feature].
Value buildHeads(nn::Build &build, const HeadView &view, const Space &space, int64_t heads) {
  SmallVector<int64_t> order = llvm::to_vector(llvm::seq<int64_t>(0, view.coordinateOf.size()));
  llvm::sort(order, [&](int64_t a, int64_t b) {
    return std::pair(view.coordinateOf[a], a) < std::pair(view.coordinateOf[b], b);
  });
  return build.reshape(build.transpose(view.value, order), {space[Batch], heads, space[Token], space[Feature]});
}

//===-- The pattern -----------------------------------------------------------------------------------------------===//

/// One side of a product and what its letters are.
struct Side {
  Value value;
  StringRef labels;
};

/// The letters of a product: batch, one or two dimensions of heads, row, column.
struct Letters {
  char batch, row, column;
  std::string heads;
};
Letters lettersOf(StringRef labels) {
  return {labels.front(), labels[labels.size() - 2], labels.back(), labels.drop_front().drop_back(2).str()};
}

/// The pieces of attention, as the two products have them.
struct Pattern {
  Side query, key, value;
  Letters scores, probabilities; ///< of the first product's result and of the softmax in the second
  char feature = 0, valueFeature = 0;
  std::string result; ///< the second product's
  double scale = 1, softcap = 0;
  nn::SoftmaxOp softmax;
};

bool isScoreRank(size_t rank) {
  return rank == 4 || rank == 5;
}

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
    size_t rank = probabilities.labels.size();
    if (!softmax || !isScoreRank(rank) || result.size() != rank || softmax.getAxis() + 1 != rank)
      continue;
    Letters letters = lettersOf(probabilities.labels);
    auto feature = onlyIn(values.labels, probabilities.labels);
    // The row belongs to the queries alone, the column is summed over, batch and heads stay.
    if (!feature || values.labels.contains(letters.row) || !values.labels.contains(letters.column) ||
        result.contains(letters.column) || onlyIn(probabilities.labels, result) != letters.column)
      continue;
    out.softmax = softmax;
    out.value = values;
    out.probabilities = letters;
    out.valueFeature = *feature;
    out.result = result.str();
    return true;
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
  if (!isScoreRank(result.size()))
    return false;
  Letters letters = lettersOf(result);
  Side left{op.getLhs(), lhs}, right{op.getRhs(), rhs};
  for (auto [queries, keys] : {std::pair(left, right), std::pair(right, left)}) {
    auto feature = onlyIn(keys.labels, result);
    if (!feature || !queries.labels.contains(*feature) || !queries.labels.contains(letters.row) ||
        queries.labels.contains(letters.column) || !keys.labels.contains(letters.column) ||
        keys.labels.contains(letters.row))
      continue;
    out.query = queries;
    out.key = keys;
    out.feature = *feature;
    out.scores = letters;
    return true;
  }
  return false;
}

/// Index of an operand in the space. One letter of heads is group * repeats + repeat, two are group and repeat.
Index operandIndex(const Side &side, const Letters &letters, char token, char feature, int64_t repeats) {
  Index index;
  for (char label : side.labels) {
    Affine affine{SmallVector<int64_t>(coordinateCount, 0), 0};
    if (label == letters.batch)
      affine.coefficients[Batch] = 1;
    if (label == letters.heads[0])
      affine.coefficients[Group] = letters.heads.size() == 1 ? repeats : 1;
    if (label == letters.heads.back())
      affine.coefficients[Repeat] = 1;
    if (label == token)
      affine.coefficients[Token] = 1;
    if (label == feature)
      affine.coefficients[Feature] = 1;
    index.push_back(affine);
  }
  return index;
}

int64_t sizeOf(const Side &side, char label) {
  return shapeOf(side.value)[side.labels.find(label)];
}

/// Operands of nn.attention: heads grouped as far as they are in the graph.
struct Heads {
  Value query, key, value;
  double factor = 1;
};

/// Queries, keys and values with the most repetitions for which keys and values are there without them; nothing if they
/// are not there once per sequence and head.
std::optional<Heads> findHeads(nn::Build &build, Pattern &p) {
  ArrayRef<int64_t> scores = shapeOf(p.softmax.getInput());
  bool split = p.scores.heads.size() == 2;
  int64_t heads = split ? scores[1] * scores[2] : scores[1], rows = scores[scores.size() - 2], columns = scores.back();
  int64_t features = sizeOf(p.query, p.feature), valueFeatures = sizeOf(p.value, p.valueFeature);
  for (int64_t repeats = split ? scores[2] : heads; repeats > 0; --repeats) {
    if (heads % repeats != 0)
      continue;
    int64_t groups = heads / repeats, own = split ? repeats : 1;
    Space querySpace{scores[0], heads / own, own, rows, features},
        keySpace{scores[0], groups, repeats, columns, features},
        valueSpace{scores[0], groups, repeats, columns, valueFeatures};
    auto query = followHeads(p.query.value, operandIndex(p.query, p.scores, p.scores.row, p.feature, own), querySpace,
                             {true, true});
    auto key = followHeads(p.key.value, operandIndex(p.key, p.scores, p.scores.column, p.feature, repeats), keySpace,
                           {true, false});
    auto value = followHeads(p.value.value,
                             operandIndex(p.value, p.probabilities, p.probabilities.column, p.valueFeature, repeats),
                             valueSpace, {false, false});
    if (query && key && value)
      return Heads{buildHeads(build, *query, querySpace, heads), buildHeads(build, *key, keySpace, groups),
                   buildHeads(build, *value, valueSpace, groups), query->factor * key->factor};
    if (split)
      return std::nullopt;
  }
  return std::nullopt;
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
    // Not before: the prover remembers values.
    eraseDeadOperators(getOperation().getBody().front());
  }

  /// Empty on success, otherwise what is missing.
  StringRef replace(nn::ContractOp op, Pattern &pattern, MaskProver &prover);
};

StringRef RecogniseAttention::replace(nn::ContractOp op, Pattern &pattern, MaskProver &prover) {
  auto first = stripScores(pattern.softmax.getInput(), pattern);
  if (!first)
    return "the scores are not a scaled product";
  if (!matchFirstProduct(first, pattern))
    return "the scores are not a product of queries and keys";
  if (pattern.softcap < 0 || !std::isfinite(pattern.scale))
    return "the soft-cap is negative or the scale infinite";
  MaskMeaning meaning;
  if (Value mask = pattern.softmax.getMask()) {
    auto proved = prover.prove(mask);
    if (!proved)
      return "the mask has no proven meaning";
    meaning = *proved;
  }
  OpBuilder builder(op);
  nn::Build build(builder, op.getLoc());
  auto heads = findHeads(build, pattern);
  if (!heads)
    return "queries, keys or values are not there once per sequence and head";

  ArrayRef<int64_t> query = shapeOf(heads->query);
  auto type = nn::typeOf(heads->query).clone({query[0], query[1], query[2], shapeOf(heads->value)[3]});
  auto attention = nn::AttentionOp::create(
      builder, op.getLoc(), type, nn::rowType(heads->query.getType()), heads->query, heads->key, heads->value,
      buildValidKeys(builder, op.getLoc(), meaning), Value(), Value(),
      builder.getF64FloatAttr(pattern.scale * heads->factor), meaning.causal ? builder.getUnitAttr() : UnitAttr(),
      builder.getI64IntegerAttr(meaning.window), builder.getF64FloatAttr(pattern.softcap));
  Value result = attention.getResult();

  // The result as the second product has it: its heads apart, its dimensions in the equation's order.
  std::string letters =
      pattern.probabilities.batch + pattern.probabilities.heads + pattern.probabilities.row + pattern.valueFeature;
  SmallVector<int64_t> shape, permutation;
  for (char letter : letters)
    shape.push_back(shapeOf(op.getResult())[pattern.result.find(letter)]);
  for (char letter : pattern.result)
    permutation.push_back(static_cast<int64_t>(letters.find(letter)));
  op.replaceAllUsesWith(build.transpose(build.reshape(result, shape), permutation));
  return "";
}

} // namespace
} // namespace graft
