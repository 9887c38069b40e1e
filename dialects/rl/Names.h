// Names of a function's arguments and results: the attribute rl.name.
#pragma once

#include "dialects/rl/RLDialect.h"

#include "mlir/Dialect/Func/IR/FuncOps.h"

namespace graft {

/// The name of an argument or a result; empty if it has none.
llvm::StringRef argumentName(mlir::func::FuncOp function, unsigned index);
llvm::StringRef resultName(mlir::func::FuncOp function, unsigned index);
/// The argument of this name; null if there is none.
mlir::Value findArgument(mlir::func::FuncOp function, llvm::StringRef name);
/// A new last argument.
mlir::BlockArgument addArgument(mlir::func::FuncOp function, llvm::StringRef name, mlir::Type type);

} // namespace graft
