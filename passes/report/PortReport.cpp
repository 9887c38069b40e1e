#include "passes/report/PortReport.h"

#include "dialects/nn/NNDialect.h"
#include "dialects/rl/RLDialect.h"
#include "frontends/mlir/Diagnostics.h"
#include "frontends/mlir/ReadModule.h"
#include "frontends/onnx/Parse.h"
#include "frontends/onnx/import/Import.h"
#include "frontends/onnx/import/Table.h"
#include "passes/ImportModel.h"
#include "passes/import/Passes.h"
#include "passes/report/CompareBatch.h"
#include "passes/report/GraphBlocks.h"

#include <algorithm>
#include <filesystem>

using namespace mlir;

namespace graft::report {

namespace {

/// Operators with meaning of their own. Where the graph may write one as a single operator, its names in the graph.
struct Structured {
  StringRef name;
  std::vector<std::string_view> graphNames;
  bool idiom; ///< graphs usually spell it out
};
const Structured structured[] = {
    {"nn.attention", {"Attention"}, true},
    {"nn.rms_norm", {"RMSNormalization"}, true},
    {"nn.layer_norm", {"LayerNormalization"}, true},
    {"nn.rope", {"RotaryEmbedding"}, true},
    {"nn.contract", {}, false},
    {"nn.softmax", {}, false},
    {"nn.log_softmax", {}, false},
    {"nn.gather", {}, false},
    {"nn.gather_elements", {}, false},
    {"nn.scatter_add", {}, false},
    {"nn.scatter_elements_add", {}, false},
    {"nn.cumsum", {}, false},
};

const Structured *findStructured(StringRef name) {
  const auto *found = llvm::find_if(structured, [&](const Structured &entry) { return entry.name == name; });
  return found == std::end(structured) ? nullptr : found;
}

void sortCounts(std::vector<OperatorCount> &counts) {
  std::sort(counts.begin(), counts.end(), [](const OperatorCount &a, const OperatorCount &b) {
    return a.count != b.count ? a.count > b.count : a.name < b.name;
  });
}

std::string weightsBeside(const std::string &graph) {
  std::filesystem::path folder = std::filesystem::path(graph).parent_path();
  for (const char *name : {"model.safetensors", "model.safetensors.index.json", "weights.safetensors"}) {
    std::error_code error;
    if (std::filesystem::exists(folder / name, error))
      return (folder / name).string();
  }
  return "";
}

std::string describe(const onnx::ValueInfo &value) {
  std::string text = escaped(value.name) + " [";
  if (value.type.shape)
    for (size_t i = 0; i < value.type.shape->size(); ++i) {
      const onnx::Dimension &dimension = (*value.type.shape)[i];
      text += (i ? ", " : "") + (dimension.value            ? std::to_string(*dimension.value)
                                 : dimension.symbol.empty() ? "?"
                                                            : escaped(dimension.symbol, 40));
    }
  return text + "] " + onnx::dataTypeName(value.type.elementType);
}

class Reporter {
public:
  Reporter(const PortOptions &options, MLIRContext &context) : options_(options), context_(context) {}

  Result<PortReport> run() {
    out_.graph = options_.graph;
    out_.weights = options_.weights.empty() ? weightsBeside(options_.graph) : options_.weights;
    std::error_code error;
    out_.bytes = static_cast<int64_t>(std::filesystem::file_size(options_.graph, error));
    std::string extension = std::filesystem::path(options_.graph).extension().string();
    bool onnx = extension == ".onnx";
    if (!onnx && extension != ".mlir" && extension != ".mlirbc")
      return Status::error(Code::Usage, "'" + escaped(options_.graph, 400) + "' is no graph that can be read", "MODEL",
                           "give a file that ends in .onnx, .mlir or .mlirbc");
    GRAFT_RETURN_IF_ERROR(onnx ? readOnnx() : readMlir());
    GRAFT_RETURN_IF_ERROR(chooseSizes());
    if (out_.faults.isOk())
      import();
    survey();
    GRAFT_RETURN_IF_ERROR(compare());
    return std::move(out_);
  }

private:
  Status readOnnx();
  Status readMlir();
  Status parseUnsound();
  void facts(const onnx::Model &model);
  Status chooseSizes();
  void import();
  void importAlone(std::string note);
  void survey();
  Status compare();
  Result<std::vector<double>> values(const std::string &name);

  func::FuncOp forward() { return module_->lookupSymbol<func::FuncOp>("forward"); }

