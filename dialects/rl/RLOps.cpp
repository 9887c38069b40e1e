// Parameters and the log-probs of a head: verifiers, gradient, factors, cost, reference semantics.
#include "dialects/rl/RLDialect.h"

#include "dialects/nn/Build.h"
#include "dialects/nn/FactorRules.h"

#include <cmath>
#include <limits>

using namespace mlir;

#define GET_OP_CLASSES
#include "dialects/rl/RLOps.cpp.inc"

namespace graft::rl {

LogicalResult ParameterOp::verify() {
  if (getName().empty()) // 1
    return emitOpError() << "needs a name";
  return success();
}

nn::Cost ParameterOp::getCost() {
  return {};
}
nn::RecomputeClass ParameterOp::getRecomputeClass() {
  return nn::RecomputeClass::Free;
}

//===-- token_logprobs --------------------------------------------------------------------------------------------===//

void TokenLogprobsOp::build(OpBuilder &builder, OperationState &state, Value logits, Value labels, Value rows) {
  Type row = nn::rowType(logits.getType());
  build(builder, state, row, row, row, logits, labels, rows);
}

LogicalResult TokenLogprobsOp::verify() {
  auto logits = nn::typeOf(getLogits());
  if (logits.getRank() == 0)
    return emitOpError() << "logits need at least one dimension"; // 1
  auto rows = logits.getShape().drop_back();
  if (nn::shapeOf(getLabels()) != rows || nn::shapeOf(getLogprobs()) != rows ||
      (getRows() && nn::shapeOf(getRows()) != rows)) // 1
    return emitOpError() << "labels, rows and results must have the shape of the logits without the last dimension";
  if (nn::typeOf(getLogprobs()).getElementType() != logits.getElementType()) // 2
    return emitOpError() << "results must have the logits' element type " << logits.getElementType();
  return success();
}

FailureOr<SmallVector<Tensor>> TokenLogprobsOp::evaluate(ArrayRef<Tensor> in) {
  Tensor logprobs = Tensor::floats(in[1].shape()), entropy = logprobs, lse = logprobs;
  int64_t V = in[0].shape().back();
  for (int64_t row = 0; row < logprobs.size(); ++row) {
    const double *z = &in[0].f()[row * V];
    int64_t label = in[1].i()[row];
    if (getRows() && !in[2].i()[row])
      continue;
    if (label < 0 || label >= V)
      return emitError() << "label " << label << " is not in [0, " << V << ")";
    double max = *std::max_element(z, z + V), sum = 0, weighted = 0;
    for (int64_t v = 0; v < V; ++v) {
      double e = std::exp(z[v] - max);
      sum += e;
      weighted += e > 0 ? e * (z[v] - max) : 0; // p log p is 0 at p = 0
    }
    logprobs.f()[row] = z[label] - max - std::log(sum);
    entropy.f()[row] = std::log(sum) - weighted / sum;
    lse.f()[row] = max + std::log(sum);
  }
  return SmallVector<Tensor>{logprobs, entropy, lse};
}

FailureOr<SmallVector<Value>> TokenLogprobsOp::buildVJP(OpBuilder &builder, ValueRange g, ArrayRef<bool>) {
  nn::Build b(builder, getLoc());
  Value logits = getLogits();
  auto shape = nn::shapeOf(logits);
  int64_t last = static_cast<int64_t>(shape.size()) - 1;
  auto spread = [&](Value row) { return b.broadcastAlong(row, shape, {last}); };
  if (g[2])
    return emitOpError() << "the gradient of lse is not supported";
  auto selected = [&](Value cotangent) { return getRows() ? b.selectOrZero(getRows(), cotangent) : cotangent; };
  Value logp = b.sub(logits, spread(getLse())), p = b.exp(logp);
  Value gradient;
  if (g[0]) {
    Type i64 = builder.getI64Type();
    Value isLabel = b.compare(arith::CmpIPredicate::eq, b.iota(shape, last, i64), spread(b.cast(getLabels(), i64)));
    Value cotangent = spread(selected(g[0]));
    gradient = b.sub(b.selectOrZero(isLabel, cotangent), b.mul(p, cotangent));
  }
  if (g[1]) {
    Value term = b.neg(b.mul(spread(selected(g[1])), b.mul(p, b.add(logp, spread(getEntropy())))));
    gradient = gradient ? b.add(gradient, term) : term;
  }
  SmallVector<Value> gradients(getNumOperands());
  gradients[0] = gradient;
  return gradients;
}

nn::ShardingRule TokenLogprobsOp::getShardingRule() {
  nn::RuleBuilder rule(*this);
  auto shape = nn::shapeOf(getLogits());
  for (auto [d, size] : llvm::enumerate(shape)) {
    bool vocabulary = d + 1 == shape.size();
    auto dimension = static_cast<int64_t>(d);
    int factor = rule.factor(size, vocabulary ? nn::FactorKind::Reduction : nn::FactorKind::PassThrough);
    rule.operand(0, dimension, factor);
    if (vocabulary)
      continue;
    for (unsigned operand = 1; operand < getNumOperands(); ++operand)
      rule.operand(operand, dimension, factor);
    for (unsigned r = 0; r < getNumResults(); ++r)
      rule.result(dimension, factor, r);
  }
  return rule.take();
}

nn::Cost TokenLogprobsOp::getCost() {
  return nn::costFromRule(*this, getShardingRule(), 7);
}
nn::RecomputeClass TokenLogprobsOp::getRecomputeClass() {
  return nn::RecomputeClass::Cheap;
}

//===-- token_loop ------------------------------------------------------------------------------------------------===//

RankedTensorType TokenLoopOp::chunkType(Type perToken, int64_t chunk) {
  auto type = cast<RankedTensorType>(perToken);
  SmallVector<int64_t> shape(type.getShape());
  shape[0] = chunk;
  shape[1] = 1;
  return type.clone(shape);
}

LogicalResult TokenLoopOp::verify() {
  auto mask = nn::shapeOf(getMask());
  auto isPerToken = [&](Type type) {
    auto tensor = cast<RankedTensorType>(type);
    return tensor.getRank() >= 2 && tensor.getShape().take_front(2) == mask;
  };
  if (mask.size() != 2 || !llvm::all_of(getTokens().getTypes(), isPerToken) ||
      !llvm::all_of(getPerToken().getTypes(), isPerToken)) // 1
    return emitOpError() << "mask [B, S] and tensors per token must begin with the same two dimensions";
  auto chunk = static_cast<int64_t>(getChunk());
  if (chunk < 1 || chunk > mask[0] * mask[1]) // 1
    return emitOpError() << "chunk must be from 1 to " << mask[0] * mask[1] << ", got " << chunk;
  auto chunked = [&](TypeRange tokens, TypeRange others) {
    SmallVector<Type> types;
    for (Type type : tokens)
      types.push_back(chunkType(type, chunk));
    llvm::append_range(types, others);
    return types;
  };
  auto arguments = chunked(getTokens().getTypes(), getWhole().getTypes());
  if (TypeRange(getBlock()->getArgumentTypes()) != TypeRange(arguments)) // 2
    return emitOpError() << "arguments of the region must be " << arguments;
  auto yields = chunked(getPerToken().getTypes(), getSums().getTypes());
  if (TypeRange(getBlock()->getTerminator()->getOperandTypes()) != TypeRange(yields)) // 3
    return emitOpError() << "the region must yield " << yields;
  return success();
}

/// As many passes as it takes when every token is selected.
nn::Cost TokenLoopOp::getCost() {
  auto mask = nn::shapeOf(getMask());
  auto chunk = static_cast<int64_t>(getChunk());
  int64_t passes = (mask[0] * mask[1] + chunk - 1) / chunk;
  nn::Cost total;
  for (Operation &op : *getBlock())
    if (auto costed = dyn_cast<nn::CostOpInterface>(op)) {
      nn::Cost cost = costed.getCost();
      total.flops += passes * cost.flops;
      total.bytes += passes * cost.bytes;
    }
  return total;
}
nn::RecomputeClass TokenLoopOp::getRecomputeClass() {
  return nn::RecomputeClass::Gemm;
}

} // namespace graft::rl
