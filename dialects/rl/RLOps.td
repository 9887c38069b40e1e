#ifndef GRAFT_RL_OPS
#define GRAFT_RL_OPS

include "dialects/rl/RLDialect.td"
include "dialects/rl/RLObjectiveOps.td"

def ParameterOp : Op<RLDialect, "parameter", [Pure, DeclareOpInterfaceMethods<CostOpInterface>]> {
  let summary = "a named tensor of the checkpoint";
  let description = [{
    The value of a parameter or buffer. `trained` parameters get a gradient. The interpreter and the runtime bind it by name.
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
    cotangents g of the log-probs and h of the entropies: `g (onehot(label) - p) - h p (log p + entropy)`.
    1. Labels and results have the logits' shape without the last dimension.
    2. Results have the logits' element type.
    Example: `%l, %h, %n = rl.token_logprobs %z, %y : tensor<2x3x50xf32>, tensor<2x3xi64> -> tensor<2x3xf32>`
  }];
  let arguments = (ins FloatTensor:$logits, IntegerTensor:$labels);
  let results = (outs FloatTensor:$logprobs, FloatTensor:$entropy, FloatTensor:$lse);
  let assemblyFormat = "$logits `,` $labels attr-dict `:` type($logits) `,` type($labels) `->` type($logprobs)";
  let hasVerifier = 1;
  let builders = [OpBuilder<(ins "::mlir::Value":$logits, "::mlir::Value":$labels)>];
}

#endif
