// An objective on given arrays, without a model: built, differentiated and run by the reference interpreter in float64.
// This is what `graft objective evaluate` does, and the oracle of every compiled form.
#pragma once

#include "dialects/reference/Tensor.h"
#include "frontends/objective/Objective.h"

#include <map>
#include <string>

namespace graft::objective {

/// Arrays by name.
using Arrays = std::map<std::string, Tensor>;

/// Takes the objective's inputs as it names them ([B,S]; [B] for what is the same in all tokens of a sequence; [B,S,V]
/// per word, then also `labels` [B,S] where at_token() is used: the word that each token is),
/// `loss_mask` [B,S] (everything that is not 0 counts; needed for a loss, optional for advantages), `group_ids` [B]
/// where groups are used, and optionally `denominator.tokens`, `denominator.sequences`, `denominator.rows`: the counts
/// of the whole step where the arrays are a part of it. Arrays [B,S-1] speak of tokens 1..S-1. What is not named here
/// is ignored.
///
/// Gives `loss`, `grad.NAME` for each float input that the loss depends on (zeros where it is constant to the gradient)
/// and `metric.NAME`; or `advantages` ([B] or [B,S], 0 where masked).
///
/// Faults, all at once: an array that is missing (Code::Type), of the wrong rank, size or type.
Result<Arrays> evaluateObjective(const Objective &objective, const Arrays &arrays);

} // namespace graft::objective
