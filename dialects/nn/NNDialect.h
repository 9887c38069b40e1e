// The nn dialect: what a language model computes. NNOps.td is the manual.
#pragma once

#include "dialects/nn/Factors.h"
#include "dialects/reference/Tensor.h"

#include "mlir/Bytecode/BytecodeOpInterface.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Math/IR/Math.h"
#include "mlir/IR/Builders.h"
#include "mlir/IR/BuiltinTypes.h"
#include "mlir/IR/Dialect.h"
#include "mlir/IR/OpDefinition.h"
#include "mlir/Interfaces/InferTypeOpInterface.h"
#include "mlir/Interfaces/SideEffectInterfaces.h"

#include <array>

#include "dialects/nn/NNDialect.h.inc"
#include "dialects/nn/NNEnums.h.inc"
#include "dialects/nn/NNInterfaces.h.inc"

#define GET_ATTRDEF_CLASSES
#include "dialects/nn/NNAttrs.h.inc"

#define GET_OP_CLASSES
#include "dialects/nn/NNOps.h.inc"

namespace graft::nn {

/// Registers nn, arith, math and func, and attaches the four interfaces to the arith and math operators
/// (Elementwise.cpp).
void registerDialects(mlir::DialectRegistry &registry);

/// True for operators that work element by element on tensors of one shape, with at least one operand; false for null.
inline bool isElementwise(mlir::Operation *op) {
  if (!op || op->getNumOperands() == 0 || op->getNumResults() != 1)
    return false;
  return llvm::isa<SigmoidOp, SoftplusOp>(op) || mlir::OpTrait::hasElementwiseMappableTraits(op);
}

/// True for operators that move no data: nn.reshape, transpose, slice, broadcast; false for null.
inline bool isView(mlir::Operation *op) {
  return llvm::isa_and_nonnull<ReshapeOp, TransposeOp, SliceOp, BroadcastOp>(op);
}

/// The static shape of a ranked tensor value.
inline llvm::ArrayRef<int64_t> shapeOf(mlir::Value value) {
  return llvm::cast<mlir::RankedTensorType>(value.getType()).getShape();
}
inline mlir::RankedTensorType typeOf(mlir::Value value) {
  return llvm::cast<mlir::RankedTensorType>(value.getType());
}
/// One value per row: the type without its last dimension.
inline mlir::RankedTensorType rowType(mlir::Type type) {
  auto tensor = llvm::cast<mlir::RankedTensorType>(type);
  return tensor.getRank() == 0 ? tensor : tensor.clone(tensor.getShape().drop_back());
}

} // namespace graft::nn