  const PortOptions &options_;
  MLIRContext &context_;
  std::unique_ptr<onnx::ModelFile> file_;
  std::string unsound_;               ///< bytes of a model that the checks refuse
  std::optional<onnx::Model> parsed_; ///< into unsound_
  const onnx::Graph *graph_ = nullptr;
  std::vector<int64_t> baked_; ///< [sequences, tokens] where the graph fixes them, else -1
  OwningOpRef<ModuleOp> module_;
  std::optional<Checkpoint> checkpoint_;
  PortReport out_;
};

//===-- The file --------------------------------------------------------------------------------------------------===//

void Reporter::facts(const onnx::Model &model) {
  out_.irVersion = model.irVersion.value_or(0);
  out_.producer = escaped(std::string(model.producer) + " " + std::string(model.producerVersion));
  for (const onnx::OpsetImport &import : model.opsets)
    out_.opsets[import.domain.empty() ? "ai.onnx" : escaped(import.domain)] = import.version;
  for (const onnx::Property &property : model.metadata)
    out_.metadata[escaped(property.key)] = escaped(property.value);
  if (!model.graph)
    return;
  graph_ = &*model.graph;
  baked_ = {-1, -1};
  for (const onnx::ValueInfo &input : graph_->inputs) {
    out_.inputs.push_back(describe(input));
    if (input.name == "input_ids" && input.type.shape && input.type.shape->size() == 2)
      for (size_t axis = 0; axis < 2; ++axis)
        baked_[axis] = (*input.type.shape)[axis].value.value_or(-1);
  }
  for (const onnx::ValueInfo &output : graph_->outputs)
    out_.outputs.push_back(describe(output));
  std::map<std::string, OperatorCount> counts;
  for (const onnx::Node &node : graph_->nodes) {
    std::string name = (node.domain.empty() ? "" : escaped(node.domain, 60) + "::") + escaped(node.op, 60);
    OperatorCount &count = counts[name];
    count.name = name;
    ++count.count;
    count.supported = node.domain.empty() && onnx::findTranslation(node.op);
  }
  for (auto &[name, count] : counts)
    out_.graphOperators.push_back(std::move(count));
  sortCounts(out_.graphOperators);
}

Status Reporter::readOnnx() {
  out_.format = "ONNX";
  onnx::ReadOptions read;
  read.externalData = false; // a graph can be looked at before its weights are there
  Result<std::unique_ptr<onnx::ModelFile>> file = onnx::ModelFile::read(options_.graph, read);
  if (file.isOk()) {
    file_ = std::move(*file);
    facts(file_->model());
    return Status::ok();
  }
  auto isAboutGraph = [](const Fault &fault) {
    return fault.code == Code::Unsupported || fault.code == Code::Graph || fault.code == Code::Type ||
           fault.code == Code::Range;
  };
  out_.faults = file.takeStatus();
  if (!llvm::all_of(out_.faults.faults(), isAboutGraph))
    return std::move(out_.faults);
  return parseUnsound();
}

/// What can be said of a model whose checks failed: its facts, and the operators that would be missing besides.
Status Reporter::parseUnsound() {
  GRAFT_ASSIGN_OR_RETURN(InputFile input, InputFile::open(options_.graph));
  constexpr uint64_t most = uint64_t{1} << 31;
  if (input.size() > most)
    return std::move(out_.faults);
  unsound_.resize(input.size());
  GRAFT_RETURN_IF_ERROR(input.read(0, std::as_writable_bytes(std::span(unsound_))));
  Result<onnx::Model> model = onnx::parseModel(unsound_);
  if (!model.isOk())
    return std::move(out_.faults);
  parsed_ = std::move(*model);
  facts(*parsed_);
  constexpr size_t reported = 50;
  size_t count = 0;
  for (const onnx::Node &node : graph_ ? graph_->nodes : std::vector<onnx::Node>())
    if (node.domain.empty() && !onnx::findTranslation(node.op) && ++count <= reported)
      out_.faults.merge(Status::error(Code::Unsupported, "operator " + escaped(node.op, 60) + " is not supported",
                                      escaped(options_.graph, 400) + ": " + onnx::describe(node),
                                      std::string(onnx::nearestForm(node.op))));
  return Status::ok();
}

Status Reporter::readMlir() {
  out_.format = "MLIR";
  GRAFT_ASSIGN_OR_RETURN(ReadModule read, readModule(options_.graph, context_));
  module_ = std::move(read.module);
  for (unsigned i = 0; i < forward().getNumArguments(); ++i) {
    auto name = forward().getArgAttrOfType<StringAttr>(i, rl::nameAttribute);
    auto type = cast<RankedTensorType>(forward().getArgumentTypes()[i]);
    std::string text;
    llvm::raw_string_ostream(text) << (name ? name.getValue() : "?") << " " << type;
    out_.inputs.push_back(text);
    if (name && name.getValue() == "input_ids" && type.getRank() == 2)
      baked_.assign(type.getShape().begin(), type.getShape().end());
  }
  for (Type type : forward().getResultTypes()) {
    std::string text;
    llvm::raw_string_ostream(text) << type;
    out_.outputs.push_back(text);
  }
  return Status::ok();
}

/// Asked for, fixed by the graph, the batch's, or the default: in this order.
Status Reporter::chooseSizes() {
  std::optional<int64_t> sequences = options_.sequences, tokens = options_.tokens;
  if (baked_.size() == 2 && baked_[0] > 0 && !sequences)
    sequences = baked_[0];
  if (baked_.size() == 2 && baked_[1] > 0 && !tokens)
    tokens = baked_[1];
  if (!options_.batch.empty()) {
    GRAFT_ASSIGN_OR_RETURN(auto shape, batchShape(options_.batch));
    sequences = shape.first;
    tokens = shape.second;
  }
  out_.sequences = sequences.value_or(defaultSequences);
  out_.tokens = tokens.value_or(defaultTokens);
  return Status::ok();
}

//===-- The imported graph ----------------------------------------------------------------------------------------===//

void Reporter::import() {
  Recipe recipe;
  recipe.model.graph = {options_.graph, options_.graph};
  recipe.model.weights = {out_.weights, out_.weights};
  recipe.batch.sequences = out_.sequences;
  recipe.batch.tokens = out_.tokens;
  recipe.origin.file = "graft port";
  if (out_.format == "MLIR" && out_.weights.empty())
    return importAlone("no weights: training needs a checkpoint");
  Result<ImportedGraph> imported = importGraph(recipe, context_);
  auto isMissing = [](const Fault &fault) { return fault.code == Code::Io; };
  if (!imported.isOk() && out_.weights.empty() && llvm::all_of(imported.status().faults(), isMissing))
    return importAlone("the weights are not there (" + imported.status().faults()[0].message +
                       "): give a checkpoint with --weights to train");
  if (!imported.isOk())
    return out_.faults.merge(imported.takeStatus());
  module_ = std::move(imported->module);
  out_.notes = std::move(imported->notes);
  for (ImportedParameter &parameter : imported->parameters)
    out_.parameters.push_back({parameter.name, parameter.aliases, parameter.shape, 0, parameter.trained});
  out_.imported = true;
}

/// The graph as its own names and shapes tell it, without the values of its weights.
void Reporter::importAlone(std::string note) {
  out_.notes.push_back(std::move(note));
  if (file_) {
    onnx::ImportOptions options;
    options.batch = out_.sequences;
    options.sequence = out_.tokens;
    Result<onnx::ImportedModel> imported = onnx::importModel(*file_, context_, options);
    if (!imported.isOk())
      return out_.faults.merge(imported.takeStatus());
    module_ = std::move(imported->module);
    out_.notes.insert(out_.notes.end(), imported->notes.begin(), imported->notes.end());
  }
  DiagnosticCollector diagnostics(context_, Code::Internal, escaped(options_.graph, 400));
  if (failed(runImportPasses(forward())))
    return out_.faults.merge(diagnostics.take("the import passes"));
  for (std::string &remark : diagnostics.takeNotes())
    out_.notes.push_back(std::move(remark));
  out_.imported = true;
}

void Reporter::survey() {
  if (!out_.imported) {
    if (graph_)
      out_.blocks = graphBlocks(*graph_);
    return;
  }
  std::map<std::string, OperatorCount> counts;
  std::set<std::string> known;
  for (const ReportParameter &parameter : out_.parameters)
    known.insert(parameter.name);
  for (Operation &op : forward().getBody().front().without_terminator()) {
    if (auto cost = dyn_cast<nn::CostOpInterface>(&op)) {
      out_.flops += cost.getCost().flops;
      out_.operatorBytes += cost.getCost().bytes;
    }
    if (auto parameter = dyn_cast<rl::ParameterOp>(&op); parameter && known.insert(parameter.getName().str()).second)
      out_.parameters.push_back({parameter.getName().str(),
                                 {},
                                 std::vector<int64_t>(nn::shapeOf(parameter.getResult())),
                                 0,
                                 parameter.getTrained()});
    if (isa<rl::ParameterOp, arith::ConstantOp>(op))
      continue;
    std::string name = op.getName().getStringRef().str();
    counts[name].name = name;
    ++counts[name].count;
  }
  for (ReportParameter &parameter : out_.parameters) {
    parameter.elements = 1;
    for (int64_t size : parameter.shape)
      parameter.elements *= size;
  }
  for (auto &[name, count] : counts) {
    const Structured *entry = findStructured(name);
    int64_t written = 0;
    for (const OperatorCount &graphCount : out_.graphOperators)
      if (entry && llvm::is_contained(entry->graphNames, graphCount.name))
        written += graphCount.count;
    // Operators that the graph writes as one are native; one kind of operator is counted as one kind.
    bool recognised = entry && entry->idiom && graph_ && count.count > written;
    count.kind = !entry ? OperatorKind::Plain : recognised ? OperatorKind::Idiom : OperatorKind::Native;
    out_.operators.push_back(std::move(count));
  }
  sortCounts(out_.operators);
  out_.blocks = importedBlocks(forward());
}

//===-- The batch -------------------------------------------------------------------------------------------------===//

Result<std::vector<double>> Reporter::values(const std::string &name) {
  if (checkpoint_) {
    auto tensor = checkpoint_->find(name);
    if (!tensor)
      return Status::error(Code::Graph, "the checkpoint has no tensor '" + escaped(name) + "'",
                           escaped(out_.weights, 400));
    return tensor->file->readAll<double>(*tensor->info);
  }
  for (const onnx::Tensor &tensor : graph_ ? graph_->initializers : std::vector<onnx::Tensor>())
    if (tensor.name == name)
      return onnx::tensorFloats(tensor, &file_->external());
  return Status::error(Code::Graph, "nothing gives the values of '" + escaped(name) + "'", escaped(options_.graph, 400),
                       "name a checkpoint with --weights");
}

Status Reporter::compare() {
  if (options_.batch.empty() || !out_.imported)
    return Status::ok();
  if (out_.flops > options_.compareFlops) {
    out_.notes.push_back(
        "the batch was not run: the reference interpreter would take long on this model; use 'graft verify'");
    return Status::ok();
  }
  if (!out_.weights.empty()) {
    GRAFT_ASSIGN_OR_RETURN(Checkpoint checkpoint, Checkpoint::open(out_.weights));
    checkpoint_ = std::move(checkpoint);
  }
  GRAFT_ASSIGN_OR_RETURN(out_.difference, compareBatch(forward(), options_.batch,
                                                       [this](const std::string &name) { return values(name); }));
  if (!out_.difference)
    out_.notes.push_back(
        "the batch has no logits or logprobs, nor has expected.safetensors beside it: nothing to compare with");
  return Status::ok();
}

} // namespace

std::string_view text(OperatorKind kind) {
  constexpr std::string_view names[] = {"native", "recognised", "plain"};
  return names[static_cast<size_t>(kind)];
}

int64_t PortReport::elements(bool trainedOnly) const {
  int64_t sum = 0;
  for (const ReportParameter &parameter : parameters)
    sum += trainedOnly && !parameter.trained ? 0 : parameter.elements;
  return sum;
}

Result<PortReport> makePortReport(const PortOptions &options, MLIRContext &context) {
  return Reporter(options, context).run();
}

std::string recipeFor(const PortReport &report) {
  // TOML's basic strings: paths may hold quotes and backslashes.
  auto quoted = [](const std::string &text) {
    std::string out = "\"";
    for (char c : text) {
      if (c == '"' || c == '\\')
        out += '\\';
      out += c;
    }
    return out + "\"";
  };
  std::string text = "[model]\ngraph = " + quoted(report.graph) + "\n";
  if (!report.weights.empty())
    text += "weights = " + quoted(report.weights) + "\n";
  return text + "\n[objective]\npreset = \"grpo\"\nadvantages = \"grpo\"\n\n[batch]\nsequences = " +
         std::to_string(report.sequences) + "\ntokens = " + std::to_string(report.tokens) +
         "\n\n[optimizer]\nlr = 1e-6\n";
}

} // namespace graft::report
