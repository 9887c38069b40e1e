// `graft port MODEL`: what a graph is made of, what is missing, what to do next, on one page.
#include "dialects/rl/RLDialect.h"
#include "passes/report/PortReport.h"
#include "tools/graft/Command.h"

#include "mlir/IR/MLIRContext.h"

#include <algorithm>
#include <iostream>

namespace graft::cli {

namespace {

using namespace report;

std::string join(const std::vector<std::string> &parts, const char *separator = ", ") {
  std::string text;
  for (const std::string &part : parts)
    text += (text.empty() ? "" : separator) + part;
  return text;
}

/// 134515008 -> "134,515,008"
std::string grouped(int64_t value) {
  std::string digits = std::to_string(value);
  for (size_t at = digits.size(); at > 3 + (digits[0] == '-' ? 1 : 0);)
    digits.insert(at -= 3, ",");
  return digits;
}

/// "1.23 GFLOP"
std::string flopsText(double flops) {
  const char *units[] = {"FLOP", "kFLOP", "MFLOP", "GFLOP", "TFLOP", "PFLOP"};
  size_t unit = 0;
  for (; flops >= 1000 && unit + 1 < std::size(units); ++unit)
    flops /= 1000;
  return format("%.3g %s", flops, units[unit]);
}

/// "9 x Mul, 4 x Add": the most frequent first, the rest counted.
std::string countsText(const std::vector<OperatorCount> &counts, auto keep) {
  std::vector<std::string> parts;
  for (const OperatorCount &count : counts)
    if (keep(count))
      parts.push_back(std::to_string(count.count) + " " + count.name);
  return join(parts);
}

class Page {
public:
  explicit Page(const PortReport &report) : report_(report) {}

  std::string text() {
    file();
    architecture();
    operators();
    if (report_.imported) {
      parameters();
      costs();
    }
    batch();
    unsupported();
    notes();
    next();
    return std::move(text_);
  }

private:
  void line(const char *label, const std::string &content) { text_ += format("%-13s", label) + content + "\n"; }

  void file() {
    line("graph", escaped(report_.graph, 400) + " (" + report_.format + ", " +
                      bytesText(static_cast<double>(report_.bytes)) + ")");
    line("weights", report_.weights.empty() ? "none given and none beside the graph" : escaped(report_.weights, 400));
    if (!report_.producer.empty())
      line("exporter", report_.producer + ", IR version " + std::to_string(report_.irVersion));
    std::vector<std::string> opsets;
    for (const auto &[domain, version] : report_.opsets)
      opsets.push_back(domain + " " + std::to_string(version));
    if (!opsets.empty())
      line("opset", join(opsets));
    for (const auto &[key, value] : report_.metadata)
      line("metadata", key + " = " + value);
    line("inputs", join(report_.inputs));
    line("outputs", join(report_.outputs));
  }

  void architecture() {
    text_ += "\narchitecture\n";
    bool repeats = false;
    for (const ReportBlock &block : report_.blocks) {
      repeats |= !block.indices.empty();
      std::string head =
          block.indices.empty() ? "" : std::to_string(block.indices.size()) + " x " + escaped(block.path) + ": ";
      std::string tail =
          block.parameters ? "   " + grouped(block.parameters) + " numbers" + (block.indices.size() > 1 ? " each" : "")
                           : "";
      text_ += "  " + head + "[" +
               (block.parts.empty() ? std::to_string(block.operators) + " operators" : join(block.parts)) + "]" + tail +
               "\n";
    }
    if (!repeats)
      text_ += "  no repeated block: the graph names no modules\n";
  }

  void operators() {
    text_ += "\n";
    auto all = [](const OperatorCount &) { return true; };
    int64_t nodes = 0;
    for (const OperatorCount &count : report_.graphOperators)
      nodes += count.count;
    if (nodes)
      line("ONNX", grouped(nodes) + " nodes: " + countsText(report_.graphOperators, all));
    for (OperatorKind kind : {OperatorKind::Native, OperatorKind::Idiom, OperatorKind::Plain}) {
      std::string counts =
          countsText(report_.operators, [&](const OperatorCount &count) { return count.kind == kind; });
      if (!counts.empty())
        line(std::string(report::text(kind)).c_str(), counts);
    }
    std::string missing =
        countsText(report_.graphOperators, [](const OperatorCount &count) { return !count.supported; });
    if (!missing.empty())
      line("unsupported", missing);
  }

