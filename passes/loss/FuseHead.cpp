// The way: collect the operators that touch logits, and those between them that do not; see which treat tokens one by
// one, and prove from sharding factors that all that touch logits do; number the loops by how often something that
// mixes tokens lies before; clone the operators of each into its region with [B, S] replaced by [chunk, 1]. Sums over
// tokens become matrix products, which add chunk to chunk where they are stored.
#include "passes/loss/FuseHead.h"

#include "dialects/nn/Build.h"
#include "dialects/rl/RLDialect.h"

#include "mlir/IR/IRMapping.h"
#include "mlir/IR/Matchers.h"

using namespace mlir;

namespace graft {

namespace {

using OpSet = llvm::SetVector<Operation *>;

bool isSplat(Value value) {
  DenseElementsAttr elements;
  return matchPattern(value, m_Constant(&elements)) && elements.isSplat();
}

/// How an operator reaches its operands and results: by token, or all at once.
struct TokenRule {
  SmallVector<bool> operands, results;
};

/// The operators of one loop and what goes in and out.
struct Part {
  OpSet ops; ///< in program order
  SmallVector<Value> tokens, whole, perToken, sums;
};

/// Where an operator stands: in the loop of this number, or, if it mixes tokens, after it.
struct Stage {
  int loop = 0;
  bool after = false;
};

class HeadFuser {
public:
  HeadFuser(func::FuncOp function, const HeadOptions &options) : function_(function), options_(options) {}
  FusedHead run();

private:
  Block &block() { return function_.getBody().front(); }
  bool isWide(Value value) const { return nn::shapeOf(value) == ArrayRef<int64_t>(wide_); }
  /// True for values [B, S, ...] that a loop may compute.
  bool isInternal(Value value) const {
    Operation *op = value.getDefiningOp();
    return op && (wideOps_.contains(op) || between_.contains(op));
  }

  bool findHead();
  bool findOperators();
  std::optional<TokenRule> ruleOf(Operation *op);
  bool checkRules();
  int numberLoops();
  OpSet opsOf(int loop);
  bool isReadElsewhere(Value value);
  void findOutside();
  SmallVector<Value> outputsOf(int loop);
  std::optional<Part> partOf(const OpSet &ops, ArrayRef<Value> outputs);
  void emit(const Part &part);
  void replace();
  void moveReadersBehind(rl::TokenLoopOp loop);
  Value chunkOf(DenseElementsAttr splat, OpBuilder &builder, Location loc);
  void clone(Operation *op, OpBuilder &builder, IRMapping &values);
  Value productWithOnes(nn::ReduceOp reduce, OpBuilder &builder, Value input);
  bool give(std::string reason) {
    if (head_.reason.empty())
      head_.reason = std::move(reason);
    return false;
  }

