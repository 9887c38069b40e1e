#include "tools/graft/Summary.h"

#include "runtime/program/Instructions.h"
#include "runtime/program/Layout.h"

#include <set>

namespace graft::cli {

PlanSummary PlanSummary::of(const schema::ProgramT &program) {
  PlanSummary summary;
  for (const auto &parameter : program.parameters) {
    int64_t elements = *elementCount(parameter->shape);
    summary.tensors += 1;
    summary.parameters += elements;
    summary.trainedParameters += parameter->trained ? elements : 0;
  }
  summary.parameterBytes = program.parameter_bytes;
  summary.gradientBytes = program.gradient_bytes;
  summary.updatesInBackward = graft::updatesInBackward(program);
  summary.stateBytes = 2 * program.state_bytes;
  summary.workingBytes = program.working_bytes;
  summary.arenaBytes = program.arena_bytes;
  summary.constantBytes = static_cast<int64_t>(program.constants.size());
  std::set<std::string> symbols;
  for (const auto &kernel : program.kernels)
    symbols.insert(kernel->symbol);
  summary.kernels = static_cast<int64_t>(program.kernels.size());
  summary.distinctKernels = static_cast<int64_t>(symbols.size());
  for (const auto &object : program.objects) {
    summary.objects.emplace_back(object->target, static_cast<int64_t>(object->bytes.size()));
    summary.objectBytes += summary.objects.back().second;
  }
  for (const auto &entry : program.entries) {
    EntrySummary line{entry->name, static_cast<int64_t>(entry->instructions.size()), mostFlops(*entry),
                      entry->arena_bytes, 0};
    for (const auto &instruction : entry->instructions)
      if (const schema::RowLoopT *loop = instruction->operation.AsRowLoop())
        line.chunkTokens = loop->chunk;
    summary.entries.push_back(line);
  }
  return summary;
}

std::string PlanSummary::text() const {
  auto row = [](const char *what, int64_t bytes, std::string more) {
    return std::vector<std::string>{what, bytesText(static_cast<double>(bytes)), std::move(more)};
  };
  std::string text =
      tableText({{"memory", "bytes", ""},
                 row("parameters", parameterBytes,
                     format("%lld tensors, %.1f M numbers, %.1f M of them train", static_cast<long long>(tensors),
                            parameters / 1e6, trainedParameters / 1e6)),
                 row("gradients", gradientBytes,
                     updatesInBackward ? "none: each is in the arena until its parameter is updated" : ""),
                 row("optimizer state", stateBytes, ""),
                 row("working copies", workingBytes, "parameters in bfloat16, for products"),
                 row("arena", arenaBytes, "everything else, at fixed offsets"),
                 row("constants", constantBytes, "")});
  std::vector<std::vector<std::string>> rows = {{"entry", "instructions", "GFLOP", "arena", "logits at a time"}};
  for (const EntrySummary &entry : entries)
    rows.push_back({entry.name, std::to_string(entry.instructions), format("%.2f", entry.flops / 1e9),
                    bytesText(static_cast<double>(entry.arenaBytes)),
                    entry.chunkTokens ? format("%lld tokens", static_cast<long long>(entry.chunkTokens)) : ""});
  std::string code;
  for (const auto &[target, bytes] : objects)
    code += ", " + bytesText(static_cast<double>(bytes)) + " for " + target;
  return text + "\n" + tableText(rows) +
         format("\n%lld kernels (%lld distinct%s)\n", static_cast<long long>(kernels),
                static_cast<long long>(distinctKernels), code.c_str());
}

Json PlanSummary::json() const {
  Json lines = Json::array();
  for (const EntrySummary &entry : entries)
    lines.push_back({{"name", entry.name},
                     {"instructions", entry.instructions},
                     {"flops", entry.flops},
                     {"arena_bytes", entry.arenaBytes},
                     {"chunk_tokens", entry.chunkTokens}});
  Json code = Json::object();
  for (const auto &[target, bytes] : objects)
    code[target] = bytes;
  return {{"parameters", parameters},
          {"trained_parameters", trainedParameters},
          {"tensors", tensors},
          {"parameter_bytes", parameterBytes},
          {"gradient_bytes", gradientBytes},
          {"state_bytes", stateBytes},
          {"working_bytes", workingBytes},
          {"arena_bytes", arenaBytes},
          {"constant_bytes", constantBytes},
          {"kernels", kernels},
          {"distinct_kernels", distinctKernels},
          {"object_bytes", objectBytes},
          {"objects", code},
          {"entries", lines}};
}

namespace {

using report::Family;

std::string familyTable(const std::string &title, const std::vector<Family> &families, bool flops, size_t limit) {
  int64_t bytes = 0, work = 0, count = 0;
  for (const Family &family : families) {
    bytes += family.bytes;
    work += family.flops;
    count += family.count;
  }
  std::string sum =
      flops ? format("%.2f GFLOP", static_cast<double>(work) / 1e9) : bytesText(static_cast<double>(bytes));
  std::string text =
      "  " + title + ": " + (count ? sum + format(" in %lld", static_cast<long long>(count)) : "nothing") + "\n";
  std::vector<std::vector<std::string>> rows;
  for (size_t i = 0; i < std::min(limit, families.size()); ++i) {
    const Family &family = families[i];
    rows.push_back({"    " + (flops ? format("%.2f GFLOP", static_cast<double>(family.flops) / 1e9)
                                    : bytesText(static_cast<double>(family.bytes))),
                    std::to_string(family.count) + " x", escaped(family.name, 200)});
  }
  if (families.size() > limit)
    rows.push_back({format("    and %zu more", families.size() - limit)});
  return text + tableText(rows);
}

Json familyJson(const std::vector<Family> &families) {
  Json out = Json::array();
  for (const Family &family : families)
    out.push_back({{"name", escaped(family.name, 200)},
                   {"count", family.count},
                   {"bytes", family.bytes},
                   {"flops", family.flops}});
  return out;
}

} // namespace

std::string RetentionSummary::text(size_t limit) const {
  return familyTable("kept for the backward pass", retention.kept, false, limit) +
         familyTable("computed again", retention.madeAgain, true, limit);
}

Json RetentionSummary::json() const {
  return {{"kept", familyJson(retention.kept)}, {"computed_again", familyJson(retention.madeAgain)}};
}

} // namespace graft::cli
