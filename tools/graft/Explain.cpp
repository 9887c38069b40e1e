// `graft explain P.graft WHAT`: where a tensor lives and how long, and what the peak of the arena is made of.
#include "runtime/program/Program.h"
#include "tools/graft/Command.h"

#include <algorithm>

namespace graft::cli {

namespace {

struct ExplainFlags {
  std::string program, what;
};

const char *storageName(schema::Storage storage) {
  const char *names[] = {"arena", "parameters", "gradients", "constants"};
  return names[static_cast<size_t>(storage)];
}

std::string shapeText(const flatbuffers::Vector<int64_t> *shape) {
  std::string text = "[";
  if (shape)
    for (int64_t size : *shape)
      text += (text.size() > 1 ? ", " : "") + std::to_string(size);
  return text + "]";
}

std::string textOf(const flatbuffers::String *text) { return text ? escaped(text->string_view()) : ""; }

class Explainer {
public:
  Explainer(const schema::Program &program, const Shell &shell) : program_(program), shell_(shell) {}

  int overview() {
    std::string text = "Ask for a tensor by a part of its name, or for 'peak'.\n\n";
    std::vector<std::vector<std::string>> rows = {{"entry", "instructions", "arena", "inputs", "outputs"}};
    for (const schema::Entry *entry : *program_.entries())
      rows.push_back({textOf(entry->name()), std::to_string(entry->instructions() ? entry->instructions()->size() : 0), bytesText(static_cast<double>(entry->arena_bytes())),
                      names(entry->inputs()), std::to_string(entry->outputs() ? entry->outputs()->size() : 0)});
    shell_.print(text + tableText(rows));
    shell_.print(Json{{"entries", rows}});
    return 0;
  }

  /// For every entry: the instruction at which most bytes are live, and what they are.
  int peak() {
    std::string text;
    Json json = Json::array();
    for (size_t e = 0; e < program_.entries()->size(); ++e) {
      std::vector<const schema::Buffer *> live = liveAtPeak(static_cast<int>(e));
      const schema::Entry *entry = program_.entries()->Get(static_cast<unsigned>(e));
      int64_t bytes = 0;
      for (const schema::Buffer *buffer : live)
        bytes += buffer->size();
      std::string place = instructionText(entry, peakTime_);
      text += format("%s: %s live at instruction %d (%s); the arena has %s\n", textOf(entry->name()).c_str(), bytesText(static_cast<double>(bytes)).c_str(), peakTime_, place.c_str(),
                     bytesText(static_cast<double>(entry->arena_bytes())).c_str());
      std::vector<std::vector<std::string>> rows = {{"  bytes", "tensor", "shape", "live", "from"}};
      Json lines = Json::array();
      for (size_t i = 0; i < live.size(); ++i) {
        if (i < shown)
          rows.push_back({"  " + bytesText(static_cast<double>(live[i]->size())), textOf(live[i]->name()), shapeText(live[i]->shape()), lifeText(*live[i]), textOf(live[i]->origin())});
        lines.push_back(bufferJson(*live[i]));
      }
      text += tableText(rows) + (live.size() > shown ? format("  and %zu more\n", live.size() - shown) : "") + "\n";
      json.push_back({{"entry", textOf(entry->name())}, {"bytes", bytes}, {"instruction", peakTime_}, {"arena_bytes", entry->arena_bytes()}, {"live", lines}});
    }
    shell_.print(text);
    shell_.print(Json{{"peaks", json}});
    return 0;
  }

  /// Buffers and parameters whose name or origin contains `what`.
  Result<int> tensors(const std::string &what) {
    std::vector<std::vector<std::string>> rows = {{"tensor", "entry", "where", "offset", "bytes", "shape", "live", "from"}};
    Json lines = Json::array();
    if (program_.parameters())
      for (const schema::Parameter *parameter : *program_.parameters())
        if (matches(parameter->name(), what)) {
          rows.push_back({textOf(parameter->name()), "", parameter->trained() ? "parameter, trains" : "parameter", std::to_string(parameter->offset()), "", shapeText(parameter->shape()), "always", ""});
          lines.push_back({{"name", textOf(parameter->name())}, {"storage", "parameters"}, {"offset", parameter->offset()}, {"trained", parameter->trained()}});
        }
    for (const schema::Buffer *buffer : *program_.buffers())
      if (matches(buffer->name(), what) || matches(buffer->origin(), what)) {
        std::string entry = buffer->entry() >= 0 ? textOf(program_.entries()->Get(static_cast<unsigned>(buffer->entry()))->name()) : "";
        rows.push_back({textOf(buffer->name()), entry, storageName(buffer->storage()), std::to_string(buffer->offset()), bytesText(static_cast<double>(buffer->size())), shapeText(buffer->shape()),
                        lifeText(*buffer), textOf(buffer->origin())});
        lines.push_back(bufferJson(*buffer));
      }
    if (rows.size() == 1)
      return Status::error(Code::Usage, "nothing in the program is called '" + escaped(what) + "'", "WHAT", "use a part of a parameter's, a node's or a module's name, or 'peak'");
    shell_.print(tableText(rows));
    shell_.print(Json{{"tensors", lines}});
    return 0;
  }

private:
  static constexpr size_t shown = 20;

