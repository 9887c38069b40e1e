// Names, kinds and parameters: from parsed files to an Objective.
#pragma once

#include "frontends/objective/Objective.h"

namespace graft::objective {

struct Program {
  Sources sources;
  std::vector<Expr> exprs;
  /// Used files before those that use them; the last is the objective itself.
  std::vector<File> files;
};

/// Fills `objective`; faults go to `diagnostics`.
void check(const Program &program, const std::vector<Override> &overrides, Objective &objective,
           Diagnostics &diagnostics);

} // namespace graft::objective
