// `graft port MODEL`: what a graph is made of, what is missing, what to do next.
#include "passes/Compiler.h"
#include "dialects/nn/NNDialect.h"
#include "dialects/rl/RLDialect.h"
#include "tools/graft/Command.h"

#include "mlir/Dialect/Func/IR/FuncOps.h"

#include <filesystem>

using namespace mlir;

namespace graft::cli {

namespace {

struct PortFlags {
  std::string model, weights;
  int64_t sequences = 2, tokens = 16;
};

/// Operators of one module path; numbers in the path are replaced by *, so that the layers of a model are one line.
struct Block {
  std::set<std::string> places;
  std::map<std::string, size_t> operators;
};

std::string generalised(const std::string &path) {
  std::string text;
  for (size_t i = 0; i < path.size(); ++i)
    if (!isdigit(static_cast<unsigned char>(path[i])))
      text += path[i];
    else if (text.empty() || text.back() != '*')
      text += '*';
  return text;
}

/// The module path of an operator: the inner name of its location chain.
std::string modulePath(Location location) {
  if (auto name = dyn_cast<NameLoc>(location))
    if (auto inner = dyn_cast<NameLoc>(name.getChildLoc()))
      return inner.getName().str();
  return "";
}

std::string countsText(const std::map<std::string, size_t> &counts) {
  std::string text;
  for (const auto &[name, count] : counts)
    text += (text.empty() ? "" : ", ") + name + (count > 1 ? " " + std::to_string(count) : "");
  return text;
}

/// Structured operators that were recognised, without the plain ones.
bool isIdiom(Operation &op) { return isa<nn::AttentionOp, nn::RMSNormOp, nn::LayerNormOp, nn::RopeOp, nn::SoftmaxOp, nn::SoftplusOp>(op); }

class Survey {
public:
  explicit Survey(const ImportedGraph &graph) : graph_(graph) {
    auto forward = ModuleOp(*graph.module).lookupSymbol<func::FuncOp>("forward");
    for (Operation &op : forward.getBody().front().without_terminator()) {
      if (isa<arith::ConstantOp, rl::ParameterOp>(op))
        continue;
      std::string name = op.getName().getStringRef().str(), path = modulePath(op.getLoc());
      operators_[name] += 1;
      if (isIdiom(op))
        idioms_[name] += 1;
      Block &block = blocks_[generalised(path)];
      block.places.insert(path);
      block.operators[name] += 1;
    }
  }

  std::string text() const {
    int64_t numbers = 0, trained = 0;
    for (const ImportedParameter &parameter : graph_.parameters) {
      numbers += elements(parameter);
      trained += parameter.trained ? elements(parameter) : 0;
    }
    std::vector<std::vector<std::string>> rows = {{"block", "times", "operators of all of them"}};
    for (const auto &[path, block] : blocks_)
      rows.push_back({path.empty() ? "(no module path)" : escaped(path), std::to_string(block.places.size()), countsText(block.operators)});
    std::string text = format("%zu parameters, %.2f M numbers, %.2f M of them can train; vocabulary %lld\n\n", graph_.parameters.size(), numbers / 1e6, trained / 1e6,
                              static_cast<long long>(graph_.vocabulary));
    text += tableText(rows) + "\noperators   " + countsText(operators_) + "\nrecognised  " + (idioms_.empty() ? "nothing: plain operators compile too" : countsText(idioms_)) + "\n";
    for (const std::string &note : graph_.notes)
      text += "note        " + note + "\n";
    return text;
  }

  Json json() const {
    Json parameters = Json::array(), blocks = Json::array();
    for (const ImportedParameter &parameter : graph_.parameters)
      parameters.push_back({{"name", parameter.name}, {"shape", parameter.shape}, {"trained", parameter.trained}, {"aliases", parameter.aliases}});
    for (const auto &[path, block] : blocks_)
      blocks.push_back({{"path", path}, {"times", block.places.size()}, {"operators", block.operators}});
    return {{"parameters", parameters}, {"vocabulary", graph_.vocabulary}, {"operators", operators_}, {"recognised", idioms_}, {"blocks", blocks}, {"notes", graph_.notes}};
  }

private:
  static int64_t elements(const ImportedParameter &parameter) {
    int64_t count = 1;
    for (int64_t size : parameter.shape)
      count *= size;
    return count;
  }

  const ImportedGraph &graph_;
  std::map<std::string, Block> blocks_;
  std::map<std::string, size_t> operators_, idioms_;
};

/// Weights beside the graph, if there are any.
std::string weightsBeside(const std::string &model) {
  std::filesystem::path folder = std::filesystem::path(model).parent_path();
  for (const char *name : {"model.safetensors", "model.safetensors.index.json", "weights.safetensors"}) {
    std::error_code error;
    if (std::filesystem::exists(folder / name, error))
      return (folder / name).string();
  }
  return "";
}

Result<int> port(const PortFlags &flags, const Shell &shell) {
  Recipe recipe;
  std::string weights = flags.weights.empty() ? weightsBeside(flags.model) : flags.weights;
  recipe.model.graph = {flags.model, flags.model};
  recipe.model.weights = {weights, weights};
  recipe.batch.sequences = flags.sequences;
  recipe.batch.tokens = flags.tokens;
  recipe.origin.file = "graft port";
  shell.say("graph    " + flags.model + "\nweights  " + (weights.empty() ? "none beside it: the graph's own" : weights));
  Compiler compiler;
  GRAFT_ASSIGN_OR_RETURN(ImportedGraph graph, compiler.import(recipe));
  Survey survey(graph);
  shell.print(survey.text() + "\nEverything in this graph is supported. Next: write a recipe ([model] graph, weights; [objective]; [batch]), then 'graft compile'.");
  shell.print(survey.json());
  return 0;
}

} // namespace

void addPort(CLI::App &app, Shell &shell) {
  CLI::App *command = app.add_subcommand("port", "Read a model's graph: what it is made of, what is unsupported");
  auto flags = std::make_shared<PortFlags>();
  command->add_option("MODEL", flags->model, "Graph (.onnx, .mlir, .mlirbc)")->required();
  command->add_option("--weights", flags->weights, "Checkpoint; default: model.safetensors, its index, or weights.safetensors beside the graph");
  command->add_option("--sequences", flags->sequences, "Rows that symbolic axes are bound to")->check(CLI::Range(1, 65536));
  command->add_option("--tokens", flags->tokens, "Tokens of a row, likewise")->check(CLI::Range(2, 1048576));
  shell.addFlags(*command);
  command->callback([flags, &shell] { shell.action = [flags, &shell] { return port(*flags, shell); }; });
}

} // namespace graft::cli
