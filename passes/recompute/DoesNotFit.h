// Why a budget cannot be held: the smallest that can, and what the peak is made of.
#pragma once

#include "passes/recompute/EntryPlanner.h"
#include "runtime/base/Status.h"

namespace graft {

/// A status DoesNotFit without a place. `smallest` is the plan with the smallest peak, `program` its lowered entry.
Status doesNotFit(const recompute::Measured &smallest, const schema::ProgramT &program, int64_t budget);

} // namespace graft
