// Type inference and small accessors of the nn operators.
#include "dialects/nn/NNDialect.h"

using namespace mlir;

/// "(q, k, v [, valid] [, segments] [, bias]) -> result": which of the optional operands there are shows in their
/// element types; the type of `lse` follows from the query's.
static ParseResult parseAttentionTypes(OpAsmParser &parser, Type &query, Type &key, Type &value, Type &valid,
                                       Type &segments, Type &bias, Type &result, Type &lse) {
  FunctionType types;
  SMLoc loc = parser.getCurrentLocation();
  if (parser.parseType(types))
    return failure();
  if (types.getNumInputs() < 3 || types.getNumResults() != 1 || !isa<RankedTensorType>(types.getInput(0)))
    return parser.emitError(loc, "expected types of query, key and value, and of one result");
  query = types.getInput(0), key = types.getInput(1), value = types.getInput(2);
  for (Type type : types.getInputs().drop_front(3)) {
    Type element = getElementTypeOrSelf(type);
    (element.isInteger(1) ? valid : isa<IntegerType>(element) ? segments : bias) = type;
  }
  result = types.getResult(0);
  lse = graft::nn::rowType(query);
  return success();
}

static void printAttentionTypes(OpAsmPrinter &printer, Operation *op, Type, Type, Type, Type, Type, Type, Type result,
                                Type) {
  printer << FunctionType::get(op->getContext(), op->getOperandTypes(), result);
}

#define GET_OP_CLASSES
#include "dialects/nn/NNOps.cpp.inc"

namespace graft::nn {

LogicalResult TransposeOp::inferReturnTypes(MLIRContext *, std::optional<Location>, Adaptor adaptor,
                                            SmallVectorImpl<Type> &types) {
  auto input = cast<RankedTensorType>(adaptor.getInput().getType());
  SmallVector<int64_t> shape;
  for (int64_t d : adaptor.getPermutation()) {
    if (d < 0 || d >= input.getRank())
      return failure();
    shape.push_back(input.getDimSize(d));
  }
  types.push_back(input.clone(shape));
  return success();
}

LogicalResult ReduceOp::inferReturnTypes(MLIRContext *, std::optional<Location>, Adaptor adaptor,
                                         SmallVectorImpl<Type> &types) {
  auto input = cast<RankedTensorType>(adaptor.getInput().getType());
  SmallVector<int64_t> shape;
  for (int64_t d = 0; d < input.getRank(); ++d)
    if (!llvm::is_contained(adaptor.getAxes(), d))
      shape.push_back(input.getDimSize(d));
  types.push_back(input.clone(shape));
  return success();
}

std::array<StringRef, 3> ContractOp::getLabels() {
  auto [inputs, result] = getEquation().split("->");
  auto [lhs, rhs] = inputs.split(',');
  return {lhs, rhs, result};
}

} // namespace graft::nn
