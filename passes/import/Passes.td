// Passes of the import stage, in pipeline order.
#ifndef GRAFT_IMPORT_PASSES
#define GRAFT_IMPORT_PASSES

include "mlir/Pass/PassBase.td"

def SimplifyViews : Pass<"graft-simplify-views", "::mlir::func::FuncOp"> {
  let summary = "Shorten chains of views and drop arithmetic that does nothing";
  let description = [{
    A chain of `nn.reshape`, `nn.transpose` and `nn.broadcast` is an index map; where one operator has the same map, it takes
    the chain's place. Broadcasts, and reshapes that only add dimensions of size 1, move below element-wise operators: the
    arithmetic is done on the smaller tensor, and views that undo each other meet. `x * 1`, `x / 1`, `x + 0`, `x - 0`, selections
    between equal values and casts there and back disappear.

    **Requires** static shapes.
    **Ensures** that no two adjacent views have the map of one view or of none.

    **Example**

    ```mlir
    %a = nn.reshape %k : tensor<2x3x4x8xf32> -> tensor<6x4x8xf32>
    %b = nn.transpose %a perm = [0, 2, 1] : tensor<6x4x8xf32> -> tensor<6x8x4xf32>
    %c = nn.reshape %b : tensor<6x8x4xf32> -> tensor<2x3x8x4xf32>
    ```

    becomes

    ```mlir
    %c = nn.transpose %k perm = [0, 1, 3, 2] : tensor<2x3x4x8xf32> -> tensor<2x3x8x4xf32>
    ```
  }];
  let dependentDialects = ["::mlir::arith::ArithDialect", "::graft::nn::NNDialect"];
}

def FoldIntoContract : Pass<"graft-fold-into-contract", "::mlir::func::FuncOp"> {
  let summary = "Make transposes and broadcasts around products part of the equation";
  let description = [{
    A transposed operand of `nn.contract` is the same operand with its letters in another order, a broadcast one lacks letters,
    and a transposed result (that nothing else uses) has its letters in another order. No data moves.

    **Requires** nothing.
    **Ensures** that no operand of a product is an `nn.transpose`, nor an `nn.broadcast` along letters of the result that the other
    operand has.

    **Example**

    ```mlir
    %t = nn.transpose %w perm = [1, 0] : tensor<5x8xf32> -> tensor<8x5xf32>
    %y = nn.contract "bk,kn->bn" %x, %t : tensor<2x8xf32>, tensor<8x5xf32> -> tensor<2x5xf32>
    ```

    becomes

    ```mlir
    %y = nn.contract "bk,nk->bn" %x, %w : tensor<2x8xf32>, tensor<5x8xf32> -> tensor<2x5xf32>
    ```
  }];
  let dependentDialects = ["::graft::nn::NNDialect"];
}

def GiveMasksMeaning : Pass<"graft-give-masks-meaning", "::mlir::func::FuncOp"> {
  let summary = "Replace proven attention masks by their definition";
  let description = [{
    What is added to the scores of a softmax over the last of four dimensions, or selects them, or masks it, is proved (MaskProof.h)
    to be a combination of causal, window and valid keys for the shapes at hand; then the softmax gets a mask made of `nn.iota`,
    comparisons and the mask argument, and the guard against NaN behind it disappears. Rows in which nothing may be read become 0:
    an additive mask with a finite number gives their mean instead, but such a row belongs to a query that is padding itself.
    Where the proof fails, the graph stays as it is, with a remark that says why.

    **Requires** that integer arguments that take part in masks hold 0 and 1 only.
    **Ensures** that proven masks are of one form, built once per meaning at the start of the function.

    **Example** with `%m` proved to be causal

    ```mlir
    %a = arith.select %m, %zero, %lowest : tensor<1x1x4x4xi1>, tensor<1x1x4x4xf32>
    %b = arith.addf %scores, %a : tensor<1x1x4x4xf32>
    %p = nn.softmax %b axis = 3 : tensor<1x1x4x4xf32> -> tensor<1x1x4x4xf32>
    ```

    becomes

    ```mlir
    %i = nn.iota axis = 0 : tensor<4x4xi64>
    %j = nn.iota axis = 1 : tensor<4x4xi64>
    %le = arith.cmpi sle, %j, %i : tensor<4x4xi64>
    %mask = nn.broadcast %le dims = [2, 3] : tensor<4x4xi1> -> tensor<1x1x4x4xi1>
    %p = nn.softmax %scores mask %mask axis = 3 : tensor<1x1x4x4xf32>, tensor<1x1x4x4xi1> -> tensor<1x1x4x4xf32>
    ```
  }];
  let dependentDialects = ["::mlir::arith::ArithDialect", "::graft::nn::NNDialect"];
}

