// Operations of the rt dialect. The numbers of the rules stand again at the checks in RTVerifiers.cpp and at the negative tests.
#ifndef GRAFT_RT_OPS
#define GRAFT_RT_OPS

include "dialects/rt/RTAttrs.td"
include "dialects/rt/RTDialect.td"
include "dialects/rt/RTTypes.td"
include "mlir/IR/OpBase.td"
include "mlir/IR/RegionKindInterface.td"
include "mlir/IR/SymbolInterfaces.td"
include "mlir/Interfaces/SideEffectInterfaces.td"

class RT_Op<string mnemonic, list<Trait> traits = []> : Op<RT_Dialect, mnemonic, traits>;

def RT_AccessOrScratch : AnyTypeOf<[RT_AccessType, RT_ScratchType]>;
def RT_Scalar : AnyTypeOf<[F32, F64, I1, I32, I64], "f32, f64, i1, i32 or i64">;
def RT_Index : AnyTypeOf<[I32, I64], "i32 or i64">;

def RT_RowProgramOp : RT_Op<"row_program", [Symbol, IsolatedFromAbove, SingleBlock, NoTerminator]> {
  let summary = "kernel over rows and columns";
  let description = [{
    Runs the body once for every row of the row space `rows` (row-major, the last dimension fastest). Values of the body are
    scalars of the row; sweeps run over its `columns`. The compiled kernel has the C signature

        void NAME(void *const *operands, int64_t unitBegin, int64_t unitEnd)

    with one pointer per argument, in order, to element (0, ..., 0; 0) of each access. A *unit* is a *group* of consecutive rows,
    the product of trailing row dimensions; one row if not said. Units are independent and may run in any order and on any thread;
    the rows of a unit run in order, which is what an `accumulate` access needs. Hence a kernel gives the same bits for any
    number of threads.

    1. `rows` has 1 to 8 dimensions of at least 1, `columns` is at least 1, and rows times columns fits in 62 bits.
    2. `group` is the product of some trailing row dimensions (1: none of them).
    3. Every argument is an access with one stride per row dimension, and it reaches less than 2^62 bytes.
    4. The body has scalar `arith` and `math` operations and those of this dialect, nothing else.
    5. A written access that does not accumulate never maps two rows to one element: sorted, each row stride is at least the
       span of the smaller ones.
    6. An `accumulate` access has stride 0 along the dimensions of the group, obeys rule 5 along the others, is written exactly
       once and never read.
    7. A `nontemporal` access is written and never read, and its rows begin on multiples of 64 bytes.
    8. Scratch rows take at most 2 MiB together.
    9. Scratch is written before it is read.

    Example:

    ```mlir
    rt.row_program @rmsnorm rows [1024] columns 576
        (%x: !rt.access<f32, [576], 1>, %w: !rt.access<f32, [0], 1>, %y: !rt.access<f32, [576], 1>) {
      %inverse = arith.constant 1.736111e-03 : f32
      %ss = rt.sweep (%a = %x : !rt.access<f32, [576], 1>) reduces (add : f32) {
        %q = arith.mulf %a, %a : f32
        rt.yield %q : f32
      }
      %mean = arith.mulf %ss, %inverse : f32
      %r = math.rsqrt %mean : f32
      rt.sweep (%a = %x : !rt.access<f32, [576], 1>, %b = %w : !rt.access<f32, [0], 1>) writes (%y : !rt.access<f32, [576], 1>) {
        %t = arith.mulf %a, %r : f32
        %u = arith.mulf %t, %b : f32
        rt.yield %u : f32
      }
    }
    ```
  }];
  let arguments = (ins SymbolNameAttr:$sym_name, DenseI64ArrayAttr:$rows, I64Attr:$columns, DefaultValuedAttr<I64Attr, "1">:$group);
  let regions = (region SizedRegion<1>:$region);
  let skipDefaultBuilders = 1;
  let builders = [
    OpBuilder<(ins "::llvm::StringRef":$name, "::llvm::ArrayRef<int64_t>":$rows, "int64_t":$columns, "int64_t":$group,
                   "::llvm::ArrayRef<::graft::rt::AccessType>":$accesses)>
  ];
  let extraClassDeclaration = [{
    /// The access types of the arguments, in order.
    ::llvm::SmallVector<AccessType> getAccesses();
    /// Number of rows; of units, the range of the compiled kernel's unit arguments.
    int64_t getRowCount();
    int64_t getUnitCount() { return getRowCount() / static_cast<int64_t>(getGroup()); }
    /// Number of leading row dimensions that enumerate units; the others enumerate the rows of a unit.
    size_t getUnitRank();
    /// True if argument `written` could be the memory of argument `read`: rows begin at the same addresses in both, their elements have
    /// one size or, where columns run in order, those that are written are smaller; and nothing reads the one after the other was
    /// written. Before it is, both must lose their `noalias`: letRunInPlace().
    bool runsInPlace(unsigned read, unsigned written);
    /// All such pairs, (read, written), in order.
    ::llvm::SmallVector<std::pair<unsigned, unsigned>> getInPlacePairs();
    /// Takes `noalias` from both arguments of such a pair.
    void letRunInPlace(unsigned read, unsigned written);
    /// Have both arguments of such a pair no `noalias`?
    bool mayRunInPlace(unsigned read, unsigned written);
  }];
  let hasCustomAssemblyFormat = 1;
  let hasVerifier = 1;
  let hasRegionVerifier = 1;
}