  void parameters() {
    size_t trained = 0;
    std::vector<std::string> tied, frozen;
    for (const ReportParameter &parameter : report_.parameters) {
      trained += parameter.trained;
      if (!parameter.trained)
        frozen.push_back(escaped(parameter.name));
      if (!parameter.aliases.empty())
        tied.push_back(escaped(parameter.name) + " = " + join(parameter.aliases, " = "));
    }
    text_ += "\n";
    line("parameters", grouped(static_cast<int64_t>(report_.parameters.size())) + " tensors, " +
                           grouped(report_.elements(false)) + " numbers; " + grouped(static_cast<int64_t>(trained)) +
                           " tensors train, " + grouped(report_.elements(true)) + " numbers");
    if (!tied.empty())
      line("tied", join(tied, "; "));
    if (!frozen.empty()) {
      size_t rest = frozen.size() > 8 ? frozen.size() - 8 : 0;
      frozen.resize(frozen.size() - rest);
      line("frozen", join(frozen) + (rest ? " and " + std::to_string(rest) + " more" : ""));
    }
  }

  void costs() {
    double tokens = static_cast<double>(report_.sequences) * static_cast<double>(report_.tokens);
    line("per token", flopsText(static_cast<double>(report_.flops) / tokens) +
                          " forward, about three times that to train; " +
                          bytesText(static_cast<double>(report_.operatorBytes) / tokens) +
                          " moved forward if no operators were fused (" + std::to_string(report_.sequences) + " x " +
                          std::to_string(report_.tokens) + " tokens)");
  }

  void batch() {
    if (const auto &difference = report_.difference)
      line("batch", "largest difference of log-probs " + format("%.3g", difference->largest) + " at sequence " +
                        std::to_string(difference->sequence) + ", token " + std::to_string(difference->token) +
                        ", over " + grouped(difference->compared) + " tokens (" + escaped(difference->reference) + ")");
  }

  void unsupported() {
    if (report_.faults.isOk())
      return;
    size_t count = report_.faults.faults().size();
    text_ += "\nnot supported: " + std::to_string(count) + (count == 1 ? " fault\n" : " faults\n");
    // Faults that say the same are one, with all the places: one page for a model of many layers.
    std::vector<std::pair<const Fault *, std::vector<std::string>>> groups;
    for (const Fault &fault : report_.faults.faults()) {
      auto same = std::ranges::find_if(groups, [&](const auto &group) {
        return group.first->code == fault.code && group.first->message == fault.message &&
               group.first->hint == fault.hint;
      });
      if (same == groups.end())
        same = groups.insert(groups.end(), {&fault, {}});
      std::string_view place = fault.place;
      if (place.starts_with(report_.graph + ": "))
        place.remove_prefix(report_.graph.size() + 2);
      same->second.push_back(escaped(place, 600));
    }
    for (auto &[fault, places] : groups) {
      text_ += "  " + std::string(name(fault->code)) + ": " + escaped(fault->message, 600) + "\n";
      if (!fault->hint.empty())
        text_ += "    nearest: " + escaped(fault->hint, 600) + "\n";
      for (size_t i = 0; i < std::min(places.size(), shownPlaces); ++i)
        text_ += "    at " + places[i] + "\n";
      if (places.size() > shownPlaces)
        text_ += "    and at " + std::to_string(places.size() - shownPlaces) + " more places (--json has all)\n";
    }
  }

  void notes() {
    constexpr size_t shown = 12;
    if (!report_.notes.empty())
      text_ += "\n";
    for (size_t i = 0; i < std::min(shown, report_.notes.size()); ++i)
      line("note", report_.notes[i]);
    if (report_.notes.size() > shown)
      line("", "and " + std::to_string(report_.notes.size() - shown) + " more (--json has all)");
  }

  void next() {
    if (!report_.faults.isOk()) {
      text_ +=
          "\nnext: change what is listed under 'not supported', in the model or in its export, then run this again\n";
      return;
    }
    text_ += "\nnext: save this as recipe.toml, change what you like, then\n"
             "  graft verify recipe.toml\n  graft train recipe.toml --rollouts rollouts.jsonl --steps 8 --out run\n\n";
    text_ += recipeFor(report_);
  }

  static constexpr size_t shownPlaces = 8;

