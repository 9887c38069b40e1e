// The four things that hang on an operator: its gradient, its sharding factors, its cost, its reference evaluation.
// arith and math operators implement them through external models (Elementwise.cpp).
#ifndef GRAFT_NN_INTERFACES
#define GRAFT_NN_INTERFACES

include "mlir/IR/OpBase.td"

def DifferentiableOpInterface : OpInterface<"DifferentiableOpInterface"> {
  let description = [{
    Builds the vector-Jacobian product of an operator with `nn`, `arith` and `math` operators.
    Operands of integer and boolean type have no gradient and are never asked for.
  }];
  let cppNamespace = "::graft::nn";
  let methods = [
    InterfaceMethod<[{
      `cotangents` holds one value per result, of the result's type; null where the result's cotangent is zero.
      Returns one value per operand: its cotangent, of the operand's type, where `wanted` is set and it is not
      structurally zero; null elsewhere. Fails, with an error on the operator, where no gradient is defined. Values may be built at the builder's insertion point only.
    }], "::mlir::FailureOr<::llvm::SmallVector<::mlir::Value>>", "buildVJP",
      (ins "::mlir::OpBuilder &":$builder, "::mlir::ValueRange":$cotangents, "::llvm::ArrayRef<bool>":$wanted)>
  ];
}

def ShardingRuleOpInterface : OpInterface<"ShardingRuleOpInterface"> {
  let description = [{ Maps every dimension of every operand and result to factors, as an einsum does (Factors.h). }];
  let cppNamespace = "::graft::nn";
  let methods = [InterfaceMethod<"The rule, valid for the operator's static shapes.", "::graft::nn::ShardingRule", "getShardingRule">];
}

def CostOpInterface : OpInterface<"CostOpInterface"> {
  let description = [{ What executing the operator once costs, and whether recomputing it is allowed and cheap. }];
  let cppNamespace = "::graft::nn";
  let methods = [
    InterfaceMethod<"Floating-point operations and bytes read and written, counted from the factors.", "::graft::nn::Cost", "getCost">,
    InterfaceMethod<"May it be replayed in the backward pass, and at what price?", "::graft::nn::RecomputeClass", "getRecomputeClass">
  ];
}

def EvaluateOpInterface : OpInterface<"EvaluateOpInterface"> {
  let description = [{ Reference semantics in float64 (integers in int64), written for reading, not for speed. }];
  let cppNamespace = "::graft::nn";
  let methods = [
    InterfaceMethod<[{
      Computes one tensor per result. Operands have the shapes of the operator's types. Fails with an error on the operator
      where the semantics are undefined (an index out of range, an integer division by zero).
    }], "::mlir::FailureOr<::llvm::SmallVector<::graft::Tensor>>", "evaluate", (ins "::llvm::ArrayRef<::graft::Tensor>":$operands)>
  ];
}

#endif