  static bool matches(const flatbuffers::String *text, const std::string &what) { return text && text->string_view().find(what) != std::string_view::npos; }
  static std::string lifeText(const schema::Buffer &buffer) {
    return buffer.storage() == schema::Storage::Arena ? std::to_string(buffer.first()) + " to " + std::to_string(buffer.last()) : "always";
  }
  static Json bufferJson(const schema::Buffer &buffer) {
    return {{"name", textOf(buffer.name())}, {"storage", storageName(buffer.storage())}, {"entry", buffer.entry()}, {"offset", buffer.offset()},
            {"bytes", buffer.size()}, {"first", buffer.first()}, {"last", buffer.last()}, {"origin", textOf(buffer.origin())}};
  }
  static std::string names(const flatbuffers::Vector<flatbuffers::Offset<schema::Binding>> *bindings) {
    std::string text;
    if (bindings)
      for (const schema::Binding *binding : *bindings)
        text += (text.empty() ? "" : ", ") + textOf(binding->name());
    return text;
  }
  static std::string instructionText(const schema::Entry *entry, int time) {
    if (!entry->instructions() || time < 0 || time >= static_cast<int>(entry->instructions()->size()))
      return time < 0 ? "inputs" : "outputs";
    return textOf(entry->instructions()->Get(static_cast<unsigned>(time))->origin());
  }

  /// Largest first.
  std::vector<const schema::Buffer *> liveAtPeak(int entry) {
    const auto *instructions = program_.entries()->Get(static_cast<unsigned>(entry))->instructions();
    int end = instructions ? static_cast<int>(instructions->size()) : 0;
    std::vector<int64_t> change(static_cast<size_t>(end) + 3);
    std::vector<const schema::Buffer *> own;
    for (const schema::Buffer *buffer : *program_.buffers())
      if (buffer->storage() == schema::Storage::Arena && buffer->entry() == entry) {
        own.push_back(buffer);
        change[static_cast<size_t>(buffer->first() + 1)] += buffer->size();
        change[static_cast<size_t>(buffer->last() + 2)] -= buffer->size();
      }
    int64_t bytes = 0, most = -1;
    for (int time = -1; time <= end; ++time)
      if (bytes += change[static_cast<size_t>(time + 1)]; bytes > most)
        most = bytes, peakTime_ = time;
    std::erase_if(own, [&](const schema::Buffer *buffer) { return buffer->first() > peakTime_ || buffer->last() < peakTime_; });
    std::ranges::stable_sort(own, std::ranges::greater(), [](const schema::Buffer *buffer) { return buffer->size(); });
    return own;
  }

  const schema::Program &program_;
  const Shell &shell_;
  int peakTime_ = 0;
};

Result<int> explain(const ExplainFlags &flags, const Shell &shell) {
  GRAFT_ASSIGN_OR_RETURN(Program program, Program::open(flags.program));
  Explainer explainer(program.root(), shell);
  if (flags.what.empty())
    return explainer.overview();
  if (flags.what == "peak" || flags.what == "memory" || flags.what == "peak memory")
    return explainer.peak();
  return explainer.tensors(flags.what);
}

} // namespace

void addExplain(CLI::App &app, Shell &shell) {
  CLI::App *command = app.add_subcommand("explain", "Say where a program's tensors live, and what its peak memory is made of");
  auto flags = std::make_shared<ExplainFlags>();
  command->add_option("PROGRAM", flags->program, "Program file")->required();
  command->add_option("WHAT", flags->what, "A part of a tensor's, node's or module's name; or 'peak'");
  shell.addFlags(*command);
  command->callback([flags, &shell] { shell.action = [flags, &shell] { return explain(*flags, shell); }; });
}

} // namespace graft::cli
