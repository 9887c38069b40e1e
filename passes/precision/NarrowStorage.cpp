#include "passes/precision/NarrowStorage.h"

#include "dialects/nn/NNDialect.h"
#include "dialects/rl/RLDialect.h"

using namespace mlir;

namespace graft {

namespace {

/// Rows of an even number of bfloat16s are moved as float32s are (passes/lower).
bool gathersRows(nn::GatherOp gather, Value table) {
  auto shape = nn::shapeOf(table);
  int64_t width = shape[0] ? nn::typeOf(table).getNumElements() / shape[0] : 0;
  return gather.getData() == table && gather.getAxis() == 0 && width % 2 == 0;
}

} // namespace

std::set<std::string> narrowStorage(func::FuncOp function) {
  SmallVector<rl::ParameterOp> parameters;
  function.walk([&](rl::ParameterOp op) {
    RankedTensorType type = nn::typeOf(op.getResult());
    if (op.getTrained() && type.getElementType().isF32() && type.getRank() >= 2)
      parameters.push_back(op);
  });
  std::set<std::string> names;
  for (rl::ParameterOp op : parameters) {
    names.insert(op.getName().str());
    OpBuilder builder(op);
    Type bf16 = builder.getBF16Type();
    RankedTensorType wideType = nn::typeOf(op.getResult());
    Value narrow = rl::ParameterOp::create(builder, op.getLoc(), wideType.clone(bf16), op.getName(), op.getTrained());
    for (Operation *user : llvm::make_early_inc_range(op->getUsers()))
      if (auto gather = dyn_cast<nn::GatherOp>(user); gather && gathersRows(gather, op.getResult())) {
        builder.setInsertionPointAfter(gather);
        auto taken = cast<nn::GatherOp>(builder.clone(*gather));
        taken.getDataMutable().assign(narrow);
        RankedTensorType type = nn::typeOf(gather.getResult());
        taken.getResult().setType(type.clone(bf16));
        gather.replaceAllUsesWith(arith::ExtFOp::create(builder, gather.getLoc(), type, taken.getResult()).getResult());
        gather.erase();
      }
    builder.setInsertionPoint(op);
    if (!op->use_empty())
      op.replaceAllUsesWith(arith::ExtFOp::create(builder, op.getLoc(), wideType, narrow).getResult());
    op.erase();
  }
  return names;
}

} // namespace graft
