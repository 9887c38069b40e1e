// Shortens chains of views and drops arithmetic that does nothing.
//
// The idea: a chain of views is a map from the result's coordinates to the source's (passes/lower/Indexing.h). The map
// is computed once, and if a single operator has the same map it replaces the whole chain: no rule per pair of
// operators. To make chains meet, views move below element-wise operators, towards the end of the function.
#include "passes/Rewriting.h"
#include "passes/import/Match.h"
#include "passes/import/Passes.h"
#include "passes/lower/Indexing.h"

using namespace mlir;

namespace graft {

#define GEN_PASS_DEF_SIMPLIFYVIEWS
#include "passes/import/Passes.h.inc"

namespace {

using nn::shapeOf;
using Shape = ArrayRef<int64_t>;

/// The coordinate that an expression is, if it is one with factor 1 and of the given range.
std::optional<size_t> onlyCoordinate(const Affine &affine, Shape space, int64_t range) {
  std::optional<size_t> found;
  if (affine.constant != 0)
    return std::nullopt;
  for (auto [c, coefficient] : llvm::enumerate(affine.coefficients)) {
    if (coefficient == 0)
      continue;
    if (found || coefficient != 1 || space[c] != range)
      return std::nullopt;
    found = c;
  }
  return found;
}

/// The coordinate of each dimension of the source; nothing if one is no coordinate.
std::optional<SmallVector<int64_t>> coordinates(const Source &source, Shape space) {
  SmallVector<int64_t> out;
  for (auto [affine, size] : llvm::zip(source.index, shapeOf(source.value))) {
    auto coordinate = onlyCoordinate(affine, space, size);
    if (!coordinate)
      return std::nullopt;
    out.push_back(static_cast<int64_t>(*coordinate));
  }
  return out;
}

/// True if walking the result row by row walks the source row by row.
bool isRowMajor(const Source &source, Shape space) {
  Strides strides = linearize(source.index, shapeOf(source.value), space.size());
  SmallVector<int64_t> dense = denseStrides(space);
  for (size_t d = 0; d < space.size(); ++d)
    if (space[d] > 1 && strides.strides[d] != dense[d])
      return false;
  return strides.offset == 0;
}

/// One operator (or none) that gives a value of shape `space` from the source by its map; null if there is no such
/// operator.
Value asOneView(nn::Build &build, const Source &source, Shape space) {
  Shape shape = shapeOf(source.value);
  int64_t elements = nn::typeOf(source.value).getNumElements(), points = 1;
  for (int64_t size : space)
    points *= size;
  if (elements == points && isRowMajor(source, space))
    return build.reshape(source.value, space);
  auto dims = coordinates(source, space);
  if (!dims)
    return {};
  bool increasing =
      llvm::all_of(llvm::seq<size_t>(1, dims->size()), [&](size_t d) { return (*dims)[d - 1] < (*dims)[d]; });
  if (increasing)
    return build.broadcast(source.value, space, *dims);
  if (shape.size() != space.size())
    return {};
  SmallVector<int64_t> permutation(dims->size(), -1);
  for (auto [d, coordinate] : llvm::enumerate(*dims))
    permutation[coordinate] = static_cast<int64_t>(d);
  return llvm::is_contained(permutation, -1) ? Value() : build.transpose(source.value, permutation);
}

bool isRearrangement(Operation *op) {
  return op && isa<nn::ReshapeOp, nn::TransposeOp, nn::BroadcastOp>(op);
}

/// The longest chain that ends in `op` and is one operator, or nothing.
struct ShortenChain final : RewritePattern {
  explicit ShortenChain(MLIRContext *context) : RewritePattern(MatchAnyOpTypeTag(), 1, context) {}

