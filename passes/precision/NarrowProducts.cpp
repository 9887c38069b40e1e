// The way: for each product, the narrow twin of both inputs. A twin is made once per value: of a view by viewing the
// source's twin, of a parameter by reading its working copy, of a loop's argument by handing the twin in, and of
// everything else by rounding it where it is made, so that lowering rounds in the kernel that computes it.
#include "passes/precision/NarrowProducts.h"

#include "dialects/nn/NNDialect.h"
#include "dialects/rl/RLDialect.h"

#include "mlir/IR/IRMapping.h"

#include <set>

using namespace mlir;

namespace graft {

namespace {

/// True for a matrix product: rows, columns and summed letters of more than one element each.
bool isMatrixProduct(nn::ContractOp op) {
  auto [left, right, result] = op.getLabels();
  int64_t rows = 1, columns = 1, summed = 1;
  for (auto [d, letter] : llvm::enumerate(left)) {
    int64_t size = nn::shapeOf(op.getLhs())[d];
    if (!result.contains(letter))
      summed *= size;
    else if (!right.contains(letter))
      rows *= size;
  }
  for (auto [d, letter] : llvm::enumerate(right))
    if (!left.contains(letter))
      columns *= nn::shapeOf(op.getRhs())[d];
  return rows > 1 && columns > 1 && summed > 1;
}

class Narrower {
public:
  /// The value in bfloat16.
  Value twin(Value wide) {
    if (auto known = twins_.find(wide); known != twins_.end())
      return known->second;
    Value narrow = make(wide);
    twins_[wide] = narrow;
    return narrow;
  }

private:
  Value make(Value wide) {
    OpBuilder builder(wide.getContext());
    builder.setInsertionPointAfterValue(wide);
    RankedTensorType type = nn::typeOf(wide).clone(builder.getBF16Type());
    Operation *op = wide.getDefiningOp();
    if (!op)
      if (Value argument = loopArgument(cast<BlockArgument>(wide), type))
        return argument;
    if (nn::isView(op)) {
      IRMapping map;
      map.map(op->getOperand(0), twin(op->getOperand(0)));
      Operation *view = builder.clone(*op, map);
      view->getResult(0).setType(type);
      return view->getResult(0);
    }
    if (auto widened = dyn_cast_if_present<arith::ExtFOp>(op); widened && widened.getIn().getType() == type)
      return widened.getIn();
    if (auto parameter = dyn_cast_if_present<rl::ParameterOp>(op))
      return rl::ParameterOp::create(builder, op->getLoc(), type, parameter.getName(), parameter.getTrained());
    return arith::TruncFOp::create(builder, wide.getLoc(), type, wide);
  }

  /// The argument of a token loop that stands for the twin of what `argument` stands for; null for other arguments.
  Value loopArgument(BlockArgument argument, RankedTensorType type) {
    auto loop = dyn_cast<rl::TokenLoopOp>(argument.getOwner()->getParentOp());
    if (!loop)
      return Value();
    auto tokens = static_cast<unsigned>(loop.getTokens().size());
    unsigned index = argument.getArgNumber();
    bool perToken = index < tokens;
    Value narrow = twin(perToken ? loop.getTokens()[index] : loop.getWhole()[index - tokens]);
    (perToken ? loop.getTokensMutable() : loop.getWholeMutable()).append(narrow);
    unsigned at = perToken ? tokens : argument.getOwner()->getNumArguments();
    return argument.getOwner()->insertArgument(at, type, argument.getLoc());
  }

  llvm::DenseMap<Value, Value> twins_;
};

/// Takes out what a loop no longer reads.
void dropUnusedArguments(rl::TokenLoopOp loop) {
  Block &body = *loop.getBlock();
  for (unsigned index = body.getNumArguments(); index-- > 0;)
    if (body.getArgument(index).use_empty()) {
      auto tokens = static_cast<unsigned>(loop.getTokens().size());
      if (index < tokens)
        loop.getTokensMutable().erase(index);
      else
        loop.getWholeMutable().erase(index - tokens);
      body.eraseArgument(index);
    }
}

} // namespace

int narrowProducts(func::FuncOp function) {
  SmallVector<nn::ContractOp> products;
  function.walk([&](nn::ContractOp op) {
    if (nn::typeOf(op.getLhs()).getElementType().isF32() && isMatrixProduct(op))
      products.push_back(op);
  });
  Narrower narrower;
  for (nn::ContractOp op : products) {
    op.getLhsMutable().assign(narrower.twin(op.getLhs()));
    op.getRhsMutable().assign(narrower.twin(op.getRhs()));
  }
  function.walk(dropUnusedArguments);
  return static_cast<int>(products.size());
}

std::set<std::string> narrowParameters(ModuleOp module) {
  std::set<std::string> names;
  module.walk([&](rl::ParameterOp op) {
    if (nn::typeOf(op.getResult()).getElementType().isBF16())
      names.insert(op.getName().str());
  });
  return names;
}

} // namespace graft
