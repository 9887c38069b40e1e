// What a program costs, in a few numbers: printed by `compile` and `train`, and by `--json`.
#pragma once

#include "passes/report/ProgramReport.h"
#include "runtime/program/Program_generated.h"
#include "tools/graft/Command.h"

namespace graft::cli {

struct EntrySummary {
  std::string name;
  int64_t instructions = 0, flops = 0, arenaBytes = 0;
  int64_t chunkTokens = 0; ///< whose logits are computed at a time; 0: there is no loop
};

struct PlanSummary {
  int64_t parameters = 0, trainedParameters = 0, tensors = 0; ///< elements, elements, count
  int64_t parameterBytes = 0, gradientBytes = 0, stateBytes = 0 /* both moments */, workingBytes = 0, arenaBytes = 0,
          constantBytes = 0;
  bool updatesInBackward = false;
  int64_t kernels = 0, distinctKernels = 0, objectBytes = 0;
  std::vector<EntrySummary> entries;
  std::vector<std::pair<std::string, int64_t>> objects; ///< target, bytes

  static PlanSummary of(const schema::ProgramT &program);
  std::string text() const;
  Json json() const;
};

/// What an entry keeps for its backward pass and what it computes again there.
struct RetentionSummary {
  report::Retention retention;

  static RetentionSummary of(const schema::Program &program, int entry) { return {report::retention(program, entry)}; }
  /// Two tables of at most `limit` lines.
  std::string text(size_t limit) const;
  Json json() const;
};

} // namespace graft::cli