def RT_SweepOp : RT_Op<"sweep", [HasParent<"RowProgramOp">, SingleBlock, AttrSizedOperandSegments]> {
  let summary = "element-wise pass over a row's columns";
  let description = [{
    Runs its region once for every column of the row: each input's element is a block argument, `rt.yield` gives first one value
    for each written operand, in order, then one value to fold for each reduction. The sweep's results are the folded values.
    Values of the row may be used inside. All elements of a column are read before any is written.

    1. One block argument per input, of the input's compute type.
    2. `rt.yield` has one operand per written operand and per reduction, of the written operand's compute type and of the
       reduction's result type.
    3. Accesses are arguments of the row program.
    4. A written access has column stride 1, and nothing is written twice in one sweep.
    5. A reduction fits its type: add, max, min take f32, f64, i32, i64; and, or take i1.
    6. The region has scalar `arith` and `math` operations and `rt.column_index`, nothing else.

    Example: `%m = rt.sweep (%a = %x : !rt.access<f32, [576], 1>) reduces (max : f32) { rt.yield %a : f32 }`
  }];
  let arguments = (ins Variadic<RT_AccessOrScratch>:$inputs, Variadic<RT_AccessOrScratch>:$writes, RT_ReductionKindArrayAttr:$reductions);
  let results = (outs Variadic<RT_Scalar>:$reduced);
  let regions = (region SizedRegion<1>:$region);
  let skipDefaultBuilders = 1;
  let builders = [
    OpBuilder<(ins "::mlir::ValueRange":$inputs, "::mlir::ValueRange":$writes, "::llvm::ArrayRef<::graft::rt::ReductionKind>":$reductions,
                   "::mlir::TypeRange":$reducedTypes,
                   "::llvm::function_ref<::llvm::SmallVector<::mlir::Value>(::mlir::OpBuilder &, ::mlir::Location, ::mlir::ValueRange)>":$body)>
  ];
  let extraClassDeclaration = [{
    ReductionKind getReductionKind(unsigned index) { return ::llvm::cast<ReductionKindAttr>(getReductions()[index]).getValue(); }
    YieldOp getYield();
  }];
  let hasCustomAssemblyFormat = 1;
  let hasVerifier = 1;
  let hasRegionVerifier = 1;
}

def RT_YieldOp : RT_Op<"yield", [Pure, Terminator, HasParent<"SweepOp">]> {
  let summary = "a column's written and folded values";
  let description = [{
    Ends a sweep's region; see `rt.sweep` for what it yields.

    Example: `rt.yield %y, %sum : f32, f32`
  }];
  let arguments = (ins Variadic<RT_Scalar>:$values);
  let assemblyFormat = "attr-dict ($values^ `:` type($values))?";
}

def RT_LoadOp : RT_Op<"load", [HasParent<"RowProgramOp">, MemoryEffects<[MemRead]>]> {
  let summary = "value of the row";
  let description = [{
    Reads one value per row.

    1. The access is an argument of the row program with column stride 0 that does not accumulate.
    2. The result has the access's compute type.

    Example: `%r = rt.load %rstd : !rt.access<f32, [1], 0> -> f32`
  }];
  let arguments = (ins RT_AccessType:$access);
  let results = (outs RT_Scalar:$value);
  let builders = [OpBuilder<(ins "::mlir::Value":$access)>];
  let assemblyFormat = "$access attr-dict `:` qualified(type($access)) `->` type($value)";
  let hasVerifier = 1;
}

def RT_StoreOp : RT_Op<"store", [HasParent<"RowProgramOp">, MemoryEffects<[MemWrite]>]> {
  let summary = "writes a value of the row";
  let description = [{
    Writes one value per row; with an `accumulate` access, adds it to the group's value.

    1. The access is an argument of the row program with column stride 0.
    2. The value has the access's compute type.

    Example: `rt.store %r, %rstd : f32, !rt.access<f32, [1], 0>`
  }];
  let arguments = (ins RT_Scalar:$value, RT_AccessType:$access);
  let assemblyFormat = "$value `,` $access attr-dict `:` type($value) `,` qualified(type($access))";
  let hasVerifier = 1;
}

def RT_ScratchOp : RT_Op<"scratch", [HasParent<"RowProgramOp">]> {
  let summary = "one row of temporary values";
  let description = [{
    A row of `columns` values that a later sweep of the same row reads again, so that nothing is computed twice.

    Example: `%e = rt.scratch : !rt.scratch<f32>`
  }];
  let results = (outs RT_ScratchType:$row);
  let builders = [OpBuilder<(ins), [{ build($_builder, $_state, ScratchType::get($_builder.getContext(), $_builder.getF32Type())); }]>];
  let assemblyFormat = "attr-dict `:` qualified(type($row))";
}

def RT_RowIndexOp : RT_Op<"row_index", [Pure, HasParent<"RowProgramOp">]> {
  let summary = "the row's index along one dimension";
  let description = [{
    1. `dimension` is one of the row space, and its size fits in the result's type.

    Example: `%i = rt.row_index 1 : i32`
  }];
  let arguments = (ins I64Attr:$dimension);
  let results = (outs RT_Index:$index);
  let assemblyFormat = "$dimension attr-dict `:` type($index)";
  let hasVerifier = 1;
}

def RT_ColumnIndexOp : RT_Op<"column_index", [Pure, HasParent<"SweepOp">]> {
  let summary = "the column's index";
  let description = [{
    1. The number of columns fits in the result's type.

    Example: `%j = rt.column_index : i32`
  }];
  let results = (outs RT_Index:$index);
  let assemblyFormat = "attr-dict `:` type($index)";
  let hasVerifier = 1;
}

#endif
