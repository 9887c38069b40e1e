// From a function to an entry of the program: kernels, library calls, buffers with offsets.
#pragma once

#include "passes/codegen/CompileKernels.h"
#include "runtime/program/Program_generated.h"

#include "mlir/Dialect/Func/IR/FuncOps.h"

#include <set>
#include <string>

namespace graft {

/// A program under construction: its tables, the entries so far, and the row programs that they call.
struct LoweredEntries {
  schema::ProgramT program;
  mlir::OwningOpRef<mlir::ModuleOp> kernels;

  LoweredEntries clone() { return {program, kernels->clone()}; }
  /// Drops the entries that `earlier`, from which this was cloned, does not have, and everything that was added for
  /// them.
  void goBackTo(LoweredEntries &earlier);
};

/// Before lowerEntry(), once: structured operators become primitives (Decompose.h), equal operators one.
mlir::LogicalResult prepareEntry(mlir::func::FuncOp function);

/// Lowers `function` (which is rewritten on the way) to a new entry of `program`, named as the function.
///   Requires  prepareEntry(); arguments and results with the attribute rl.name; every rl.parameter in
///   program.parameters; operators of nn, rl,
///             arith, math with float32, integer and boolean elements.
///   Ensures   arguments are inputs, results are outputs; a result "grad.NAME" is written to the gradient of the
///   trained parameter
///             NAME. Row programs are appended to the module `kernels`. Arena offsets are assigned.
/// Errors are emitted on the operators that cannot be compiled, all of them.
/// `adds`: the entry is named NAME_more, and gradients are added to what their buffers hold: what every micro-batch but
/// the first runs.
mlir::LogicalResult lowerEntry(mlir::func::FuncOp function, schema::ProgramT &program, mlir::ModuleOp kernels,
                               bool adds = false);

/// Compiles the row programs of `kernels`, in the order in which lowerEntry() appended them, into the program's kernel
/// table and one object.
Status compileKernels(mlir::ModuleOp kernels, schema::ProgramT &program, const CodegenOptions &options);

/// Fills offsets and the block sizes of the program's parameters, in their order; trained ones need `trained` set.
/// Those named in `workingCopies` get a bfloat16 copy.
void layOutParameters(schema::ProgramT &program, const std::set<std::string> &workingCopies = {});

} // namespace graft
