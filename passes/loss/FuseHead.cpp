// The way: collect the operators that touch logits; split them at rl.token_logprobs into a forward and a backward part;
// see whether what lies between treats tokens one by one; prove from sharding factors that everything chosen does;
// clone it into the region of a loop with [B, S] replaced by [chunk, 1]. Sums over tokens become matrix products, which
// add chunk to chunk where they are stored.
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

class HeadFuser {
public:
  HeadFuser(func::FuncOp function, const HeadOptions &options) : function_(function), options_(options) {}
  FusedHead run();

private:
  Block &block() { return function_.getBody().front(); }
  bool isWide(Value value) const { return nn::shapeOf(value) == ArrayRef<int64_t>(wide_); }
  /// True for values [B, S, ...] that one of the parts computes.
  bool isInternal(Value value) const {
    Operation *op = value.getDefiningOp();
    return op && (forward_.contains(op) || formula_.contains(op) || backward_.contains(op));
  }

  bool findOperators();
  std::optional<TokenRule> ruleOf(Operation *op);
  bool check(const OpSet &ops);
  OpSet inOrder(ArrayRef<const OpSet *> sets);
  OpSet neededBy(const OpSet &users);
  std::optional<Part> partOf(const OpSet &ops, ArrayRef<Value> outputs);
  SmallVector<Value> outputsOf(const OpSet &ops, const OpSet &inside);
  rl::TokenLoopOp emit(const Part &part);
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
  SmallVector<int64_t> wide_; ///< B, S, V
  OpSet forward_, formula_, backward_;
  llvm::DenseMap<Operation *, TokenRule> rules_;
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

bool HeadFuser::findOperators() {
  OpSet all, wideOps;
  for (Operation &op : block().without_terminator()) {
    all.insert(&op);
    if (llvm::any_of(op.getOperands(), [&](Value v) { return isWide(v); }) ||
        llvm::any_of(op.getResults(), [&](Value v) { return isWide(v); }))
      wideOps.insert(&op);
  }
  for (Value value : block().getTerminator()->getOperands())
    if (isWide(value))
      return give("the function returns logits");
  forward_ = reach(wideOps, {logprobs_}, /*ancestors=*/true);
  for (Operation *op : wideOps)
    if (!forward_.contains(op))
      backward_.insert(op);
  OpSet below = reach(all, {logprobs_}, /*ancestors=*/false);
  OpSet above = reach(all, backward_.getArrayRef(), /*ancestors=*/true);
  for (Operation *op : all)
    if (below.contains(op) && above.contains(op) && !wideOps.contains(op))
      formula_.insert(op);
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

bool HeadFuser::check(const OpSet &ops) {
  for (Operation *op : ops) {
    auto rule = ruleOf(op);
    if (!rule)
      return give("'" + op->getName().getStringRef().str() + "' does not treat every token by itself");
    rules_[op] = *rule;
  }
  return true;
}

OpSet HeadFuser::inOrder(ArrayRef<const OpSet *> sets) {
  OpSet ordered;
  for (Operation &op : block())
    if (llvm::any_of(sets, [&](const OpSet *set) { return set->contains(&op); }))
      ordered.insert(&op);
  return ordered;
}

/// The operators of the forward part that `users` read, and what these need: computed again.
OpSet HeadFuser::neededBy(const OpSet &users) {
  SmallVector<Operation *> roots;
  for (Operation *op : users)
    for (Value operand : op->getOperands())
      if (Operation *producer = operand.getDefiningOp(); producer && producer != logprobs_)
        roots.push_back(producer);
  OpSet again = forward_;
  again.remove(logprobs_);
  return reach(again, roots, /*ancestors=*/true);
}

/// Results of `ops` that are used by operators outside of `inside`.
SmallVector<Value> HeadFuser::outputsOf(const OpSet &ops, const OpSet &inside) {
  SmallVector<Value> outputs;
  for (Operation *op : ops)
    for (Value result : op->getResults())
      if (llvm::any_of(result.getUsers(), [&](Operation *user) { return !inside.contains(user); }))
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
  for (Value value : tokens)
    if (isWide(value))
      return give("logits come from elsewhere"), std::nullopt;
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

rl::TokenLoopOp HeadFuser::emit(const Part &part) {
  OpBuilder builder(part.ops.back());
  Location loc = logprobs_.getLoc();
  Value mask = logprobs_.getRows();
  if (!mask)
    mask = nn::Build(builder, loc).splat(RankedTensorType::get({wide_[0], wide_[1]}, builder.getI1Type()), 1);
  SmallVector<Type> perToken(ValueRange(part.perToken).getTypes()), sums(ValueRange(part.sums).getTypes());
  auto loop = rl::TokenLoopOp::create(builder, loc, perToken, sums, mask, part.tokens, part.whole,
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
  // Whoever reads the results from now on reads the loop's: the operators of the parts stay until nobody needs them.
  for (const auto *outputs : {&part.perToken, &part.sums})
    for (auto [i, output] : llvm::enumerate(*outputs)) {
      Value now = outputs == &part.perToken ? loop.getPerToken()[i] : loop.getSums()[i];
      Value(output).replaceUsesWithIf(now, [&](OpOperand &use) {
        Operation *user = use.getOwner();
        return !forward_.contains(user) && !backward_.contains(user) && user != loop;
      });
    }
  return loop;
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

FusedHead HeadFuser::run() {
  for (auto op : block().getOps<rl::TokenLogprobsOp>()) {
    if (logprobs_)
      return give("log-probs are taken twice"), head_;
    logprobs_ = op;
  }
  if (!logprobs_ || nn::shapeOf(logprobs_.getLogits()).size() != 3)
    return give("there are no logits [batch, sequence, vocabulary]"), head_;
  wide_.assign(nn::shapeOf(logprobs_.getLogits()).begin(), nn::shapeOf(logprobs_.getLogits()).end());
  int64_t tokens = wide_[0] * wide_[1];
  head_.chunkRows = std::min(options_.chunkRows, tokens);
  if (!logprobs_.getRows() && head_.chunkRows == tokens)
    return give("the logits of all tokens are small"), head_;
  if (!findOperators() || !check(forward_) || !check(backward_))
    return head_;
  head_.oneLoop = check(formula_);
  if (!head_.oneLoop)
    head_.reason.clear();

  OpSet inside = inOrder({&forward_, &backward_});
  std::optional<Part> first, second;
  if (head_.oneLoop) {
    // Formula operators that others read too stay outside as well: they are cheap, and read the loop's log-probs there.
    first = partOf(inOrder({&forward_, &formula_, &backward_}), outputsOf(inside, inside));
  } else {
    OpSet again = neededBy(backward_);
    SmallVector<Value> outputs = outputsOf(forward_, inside);
    for (Value result : logprobs_->getResults()) // what the second loop reads of the first
      if (!llvm::is_contained(outputs, result) && !result.use_empty())
        outputs.push_back(result);
    first = partOf(inOrder({&forward_}), outputs);
    second = partOf(inOrder({&again, &backward_}), outputsOf(backward_, inside));
  }
  if (!first || (!head_.oneLoop && !second))
    return head_;
  rl::TokenLoopOp loop = emit(*first);
  if (second) {
    // Its inputs are the first loop's results by now.
    for (Value &value : second->tokens)
      if (value.getDefiningOp() == logprobs_) {
        Value now = loop.getPerToken()[llvm::find(first->perToken, value) - first->perToken.begin()];
        for (Operation *user : second->ops)
          user->replaceUsesOfWith(value, now);
        value = now;
      }
    emit(*second);
  }
  head_.fused = true;
  // What the loops compute is dead outside: last users first.
  for (const OpSet *set : {&backward_, &formula_, &forward_}) {
    OpSet ordered = inOrder({set});
    for (Operation *op : llvm::reverse(ordered))
      if (op->use_empty())
        op->erase();
  }
  for (auto loop : block().getOps<rl::TokenLoopOp>())
    moveReadersBehind(loop);
  return head_;
}

} // namespace

FusedHead fuseHead(func::FuncOp function, const HeadOptions &options) {
  return HeadFuser(function, options).run();
}

} // namespace graft
