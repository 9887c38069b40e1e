// Passes of the code generation stage, in pipeline order.
#ifndef GRAFT_CODEGEN_PASSES
#define GRAFT_CODEGEN_PASSES

include "mlir/Pass/PassBase.td"

def RowProgramToVector : Pass<"graft-row-program-to-vector", "::mlir::ModuleOp"> {
  let summary = "Write row programs as loops over vectors";
  let description = [{
    Replaces every `rt.row_program` by a function of the same name over one-dimensional static buffers, one per access, and the
    range of units to run. For a CPU: columns in steps of up to 64 lanes, the rest of a row in one masked step. For CUDA: a warp
    or a block per unit, each thread with the columns that are its own; see CudaPolicy.cpp.

    **Requires** a verified module.
    **Ensures** that no operation of `rt` is left; memrefs have static shapes; storage types below 32 bits are integers.

    **Example**

    ```mlir
    rt.row_program @twice rows [4] columns 64 (%x: !rt.access<f32, [64], 1>, %y: !rt.access<f32, [64], 1>) {
      rt.sweep (%a = %x : !rt.access<f32, [64], 1>) writes (%y : !rt.access<f32, [64], 1>) {
        %b = arith.addf %a, %a : f32
        rt.yield %b : f32
      }
    }
    ```

    becomes

    ```mlir
    func.func @twice(%x: memref<256xf32>, %y: memref<256xf32>, %begin: index, %end: index) {
      %c1 = arith.constant 1 : index
      %c64 = arith.constant 64 : index
      scf.for %unit = %begin to %end step %c1 {
        %base = arith.muli %unit, %c64 : index
        %a = vector.load %x[%base] : memref<256xf32>, vector<64xf32>
        %b = arith.addf %a, %a fastmath<contract> : vector<64xf32>
        vector.store %b, %y[%base] : memref<256xf32>, vector<64xf32>
      }
      return
    }
    ```
  }];
  let dependentDialects = ["::mlir::arith::ArithDialect", "::mlir::func::FuncDialect", "::mlir::memref::MemRefDialect",
                           "::mlir::NVVM::NVVMDialect", "::mlir::scf::SCFDialect", "::mlir::vector::VectorDialect"];
  let options = [Option<"target", "target", "::graft::CodeTarget", "::graft::CodeTarget::Cpu", "What runs the code",
                        [{::llvm::cl::values(clEnumValN(::graft::CodeTarget::Cpu, "cpu", "a CPU: one thread per unit"),
                                             clEnumValN(::graft::CodeTarget::Cuda, "cuda", "a CUDA GPU: a warp or a block per unit"))}]>];
}

def ApproximateMath : Pass<"graft-approximate-math", "::mlir::func::FuncOp"> {
  let summary = "Replace math functions by arithmetic";
  let description = [{
    Kernels call no library: each function of `math` becomes a polynomial or, where the hardware has it, stays.

    Accuracy in f32, against float64: exp 1 ulp, log 0.6, log1p and expm1 2.4, tanh 4.7, erf 4.5, rsqrt 1.5, exp2 and
    powf 1, atan 40 ulp, sin and cos 2e-7 absolute for arguments up to 2^31.

    **Requires** f32 operands.
    **Ensures** that what is left of `math` is an instruction of the target, or fails and names the function.

    **Example** `%r = math.rsqrt %x : vector<64xf32>` becomes

    ```mlir
    %one = arith.constant dense<1.0> : vector<64xf32>
    %s = math.sqrt %x : vector<64xf32>
    %r = arith.divf %one, %s : vector<64xf32>
    ```
  }];
  let dependentDialects = ["::mlir::arith::ArithDialect", "::mlir::math::MathDialect", "::mlir::vector::VectorDialect"];
}

#endif
