// Operations of the rt dialect. RTOps.td is the manual; README.md says why they are as they are.
//
// A row program from C++:
//
//   auto f32 = builder.getF32Type();
//   auto rows = AccessType::get(f32, /*rowStrides=*/{576}, /*columnStride=*/1);
//   auto program = RowProgramOp::create(builder, loc, "double_it", /*rows=*/{1024}, /*columns=*/576, /*group=*/1,
//   {rows, rows}); OpBuilder::InsertionGuard guard(builder); builder.setInsertionPointToEnd(program.getBody()); Value x
//   = program.getArgument(0), y = program.getArgument(1); SweepOp::create(builder, loc, /*inputs=*/x, /*writes=*/y,
//   /*reductions=*/{}, /*reducedTypes=*/{},
//                   [](OpBuilder &b, Location loc, ValueRange in) -> SmallVector<Value> {
//                     return {arith::AddFOp::create(b, loc, in[0], in[0])};   // becomes rt.yield
//                   });
#pragma once

#include "dialects/rt/RTDialect.h"
#include "mlir/Bytecode/BytecodeOpInterface.h"
#include "mlir/IR/Builders.h"
#include "mlir/IR/BuiltinOps.h"
#include "mlir/IR/OpImplementation.h"
#include "mlir/IR/SymbolTable.h"
#include "mlir/Interfaces/SideEffectInterfaces.h"

namespace graft::rt {
class YieldOp;

/// The largest sum of all scratch rows of a program, in bytes: they live on the stack of the thread that runs it.
constexpr int64_t kMaxScratchBytes = int64_t(2) << 20;

/// The type in which values of an access, a scratch row or an element type are computed with: f32 for bf16 and f16.
mlir::Type computeType(mlir::Type type);

/// True for a use of an access that writes through it; false for one that reads.
bool isWrite(mlir::OpOperand &use);

/// On the module around row programs: some target of theirs runs the columns of a row in any order, as a GPU does, not
/// from the first to the last. Then nothing narrower may be written where a row is read.
constexpr llvm::StringLiteral anyOrderAttribute = "rt.any_order";
/// False for the programs of such a module.
bool runsColumnsInOrder(mlir::ModuleOp programs);

} // namespace graft::rt

#define GET_OP_CLASSES
#include "dialects/rt/RTOps.h.inc"