  func::FuncOp function_;
  const HeadOptions &options_;
  FusedHead head_;
  rl::TokenLogprobsOp logprobs_;
  SmallVector<int64_t> wide_;                    ///< B, S, V
  OpSet wideOps_;                                ///< those that touch logits, or anything of their shape
  OpSet between_;                                ///< others that such an operator needs and that need one
  llvm::DenseMap<Operation *, TokenRule> rules_; ///< absent for operators of `between_` that mix tokens
  llvm::DenseMap<Operation *, Stage> stages_;
  SmallVector<OpSet, 2> loops_; ///< their operators
  OpSet outside_;               ///< operators of `between_` that run outside of the loops, perhaps as well
  IRMapping after_;             ///< results of loops that were made, for those of the operators in them
};

/// Ancestors of `roots` among `within`, or descendants; `roots` included where they are in it.
OpSet reach(const OpSet &within, ArrayRef<Operation *> roots, bool ancestors) {
  OpSet found;
  SmallVector<Operation *> work(roots);
  while (!work.empty()) {
    Operation *op = work.pop_back_val();
    if (!within.contains(op) || !found.insert(op))
      continue;
    if (ancestors) {
      for (Value operand : op->getOperands())
        if (Operation *producer = operand.getDefiningOp())
          work.push_back(producer);
    } else {
      llvm::append_range(work, op->getUsers());
    }
  }
  return found;
}

/// The one rl.token_logprobs says what logits are, and which tokens are in the loss.
bool HeadFuser::findHead() {
  for (auto op : block().getOps<rl::TokenLogprobsOp>()) {
    if (logprobs_)
      return give("log-probs are taken twice");
    logprobs_ = op;
  }
  if (!logprobs_ || nn::shapeOf(logprobs_.getLogits()).size() != 3)
    return give("there are no logits [batch, sequence, vocabulary]");
  wide_.assign(nn::shapeOf(logprobs_.getLogits()).begin(), nn::shapeOf(logprobs_.getLogits()).end());
  int64_t tokens = wide_[0] * wide_[1];
  head_.chunkRows = std::min(options_.chunkRows, tokens);
  return logprobs_.getRows() || head_.chunkRows < tokens || give("the logits of all tokens are small");
}

bool HeadFuser::findOperators() {
  for (Value value : block().getTerminator()->getOperands())
    if (isWide(value))
      return give("the function returns logits");
  OpSet all;
  for (Operation &op : block().without_terminator()) {
    all.insert(&op);
    if (llvm::any_of(op.getOperands(), [&](Value v) { return isWide(v); }) ||
        llvm::any_of(op.getResults(), [&](Value v) { return isWide(v); }))
      wideOps_.insert(&op);
  }
  OpSet below = reach(all, wideOps_.getArrayRef(), /*ancestors=*/false);
  OpSet above = reach(all, wideOps_.getArrayRef(), /*ancestors=*/true);
  for (Operation *op : all)
    if (below.contains(op) && above.contains(op) && !wideOps_.contains(op))
      between_.insert(op);
  return true;
}

/// Which operands and results of an operator carry the token dimensions as their first two; nothing if it mixes tokens
/// in another way than by summing over them.
std::optional<TokenRule> HeadFuser::ruleOf(Operation *op) {
  TokenRule token;
  DenseElementsAttr constant;
  if (matchPattern(op, m_Constant(&constant)) || isa<nn::IotaOp>(op)) {
    auto iota = dyn_cast<nn::IotaOp>(op);
    if (iota ? iota.getAxis() < 2 : !constant.isSplat())
      return std::nullopt;
    token.results.push_back(true);
    return token;
  }
  auto rules = dyn_cast<nn::ShardingRuleOpInterface>(op);
  if (!rules)
    return std::nullopt;
  nn::ShardingRule rule = rules.getShardingRule();
  // The token factors are those of the first operand or result that is known to be per token.
  SmallVector<int, 1> factors[2];
  auto learn = [&](Value value, const nn::DimensionFactors &dims) {
    if (factors[0].empty() && factors[1].empty() && (isWide(value) || isInternal(value)) && dims.size() >= 2) {
      factors[0] = dims[0];
      factors[1] = dims[1];
    }
  };
  for (auto [value, dims] : llvm::zip(op->getOperands(), rule.operands))
    learn(value, dims);
  for (auto [value, dims] : llvm::zip(op->getResults(), rule.results))
    learn(value, dims);
  if (factors[0].size() > 1 || factors[1].size() > 1)
    return std::nullopt;
  auto isTokenFactor = [&](int factor) {
    return llvm::is_contained(factors[0], factor) || llvm::is_contained(factors[1], factor);
  };
  bool good = true;
  auto carries = [&](const nn::DimensionFactors &dims) {
    bool leading = dims.size() >= 2 && dims[0] == factors[0] && dims[1] == factors[1];
    for (auto [d, own] : llvm::enumerate(dims))
      for (int factor : own)
        good &= !isTokenFactor(factor) || (leading && d < 2);
    return leading;
  };
  for (const nn::DimensionFactors &dims : rule.operands)
    token.operands.push_back(carries(dims));
  for (const nn::DimensionFactors &dims : rule.results)
    token.results.push_back(carries(dims));
  bool sums = !llvm::all_of(token.results, [](bool carried) { return carried; });
  for (auto &dimension : factors)
    for (int factor : dimension)
      good &= rule.factors[factor].kind == (sums ? nn::FactorKind::Reduction : nn::FactorKind::PassThrough);
  auto reduce = dyn_cast<nn::ReduceOp>(op);
  good &= !sums || isa<nn::ContractOp>(op) || (reduce && reduce.getKind() == nn::ReduceKind::Sum);
  return good ? std::optional(token) : std::nullopt;
}

bool HeadFuser::checkRules() {
  for (const OpSet *ops : {&wideOps_, &between_})
    for (Operation *op : *ops)
      if (auto rule = ruleOf(op))
        rules_[op] = *rule;
      else if (ops == &wideOps_)
        return give("'" + op->getName().getStringRef().str() + "' does not treat every token by itself");
  return true;
}

/// What mixes tokens needs all of them: it stands after the loop that its operands are in, and what needs it in the
/// next. Gives their number.
int HeadFuser::numberLoops() {
  int count = 0;
  for (Operation &op : block().without_terminator()) {
    if (!wideOps_.contains(&op) && !between_.contains(&op))
      continue;
    Stage stage;
    for (Value operand : op.getOperands())
      if (auto before = stages_.find(operand.getDefiningOp()); before != stages_.end()) {
        Stage own = before->second;
        if (std::pair(own.loop, own.after) > std::pair(stage.loop, stage.after))
          stage = own;
      }
    if (!rules_.contains(&op))
      stage.after = true;
    else if (stage.after)
      stage = {stage.loop + 1, false};
    stages_[&op] = stage;
    count = std::max(count, stage.loop + 1);
  }
  return count;
}

/// The operators of a loop, in program order. Only what has another shape than logits leaves a loop: operators of its
/// number that make such things, and what they need. That is the formula between them, and operators on logits, those
/// of earlier loops again. What an earlier loop made per token is read.
OpSet HeadFuser::opsOf(int loop) {
  OpSet made, own;
  for (Operation &op : block()) {
    auto at = stages_.find(&op);
    if (at == stages_.end() || at->second.loop != loop || at->second.after)
      continue;
    own.insert(&op);
    if (wideOps_.contains(&op) && !llvm::all_of(op.getResults(), [&](Value result) { return isWide(result); }))
      made.insert(&op);
  }
  SmallVector<Operation *> wide(llvm::make_filter_range(own, [&](Operation *op) { return wideOps_.contains(op); }));
  OpSet below = reach(own, wide, /*ancestors=*/false);
  OpSet chosen = made;
  SmallVector<Operation *> work(made.getArrayRef());
  while (!work.empty())
    for (Value operand : work.pop_back_val()->getOperands()) {
      Operation *producer = operand.getDefiningOp();
      bool again = producer && wideOps_.contains(producer) && isWide(operand);
      if ((again || below.contains(producer)) && chosen.insert(producer))
        work.push_back(producer);
    }
  OpSet ordered;
  for (Operation &op : block())
    if (chosen.contains(&op))
      ordered.insert(&op);
  return ordered;
}

/// Is the value of an operator read where it is not computed: outside of all loops, or in one that lacks it?
bool HeadFuser::isReadElsewhere(Value value) {
  Operation *op = value.getDefiningOp();
  return llvm::any_of(value.getUsers(), [&](Operation *user) {
    bool inside = false, elsewhere = outside_.contains(user);
    for (const OpSet &loop : loops_)
      if (loop.contains(user)) {
        inside = true;
        elsewhere |= !loop.contains(op);
      }
    return elsewhere || !inside;
  });
}

/// Formula operators that others read run outside, too: they are cheap, and read the loops' results there.
void HeadFuser::findOutside() {
  SmallVector<Operation *> roots;
  for (Operation *op : between_) {
    bool inALoop = llvm::any_of(loops_, [&](const OpSet &loop) { return loop.contains(op); });
    if (!inALoop || llvm::any_of(op->getResults(), [&](Value result) { return isReadElsewhere(result); }))
      roots.push_back(op);
  }
  outside_ = reach(between_, roots, /*ancestors=*/true);
}

/// What others read of a loop's own operators on logits.
SmallVector<Value> HeadFuser::outputsOf(int loop) {
  SmallVector<Value> outputs;
  for (Operation *op : loops_[loop])
    if (wideOps_.contains(op) && stages_.lookup(op).loop == loop)
      for (Value result : op->getResults())
        if (isReadElsewhere(result))
          outputs.push_back(result);
  return outputs;
}

std::optional<Part> HeadFuser::partOf(const OpSet &ops, ArrayRef<Value> outputs) {
  Part part;
  part.ops = ops;
  llvm::SetVector<Value> tokens, whole;
  for (Operation *op : ops)
    for (auto [operand, byToken] : llvm::zip(op->getOperands(), rules_[op].operands)) {
      Operation *producer = operand.getDefiningOp();
      if (!(producer && ops.contains(producer)) && !(byToken && isSplat(operand)))
        (byToken ? tokens : whole).insert(operand);
    }
  part.tokens = tokens.takeVector();
  part.whole = whole.takeVector();
  for (Value output : outputs) {
    Operation *op = output.getDefiningOp();
    bool byToken = rules_[op].results[cast<OpResult>(output).getResultNumber()];
    if (byToken && isWide(output))
      return give("logits have other users"), std::nullopt;
    (byToken ? part.perToken : part.sums).push_back(output);
  }
  return part;
}

/// A constant of one value, for the rows of a chunk.
Value HeadFuser::chunkOf(DenseElementsAttr splat, OpBuilder &builder, Location loc) {
  auto type = rl::TokenLoopOp::chunkType(splat.getType(), head_.chunkRows);
  return arith::ConstantOp::create(builder, loc, splat.resizeSplat(type));
}

/// A sum over tokens as a product with ones: it adds from chunk to chunk where it is stored.
Value HeadFuser::productWithOnes(nn::ReduceOp reduce, OpBuilder &builder, Value input) {
  nn::Build b(builder, reduce.getLoc());
  std::string all, summed, kept;
  SmallVector<int64_t> sizes;
  for (auto [d, size] : llvm::enumerate(nn::shapeOf(input))) {
    auto letter = static_cast<char>('a' + d);
    bool reduced = llvm::is_contained(reduce.getAxes(), static_cast<int64_t>(d));
    all += letter;
    (reduced ? summed : kept) += letter;
    if (reduced)
      sizes.push_back(size);
  }
  Value ones = b.splat(nn::typeOf(input).clone(sizes), 1.0);
  Value sum = b.contract(all + "," + summed + "->" + kept, input, ones);
  sum.getDefiningOp()->setAttr(rl::rowsAttribute, builder.getStringAttr("a"));
  return sum;
}

/// The operator on the rows of a chunk.
void HeadFuser::clone(Operation *op, OpBuilder &builder, IRMapping &values) {
  const TokenRule &rule = rules_[op];
  if (auto reduce = dyn_cast<nn::ReduceOp>(op); reduce && !rule.results[0])
    return values.map(reduce.getResult(), productWithOnes(reduce, builder, values.lookup(reduce.getInput())));
  if (DenseElementsAttr splat; matchPattern(op, m_Constant(&splat)))
    return values.map(op->getResult(0), chunkOf(splat, builder, op->getLoc()));
  Operation *copy = builder.clone(*op, values);
  for (auto [result, byToken] : llvm::zip(copy->getResults(), rule.results))
    if (byToken)
      result.setType(rl::TokenLoopOp::chunkType(result.getType(), head_.chunkRows));
  if (auto contract = dyn_cast<nn::ContractOp>(copy))
    copy->setAttr(rl::rowsAttribute,
                  builder.getStringAttr(contract.getLabels()[rule.operands[0] ? 0 : 1].take_front(1)));
}

/// Puts the loop where its last operator stands. The operators stay.
void HeadFuser::emit(const Part &part) {
  OpBuilder builder(part.ops.back());
  Location loc = logprobs_.getLoc();
  Value mask = logprobs_.getRows();
  if (!mask)
    mask = nn::Build(builder, loc).splat(RankedTensorType::get({wide_[0], wide_[1]}, builder.getI1Type()), 1);
  SmallVector<Type> perToken(ValueRange(part.perToken).getTypes()), sums(ValueRange(part.sums).getTypes());
  auto current = [&](ArrayRef<Value> values) {
    return llvm::map_to_vector(values, [&](Value value) { return after_.lookupOrDefault(value); });
  };
  auto loop = rl::TokenLoopOp::create(builder, loc, perToken, sums, mask, current(part.tokens), current(part.whole),
                                      static_cast<uint64_t>(head_.chunkRows));
  Block *body = builder.createBlock(&loop.getBody());
  IRMapping values;
  for (Value value : part.tokens)
    values.map(value, body->addArgument(rl::TokenLoopOp::chunkType(value.getType(), head_.chunkRows), value.getLoc()));
  for (Value value : part.whole)
    values.map(value, body->addArgument(value.getType(), value.getLoc()));
  for (Operation *op : part.ops) {
    for (Value operand : op->getOperands())
      if (DenseElementsAttr splat; !values.contains(operand) && matchPattern(operand, m_Constant(&splat)))
        values.map(operand, chunkOf(splat, builder, op->getLoc())); // from outside
    clone(op, builder, values);
  }
  SmallVector<Value> yields;
  for (const auto *outputs : {&part.perToken, &part.sums})
    for (Value output : *outputs)
      yields.push_back(values.lookup(output));
  rl::YieldOp::create(builder, loc, yields);
  SmallVector<Value> outputs = part.perToken;
  llvm::append_range(outputs, part.sums);
  for (auto [output, now] : llvm::zip_equal(outputs, loop.getResults()))
    after_.map(output, now);
}

/// Operators before the loop that need its results follow it at once, in their order: a loop stands where its last
/// operator stood, and loss and metrics, which do not wait for the backward pass, stood before.
void HeadFuser::moveReadersBehind(rl::TokenLoopOp loop) {
  OpSet readers;
  for (Operation *op = &block().front(); op != loop; op = op->getNextNode())
    if (llvm::any_of(op->getOperands(), [&](Value operand) {
          Operation *producer = operand.getDefiningOp();
          return producer == loop || readers.contains(producer);
        }))
      readers.insert(op);
  Operation *last = loop;
  for (Operation *op : readers) {
    op->moveAfter(last);
    last = op;
  }
}

/// Lets everybody read the results of the loops, and erases what nobody needs any more: last users first.
void HeadFuser::replace() {
  for (auto [before, now] : after_.getValueMap())
    Value(before).replaceUsesWithIf(now, [&](OpOperand &use) { return !wideOps_.contains(use.getOwner()); });
  for (Operation &op : llvm::make_early_inc_range(llvm::reverse(block())))
    if ((wideOps_.contains(&op) || between_.contains(&op)) && op.use_empty())
      op.erase();
  for (auto loop : block().getOps<rl::TokenLoopOp>())
    moveReadersBehind(loop);
}

FusedHead HeadFuser::run() {
  if (!findHead() || !findOperators() || !checkRules())
    return head_;
  for (int loop = 0, count = numberLoops(); loop < count; ++loop)
    loops_.push_back(opsOf(loop));
  findOutside();
  std::vector<Part> parts;
  for (size_t loop = 0; loop < loops_.size(); ++loop)
    if (!loops_[loop].empty()) {
      auto part = partOf(loops_[loop], outputsOf(static_cast<int>(loop)));
      if (!part)
        return head_;
      parts.push_back(std::move(*part));
    }
  for (const Part &part : parts)
    emit(part);
  replace();
  head_.loops = static_cast<int>(parts.size());
  head_.fused = true;
  return head_;
}

} // namespace

FusedHead fuseHead(func::FuncOp function, const HeadOptions &options) {
  return HeadFuser(function, options).run();
}

} // namespace graft
