#ifndef GRAFT_RL_OPS
#define GRAFT_RL_OPS

include "dialects/rl/RLDialect.td"
include "dialects/rl/RLObjectiveOps.td"

def ParameterOp : Op<RLDialect, "parameter", [Pure, DeclareOpInterfaceMethods<CostOpInterface>]> {
  let summary = "a named tensor of the checkpoint";
  let description = [{
    The value of a parameter or buffer. `trained` parameters get a gradient. The interpreter and the runtime bind it by name. Of element
    type bf16: rounded, the copy that matrix products read.
    1. The name is not empty.
    Example: `%w = rl.parameter "model.norm.weight" trained : tensor<8xf32>`
  }];
  let arguments = (ins StrAttr:$name, UnitAttr:$trained);
  let results = (outs FloatTensor:$result);
  let assemblyFormat = "$name (`trained` $trained^)? attr-dict `:` type($result)";
  let hasVerifier = 1;
}

def TokenLogprobsOp : RLOp<"token_logprobs", [AllTypesMatch<["logprobs", "entropy", "lse"]>]> {
  let summary = "log-prob of each label and entropy of each row of logits";
  let description = [{
    With p = softmax(logits) along the last dimension: `logprobs = log p[label]`, `entropy = -sum p log p` in nats, `lse = log sum exp(logits)`,
    which the gradient uses again (and which has no gradient itself). Gradient with
    cotangents g of the log-probs and h of the entropies: `g (onehot(label) - p) - h p (log p + entropy)`. Rows that `rows` leaves
    out are not looked at: their results are 0, and so is their gradient.
    1. Labels, rows and results have the logits' shape without the last dimension.
    2. Results have the logits' element type.
    Example: `%l, %h, %n = rl.token_logprobs %z, %y rows %m : tensor<2x3x50xf32>, tensor<2x3xi64>, tensor<2x3xi1> -> tensor<2x3xf32>`
  }];
  let arguments = (ins FloatTensor:$logits, IntegerTensor:$labels, Optional<BooleanTensor>:$rows);
  let results = (outs FloatTensor:$logprobs, FloatTensor:$entropy, FloatTensor:$lse);
  let assemblyFormat = [{
    $logits `,` $labels (`rows` $rows^)? attr-dict `:` type($logits) `,` type($labels) (`,` type($rows)^)? `->` type($logprobs)
  }];
  let hasVerifier = 1;
  let builders = [OpBuilder<(ins "::mlir::Value":$logits, "::mlir::Value":$labels, CArg<"::mlir::Value", "{}">:$rows)>];
}

def TokenLoopOp : Op<RLDialect, "token_loop", [Pure, AttrSizedOperandSegments, AttrSizedResultSegments, SingleBlock, IsolatedFromAbove,
    DeclareOpInterfaceMethods<CostOpInterface>]> {
  let summary = "the rows of selected tokens, a chunk at a time";
  let description = [{
    Gathers the rows that `mask` selects in chunks of at most `chunk` and runs the region on each. Arguments of the region are, for
    each tensor of `tokens` ([B, S, ...]), the chunk's rows [chunk, 1, ...] (zeros where the last chunk has none), then the tensors of
    `whole` as they are. The region yields, first, tensors [chunk, 1, ...] that become the rows of `perToken` ([B, S, ...], zero where
    the mask selects nothing), then tensors that are added up over the chunks in `sums`. It must treat each row by itself, and a row
    of zeros must add nothing to a sum. It sees nothing else of the outside: constants stay within, where kernels compute them.
    1. The mask and all tensors per token begin with the same two dimensions B, S; chunk is from 1 to B S.
    2. Arguments of the region have the types above.
    3. `rl.yield` has the types above: those of the results, with [chunk, 1, ...] for those per token.
    Built after autodiff, which does not know it.
    Example:
    `%y = rl.token_loop %m : tensor<2x3xi1> tokens(%x : tensor<2x3x8xf32>) chunk = 2 gives(tensor<2x3x8xf32>) {
     ^bb0(%a: tensor<2x1x8xf32>):
       rl.yield %a : tensor<2x1x8xf32>
     }`
  }];
  let arguments = (ins BooleanTensor:$mask, Variadic<AnyRankedTensor>:$tokens, Variadic<AnyRankedTensor>:$whole, I64Attr:$chunk);
  let results = (outs Variadic<AnyRankedTensor>:$perToken, Variadic<AnyRankedTensor>:$sums);
  let regions = (region SizedRegion<1>:$body);
  let assemblyFormat = [{
    $mask `:` type($mask) (`tokens` `(` $tokens^ `:` type($tokens) `)`)? (`whole` `(` $whole^ `:` type($whole) `)`)? `chunk` `=` $chunk
    (`gives` `(` type($perToken)^ `)`)? (`sums` `(` type($sums)^ `)`)? attr-dict-with-keyword $body
  }];
  let hasVerifier = 1;
  let extraClassDeclaration = [{
    ::mlir::Block *getBlock() { return &getBody().front(); }
    /// [chunk, 1, ...] for a tensor [B, S, ...].
    static ::mlir::RankedTensorType chunkType(::mlir::Type perToken, int64_t chunk);
  }];
}

def YieldOp : Op<RLDialect, "yield", [Pure, Terminator, HasParent<"TokenLoopOp">]> {
  let summary = "what a chunk gives";
  let description = [{ See `rl.token_loop`. Example: `rl.yield %a : tensor<2x1x8xf32>` }];
  let arguments = (ins Variadic<AnyRankedTensor>:$values);
  let assemblyFormat = "($values^ `:` type($values))? attr-dict";
}

#endif
