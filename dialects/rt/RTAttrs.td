// Attributes of the rt dialect.
#ifndef GRAFT_RT_ATTRS
#define GRAFT_RT_ATTRS

include "dialects/rt/RTDialect.td"
include "mlir/IR/AttrTypeBase.td"
include "mlir/IR/EnumAttr.td"

def RT_ReductionKind : I32EnumAttr<"ReductionKind", "how a sweep folds the values of a row into one", [
    I32EnumAttrCase<"Add", 0, "add">,
    I32EnumAttrCase<"Max", 1, "max">,
    I32EnumAttrCase<"Min", 2, "min">,
    I32EnumAttrCase<"And", 3, "and">,
    I32EnumAttrCase<"Or", 4, "or">]> {
  let cppNamespace = "::graft::rt";
  let genSpecializedAttr = 0;
}

def RT_ReductionKindAttr : EnumAttr<RT_Dialect, RT_ReductionKind, "reduction"> {
  let description = [{
    `add`: sum, of f32, f64, i32 or i64. `max`, `min`: of f32, f64 (NaN is ignored; the neutral value is -inf, +inf), i32 or i64 (signed).
    `and`, `or`: of i1. The order of a floating-point sum is fixed by the program's columns alone, never by the threads.
  }];
}

def RT_ReductionKindArrayAttr : TypedArrayAttrBase<RT_ReductionKindAttr, "array of reduction kinds">;

#endif
