// From a forward graph to the entry points of a training program, in the same module.
//
// buildEntryPoints() turns @forward (arguments named by rl.name, among them `input_ids`; one result: the logits
// [B,S,V]) into functions over the arrays of the batch contract. Index t of every per-token array speaks of token t;
// index 0 is 0.
//
//   @logprobs(input_ids, ...) -> logprobs [B,S]
//   @accumulate(input_ids, ..., loss_mask [B,S] i1, the objective's inputs, denominator.*) -> loss [], logprobs,
//               metric.NAME []
//   @advantages(rewards [N], group_ids [N], loss_mask [N,S] i1) -> advantages [N] or [N,S]
//
// A function has only the arguments that it uses. `denominator.tokens`, `.sequences`, `.rows` ([] f32) are the counts
// of the whole step, whatever part of it this call sees. addGradients() then makes @accumulate return `grad.NAME` for
// every trained parameter, in the order of their names. Equal rl.parameter operators have become one: tied parameters
// get one gradient, the sum.
#pragma once

#include "dialects/rl/Names.h"
#include "frontends/objective/Objective.h"

#include "mlir/IR/BuiltinOps.h"

namespace graft {

struct EntryPointOptions {
  const objective::Objective *loss = nullptr;       ///< null: @logprobs only
  const objective::Objective *advantages = nullptr; ///< null: no @advantages
  bool onPolicy = false;                            ///< `old_logprobs` are the log-probs themselves, without gradient
  int64_t stepSequences = 0; ///< N of @advantages: sequences of a whole step, so that groups are whole; 0: B
};

struct EntryPoints {
  struct Metric {
    std::string name;
    objective::Combine combine; ///< how the values of micro-batches become the step's
  };
  std::vector<Metric> metrics;
  std::vector<std::string> trained; ///< after addGradients(): parameters with a gradient, sorted
  std::vector<std::string>
      unreached; ///< after addGradients(): trained parameters that the loss does not depend on, sorted
};

/// Replaces @forward. Emits an error where @forward is not as required or the objective needs what no batch has.
mlir::FailureOr<EntryPoints> buildEntryPoints(mlir::ModuleOp module, const EntryPointOptions &options);

/// Decomposes attention in @accumulate (so that its probabilities are kept for the backward pass) and appends
/// gradients. Parameters that the loss does not reach lose their `trained` mark.
mlir::LogicalResult addGradients(mlir::ModuleOp module, EntryPoints &entries);

} // namespace graft
