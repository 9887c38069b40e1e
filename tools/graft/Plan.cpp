// `graft plan RECIPE`: what would be compiled, without compiling kernels: memory by category, a step's time by fixed
// rates, what the backward pass keeps and what it computes again; and the same under other budgets.
#include "passes/Compiler.h"
#include "runtime/base/ByteSize.h"
#include "runtime/observe/NumberText.h"
#include "tools/graft/Command.h"
#include "tools/graft/Summary.h"

#include <charconv>

namespace graft::cli {

namespace {

struct PlanFlags {
  std::string recipe, budgets;
  size_t limit = 12;
};

constexpr int mostBudgets = 200;

struct Budgets {
  std::vector<int64_t> bytes;
  int count = 0;
};

/// "2GiB,3GiB", or "20": so many between the smallest and everything kept.
Result<Budgets> budgetsOf(const std::string &text) {
  Budgets budgets;
  auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), budgets.count);
  if (error == std::errc() && end == text.data() + text.size() && budgets.count >= 2 && budgets.count <= mostBudgets)
    return budgets;
  budgets.count = 0;
  Status status;
  for (size_t begin = 0; begin <= text.size();) {
    size_t comma = std::min(text.find(',', begin), text.size());
    std::string one = text.substr(begin, comma - begin);
    if (auto bytes = parseByteSize(one))
      budgets.bytes.push_back(*bytes);
    else
      status.merge(Status::error(Code::Usage, "'" + escaped(one, 40) + "' is no size", "--budgets",
                                 "write sizes with units, \"2GiB,3GiB\", or how many to try: from 2 to " +
                                     std::to_string(mostBudgets)));
    begin = comma + 1;
  }
  if (static_cast<int>(budgets.bytes.size()) > mostBudgets)
    status.merge(Status::error(Code::Usage, "more than " + std::to_string(mostBudgets) + " budgets", "--budgets"));
  if (!status.isOk())
    return status;
  return budgets;
}

std::string bytesOf(int64_t bytes) {
  return graft::bytesText(static_cast<double>(bytes));
}

int printSweep(const std::vector<BudgetPoint> &points, const Shell &shell) {
  std::vector<std::vector<std::string>> rows = {{"budget", "needs", "arena", "micro-batches", "logits at a time",
                                                 "GFLOP", "seconds (estimate)", "computed again"}};
  Json lines = Json::array();
  for (const BudgetPoint &point : points) {
    rows.push_back({bytesOf(point.budget),
                    point.fits ? bytesOf(point.deviceBytes) : "does not fit, least " + bytesOf(point.deviceBytes),
                    bytesOf(point.arenaBytes), std::to_string(point.microBatches),
                    point.chunkTokens ? std::to_string(point.chunkTokens) + " tokens" : "",
                    format("%.1f", static_cast<double>(point.flops) / 1e9), secondsText(point.seconds),
                    format("%.1f %%", 100 * point.againSeconds / point.seconds)});
    lines.push_back({{"budget", point.budget},
                     {"fits", point.fits},
                     {"device_bytes", point.deviceBytes},
                     {"arena_bytes", point.arenaBytes},
                     {"micro_batches", point.microBatches},
                     {"chunk_tokens", point.chunkTokens},
                     {"flops", point.flops},
                     {"seconds", point.seconds},
                     {"seconds_computed_again", point.againSeconds}});
  }
  shell.print(tableText(rows));
  shell.print(Json{{"budgets", lines}});
  return 0;
}

Result<int> plan(const PlanFlags &flags, const Shell &shell) {
  std::optional<Budgets> budgets;
  if (!flags.budgets.empty()) {
    GRAFT_ASSIGN_OR_RETURN(budgets, budgetsOf(flags.budgets));
  }
  GRAFT_ASSIGN_OR_RETURN(Recipe recipe, loadRecipe(flags.recipe));
  Compiler compiler;
  if (budgets) {
    GRAFT_ASSIGN_OR_RETURN(std::vector<BudgetPoint> points,
                           compiler.sweepBudgets(recipe, std::move(budgets->bytes), budgets->count));
    return printSweep(points, shell);
  }
  CompileOptions options;
  options.stopAfter = Stage::Lower;
  GRAFT_ASSIGN_OR_RETURN(Compilation compilation, compiler.compile(recipe, options));
  for (const std::string &note : compilation.notes)
    shell.say("note: " + note);
  const schema::ProgramT &program = compilation.program;
  StepEstimate estimate = estimateStep(program, compilation.microBatches);
  PlanSummary summary = PlanSummary::of(program);
  flatbuffers::FlatBufferBuilder builder;
  builder.Finish(schema::Program::Pack(builder, &program));
  const auto &packed = *flatbuffers::GetRoot<schema::Program>(builder.GetBufferPointer());
  std::string text = summary.text() + "\na step takes about " + secondsText(estimate.seconds) + ", of that " +
                     secondsText(estimate.againSeconds) + " to compute again; all that it needs is " +
                     bytesOf(deviceBytes(program)) + "\n";
  Json value = summary.json();
  for (unsigned e = 0; e < packed.entries()->size(); ++e)
    if (std::string name = packed.entries()->Get(e)->name()->str(); name == "accumulate" || name == updatingEntry) {
      RetentionSummary retention = RetentionSummary::of(packed, static_cast<int>(e));
      text += "\n" + name + "\n" + retention.text(flags.limit);
      value["recompute"] = retention.json();
    }
  value["device_bytes"] = deviceBytes(program);
  value["seconds"] = estimate.seconds;
  value["seconds_computed_again"] = estimate.againSeconds;
  value["notes"] = compilation.notes;
  shell.print(text);
  shell.print(value);
  return 0;
}

} // namespace

void addPlan(CLI::App &app, Shell &shell) {
  CLI::App *command =
      app.add_subcommand("plan", "Say what would be compiled: memory, a step's time, what is computed again");
  auto flags = std::make_shared<PlanFlags>();
  command->add_option("RECIPE", flags->recipe, "Recipe (TOML)")->required();
  command->add_option(
      "--budgets", flags->budgets,
      "Sizes, as 2GiB,3GiB, or how many between the smallest that fits and one where nothing is computed again");
  command->add_option("--limit", flags->limit, "Lines per list")->check(CLI::Range(1, 1000000));
  shell.addFlags(*command);
  command->callback([flags, &shell] { shell.action = [flags, &shell] { return plan(*flags, shell); }; });
}

} // namespace graft::cli
