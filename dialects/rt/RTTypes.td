// Types of the rt dialect.
#ifndef GRAFT_RT_TYPES
#define GRAFT_RT_TYPES

include "dialects/rt/RTDialect.td"
include "mlir/IR/AttrTypeBase.td"

class RT_Type<string name, string typeMnemonic> : TypeDef<RT_Dialect, name> {
  let mnemonic = typeMnemonic;
}

def RT_AccessType : RT_Type<"Access", "access"> {
  let summary = "how a row program reaches one operand";
  let description = [{
    Maps (row, column) to an element of one operand: `base + sum(row[d] * rowStrides[d]) + column * columnStride`, in elements.
    A stride of 0 repeats the operand along that dimension. Column stride 1 is a contiguous row, 0 is one value per row.

    Element types as stored: f32, f64, bf16, f16, i64, i32, i1 (one byte, zero or not). Short floats are computed with in f32, the
    others as they are; the emitter converts at loads and stores.

    Flags, in this order, all optional:
    - `accumulate`: written by adding. The first row of a group stores, the others add to it, in row order.
    - `noalias`: no other operand of the kernel overlaps this one.
    - `nontemporal`: written past the caches, for outputs that are read much later.
    - `align N`: element (0, ..., 0) lies on a multiple of N bytes; the size of an element if absent.

    Without `noalias`, two operands of one kernel may be the same memory only when every (row, column) has the same address in both.

    1. The element type is one of those above.
    2. Strides are not negative; the column stride is 0 or 1 (a larger one is a transpose or a gather, not a row program).
    3. `align` is a power of two, from the element's size to 4096.
    4. `accumulate` needs f32 and excludes `nontemporal`, which needs a column stride of 1.

    Example: `!rt.access<bf16, [82944, 576], 1, noalias, align 64>`
  }];
  let parameters = (ins "::mlir::Type":$elementType, ArrayRefParameter<"int64_t">:$rowStrides, "int64_t":$columnStride,
                        "bool":$accumulate, "bool":$noalias, "bool":$nontemporal, "int64_t":$align);
  let builders = [
    TypeBuilderWithInferredContext<(ins "::mlir::Type":$elementType, "::llvm::ArrayRef<int64_t>":$rowStrides,
                                        "int64_t":$columnStride, CArg<"::graft::rt::AccessFlags", "{}">:$flags)>
  ];
  let extraClassDeclaration = [{
    /// Bytes of one stored element.
    int64_t getElementBytes() const;
    /// The type of a loaded or stored value: f32 for bf16 and f16, otherwise the element type.
    ::mlir::Type getComputeType() const;
    /// One value per row: for rt.load, rt.store and as a broadcast input of a sweep.
    bool isPerRow() const { return getColumnStride() == 0; }
    /// Number of elements from the first to the last that `rows x columns` reaches. The caller checks that it cannot overflow.
    int64_t getExtent(::llvm::ArrayRef<int64_t> rows, int64_t columns) const;
    /// The alignment in bytes of every vector of `width` elements of a row that begins at a multiple of `width` columns.
    int64_t getVectorAlignment(int64_t width) const;
  }];
  let hasCustomAssemblyFormat = 1;
  let genVerifyDecl = 1;
}

def RT_ScratchType : RT_Type<"Scratch", "scratch"> {
  let summary = "one row of values that live within a row";
  let description = [{
    `columns` values of f32, written and read by sweeps of one row and undefined when the next row begins.

    Example: `!rt.scratch<f32>`
  }];
  let parameters = (ins "::mlir::Type":$elementType);
  let assemblyFormat = "`<` $elementType `>`";
  let genVerifyDecl = 1;
}

#endif
