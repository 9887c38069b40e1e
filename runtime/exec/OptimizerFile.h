// The optimizer's state beside saved weights: what resuming needs to go on bit for bit.
//
// optimizer.safetensors holds, per trained parameter NAME, "mean.NAME" and "square.NAME" in float32, and
// "parameter.NAME" where the weights' own file rounds them; its metadata the step and the program's fingerprint.
#pragma once

#include "runtime/exec/Session.h"

namespace graft {

Status writeOptimizerState(const Session &session, const std::string &folder, int64_t step, bool withParameters);

/// Faults: Format, Type, Graph (another program's state).
Status readOptimizerState(Session &session, const std::string &folder, int64_t step);

} // namespace graft