  const PortReport &report_;
  std::string text_;
};

Json faultsJson(const Status &status) {
  Json faults = Json::array();
  for (const Fault &fault : status.faults())
    faults.push_back(
        {{"code", name(fault.code)}, {"place", fault.place}, {"message", fault.message}, {"hint", fault.hint}});
  return faults;
}

Json toJson(const PortReport &report) {
  Json blocks = Json::array(), graphOperators = Json::object(), operators = Json::array(), parameters = Json::array(),
       unsupported = Json::object();
  for (const ReportBlock &block : report.blocks)
    blocks.push_back({{"path", block.path},
                      {"count", block.indices.size()},
                      {"indices", block.indices},
                      {"parts", block.parts},
                      {"operators", block.operators},
                      {"parameters", block.parameters},
                      {"flops", block.flops}});
  for (const OperatorCount &count : report.graphOperators) {
    graphOperators[count.name] = count.count;
    if (!count.supported)
      unsupported[count.name] = count.count;
  }
  for (const OperatorCount &count : report.operators)
    operators.push_back({{"name", count.name}, {"count", count.count}, {"kind", report::text(count.kind)}});
  for (const ReportParameter &parameter : report.parameters)
    parameters.push_back({{"name", parameter.name},
                          {"aliases", parameter.aliases},
                          {"shape", parameter.shape},
                          {"elements", parameter.elements},
                          {"trained", parameter.trained}});
  Json out = {{"graph", report.graph},
              {"format", report.format},
              {"bytes", report.bytes},
              {"weights", report.weights},
              {"producer", report.producer},
              {"ir_version", report.irVersion},
              {"opsets", report.opsets},
              {"metadata", report.metadata},
              {"inputs", report.inputs},
              {"outputs", report.outputs},
              {"supported", report.faults.isOk()},
              {"sequences", report.sequences},
              {"tokens", report.tokens},
              {"blocks", blocks},
              {"graph_operators", graphOperators},
              {"unsupported_operators", unsupported},
              {"operators", operators},
              {"parameters", parameters}};
  if (report.imported) {
    double tokens = static_cast<double>(report.sequences) * static_cast<double>(report.tokens);
    out["elements"] = report.elements(false);
    out["trained_elements"] = report.elements(true);
    out["flops_per_token"] = static_cast<double>(report.flops) / tokens;
    out["bytes_per_token"] = static_cast<double>(report.operatorBytes) / tokens;
  }
  if (const auto &difference = report.difference)
    out["batch"] = {{"largest_logprob_difference", difference->largest},
                    {"sequence", difference->sequence},
                    {"token", difference->token},
                    {"compared", difference->compared},
                    {"reference", difference->reference}};
  out["errors"] = faultsJson(report.faults);
  out["notes"] = report.notes;
  if (report.faults.isOk())
    out["recipe"] = recipeFor(report);
  return out;
}

Result<int> port(const PortOptions &options, const Shell &shell) {
  mlir::DialectRegistry registry;
  rl::registerDialects(registry);
  mlir::MLIRContext context(registry, mlir::MLIRContext::Threading::DISABLED);
  GRAFT_ASSIGN_OR_RETURN(PortReport report, makePortReport(options, context));
  shell.print(Page(report).text());
  shell.print(toJson(report));
  if (!report.faults.isOk()) { // the page groups them; stderr has each with its file, as every command does
    std::string file = escaped(options.graph, 400);
    for (const Fault &fault : report.faults.faults()) {
      Status one = Status::error(fault.code, fault.message, fault.place, fault.hint);
      std::cerr << (fault.place.starts_with(file) ? one : std::move(one).at(file)).text();
    }
  }
  return report.faults.exitCode();
}

} // namespace

void addPort(CLI::App &app, Shell &shell) {
  CLI::App *command =
      app.add_subcommand("port", "Read a model's graph: what it is made of, what is unsupported, what to do next");
  auto options = std::make_shared<PortOptions>();
  command->add_option("MODEL", options->graph, "Graph (.onnx, .mlir, .mlirbc)")->required();
  command->add_option("--weights", options->weights,
                      "Checkpoint; default: model.safetensors, its index, or weights.safetensors beside the graph");
  command->add_option(
      "--batch", options->batch,
      "Batch (safetensors): run it, and compare with its logits or those of expected.safetensors beside it");
  command->add_option("--sequences", options->sequences, "Rows that symbolic axes are bound to")
      ->check(CLI::Range(1, 65536));
  command->add_option("--tokens", options->tokens, "Tokens of a row, likewise")->check(CLI::Range(2, 1048576));
  shell.addFlags(*command);
  command->callback([options, &shell] { shell.action = [options, &shell] { return port(*options, shell); }; });
}

} // namespace graft::cli
