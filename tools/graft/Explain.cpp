// `graft explain P.graft WHAT`: what the peak of memory is made of, where a tensor lives and who touches it, what the
// instructions cost, what is kept for the backward pass and what it computes again. From the program file alone.
#include "passes/report/ProgramReport.h"
#include "runtime/program/Layout.h"
#include "runtime/program/Program.h"
#include "tools/graft/Command.h"
#include "tools/graft/Summary.h"

#include <algorithm>
#include <map>

namespace graft::cli {

namespace {

using namespace report;

struct ExplainFlags {
  std::string program, what, entry;
  size_t limit = 20;
};

std::string textOf(const flatbuffers::String *text) {
  return text ? escaped(text->string_view(), 200) : "";
}

std::string shapeText(const flatbuffers::Vector<int64_t> *shape) {
  std::string text = "[";
  if (shape)
    for (int64_t size : *shape)
      text += (text.size() > 1 ? ", " : "") + std::to_string(size);
  return text + "]";
}

std::string bytesOf(int64_t bytes) {
  return bytesText(static_cast<double>(bytes));
}

class Explainer {
public:
  Explainer(const schema::Program &program, const ExplainFlags &flags, const Shell &shell)
      : program_(program), flags_(flags), shell_(shell) {}

  Result<int> run() {
    if (flags_.what.empty())
      return overview();
    if (flags_.what == "memory" || flags_.what == "peak")
      return memory();
    if (flags_.what == "instructions")
      return instructions();
    if (flags_.what == "recompute")
      return recompute();
    return tensors();
  }

private:
  int overview();
  int memory();
  std::string blocksText();
  Json blocksJson();
  int recompute();
  Result<int> instructions();
  Result<int> tensors();

  const schema::Buffer &buffer(uint32_t index) const { return *program_.buffers()->Get(index); }
  const schema::Entry &entry(int index) const { return *program_.entries()->Get(static_cast<unsigned>(index)); }
  unsigned entryCount() const { return program_.entries() ? program_.entries()->size() : 0; }
  std::string entryName(int index) const { return index < 0 ? "any" : textOf(entry(index).name()); }
  static unsigned instructionCount(const schema::Entry &entry) {
    return entry.instructions() ? entry.instructions()->size() : 0;
  }

  std::string momentText(int entryIndex, int time) const;
  std::string lifeText(const schema::Buffer &buffer) const;
  std::string usesText(const std::vector<BufferUse> &uses, bool writes) const;
  std::string costOfMaking(const std::vector<BufferUse> &uses) const;
  Json bufferJson(uint32_t index) const;
  Json usesJson(const std::vector<BufferUse> &uses) const;
  void describeParameter(const schema::Parameter &parameter, std::string &text, Json &json);
  void describeBuffer(uint32_t index, std::string &text, Json &json);

