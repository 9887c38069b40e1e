// The rt dialect: what runs. For now its smallest unit of computation, the row program.
#ifndef GRAFT_RT_DIALECT
#define GRAFT_RT_DIALECT

include "mlir/IR/OpBase.td"

def RT_Dialect : Dialect {
  let name = "rt";
  let summary = "What runs: kernels as row programs";
  let description = [{
    A kernel that Graft generates is a *row program*: one iteration space `rows x columns` whose body is a list of sweeps over
    the columns with scalar arithmetic per row between them. It has no loops, vectors, threads or memory spaces, so the same
    text is compiled for every target.
  }];
  let cppNamespace = "::graft::rt";
  let dependentDialects = ["::mlir::arith::ArithDialect", "::mlir::math::MathDialect"];
  let useDefaultTypePrinterParser = 1;
  let useDefaultAttributePrinterParser = 1;
}

#endif
