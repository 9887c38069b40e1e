// Replaces proven attention masks by their definition.
//
// The idea: wherever a graph puts its mask (added to scores, selecting them, masking the softmax), the softmax gets one
// operand that says which keys may be read, in one form for all models. What the mask means is proved by evaluating it
// (MaskProof.h), not read off its nodes.
#include "passes/import/FoldConstants.h"
#include "passes/import/MaskProof.h"
#include "passes/import/Match.h"
#include "passes/import/Passes.h"

using namespace mlir;

namespace graft {

#define GEN_PASS_DEF_GIVEMASKSMEANING
#include "passes/import/Passes.h.inc"

namespace {

using nn::shapeOf;

/// A softmax taken apart: what is left of the scores, and the masks on the way.
struct MaskedScores {
  Value scores;
  SmallVector<Value, 2> masks;
};

/// The mask that is added to or selects `scores`, which becomes what is left; null if there is none.
Value stripMask(Value &scores, MaskProver &prover) {
  if (auto sum = scores.getDefiningOp<arith::AddFOp>()) {
    for (auto [mask, other] : {std::pair(sum.getRhs(), sum.getLhs()), std::pair(sum.getLhs(), sum.getRhs())})
      if (prover.canBeMask(mask)) {
        scores = other;
        return mask;
      }
  }
  if (auto select = scores.getDefiningOp<arith::SelectOp>())
    if (auto masked = splatNumber(select.getFalseValue()); masked && *masked <= maskedBelow) {
      scores = select.getTrueValue();
      return select.getCondition();
    }
  return {};
}

MaskedScores findMasks(nn::SoftmaxOp softmax, MaskProver &prover) {
  MaskedScores out{softmax.getInput(), {}};
  if (softmax.getMask())
    out.masks.push_back(softmax.getMask());
  while (Value mask = stripMask(out.scores, prover))
    out.masks.push_back(mask);
  return out;
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
void bypassGuards(Value probabilities) {
  SmallVector<arith::SelectOp> guards;
  for (Operation *user : probabilities.getUsers()) {
    auto compare = dyn_cast<arith::CmpFOp>(user);
    if (!compare || compare.getPredicate() != arith::CmpFPredicate::UNO || compare.getLhs() != probabilities ||
        compare.getRhs() != probabilities)
      continue;
    for (Operation *guard : compare->getUsers())
      if (auto select = dyn_cast<arith::SelectOp>(guard);
          select && select.getCondition() == compare.getResult() && select.getFalseValue() == probabilities)
        guards.push_back(select);
  }
  for (arith::SelectOp guard : guards)
    guard.replaceAllUsesWith(probabilities);
}

struct GiveMasksMeaning final : impl::GiveMasksMeaningBase<GiveMasksMeaning> {
  void runOnOperation() override {
    func::FuncOp function = getOperation();
    MaskProver prover;
    MaskTable table(function);
    SmallVector<nn::SoftmaxOp> softmaxes;
    function.walk([&](nn::SoftmaxOp op) {
      auto rank = static_cast<int64_t>(shapeOf(op.getInput()).size());
      if (rank >= 4 && static_cast<int64_t>(op.getAxis()) == rank - 1)
        softmaxes.push_back(op);
    });
    for (nn::SoftmaxOp op : softmaxes)
      if (MaskedScores found = findMasks(op, prover); !found.masks.empty())
        replaceMasks(op, found, prover, table);
    // Not before: the prover remembers values.
    eraseDeadOperators(function.getBody().front());
  }

  void replaceMasks(nn::SoftmaxOp op, const MaskedScores &found, MaskProver &prover, MaskTable &table) {
    MaskMeaning meaning;
    for (Value mask : found.masks) {
      auto proved = prover.prove(mask);
      auto both = proved ? intersection(meaning, *proved) : std::nullopt;
      if (!both) {
        op.emitRemark() << "the mask keeps the form it has in the graph: "
                        << (proved ? "two masks have different valid keys" : prover.reason());
        return;
      }
      meaning = *both;
    }
    op.getInputMutable().assign(found.scores);
    op.getMaskMutable().clear();
    if (meaning.allowsEverything())
      return;
    op.getMaskMutable().assign(table.get(op.getLoc(), meaning, shapeOf(found.scores)));
    bypassGuards(op.getResult());
  }
};

} // namespace
} // namespace graft
