// What a run did, for people: its effect on the completions of step 1, and report.html.
#pragma once

#include "runtime/exec/Session.h"
#include "runtime/io/Batch.h"
#include "runtime/observe/Report.h"
#include "runtime/observe/RunDirectory.h"

namespace graft {

/// Completions by the sign of their advantage; those with advantage 0 are in neither.
struct TrainEffect {
  std::optional<EffectGroup> positive, negative;
};

/// Means over the loss tokens of `batch` (with `advantages`); before and after are [B,S].
TrainEffect effectOf(const Batch &batch, std::span<const float> before, std::span<const float> after);
/// "completions with positive advantage (9): mean log-prob -1.2345 before, -1.2001 after"
std::vector<std::string> effectLines(const TrainEffect &effect);

/// Bytes: parameters, gradients, optimizer_state, arena, constants, and as "other" what the process held at its peak
/// beyond them.
Counts memoryByCategory(const Session &session);

/// Adds the metrics of the directory, memory and time of the session to `input`, and writes report.html.
Status writeTrainReport(const RunDirectory &directory, const Session &session, ReportInput input);

} // namespace graft
