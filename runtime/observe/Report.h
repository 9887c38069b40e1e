// report.html: one self-contained page about a run. No scripts, no network, light and dark.
#pragma once

#include "runtime/observe/Metrics.h"

#include <optional>

namespace graft {

/// Mean log-prob per completion token, before the first and after the last step, of the completions with advantages of
/// one sign.
struct EffectGroup {
  int64_t completions = 0;
  double before = 0, after = 0;
};

struct ReportInput {
  std::string title; ///< "SmolLM2-135M-Instruct, GRPO"
  /// Shown under the title: model, objective, machine, date, ...
  std::vector<std::pair<std::string, std::string>> facts;
  /// From readMetrics. Rows need not have the same keys; `step` places them.
  std::vector<MetricsRow> metrics;
  std::vector<std::pair<std::string, double>> memory; ///< category, bytes; largest need not come first
  std::vector<std::pair<std::string, double>> time;   ///< category, seconds
  /// What the training did; either may be absent.
  std::optional<EffectGroup> positive, negative;
  std::vector<std::string> notes;
};

std::string renderReport(const ReportInput &input);

/// Renders and writes it, atomically.
Status writeReport(const std::string &path, const ReportInput &input);

} // namespace graft
