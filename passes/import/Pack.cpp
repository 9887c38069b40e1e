#include "passes/import/Pack.h"

#include "dialects/nn/Build.h"
#include "dialects/nn/DimensionFlow.h"
#include "dialects/rl/Names.h"

#include "mlir/IR/IRMapping.h"
#include "mlir/IR/Matchers.h"
#include "mlir/Interfaces/SideEffectInterfaces.h"

using namespace mlir;

namespace graft {

namespace {

//===-- May the row be packed? ------------------------------------------------------------------------------------===//

/// Follows the tokens of the row through the graph.
class TokenFlow {
public:
  explicit TokenFlow(func::FuncOp forward) {
    for (BlockArgument argument : forward.getArguments())
      if (nn::typeOf(argument).getRank() == 2)
        tokens_.mark(argument, 1);
  }

  /// Emits an error where the operator mixes tokens, or takes its place in the row for a position.
  LogicalResult follow(Operation &op) {
    if (auto attention = dyn_cast<nn::AttentionOp>(op))
      return followAttention(attention);
    if (llvm::none_of(op.getOperands(), [&](Value operand) { return tokens_.anyMarked(operand); }))
      return success();
    auto shardable = dyn_cast<nn::ShardingRuleOpInterface>(op);
    if (!shardable)
      return op.emitError() << "'" << op.getName() << "' reads tokens, and nothing says that it treats each alone";
    nn::ShardingRule rule = shardable.getShardingRule();
    llvm::SmallBitVector factors = tokens_.factors(&op, rule);
    for (unsigned factor : factors.set_bits())
      if (rule.factors[factor].size > 1 && rule.factors[factor].kind != nn::FactorKind::PassThrough)
        return op.emitError() << "'" << op.getName() << "' mixes the tokens of a row";
    if (failed(followPlaces(op, rule, factors)))
      return failure();
    tokens_.markResults(&op, rule, factors);
    return success();
  }

private:
  LogicalResult followAttention(nn::AttentionOp op) {
    if (op.getBias())
      return op.emitError() << "attention with a bias cannot be packed: the bias depends on places in the row";
    tokens_.follow(op);
    return success();
  }

  /// Other operands must be the same for all tokens: what varies along the row was computed from places in it.
  LogicalResult followPlaces(Operation &op, const nn::ShardingRule &rule, const llvm::SmallBitVector &factors) {
    for (auto [operand, dimensions] : llvm::zip(op.getOperands(), rule.operands))
      for (auto [d, some] : llvm::enumerate(dimensions)) {
        bool along = nn::shapeOf(operand)[d] > 1 &&
                     llvm::any_of(some, [&](int factor) { return factors.test(static_cast<unsigned>(factor)); });
        if (along && !tokens_.isMarked(operand, d) && !isUniform(operand, static_cast<int64_t>(d)))
          return op.emitError() << "'" << op.getName()
                                << "' depends on a token's place in the row: positions must come from position_ids";
      }
    return success();
  }

  /// Does the value surely not change along the dimension?
  static bool isUniform(Value value, int64_t dimension) {
    Operation *op = value.getDefiningOp();
    DenseElementsAttr elements;
    if (op && matchPattern(op, m_Constant(&elements)))
      return elements.isSplat();
    if (auto broadcast = dyn_cast_or_null<nn::BroadcastOp>(op))
      return !llvm::is_contained(broadcast.getDimensions(), dimension);
    return op && nn::isElementwise(op) &&
           llvm::all_of(op->getOperands(), [&](Value operand) { return isUniform(operand, dimension); });
  }

  nn::DimensionFlow tokens_;
};

//===-- Rows of the batch -----------------------------------------------------------------------------------------===//

/// Rebuilds the head over other rows: values [1, T, ...] (or [T, ...]) as [B, S, ...] (or [B S, ...]), where row (b, s)
/// is that of the token which stands there: element-wise operators are led through, what the last product reads is
/// gathered.
class HeadRows {
public:
  HeadRows(OpBuilder &builder, Value rows, int64_t row) : builder_(builder), rows_(rows), row_(row) {}

  FailureOr<Value> of(Value value) {
    if (Value known = known_.lookup(value))
      return known;
    FailureOr<Value> made = make(value);
    if (succeeded(made))
      known_[value] = *made;
    return made;
  }

private:
  /// [1, T, rest] and [T, rest] with the batch's rows; absent for other shapes.
  std::optional<SmallVector<int64_t>> shapeOf(Value value) const {
    auto shape = nn::shapeOf(value), rows = nn::shapeOf(rows_);
    SmallVector<int64_t> result;
    if (shape.size() >= 2 && shape[0] == 1 && shape[1] == row_) {
      result.assign(rows.begin(), rows.end());
      llvm::append_range(result, shape.drop_front(2));
    } else if (!shape.empty() && shape[0] == row_) {
      result.push_back(rows[0] * rows[1]);
      llvm::append_range(result, shape.drop_front(1));
    } else {
      return std::nullopt;
    }
    return result;
  }

