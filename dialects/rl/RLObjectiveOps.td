// What objectives need beyond arith, math and nn: values per token, per sequence, per group and per step, and the ways between
// them. In the padded form a value per token is [B,S], per sequence [B], per step []; `mask` [B,S] says which positions hold a
// loss token, `rows` [B] which sequences take part. What is masked has no influence, forward or backward, even if it is NaN.
//
// Reductions and broadcasts come in pairs, each the other's gradient.
#ifndef GRAFT_RL_OBJECTIVE_OPS
#define GRAFT_RL_OBJECTIVE_OPS

include "dialects/rl/RLDialect.td"

def SequenceReduceOp : RLOp<"sequence_reduce"> {
  let summary = "combine the loss tokens of each sequence";
  let description = [{
    `y[b] = sum (max, min) over t with mask[b,t] of x[b,t]`; a sequence without loss token gives 0. Gradient: the sum's is
    `rl.sequence_broadcast`; that of max and min goes to the extreme tokens in equal shares.
    1. Input and mask are [B,S], the result is [B].
    2. The kind is sum, max or min.
    3. Element types are equal.
    Example: `%y = rl.sequence_reduce sum %x mask %m : tensor<2x3xf32>, tensor<2x3xi1> -> tensor<2xf32>`
  }];
  let arguments = (ins ReduceKindAttr:$kind, FloatTensor:$input, BooleanTensor:$mask);
  let results = (outs FloatTensor:$result);
  let assemblyFormat = "$kind $input `mask` $mask attr-dict `:` type($input) `,` type($mask) `->` type($result)";
  let hasVerifier = 1;
  let builders = [OpBuilder<(ins "::graft::nn::ReduceKind":$kind, "::mlir::Value":$input, "::mlir::Value":$mask)>];
}

def SequenceBroadcastOp : RLOp<"sequence_broadcast"> {
  let summary = "give a sequence's value to each of its loss tokens";
  let description = [{
    `y[b,t] = mask[b,t] ? x[b] : 0`. Gradient: the sum over the loss tokens.
    1. The input is [B], mask and result are [B,S].
    2. Element types are equal.
    Example: `%y = rl.sequence_broadcast %x mask %m : tensor<2xf32>, tensor<2x3xi1> -> tensor<2x3xf32>`
  }];
  let arguments = (ins NNTensor:$input, BooleanTensor:$mask);
  let results = (outs NNTensor:$result);
  let assemblyFormat = "$input `mask` $mask attr-dict `:` type($input) `,` type($mask) `->` type($result)";
  let hasVerifier = 1;
  let builders = [OpBuilder<(ins "::mlir::Value":$input, "::mlir::Value":$mask)>];
}

def GroupReduceOp : RLOp<"group_reduce"> {
  let summary = "combine the sequences of each group, give the result to each";
  let description = [{
    `y[b] = sum (max, min) over c with ids[c] = ids[b] and rows[c] of x[c]`; sequences that do not take part get 0. Gradient: the
    sum's is the sum over the group; that of max and min goes to the extreme sequences in equal shares.
    1. Input, ids, rows and result are [B].
    2. The kind is sum, max or min.
    3. Element types are equal.
    Example: `%y = rl.group_reduce sum %x ids %g rows %r : tensor<4xf32>, tensor<4xi32>, tensor<4xi1> -> tensor<4xf32>`
  }];
  let arguments = (ins ReduceKindAttr:$kind, FloatTensor:$input, IntegerTensor:$ids, BooleanTensor:$rows);
  let results = (outs FloatTensor:$result);
  let assemblyFormat = "$kind $input `ids` $ids `rows` $rows attr-dict `:` type($input) `,` type($ids) `,` type($rows) `->` type($result)";
  let hasVerifier = 1;
  let builders = [OpBuilder<(ins "::graft::nn::ReduceKind":$kind, "::mlir::Value":$input, "::mlir::Value":$ids, "::mlir::Value":$rows)>];
}

def BatchReduceOp : RLOp<"batch_reduce"> {
  let summary = "combine the sequences of the batch";
  let description = [{
    `y = sum (max, min) over b with rows[b] of x[b]`; of none: 0, -inf, inf. Gradient: the sum's is `rl.batch_broadcast`; that of max
    and min goes to the extreme sequences in equal shares.
    1. Input and rows are [B], the result is [].
    2. The kind is sum, max or min.
    3. Element types are equal.
    Example: `%y = rl.batch_reduce sum %x rows %r : tensor<4xf32>, tensor<4xi1> -> tensor<f32>`
  }];
  let arguments = (ins ReduceKindAttr:$kind, FloatTensor:$input, BooleanTensor:$rows);
  let results = (outs FloatTensor:$result);
  let assemblyFormat = "$kind $input `rows` $rows attr-dict `:` type($input) `,` type($rows) `->` type($result)";
  let hasVerifier = 1;
  let builders = [OpBuilder<(ins "::graft::nn::ReduceKind":$kind, "::mlir::Value":$input, "::mlir::Value":$rows)>];
}

def BatchBroadcastOp : RLOp<"batch_broadcast"> {
  let summary = "give the step's value to each of its sequences";
  let description = [{
    `y[b] = rows[b] ? x : 0`. Gradient: the sum over the sequences that take part.
    1. The input is [], rows and result are [B].
    2. Element types are equal.
    Example: `%y = rl.batch_broadcast %x rows %r : tensor<f32>, tensor<4xi1> -> tensor<4xf32>`
  }];
  let arguments = (ins NNTensor:$input, BooleanTensor:$rows);
  let results = (outs NNTensor:$result);
  let assemblyFormat = "$input `rows` $rows attr-dict `:` type($input) `,` type($rows) `->` type($result)";
  let hasVerifier = 1;
  let builders = [OpBuilder<(ins "::mlir::Value":$input, "::mlir::Value":$rows)>];
}

def StopGradientOp : RLOp<"stop_gradient", [SameOperandsAndResultType]> {
  let summary = "a value that is a constant to the gradient";
  let description = [{
    The input; its gradient is zero.
    Example: `%y = rl.stop_gradient %x : tensor<2x3xf32>`
  }];
  let arguments = (ins FloatTensor:$input);
  let results = (outs FloatTensor:$result);
  let assemblyFormat = "$input attr-dict `:` type($input)";
}

#endif
