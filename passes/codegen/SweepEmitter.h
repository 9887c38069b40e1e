// Writes one sweep of a row as a loop over vectors.
#pragma once

#include "mlir/IR/IRMapping.h"
#include "passes/codegen/TargetPolicy.h"

namespace graft {

/// Where the current row of an access or a scratch row lies.
struct RowPointer {
  rt::AccessType access; ///< null for scratch
  mlir::Value buffer;    ///< one-dimensional memref of storage elements
  mlir::Value base;      ///< index of the row's first element; null: 0
};

/// What a row's operations see: the scalars emitted so far, where operands lie, and the row's place in its group.
struct RowContext {
  explicit RowContext(TargetPolicy &policy) : policy(policy) {}

  mlir::IRMapping values;                           ///< of the row program -> emitted scalars
  llvm::DenseMap<mlir::Value, RowPointer> pointers; ///< arguments and scratch
  mlir::Value isFirst;                              ///< i1: first row of its group; null: the group is one row
  TargetPolicy &policy;
};

/// The index of the row's element `column` (null: 0) in the pointer's buffer.
mlir::Value elementIndex(mlir::OpBuilder &builder, mlir::Location loc, const RowPointer &pointer, mlir::Value column);

/// Reads or writes the one value that a column-stride-0 access has for the row. An accumulate access adds.
mlir::Value loadPerRow(mlir::OpBuilder &builder, mlir::Location loc, const RowPointer &pointer);
void storePerRow(mlir::OpBuilder &builder, mlir::Location loc, const RowPointer &pointer, mlir::Value value,
                 const RowContext &row);

/// A scalar operation of a row program, copied onto mapped operands at the shape of `shape` (scalar or vector type);
/// the copy may contract multiplication and addition.
mlir::Value copyScalarOp(mlir::OpBuilder &builder, mlir::Operation &op, mlir::IRMapping &values, mlir::Type shape,
                         const TargetPolicy &policy);

/// Writes the sweep at the builder's place; maps its results in `row.values`.
void emitSweep(mlir::OpBuilder &builder, rt::SweepOp sweep, RowContext &row);

} // namespace graft
