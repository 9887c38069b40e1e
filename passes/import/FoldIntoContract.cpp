// Makes transposes and broadcasts around products part of the equation.
//
// The idea: an equation names dimensions, so that a view of an operand is a change of names.
#include "passes/Rewriting.h"
#include "passes/import/Match.h"
#include "passes/import/Passes.h"

using namespace mlir;

namespace graft {

#define GEN_PASS_DEF_FOLDINTOCONTRACT
#include "passes/import/Passes.h.inc"

namespace {

std::string equation(StringRef lhs, StringRef rhs, StringRef result) {
  return (lhs + "," + rhs + "->" + result).str();
}

/// What an operand's labels and value are without the view that produces it; nothing if the view cannot be named away.
struct Operand {
  std::string labels;
  Value value;
};
std::optional<Operand> withoutView(Operand operand, StringRef other, StringRef result) {
  Operation *producer = operand.value.getDefiningOp();
  if (auto transpose = dyn_cast_if_present<nn::TransposeOp>(producer)) {
    Operand out{operand.labels, transpose.getInput()};
    for (auto [i, d] : llvm::enumerate(transpose.getPermutation()))
      out.labels[d] = operand.labels[i];
    return out;
  }
  auto broadcast = dyn_cast_if_present<nn::BroadcastOp>(producer);
  if (!broadcast)
    return std::nullopt;
  Operand out{"", broadcast.getInput()};
  for (auto [i, label] : llvm::enumerate(operand.labels)) {
    if (llvm::is_contained(broadcast.getDimensions(), static_cast<int64_t>(i)))
      out.labels += label;
    else if (!other.contains(label) || !result.contains(label))
      return std::nullopt; // summed over, or found nowhere else
  }
  return out;
}

struct FoldOperands final : OpRewritePattern<nn::ContractOp> {
  using OpRewritePattern::OpRewritePattern;
  LogicalResult matchAndRewrite(nn::ContractOp op, PatternRewriter &rewriter) const override {
    auto [lhs, rhs, result] = op.getLabels();
    Operand left{lhs.str(), op.getLhs()}, right{rhs.str(), op.getRhs()};
    auto newLeft = withoutView(left, right.labels, result);
    auto newRight = withoutView(right, newLeft ? newLeft->labels : left.labels, result);
    if (!newLeft && !newRight)
      return rewriter.notifyMatchFailure(op, "no operand is a transpose or broadcast that the equation can express");
    left = newLeft.value_or(left);
    right = newRight.value_or(right);
    rewriter.replaceOpWithNewOp<nn::ContractOp>(op, op.getType(), equation(left.labels, right.labels, result),
                                                left.value, right.value);
    return success();
  }
};

struct FoldResult final : OpRewritePattern<nn::TransposeOp> {
  using OpRewritePattern::OpRewritePattern;
  LogicalResult matchAndRewrite(nn::TransposeOp op, PatternRewriter &rewriter) const override {
    auto contract = op.getInput().getDefiningOp<nn::ContractOp>();
    if (!contract || !contract->hasOneUse())
      return rewriter.notifyMatchFailure(op, "not the only use of a product");
    auto [lhs, rhs, result] = contract.getLabels();
    std::string labels;
    for (int64_t d : op.getPermutation())
      labels += result[d];
    rewriter.replaceOpWithNewOp<nn::ContractOp>(op, op.getType(), equation(lhs, rhs, labels), contract.getLhs(),
                                                contract.getRhs());
    return success();
  }
};

struct FoldIntoContract final : impl::FoldIntoContractBase<FoldIntoContract> {
  void runOnOperation() override {
    RewritePatternSet patterns(&getContext());
    patterns.add<FoldOperands, FoldResult>(&getContext());
    if (failed(applyPatternsGreedily(getOperation(), std::move(patterns), straightLineRewriting())))
      signalPassFailure();
  }
};

} // namespace
} // namespace graft
