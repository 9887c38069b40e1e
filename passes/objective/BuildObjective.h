// From an objective's graph to operators of arith, math, nn and rl, in the padded form: a value per token is [B,S], per
// sequence [B], one for the step [].
#pragma once

#include "frontends/objective/Objective.h"

#include "mlir/IR/Builders.h"

#include <map>
#include <string>
#include <vector>

namespace graft::objective {

struct ObjectiveInputs {
  /// By the objective's names, all of one float element type (in which everything is computed): [B,S,V] for an input
  /// per word, [B,S] per token (or [B]: the same for all tokens of a sequence), [B] per sequence, [] for one.
  std::map<std::string, mlir::Value> values;
  mlir::Value lossMask; ///< [B,S] i1; null: every position counts
  mlir::Value labels;   ///< [B,S] integers, the word that each token is; only where usesLabels()
  mlir::Value groupIds; ///< [B] integers; only where usesGroups()
  /// Counts of the whole step ([], of the values' type): loss tokens, sequences with a loss token, rows. Null: counted
  /// here, which is right if this is the whole step.
  mlir::Value tokens, sequences, rows;
};

struct BuiltMetric {
  std::string name;
  mlir::Value value; ///< []
  Combine combine;   ///< how micro-batches' values become the step's
};

struct BuiltObjective {
  mlir::Value result; ///< the loss [], or advantages: [B] or [B,S] (0 where masked)
  std::vector<BuiltMetric> metrics;
};

/// Appends the objective's operators. Metrics whose input is missing are left out. Emits errors at `loc`, all of them,
/// for missing inputs and wrong shapes.
mlir::FailureOr<BuiltObjective> buildObjective(mlir::OpBuilder &builder, mlir::Location loc, const Objective &objective,
                                               const ObjectiveInputs &inputs);

} // namespace graft::objective
