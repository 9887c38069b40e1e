// The value of an operator on constants is what the reference interpreter says: one definition of every operator, no
// second one here. The interpreter computes in float64, the constant is rounded to its type.
#include "passes/import/FoldConstants.h"

#include "dialects/nn/NNDialect.h"
#include "dialects/reference/Interpreter.h"

#include "mlir/IR/Matchers.h"
#include "mlir/Interfaces/SideEffectInterfaces.h"
#include "mlir/Pass/Pass.h"

using namespace mlir;

namespace graft {

namespace {

int64_t elementsOf(Value value) {
  return nn::typeOf(value).getNumElements();
}

/// The constant of a view of equal elements, null if `op` is something else.
DenseElementsAttr foldSplatView(Operation *op) {
  DenseElementsAttr input;
  if (!isa<nn::BroadcastOp, nn::ReshapeOp, nn::TransposeOp, nn::SliceOp>(op) ||
      !matchPattern(op->getOperand(0), m_Constant(&input)) || !input.isSplat())
    return {};
  return DenseElementsAttr::get(nn::typeOf(op->getResult(0)), input.getSplatValue<Attribute>());
}

/// Repeating a mask or a table says nothing new; integers are repeated, because grids of indices must become numbers.
bool isRepeatedTable(Operation *op) {
  return isa<nn::BroadcastOp>(op) && !nn::typeOf(op->getResult(0)).getElementType().isInteger(64) &&
         !nn::typeOf(op->getResult(0)).getElementType().isInteger(32);
}

} // namespace

bool ConstantFolder::affordable(Operation *op) {
  int64_t cost = 0;
  for (Value operand : op->getOperands()) {
    if (!matchPattern(operand, m_Constant()))
      return false;
    cost += elementsOf(operand);
    if (elementsOf(operand) > limits_.operands)
      return false;
  }
  for (Value result : op->getResults()) {
    bool isFloat = isa<FloatType>(nn::typeOf(result).getElementType());
    if (elementsOf(result) > (isFloat ? limits_.floats : limits_.integers))
      return false;
    cost += elementsOf(result);
  }
  if (spent_ + cost > limits_.total)
    return false;
  spent_ += cost;
  return true;
}

SmallVector<Value> ConstantFolder::fold(Operation *op) {
  if (isa<arith::ConstantOp>(op) || op->getNumResults() == 0 || !isPure(op) ||
      !llvm::all_of(op->getResultTypes(), [](Type type) { return isa<RankedTensorType>(type); }) ||
      !llvm::all_of(op->getOperandTypes(), [](Type type) { return isa<RankedTensorType>(type); }))
    return {};
  SmallVector<Attribute> values;
  if (Attribute view = foldSplatView(op)) {
    values.push_back(view);
  } else {
    if (isRepeatedTable(op) || !affordable(op))
      return {};
    auto folded = foldToConstants(op, std::max(limits_.integers, limits_.floats));
    if (failed(folded))
      return {};
    values = std::move(*folded);
  }
  OpBuilder builder(op);
  SmallVector<Value> constants;
  for (Attribute value : values)
    constants.push_back(arith::ConstantOp::create(builder, op->getLoc(), cast<TypedAttr>(value)));
  op->replaceAllUsesWith(constants);
  op->erase();
  return constants;
}

void eraseDeadOperators(Block &block) {
  for (Operation &op : llvm::make_early_inc_range(llvm::reverse(block)))
    if (isOpTriviallyDead(&op))
      op.erase();
}

void foldConstants(func::FuncOp function, FoldLimits limits) {
  ConstantFolder folder(limits);
  for (Block &block : function.getBody()) {
    for (Operation &op : llvm::make_early_inc_range(block))
      folder.fold(&op);
    eraseDeadOperators(block);
  }
}

namespace {

struct FoldConstants : PassWrapper<FoldConstants, OperationPass<func::FuncOp>> {
  MLIR_DEFINE_EXPLICIT_INTERNAL_INLINE_TYPE_ID(FoldConstants)
  FoldConstants() = default;
  FoldConstants(const FoldConstants &other) : PassWrapper(other), limits(other.limits) {}
  explicit FoldConstants(FoldLimits limits) : limits(limits) {}
  StringRef getArgument() const override { return "graft-fold-constants"; }
  StringRef getDescription() const override { return "replace operators on small constants by their value"; }
  void runOnOperation() override { foldConstants(getOperation(), limits); }
  FoldLimits limits;
};

} // namespace

std::unique_ptr<Pass> createFoldConstantsPass(FoldLimits limits) {
  return std::make_unique<FoldConstants>(limits);
}
void registerFoldConstantsPass() {
  PassRegistration<FoldConstants>();
}

} // namespace graft