  const schema::Program &program_;
  const ExplainFlags &flags_;
  const Shell &shell_;
  std::vector<std::vector<BufferUse>> uses_;
};

std::string storageText(schema::Storage storage) {
  constexpr const char *names[] = {"arena",     "parameters",        "gradients",
                                   "constants", "gradients' memory", "working copies"};
  return names[static_cast<size_t>(storage)];
}

/// "instruction 12 (node_MatMul_3 @ model.layers.0.mlp)"
std::string Explainer::momentText(int entryIndex, int time) const {
  if (time < 0)
    return "when inputs are written";
  if (time >= static_cast<int>(instructionCount(entry(entryIndex))))
    return "when outputs are read";
  std::string origin = textOf(entry(entryIndex).instructions()->Get(static_cast<unsigned>(time))->origin());
  return "instruction " + std::to_string(time) + (origin.empty() ? "" : " (" + origin + ")");
}

std::string Explainer::lifeText(const schema::Buffer &buffer) const {
  if (isTransient(buffer.storage()))
    return "from " + momentText(buffer.entry(), buffer.first()) + " to " + momentText(buffer.entry(), buffer.last());
  return buffer.storage() == schema::Storage::Gradient ? "from accumulate to the optimizer's step" : "always";
}

Json Explainer::bufferJson(uint32_t index) const {
  const schema::Buffer &b = buffer(index);
  Json shape = Json::array();
  if (b.shape())
    shape = std::vector<int64_t>(b.shape()->begin(), b.shape()->end());
  return {{"name", textOf(b.name())},
          {"storage", storageText(b.storage())},
          {"entry", b.entry() < 0 ? Json() : Json(entryName(b.entry()))},
          {"offset", b.offset()},
          {"bytes", b.size()},
          {"shape", shape},
          {"first", b.first()},
          {"last", b.last()},
          {"origin", textOf(b.origin())}};
}

/// What a program needs besides the arena.
std::string Explainer::blocksText() {
  return "parameters " + bytesOf(program_.parameter_bytes()) + ", gradients " + bytesOf(program_.gradient_bytes()) +
         ", optimizer state 2 x " + bytesOf(program_.state_bytes()) + ", working copies " +
         bytesOf(program_.working_bytes());
}
Json Explainer::blocksJson() {
  return {{"parameter_bytes", program_.parameter_bytes()},
          {"gradient_bytes", program_.gradient_bytes()},
          {"state_bytes", program_.state_bytes()},
          {"working_bytes", program_.working_bytes()}};
}

int Explainer::overview() {
  std::vector<std::vector<std::string>> rows = {{"entry", "instructions", "arena"}};
  Json entries = Json::array();
  for (unsigned e = 0; e < entryCount(); ++e) {
    const schema::Entry &one = entry(static_cast<int>(e));
    rows.push_back({textOf(one.name()), std::to_string(instructionCount(one)), bytesOf(one.arena_bytes())});
    entries.push_back(
        {{"name", textOf(one.name())}, {"instructions", instructionCount(one)}, {"arena_bytes", one.arena_bytes()}});
  }
  shell_.print(
      tableText(rows) + "\n" + blocksText() + ", arena " + bytesOf(program_.arena_bytes()) +
      "\nAsk for 'memory', 'recompute', 'instructions', or a part of a tensor's, parameter's or module's name.");
  Json json = {{"entries", entries}, {"arena_bytes", program_.arena_bytes()}};
  json.update(blocksJson());
  shell_.print(json);
  return 0;
}

/// For every entry: the moment at which most bytes are live, and what they are.
int Explainer::memory() {
  std::string text;
  Json peaks = Json::array();
  for (const PeakMemory &peak : peakMemory(program_)) {
    double over =
        peak.lowerBound ? 100.0 * (static_cast<double>(peak.planned) / static_cast<double>(peak.lowerBound) - 1) : 0;
    text += entryName(peak.entry) + ": " + bytesOf(peak.planned) + " of arena; at its peak, " +
            momentText(peak.entry, peak.time) + ", " + bytesOf(peak.lowerBound) +
            " are live: no plan is smaller, this one is " + format("%.1f %%", over) + " above" +
            (peak.lent ? "; " + bytesOf(peak.lent) + " more lie where gradients will be" : "") + "\n";
    std::vector<std::vector<std::string>> rows = {{"  bytes", "share", "tensor", "shape", "live", "from"}};
    Json live = Json::array();
    int64_t rest = 0;
    for (size_t i = 0; i < peak.live.size(); ++i) {
      const schema::Buffer &b = buffer(peak.live[i]);
      live.push_back(bufferJson(peak.live[i]));
      if (i < flags_.limit)
        rows.push_back({"  " + bytesOf(b.size()),
                        format("%.0f %%", 100.0 * static_cast<double>(b.size()) / static_cast<double>(peak.lowerBound)),
                        textOf(b.name()), shapeText(b.shape()),
                        std::to_string(b.first()) + "-" + std::to_string(b.last()), textOf(b.origin())});
      else
        rest += b.size();
    }
    text += tableText(rows) +
            (peak.live.size() > flags_.limit
                 ? format("  and %zu more, ", peak.live.size() - flags_.limit) + bytesOf(rest) + "\n"
                 : "") +
            "\n";
    peaks.push_back({{"entry", entryName(peak.entry)},
                     {"time", peak.time},
                     {"moment", momentText(peak.entry, peak.time)},
                     {"lower_bound", peak.lowerBound},
                     {"planned", peak.planned},
                     {"lent", peak.lent},
                     {"live", live}});
  }
  shell_.print(text + "besides the arena: " + blocksText());
  Json json = {{"peaks", peaks}, {"arena_bytes", program_.arena_bytes()}};
  json.update(blocksJson());
  shell_.print(json);
  return 0;
}

/// For every entry with a backward pass: what it keeps and what it computes again.
int Explainer::recompute() {
  std::string text;
  Json json = Json::array();
  for (unsigned e = 0; e < entryCount(); ++e) {
    RetentionSummary summary = RetentionSummary::of(program_, static_cast<int>(e));
    if (summary.retention.kept.empty() && summary.retention.madeAgain.empty())
      continue;
    text += entryName(static_cast<int>(e)) + "\n" + summary.text(flags_.limit);
    Json one = summary.json();
    one["entry"] = entryName(static_cast<int>(e));
    json.push_back(one);
  }
  shell_.print(text.empty() ? "No entry has a backward pass.\n" : text);
  shell_.print(Json{{"entries", json}});
  return 0;
}

/// A table of each entry's instructions, those of a loop for one pass, and sums by category over all passes.
Result<int> Explainer::instructions() {
  std::string text;
  Json json = Json::array();
  bool found = false;
  for (unsigned e = 0; e < entryCount(); ++e) {
    const schema::Entry &one = entry(static_cast<int>(e));
    if (!flags_.entry.empty() && one.name()->string_view() != flags_.entry)
      continue;
    found = true;
    std::vector<std::vector<std::string>> rows = {{"  #", "kind", "category", "FLOPs", "bytes", "from"}};
    std::map<std::string, std::pair<int64_t, std::pair<double, double>>> sums;
    Json lines = Json::array();
    std::vector<double> passes = mostPasses(one);
    for (unsigned i = 0; i < instructionCount(one); ++i) {
      const schema::Instruction &instruction = *one.instructions()->Get(i);
      std::string kind = escaped(kindOf(instruction)), category = textOf(instruction.category());
      rows.push_back({"  " + std::to_string(i), kind, category,
                      format("%.3g", static_cast<double>(instruction.flops())), bytesOf(instruction.bytes()),
                      textOf(instruction.origin())});
      lines.push_back({{"kind", kind},
                       {"category", category},
                       {"flops", instruction.flops()},
                       {"bytes", instruction.bytes()},
                       {"origin", textOf(instruction.origin())}});
      auto &[count, cost] = sums[category];
      ++count;
      cost.first += passes[i] * static_cast<double>(instruction.flops());
      cost.second += passes[i] * static_cast<double>(instruction.bytes());
    }
    std::vector<std::vector<std::string>> totals = {{"  category, all passes", "instructions", "FLOPs", "bytes"}};
    Json categories = Json::object();
    for (const auto &[category, sum] : sums) {
      totals.push_back(
          {"  " + category, std::to_string(sum.first), format("%.3g", sum.second.first), bytesText(sum.second.second)});
      categories[category] = {{"instructions", sum.first}, {"flops", sum.second.first}, {"bytes", sum.second.second}};
    }
    text += textOf(one.name()) + "\n" + tableText(rows) + "\n" + tableText(totals) + "\n";
    json.push_back({{"entry", textOf(one.name())}, {"instructions", lines}, {"categories", categories}});
  }
  if (!found)
    return Status::error(Code::Usage, "the program has no entry '" + escaped(flags_.entry) + "'", "--entry",
                         "'graft explain P.graft' lists them");
  shell_.print(text);
  shell_.print(Json{{"entries", json}});
  return 0;
}

/// "accumulate 3 (origin), accumulate 9 (origin) and 4 more"
std::string Explainer::usesText(const std::vector<BufferUse> &uses, bool writes) const {
  constexpr size_t shown = 6;
  std::string text;
  size_t count = 0;
  for (const BufferUse &use : uses) {
    if (use.access != schema::Access::ReadWrite && (use.access == schema::Access::Write) != writes)
      continue;
    if (++count > shown)
      continue;
    std::string origin = textOf(entry(use.entry).instructions()->Get(static_cast<unsigned>(use.instruction))->origin());
    text += (text.empty() ? "" : ", ") + entryName(use.entry) + " " + std::to_string(use.instruction) +
            (origin.empty() ? "" : " (" + origin + ")");
  }
  return text + (count > shown ? " and " + std::to_string(count - shown) + " more" : "");
}

Json Explainer::usesJson(const std::vector<BufferUse> &uses) const {
  constexpr const char *names[] = {"read", "write", "read-write"};
  Json out = Json::array();
  for (const BufferUse &use : uses)
    out.push_back(
        {{"entry", entryName(use.entry)},
         {"instruction", use.instruction},
         {"access", names[static_cast<size_t>(use.access)]},
         {"origin", textOf(entry(use.entry).instructions()->Get(static_cast<unsigned>(use.instruction))->origin())}});
  return out;
}

/// ", from arith.mulf.12, model.norm.weight (1.5e+09 FLOPs)": what the instructions that make it again read and cost.
std::string Explainer::costOfMaking(const std::vector<BufferUse> &uses) const {
  std::string from;
  int64_t flops = 0;
  for (const BufferUse &use : uses) {
    const schema::Instruction &instruction =
        *entry(use.entry).instructions()->Get(static_cast<unsigned>(use.instruction));
    if (use.access == schema::Access::Read || instruction.phase() != schema::Phase::Recompute)
      continue;
    flops += instruction.flops();
    visitBuffers(instruction, [&](uint32_t read, schema::Access access) {
      if (access != schema::Access::Write)
        from += (from.empty() ? ", from " : ", ") + textOf(buffer(read).name());
    });
  }
  return from + (flops ? format(" (%.3g FLOPs)", static_cast<double>(flops)) : "");
}

void Explainer::describeBuffer(uint32_t index, std::string &text, Json &json) {
  const schema::Buffer &b = buffer(index);
  text += textOf(b.name()) + " " + shapeText(b.shape()) + " in " + storageText(b.storage()) +
          (b.entry() >= 0 ? " of " + entryName(b.entry()) : "") + ", " + bytesOf(b.size()) + " at " +
          std::to_string(b.offset()) + "\n";
  if (b.origin() && b.origin()->size())
    text += "  from     " + textOf(b.origin()) + "\n";
  text += "  lives    " + lifeText(b) + "\n";
  Fate fate = isTransient(b.storage()) ? fateOf(program_, uses_[index]) : Fate::Temporary;
  if (fate == Fate::Kept)
    text += "  kept     for the backward pass\n";
  else if (fate == Fate::MadeAgain)
    text += "  again    computed a second time, in the backward pass" + costOfMaking(uses_[index]) + "\n";
  for (bool writes : {true, false})
    if (std::string who = usesText(uses_[index], writes); !who.empty())
      text += (writes ? "  written  " : "  read     ") + who + "\n";
  Json one = bufferJson(index);
  one["uses"] = usesJson(uses_[index]);
  constexpr const char *fates[] = {"temporary", "kept", "made again"};
  one["fate"] = fates[static_cast<size_t>(fate)];
  json.push_back(one);
}

void Explainer::describeParameter(const schema::Parameter &parameter, std::string &text, Json &json) {
  text += "parameter " + textOf(parameter.name()) + " " + shapeText(parameter.shape()) +
          (parameter.trained() ? ", trains" : ", frozen") + "\n";
  Json aliases = Json::array();
  if (parameter.aliases())
    for (const flatbuffers::String *alias : *parameter.aliases())
      aliases.push_back(textOf(alias));
  if (!aliases.empty())
    text += "  also     " + aliases.dump() + "\n";
  text += "  weights  at " + std::to_string(parameter.offset()) + " of " + bytesOf(program_.parameter_bytes()) + "\n";
  if (parameter.trained())
    text += "  gradient " +
            (updatesInBackward(program_)
                 ? "in the arena until the update"
                 : "at " + std::to_string(parameter.gradient_offset()) + " of " + bytesOf(program_.gradient_bytes())) +
            "; moments at " + std::to_string(parameter.state_offset()) + " of 2 x " + bytesOf(program_.state_bytes()) +
            "; weight decay " + format("%g", static_cast<double>(parameter.weight_decay())) + "\n";
  Json one = {{"name", textOf(parameter.name())},
              {"aliases", aliases},
              {"trained", parameter.trained()},
              {"offset", parameter.offset()},
              {"gradient_offset", parameter.gradient_offset()},
              {"state_offset", parameter.state_offset()},
              {"working_offset", parameter.working_offset()},
              {"weight_decay", parameter.weight_decay()}};
  one["uses"] = Json::array();
  for (uint32_t index : buffersOf(program_, parameter)) {
    schema::Storage storage = buffer(index).storage();
    const char *which = storage == schema::Storage::Parameter ? "weights"
                        : storage == schema::Storage::Working ? "bfloat16 copy"
                                                              : "gradient";
    for (bool writes : {true, false})
      if (std::string who = usesText(uses_[index], writes); !who.empty())
        text += std::string("  ") + which + (writes ? " written by " : " read by ") + who + "\n";
    for (Json use : usesJson(uses_[index])) {
      use["block"] = which;
      one["uses"].push_back(use);
    }
  }
  json.push_back(one);
}

/// Parameters and buffers whose name, alias or origin contains `what`.
Result<int> Explainer::tensors() {
  auto matches = [&](const flatbuffers::String *text) {
    return text && text->string_view().find(flags_.what) != std::string_view::npos;
  };
  uses_ = bufferUses(program_);
  std::string text;
  Json parameters = Json::array(), buffers = Json::array();
  size_t found = 0;
  auto take = [&] { return ++found <= flags_.limit || shell_.json; };
  for (unsigned i = 0; program_.parameters() && i < program_.parameters()->size(); ++i) {
    const schema::Parameter &parameter = *program_.parameters()->Get(i);
    bool alias = false;
    if (parameter.aliases())
      for (const flatbuffers::String *other : *parameter.aliases())
        alias |= matches(other);
    if ((matches(parameter.name()) || alias) && take())
      describeParameter(parameter, text, parameters);
  }
  for (uint32_t i = 0; program_.buffers() && i < program_.buffers()->size(); ++i)
    if (bool own = isTransient(buffer(i).storage()) || buffer(i).storage() == schema::Storage::Constant;
        own && (matches(buffer(i).name()) || matches(buffer(i).origin())) && take())
      describeBuffer(i, text, buffers);
  if (found == 0)
    return Status::error(
        Code::Usage, "nothing in the program is called '" + escaped(flags_.what) + "'", "WHAT",
        "use 'memory', 'recompute', 'instructions', or a part of a parameter's, a node's or a module's name");
  if (found > flags_.limit)
    text += "and " + std::to_string(found - flags_.limit) + " more: say more of the name, or raise --limit\n";
  shell_.print(text);
  shell_.print(Json{{"parameters", parameters}, {"buffers", buffers}});
  return 0;
}

Result<int> explain(const ExplainFlags &flags, const Shell &shell) {
  GRAFT_ASSIGN_OR_RETURN(Program program, Program::open(flags.program));
  return Explainer(program.root(), flags, shell).run();
}

} // namespace

void addExplain(CLI::App &app, Shell &shell) {
  CLI::App *command = app.add_subcommand(
      "explain", "Say what a program's memory is made of, where a tensor lives, what its instructions cost");
  auto flags = std::make_shared<ExplainFlags>();
  command->add_option("PROGRAM", flags->program, "Program file")->required();
  command->add_option(
      "WHAT", flags->what,
      "'memory', 'recompute', 'instructions', or a part of a tensor's, parameter's, node's or module's name");
  command->add_option("--entry", flags->entry, "With 'instructions': only this entry");
  command->add_option("--limit", flags->limit, "Lines per list")->check(CLI::Range(1, 1000000));
  shell.addFlags(*command);
  command->callback([flags, &shell] { shell.action = [flags, &shell] { return explain(*flags, shell); }; });
}

} // namespace graft::cli