  LogicalResult matchAndRewrite(Operation *op, PatternRewriter &rewriter) const override {
    if (!isRearrangement(op))
      return rewriter.notifyMatchFailure(op, "no view");
    Shape space = shapeOf(op->getResult(0));
    std::vector<Source> sources{{op->getResult(0), identityIndex(space.size(), space.size())}};
    while (isRearrangement(sources.back().value.getDefiningOp())) {
      auto source = stepThroughView(sources.back().value.getDefiningOp(), sources.back().index, space);
      if (!source)
        break;
      sources.push_back(*source);
    }
    nn::Build build(rewriter, op->getLoc());
    for (size_t depth = sources.size(); depth-- > 2;)
      if (Value shorter = asOneView(build, sources[depth], space)) {
        rewriter.replaceOp(op, shorter);
        return success();
      }
    return rewriter.notifyMatchFailure(op, "no operator has the chain's map");
  }
};

/// True for a reshape that only adds dimensions of size 1.
bool addsUnitDimensions(nn::ReshapeOp op) {
  Shape in = shapeOf(op.getInput()), out = shapeOf(op.getResult());
  size_t d = 0;
  for (int64_t size : out) {
    if (d < in.size() && in[d] == size)
      ++d;
    else if (size != 1)
      return false;
  }
  return d == in.size() && out.size() > in.size();
}

/// Do two views do the same to tensors of the same shape?
bool sameView(Operation *a, Operation *b) {
  return a->getName() == b->getName() && a->getAttrDictionary() == b->getAttrDictionary() &&
         shapeOf(a->getOperand(0)) == shapeOf(b->getOperand(0));
}

/// f(view(x), view(y), number) = view(f(x, y, number)), for broadcasts and added dimensions of size 1.
struct SinkBelowElementwise final : RewritePattern {
  explicit SinkBelowElementwise(MLIRContext *context) : RewritePattern(MatchAnyOpTypeTag(), 1, context) {}

  LogicalResult matchAndRewrite(Operation *op, PatternRewriter &rewriter) const override {
    if (!nn::isElementwise(op))
      return rewriter.notifyMatchFailure(op, "not element-wise");
    Operation *view = nullptr;
    for (Value operand : op->getOperands()) {
      if (splatNumber(operand))
        continue;
      Operation *producer = operand.getDefiningOp();
      auto reshape = dyn_cast_if_present<nn::ReshapeOp>(producer);
      if (!producer || !(isa<nn::BroadcastOp>(producer) || (reshape && addsUnitDimensions(reshape))))
        return rewriter.notifyMatchFailure(op, "an operand is computed in full");
      if (view && !sameView(view, producer))
        return rewriter.notifyMatchFailure(op, "operands are viewed differently");
      view = producer;
    }
    if (!view)
      return rewriter.notifyMatchFailure(op, "all operands are numbers");
    Shape small = shapeOf(view->getOperand(0)), full = shapeOf(op->getResult(0));
    SmallVector<Value> operands;
    for (Value operand : op->getOperands())
      operands.push_back(splatNumber(operand) ? splatOfShape(rewriter, op->getLoc(), operand, small)
                                              : operand.getDefiningOp()->getOperand(0));
    Value result = cloneElementwise(rewriter, op, operands);
    nn::Build build(rewriter, op->getLoc());
    auto broadcast = dyn_cast<nn::BroadcastOp>(view);
    rewriter.replaceOp(op, broadcast ? build.broadcast(result, full, broadcast.getDimensions())
                                     : build.reshape(result, full));
    return success();
  }
};

/// x + 0 and 0 + x. (MLIR folds only x + -0, to keep the sign of zero, which no model depends on.)
struct DropAddedZero final : OpRewritePattern<arith::AddFOp> {
  using OpRewritePattern::OpRewritePattern;
  LogicalResult matchAndRewrite(arith::AddFOp op, PatternRewriter &rewriter) const override {
    for (auto [number, other] : {std::pair(op.getRhs(), op.getLhs()), std::pair(op.getLhs(), op.getRhs())})
      if (splatNumber(number) == 0.0) {
        rewriter.replaceOp(op, other);
        return success();
      }
    return rewriter.notifyMatchFailure(op, "no operand is 0");
  }
};

/// To a wider type and back.
struct DropCastThereAndBack final : OpRewritePattern<arith::TruncFOp> {
  using OpRewritePattern::OpRewritePattern;
  LogicalResult matchAndRewrite(arith::TruncFOp op, PatternRewriter &rewriter) const override {
    auto widened = op.getIn().getDefiningOp<arith::ExtFOp>();
    if (!widened || widened.getIn().getType() != op.getType())
      return rewriter.notifyMatchFailure(op, "not a cast back");
    rewriter.replaceOp(op, widened.getIn());
    return success();
  }
};

struct SimplifyViews final : impl::SimplifyViewsBase<SimplifyViews> {
  void runOnOperation() override {
    RewritePatternSet patterns(&getContext());
    patterns.add<ShortenChain, SinkBelowElementwise, DropAddedZero, DropCastThereAndBack>(&getContext());
    // Constants stay where they are: hoisting all of them to the top makes the text unreadable.
    auto config = straightLineRewriting().enableConstantCSE(false);
    if (failed(applyPatternsGreedily(getOperation(), std::move(patterns), config)))
      signalPassFailure();
  }
};

} // namespace
} // namespace graft
