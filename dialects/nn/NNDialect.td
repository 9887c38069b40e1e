#ifndef GRAFT_NN_DIALECT
#define GRAFT_NN_DIALECT

include "mlir/IR/OpBase.td"
include "mlir/IR/AttrTypeBase.td"
include "mlir/IR/EnumAttr.td"
include "mlir/Interfaces/SideEffectInterfaces.td"
include "mlir/Interfaces/InferTypeOpInterface.td"
include "dialects/nn/NNInterfaces.td"

def NNDialect : Dialect {
  let name = "nn";
  let summary = "What a language model computes: structured tensor operators";
  let description = [{
    Functional operators on ranked tensors of static shape. Element-wise arithmetic is `arith` and `math` on tensors of
    equal shape; broadcasting is always explicit (`nn.broadcast`). Models no memory, no devices, no training.
  }];
  let cppNamespace = "::graft::nn";
  let dependentDialects = ["::mlir::arith::ArithDialect", "::mlir::math::MathDialect"];
  let useDefaultAttributePrinterParser = 1;
  let hasConstantMaterializer = 1;
}

def FloatTensor : StaticShapeTensorOf<[F64, F32, F16, BF16]>;
def IntegerTensor : StaticShapeTensorOf<[I64, I32]>;
def BooleanTensor : StaticShapeTensorOf<[I1]>;
def NNTensor : StaticShapeTensorOf<[F64, F32, F16, BF16, I64, I32, I8, I1]>;

/// An operator of the dialect: pure, with all four interfaces.
class NNOp<string mnemonic, list<Trait> traits = []> : Op<NNDialect, mnemonic, !listconcat([Pure,
    DeclareOpInterfaceMethods<DifferentiableOpInterface>, DeclareOpInterfaceMethods<ShardingRuleOpInterface>,
    DeclareOpInterfaceMethods<CostOpInterface>, DeclareOpInterfaceMethods<EvaluateOpInterface>], traits)>;

// Here, not in NNOps.td, because reductions of rl have it too.
def ReduceKind : I32EnumAttr<"ReduceKind", "how elements are combined", [
    I32EnumAttrCase<"Sum", 0, "sum">, I32EnumAttrCase<"Max", 1, "max">, I32EnumAttrCase<"Min", 2, "min">, I32EnumAttrCase<"Prod", 3, "prod">]> {
  let cppNamespace = "::graft::nn";
  let genSpecializedAttr = 0;
}
def ReduceKindAttr : EnumAttr<NNDialect, ReduceKind, "reduce_kind">;

#endif