def RecogniseNorms : Pass<"graft-recognise-norms", "::mlir::func::FuncOp"> {
  let summary = "Find RMS and layer norms in arithmetic";
  let description = [{
    `x` times (or over) the inverse root of the mean of `x x` over the last dimension, plus epsilon, is `nn.rms_norm`; with
    `x - mean(x)` in the place of `x` it is `nn.layer_norm`. The root may be written as `rsqrt`, `1 / sqrt`, `pow(., -1/2)`; the mean as a
    product or a quotient (a factor may differ from 1/n by its rounding to float32). Weights and biases stay products and sums.

    **Requires** `graft-simplify-views`: statistics of a row have the row's shape and are broadcast last.
    **Ensures** nothing.

    **Example**

    ```mlir
    %s = arith.mulf %x, %x : tensor<2x8xf32>
    %t = nn.reduce sum %s axes = [1] : tensor<2x8xf32> -> tensor<2xf32>
    %m = arith.divf %t, %c8 : tensor<2xf32>
    %e = arith.addf %m, %eps : tensor<2xf32>
    %r = math.rsqrt %e : tensor<2xf32>
    %b = nn.broadcast %r dims = [0] : tensor<2xf32> -> tensor<2x8xf32>
    %y = arith.mulf %x, %b : tensor<2x8xf32>
    ```

    becomes `%y = nn.rms_norm %x epsilon = 1.0e-5 : tensor<2x8xf32>`
  }];
  let dependentDialects = ["::graft::nn::NNDialect"];
}

def RecogniseRope : Pass<"graft-recognise-rope", "::mlir::func::FuncOp"> {
  let summary = "Find rotary position embeddings in arithmetic";
  let description = [{
    `x cos + rotated(x) sin`, where `rotated` swaps the halves of the last dimension (or its even and odd elements) and negates what
    comes first, is `nn.rope` if both halves of the tables are proved equal: by how they are made, or by their elements where they are
    constants. The tables are rebuilt with one half only, once for all uses.

    **Requires** common subexpressions to be one value.
    **Ensures** nothing.

    **Example**

    ```mlir
    %t = nn.concat %f, %f axis = 1 : tensor<4x2xf32>, tensor<4x2xf32> -> tensor<4x4xf32>
    %c = math.cos %t : tensor<4x4xf32>
    %s = math.sin %t : tensor<4x4xf32>
    %lo = nn.slice %x starts = [0, 0] steps = [1, 1] : tensor<4x4xf32> -> tensor<4x2xf32>
    %hi = nn.slice %x starts = [0, 2] steps = [1, 1] : tensor<4x4xf32> -> tensor<4x2xf32>
    %n = arith.negf %hi : tensor<4x2xf32>
    %r = nn.concat %n, %lo axis = 1 : tensor<4x2xf32>, tensor<4x2xf32> -> tensor<4x4xf32>
    %a = arith.mulf %x, %c : tensor<4x4xf32>
    %b = arith.mulf %r, %s : tensor<4x4xf32>
    %y = arith.addf %a, %b : tensor<4x4xf32>
    ```

    becomes

    ```mlir
    %c = math.cos %f : tensor<4x2xf32>
    %s = math.sin %f : tensor<4x2xf32>
    %y = nn.rope %x, %c, %s : tensor<4x4xf32>, tensor<4x2xf32>
    ```
  }];
  let dependentDialects = ["::graft::nn::NNDialect"];
}

def RecogniseAttention : Pass<"graft-recognise-attention", "::mlir::func::FuncOp"> {
  let summary = "Find attention between two products";
  let description = [{
    A product of queries and keys, scaled on either side (before or after, in one factor or two), perhaps soft-capped, then a softmax
    with a proven mask or none, then a product with the values is `nn.attention`. Keys and values are followed through views to where
    heads have not been repeated yet, so that grouped heads need no copies.

    **Requires** `graft-give-masks-meaning`.
    **Ensures** nothing; a softmax between two products that is left gets a remark.

    **Example**

    ```mlir
    %s = nn.contract "bhsd,bhtd->bhst" %q, %k : tensor<1x2x4x8xf32>, tensor<1x2x4x8xf32> -> tensor<1x2x4x4xf32>
    %p = nn.softmax %s axis = 3 : tensor<1x2x4x4xf32> -> tensor<1x2x4x4xf32>
    %o = nn.contract "bhst,bhte->bhse" %p, %v : tensor<1x2x4x4xf32>, tensor<1x2x4x8xf32> -> tensor<1x2x4x8xf32>
    ```

    becomes

    ```mlir
    %o, %lse = nn.attention %q, %k, %v {scale = 1.0 : f64} : (tensor<1x2x4x8xf32>, tensor<1x2x4x8xf32>, tensor<1x2x4x8xf32>) -> tensor<1x2x4x8xf32>
    ```
  }];
  let dependentDialects = ["::mlir::arith::ArithDialect", "::graft::nn::NNDialect"];
}

#endif
