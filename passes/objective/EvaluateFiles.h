// evaluateObjective from a safetensors file to another: the work of `graft objective evaluate`.
#pragma once

#include "frontends/objective/Objective.h"

namespace graft::objective {

/// Reads from `inputs` the arrays that evaluateObjective names (floats of any width, integers, booleans; at most 2^24
/// elements each; others are ignored) and writes its results to `output` as F64, atomically. Faults name the file and
/// the array.
Status evaluateFiles(const Objective &objective, const std::string &inputs, const std::string &output);

} // namespace graft::objective
