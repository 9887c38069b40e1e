#include "runtime/exec/TrainReport.h"

#include <algorithm>
#include <cstdio>

namespace graft {

TrainEffect effectOf(const Batch &batch, std::span<const float> before, std::span<const float> after) {
  struct Sum {
    EffectGroup group;
    double tokens = 0;
  } sums[2];
  std::span<const float> mask = batch.floats("loss_mask"), advantages = batch.floats("advantages");
  auto width = static_cast<size_t>(batch.tokens);
  for (size_t row = 0; row < static_cast<size_t>(batch.sequences); ++row) {
    double advantage = 0, then = 0, now = 0, count = 0;
    for (size_t i = row * width; i < (row + 1) * width; ++i)
      if (mask[i] != 0) {
        advantage += advantages[i];
        then += before[i];
        now += after[i];
        count += 1;
      }
    if (advantage == 0)
      continue;
    Sum &sum = sums[advantage < 0];
    sum.group.completions += 1;
    sum.group.before += then;
    sum.group.after += now;
    sum.tokens += count;
  }
  auto mean = [](Sum sum) -> std::optional<EffectGroup> {
    if (sum.tokens == 0)
      return std::nullopt;
    return EffectGroup{sum.group.completions, sum.group.before / sum.tokens, sum.group.after / sum.tokens};
  };
  return {mean(sums[0]), mean(sums[1])};
}

std::vector<std::string> effectLines(const TrainEffect &effect) {
  std::vector<std::string> lines;
  for (const auto &[sign, group] : {std::pair{"positive", &effect.positive}, {"negative", &effect.negative}})
    if (*group) {
      char text[160];
      std::snprintf(text, sizeof text, "completions with %s advantage (%lld): mean log-prob %.4f before, %.4f after",
                    sign, static_cast<long long>((*group)->completions), (*group)->before, (*group)->after);
      lines.push_back(text);
    }
  return lines;
}

Counts memoryByCategory(const Session &session) {
  MemoryUse use = session.memory();
  Counts categories = {{"parameters", use.parameters},  {"gradients", use.gradients}, {"optimizer_state", use.state},
                       {"working_copies", use.working}, {"arena", use.arena},         {"constants", use.constants}};
  int64_t rest = use.processPeak;
  for (const auto &[name, bytes] : categories)
    rest -= bytes;
  categories.emplace_back("other", std::max<int64_t>(rest, 0));
  return categories;
}

Status writeTrainReport(const RunDirectory &directory, const Session &session, ReportInput input) {
  GRAFT_ASSIGN_OR_RETURN(input.metrics, readMetrics(directory.metricsPath()));
  for (auto [name, bytes] : memoryByCategory(session)) {
    std::ranges::replace(name, '_', ' ');
    input.memory.emplace_back(name, static_cast<double>(bytes));
  }
  input.time = session.secondsByCategory();
  return writeReport(directory.reportPath(), input);
}

} // namespace graft
