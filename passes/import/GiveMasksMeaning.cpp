// Replaces proven attention masks by their definition.
//
// The idea: wherever a graph puts its mask (added to scores, selecting them, masking the softmax), the softmax gets one operand that
// says which keys may be read, in one form for all models. What the mask means is proved by evaluating it (MaskProof.h), not
// read off its nodes.
#include "passes/import/MaskProof.h"
#include "passes/import/Match.h"
#include "passes/import/Passes.h"

using namespace mlir;

namespace graft {

#define GEN_PASS_DEF_GIVEMASKSMEANING
#include "passes/import/Passes.h.inc"

namespace {

using nn::shapeOf;

/// A masked softmax taken apart: what is left of the scores, and the mask.
struct MaskedScores {
  Value scores, mask;
};

/// Finds the mask in the operand of a softmax; nothing if there is none.
std::optional<MaskedScores> findMask(nn::SoftmaxOp softmax, MaskProver &prover) {
  Value input = softmax.getInput();
  if (softmax.getMask())
    return MaskedScores{input, softmax.getMask()};
  if (auto sum = input.getDefiningOp<arith::AddFOp>()) {
    for (auto [mask, scores] : {std::pair(sum.getRhs(), sum.getLhs()), std::pair(sum.getLhs(), sum.getRhs())})
      if (prover.canBeMask(mask))
        return MaskedScores{scores, mask};
  }
  if (auto select = input.getDefiningOp<arith::SelectOp>())
    if (auto masked = splatNumber(select.getFalseValue()); masked && *masked <= maskedBelow)
      return MaskedScores{select.getTrueValue(), select.getCondition()};
  return std::nullopt;
}

/// Masks in their one form, built at the start of the function, one per meaning and shape.
class MaskTable {
public:
  explicit MaskTable(func::FuncOp function) : builder_(OpBuilder::atBlockBegin(&function.getBody().front())) {}
  Value get(Location loc, const MaskMeaning &meaning, ArrayRef<int64_t> shape) {
    for (auto &[known, mask] : masks_)
      if (known == meaning && shapeOf(mask) == shape)
        return mask;
    masks_.emplace_back(meaning, buildMask(builder_, loc, meaning, shape));
    return masks_.back().second;
  }

private:
  OpBuilder builder_;
  SmallVector<std::pair<MaskMeaning, Value>> masks_;
};

/// select(p is NaN, 0, p) is p if p is a masked softmax: a row without keys is 0 there, never NaN.
void removeGuards(Value probabilities) {
  for (Operation *user : llvm::make_early_inc_range(probabilities.getUsers())) {
    auto compare = dyn_cast<arith::CmpFOp>(user);
    if (!compare || compare.getPredicate() != arith::CmpFPredicate::UNO || compare.getLhs() != probabilities ||
        compare.getRhs() != probabilities)
      continue;
    for (Operation *guard : llvm::make_early_inc_range(compare->getUsers()))
      if (auto select = dyn_cast<arith::SelectOp>(guard);
          select && select.getCondition() == compare.getResult() && select.getFalseValue() == probabilities) {
        select.replaceAllUsesWith(probabilities);
        select.erase();
      }
  }
}

struct GiveMasksMeaning final : impl::GiveMasksMeaningBase<GiveMasksMeaning> {
  void runOnOperation() override {
    func::FuncOp function = getOperation();
    MaskProver prover;
    MaskTable table(function);
    SmallVector<nn::SoftmaxOp> softmaxes;
    function.walk([&](nn::SoftmaxOp op) {
      if (shapeOf(op.getInput()).size() == 4 && op.getAxis() == 3)
        softmaxes.push_back(op);
    });
    for (nn::SoftmaxOp op : softmaxes)
      if (auto found = findMask(op, prover))
        replaceMask(op, *found, prover, table);
  }

  void replaceMask(nn::SoftmaxOp op, const MaskedScores &found, MaskProver &prover, MaskTable &table) {
    auto meaning = prover.prove(found.mask);
    if (!meaning) {
      op.emitRemark() << "the mask keeps the form it has in the graph: " << prover.reason();
      return;
    }
    Value mask = meaning->allowsEverything() ? Value() : table.get(op.getLoc(), *meaning, shapeOf(found.mask));
    op.getInputMutable().assign(found.scores);
    op.getMaskMutable().clear();
    if (mask) {
      op.getMaskMutable().assign(mask);
      removeGuards(op.getResult());
    }
  }
};

} // namespace
} // namespace graft