  FailureOr<Value> make(Value value) {
    auto shape = shapeOf(value);
    Operation *op = value.getDefiningOp();
    if (!shape)
      return emitError(value.getLoc(), "the rows of the head cannot be led through a value of another shape"),
             failure();
    nn::Build build(builder_, value.getLoc());
    auto type = RankedTensorType::get(*shape, nn::typeOf(value).getElementType());
    DenseElementsAttr elements;
    if (op && matchPattern(op, m_Constant(&elements)) && elements.isSplat())
      return arith::ConstantOp::create(builder_, value.getLoc(),
                                       DenseElementsAttr::get(type, elements.getSplatValue<Attribute>()))
          .getResult();
    if (auto broadcast = dyn_cast_or_null<nn::BroadcastOp>(op); broadcast && isAlongRow(broadcast))
      return build.broadcast(broadcast.getInput(), *shape, broadcast.getDimensions());
    bool product = isa_and_nonnull<nn::ContractOp>(op) && shapeOf(op->getOperand(0));
    if (!op || !(product || nn::isElementwise(op) || isa<nn::ReshapeOp>(op)))
      return gather(build, value, *shape);
    IRMapping mapping;
    for (Value operand : op->getOperands()) {
      if (product && operand != op->getOperand(0))
        continue; // weights
      FailureOr<Value> rows = product ? gather(build, operand, *shapeOf(operand)) : of(operand);
      if (failed(rows))
        return failure();
      mapping.map(operand, *rows);
    }
    Operation *clone = builder_.clone(*op, mapping);
    clone->getResult(0).setType(type);
    return clone->getResult(0);
  }

  /// A broadcast of what has no row dimension.
  static bool isAlongRow(nn::BroadcastOp op) {
    int64_t weights = nn::typeOf(op.getResult()).getRank() - 1;
    return llvm::all_of(op.getDimensions(), [&](int64_t d) { return d == weights; });
  }

  Value gather(nn::Build &build, Value value, ArrayRef<int64_t> shape) {
    auto from = nn::shapeOf(value), rows = nn::shapeOf(rows_);
    size_t lead = shape.size() - from.drop_front(from[0] == 1 ? 2 : 1).size();
    SmallVector<int64_t> flat = {row_};
    llvm::append_range(flat, shape.drop_front(lead));
    Value indices = lead == 2 ? rows_ : build.reshape(rows_, {rows[0] * rows[1]});
    auto type = RankedTensorType::get(shape, nn::typeOf(value).getElementType());
    return nn::GatherOp::create(builder_, value.getLoc(), type, build.reshape(value, flat), indices, 0);
  }

  OpBuilder &builder_;
  Value rows_;
  int64_t row_;
  DenseMap<Value, Value> known_;
};

} // namespace

FailureOr<PackedForward> packForward(func::FuncOp forward, const PackOptions &options) {
  Block &block = forward.getBody().front();
  TokenFlow flow(forward);
  bool good = true;
  PackedForward packed{options.sharePrompts, ""};
  SmallVector<nn::AttentionOp> attention;
  for (Operation &op : block.without_terminator()) {
    good = succeeded(flow.follow(op)) && good;
    if (auto one = dyn_cast<nn::AttentionOp>(op)) {
      attention.push_back(one);
      if (packed.sharesPrompts && (one.getWindow() > 0 || !one.getCausal()))
        packed = {false,
                  "prompts are not shared: attention with a window counts places in the row, which are no distances "
                  "between a shared prompt and its completions"};
    }
  }
  if (!good)
    return failure();

  Operation *terminator = block.getTerminator();
  Value logits = terminator->getOperand(0);
  int64_t row = nn::shapeOf(logits)[1];
  Builder types(forward.getContext());
  Type i64 = types.getI64Type(), ids = nn::typeOf(findArgument(forward, "input_ids")).getElementType();
  for (unsigned i = 0; i < forward.getNumArguments(); ++i)
    forward.setArgAttr(i, rl::nameAttribute, types.getStringAttr(rl::packedPrefix + argumentName(forward, i)));
  SmallVector<int64_t> segmentShape =
      packed.sharesPrompts ? SmallVector<int64_t>{1, 2, row} : SmallVector<int64_t>{1, row};
  Value segments = addArgument(forward, "packed.segment_ids", RankedTensorType::get(segmentShape, i64));
  Value rows = addArgument(forward, "packed.rows", RankedTensorType::get({options.sequences, options.tokens}, i64));
  (void)addArgument(forward, "input_ids", RankedTensorType::get({options.sequences, options.tokens}, ids));
  for (nn::AttentionOp op : attention)
    op.getSegmentsMutable().assign(segments);
  OpBuilder builder(terminator);
  FailureOr<Value> ofBatch = HeadRows(builder, rows, row).of(logits);
  if (failed(ofBatch))
    return failure();
  terminator->setOperand(0, *ofBatch);
  forward.setFunctionType(types.getFunctionType(block.getArgumentTypes(), {ofBatch->getType()}));
  for (Operation &op : llvm::make_early_inc_range(llvm::reverse(block)))
    if (isOpTriviallyDead(&op))
      op.erase();
  return packed;
}

} // namespace graft
