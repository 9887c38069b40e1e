#include "passes/ImportModel.h"

#include "dialects/nn/NNDialect.h"
#include "dialects/rl/Names.h"
#include "frontends/mlir/Diagnostics.h"
#include "frontends/mlir/ReadModule.h"
#include "frontends/onnx/import/Import.h"
#include "frontends/weights/Binding.h"
#include "passes/import/Pack.h"
#include "passes/import/Passes.h"
#include "runtime/program/Hash.h"

#include "mlir/Dialect/Func/IR/FuncOps.h"

#include <filesystem>
#include <set>
#include <tuple>

using namespace mlir;

namespace graft {

namespace {

std::string folderOf(const std::string &path) {
  std::string folder = std::filesystem::path(path).parent_path().string();
  return folder.empty() ? "." : folder;
}

/// True if a value is an operand of a matrix product, directly or through views.
bool isFactor(Value value) {
  return llvm::any_of(value.getUsers(), [](Operation *user) {
    return isa<nn::ContractOp>(user) ||
           (isa<nn::ReshapeOp, nn::TransposeOp, nn::BroadcastOp, nn::SliceOp>(user) && isFactor(user->getResult(0)));
  });
}

class GraphImporter {
public:
  GraphImporter(const Recipe &recipe, MLIRContext &context)
      : recipe_(recipe), context_(context), place_(escaped(recipe.model.graph.resolved, 400)) {}

  Result<ImportedGraph> run() {
    GRAFT_RETURN_IF_ERROR(openWeights());
    std::string extension = std::filesystem::path(recipe_.model.graph.resolved).extension().string();
    if (extension == ".onnx")
      GRAFT_RETURN_IF_ERROR(importOnnx());
    else if (extension == ".mlir" || extension == ".mlirbc")
      GRAFT_RETURN_IF_ERROR(importMlir());
    else
      return Status::error(Code::Usage, "'" + escaped(recipe_.model.graph.written) + "' is no graph that can be read",
                           recipe_.origin.place("model.graph"), "give a file that ends in .onnx, .mlir or .mlirbc");
    GRAFT_RETURN_IF_ERROR(checkSignature());
    GRAFT_RETURN_IF_ERROR(bindNames());
    GRAFT_RETURN_IF_ERROR(mergeTied());
    GRAFT_RETURN_IF_ERROR(runPasses());
    if (recipe_.batch.packed)
      GRAFT_RETURN_IF_ERROR(pack());
    collectParameters();
    return std::move(out_);
  }

private:
  Status openWeights();
  Status importOnnx();
  Status importMlir();
  Status checkSignature();
  Status bindNames();
  Status freeze(rl::ParameterOp op, const onnx::Tensor &initializer);
  Status mergeTied();
  Status runPasses();
  Status pack();
  void collectParameters();

  /// How many rows the trunk sees at once, and their width.
  std::pair<int64_t, int64_t> rows() const {
    if (recipe_.batch.packed)
      return {1, *recipe_.batch.packed};
    return {recipe_.batch.sequences / recipe_.batch.microBatches, recipe_.batch.tokens};
  }

  func::FuncOp forward() { return out_.module->lookupSymbol<func::FuncOp>("forward"); }
  std::optional<onnx::ParameterInfo> askCheckpoint(std::string_view name);
  GraphParameter graphParameter(const std::string &name, ArrayRef<int64_t> shape) const;

  const Recipe &recipe_;
  MLIRContext &context_;
  std::string place_;
  std::optional<Checkpoint> checkpoint_;
  bool tied_ = false;
  std::unique_ptr<onnx::ModelFile> file_;                    ///< ONNX only
  std::map<std::string, const onnx::Tensor *> initializers_; ///< by name in the graph
  std::map<std::string, std::set<std::string>> aliases_;     ///< by the parameter's final name
  ImportedGraph out_;
};

Status GraphImporter::openWeights() {
  if (!recipe_.model.weights.isSet())
    return Status::ok();
  GRAFT_ASSIGN_OR_RETURN(Checkpoint checkpoint, Checkpoint::open(recipe_.model.weights.resolved));
  checkpoint_ = std::move(checkpoint);
  std::optional<bool> tied = checkpoint_->tieWordEmbeddings();
  if (!tied) {
    GRAFT_ASSIGN_OR_RETURN(tied, readTieWordEmbeddings(folderOf(recipe_.model.graph.resolved)));
  }
  tied_ = tied.value_or(false);
  return Status::ok();
}

GraphParameter GraphImporter::graphParameter(const std::string &name, ArrayRef<int64_t> shape) const {
  GraphParameter parameter{name, std::vector<int64_t>(shape)};
  auto found = initializers_.find(name);
  if (found == initializers_.end() || found->second->dataLocation != 1)
    return parameter;
  if (auto reference = onnx::externalReference(*found->second); reference.isOk()) {
    parameter.externalFile = std::filesystem::path(reference->location).filename().string();
    parameter.externalOffset = reference->offset;
    parameter.externalBytes = reference->length;
  }
  return parameter;
}

/// What the importer wants to know about a name: whether a tensor of the checkpoint will be bound to it.
std::optional<onnx::ParameterInfo> GraphImporter::askCheckpoint(std::string_view view) {
  std::string name(view);
  std::map<std::string, std::string> renames;
  if (auto rename = recipe_.model.names.find(name); rename != recipe_.model.names.end())
    renames.insert(*rename);
  std::vector<int64_t> shape;
  if (auto found = initializers_.find(name); found != initializers_.end())
    shape = found->second->dims;
  else if (auto tensor = checkpoint_->find(renames.empty() ? name : renames.begin()->second))
    shape = tensor->info->shape;
  GraphParameter parameter = graphParameter(name, shape);
  auto bound = bindParameters(*checkpoint_, std::span(&parameter, 1), renames, tied_);
  bool known = bound.isOk() || !renames.empty() || checkpoint_->find(name);
  if (!known)
    return std::nullopt;
  return onnx::ParameterInfo{shape, onnx::Float, true};
}

/// False if the files that hold the graph's external data are all absent: a program can be planned and compiled before
/// there are weights. A reference that is wrong in itself counts as there, so that reading it says what is wrong.
bool areWeightsThere(const onnx::ModelFile &file, const std::filesystem::path &folder) {
  bool any = false;
  for (const onnx::Tensor &tensor : file.graph().initializers)
    if (tensor.dataLocation == 1) {
      any = true;
      auto reference = onnx::externalReference(tensor);
      std::error_code error;
      auto status = reference.isOk() ? std::filesystem::symlink_status(folder / reference->location, error)
                                     : std::filesystem::file_status(std::filesystem::file_type::unknown);
      if (status.type() != std::filesystem::file_type::not_found)
        return true;
    }
  return !any;
}

Status GraphImporter::importOnnx() {
  onnx::ReadOptions read;
  read.externalData = false;
  GRAFT_ASSIGN_OR_RETURN(file_, onnx::ModelFile::read(recipe_.model.graph.resolved, read));
  bool weightsThere = checkpoint_ || areWeightsThere(*file_, folderOf(recipe_.model.graph.resolved));
  if (!checkpoint_ && weightsThere) {
    read.externalData = true;
    GRAFT_ASSIGN_OR_RETURN(file_, onnx::ModelFile::read(recipe_.model.graph.resolved, read));
  }
  for (const onnx::Tensor &tensor : file_->graph().initializers)
    initializers_[std::string(tensor.name)] = &tensor;
  onnx::ImportOptions options;
  std::tie(options.batch, options.sequence) = rows();
  if (checkpoint_)
    options.parameter = [this](std::string_view name) { return askCheckpoint(name); };
  GRAFT_ASSIGN_OR_RETURN(onnx::ImportedModel imported, onnx::importModel(*file_, context_, options));
  out_.module = std::move(imported.module);
  out_.notes = std::move(imported.notes);
  if (!weightsThere)
    out_.notes.insert(out_.notes.begin(),
                      "the weights are not there: name them with model.weights, or bind them when the program runs");
  GRAFT_ASSIGN_OR_RETURN(InputFile bytes, InputFile::open(recipe_.model.graph.resolved));
  std::string text(bytes.size(), '\0');
  GRAFT_RETURN_IF_ERROR(bytes.read(0, std::as_writable_bytes(std::span(text))));
  out_.fingerprint = hash64(text);
  return Status::ok();
}

Status GraphImporter::importMlir() {
  if (!checkpoint_)
    return Status::error(Code::Usage, "a graph in MLIR needs weights", recipe_.origin.place("model.graph"),
                         "name a checkpoint: weights = \"model.safetensors\"");
  GRAFT_ASSIGN_OR_RETURN(ReadModule read, readModule(recipe_.model.graph.resolved, context_));
  out_.module = std::move(read.module);
  out_.fingerprint = read.fingerprint;
  return Status::ok();
}

/// `input_ids` of the recipe's size, one output [batch, sequence, vocabulary].
Status GraphImporter::checkSignature() {
  auto [batch, width] = rows();
  auto text = [](ArrayRef<int64_t> shape) { return onnx::shapeText(std::span(shape.data(), shape.size())); };
  Status status;
  bool ids = false;
  func::FuncOp function = forward();
  for (unsigned i = 0; i < function.getNumArguments(); ++i) {
    StringRef name = argumentName(function, i);
    auto type = dyn_cast<RankedTensorType>(function.getArgumentTypes()[i]);
    if (name != "input_ids")
      continue;
    ids = true;
    if (!type || !type.getElementType().isInteger() || type.getShape() != ArrayRef<int64_t>{batch, width})
      status.merge(Status::error(
          Code::Range,
          "input 'input_ids' has shape " + (type ? text(type.getShape()) : "?") + ", the recipe asks for " +
              text({batch, width}),
          place_, "batch.sequences / batch.micro_batches rows of batch.tokens tokens, or one row of batch.packed"));
  }
  if (!ids)
    status.merge(Status::error(Code::Graph, "the graph has no input 'input_ids'", place_,
                               "a language model's graph takes input_ids [batch, sequence]"));
  auto logits =
      function.getNumResults() == 1 ? dyn_cast<RankedTensorType>(function.getResultTypes()[0]) : RankedTensorType();
  if (!logits || !isa<FloatType>(logits.getElementType()) || logits.getRank() != 3 ||
      logits.getShape().take_front(2) != ArrayRef<int64_t>{batch, width})
    status.merge(Status::error(Code::Graph,
                               "the graph does not give logits [batch, sequence, vocabulary]" +
                                   (logits ? ", but " + text(logits.getShape()) : std::string()),
                               place_));
  else
    out_.vocabulary = logits.getShape()[2];
  return status;
}

/// A constant in place of a parameter that no checkpoint holds.
Status GraphImporter::freeze(rl::ParameterOp op, const onnx::Tensor &initializer) {
  GRAFT_ASSIGN_OR_RETURN(std::vector<double> values, onnx::tensorFloats(initializer, &file_->external()));
  auto type = nn::typeOf(op.getResult());
  if (!type.getElementType().isF32())
    return Status::error(Code::Unsupported, "a constant of another type than float32",
                         place_ + ": " + escaped(op.getName().str()));
  std::vector<float> narrow(values.begin(), values.end());
  OpBuilder builder(op);
  Value constant =
      arith::ConstantOp::create(builder, op.getLoc(), DenseElementsAttr::get(type, ArrayRef<float>(narrow)));
  out_.notes.push_back("'" + escaped(op.getName().str()) + "' is not in the checkpoint and stays as the graph has it");
  op.getResult().replaceAllUsesWith(constant);
  op.erase();
  return Status::ok();
}

Status GraphImporter::bindNames() {
  if (!checkpoint_)
    return Status::ok();
  SmallVector<rl::ParameterOp> operators(forward().getOps<rl::ParameterOp>());
  Status status;
  std::vector<GraphParameter> parameters;
  SmallVector<rl::ParameterOp> bound;
  for (rl::ParameterOp op : operators) {
    auto initializer = initializers_.find(op.getName().str());
    bool optional = file_ && !op.getTrained() && initializer != initializers_.end() && !isFactor(op.getResult());
    if (optional) {
      status.merge(freeze(op, *initializer->second));
      continue;
    }
    parameters.push_back(graphParameter(op.getName().str(), nn::shapeOf(op.getResult())));
    bound.push_back(op);
  }
  auto bindings = bindParameters(*checkpoint_, parameters, recipe_.model.names, tied_);
  if (!bindings.isOk())
    status.merge(bindings.takeStatus());
  GRAFT_RETURN_IF_ERROR(status);
  for (auto [op, binding] : llvm::zip(bound, *bindings)) {
    if (binding.parameter != binding.tensor)
      aliases_[binding.tensor].insert(binding.parameter);
    op.setName(binding.tensor);
    op.setTrained(file_ ? true : op.getTrained());
  }
  return Status::ok();
}

/// Names of one tensor become one name: the first that the graph uses.
Status GraphImporter::mergeTied() {
  if (!checkpoint_)
    return Status::ok();
  std::set<std::string> used;
  SmallVector<rl::ParameterOp> operators(forward().getOps<rl::ParameterOp>());
  for (rl::ParameterOp op : operators)
    used.insert(op.getName().str());
  GRAFT_ASSIGN_OR_RETURN(auto groups, checkpoint_->tiedNames());
  std::map<std::string, std::string> canonical;
  for (const std::vector<std::string> &group : groups) {
    auto first = llvm::find_if(group, [&](const std::string &name) { return used.contains(name); });
    if (first == group.end())
      continue;
    for (const std::string &name : group)
      if (name != *first) {
        canonical[name] = *first;
        aliases_[*first].insert(name);
      }
  }
  for (rl::ParameterOp op : operators)
    if (auto found = canonical.find(op.getName().str()); found != canonical.end()) {
      for (const std::string &alias : aliases_[found->first])
        aliases_[found->second].insert(alias);
      op.setName(found->second);
    }
  return Status::ok();
}

Status GraphImporter::runPasses() {
  DiagnosticCollector diagnostics(context_, Code::Internal, place_);
  if (failed(runImportPasses(forward())))
    return diagnostics.take("the import passes");
  for (std::string &note : diagnostics.takeNotes())
    out_.notes.push_back(std::move(note));
  return Status::ok();
}

Status GraphImporter::pack() {
  DiagnosticCollector diagnostics(context_, Code::Unsupported, place_);
  auto packed = packForward(forward(), {recipe_.batch.sequences, recipe_.batch.tokens, recipe_.batch.sharePrompts});
  if (failed(packed))
    return diagnostics.take("packing").at(recipe_.origin.place("batch.packed"));
  out_.sharesPrompts = packed->sharesPrompts;
  if (!packed->note.empty())
    out_.notes.push_back(packed->note);
  return Status::ok();
}

void GraphImporter::collectParameters() {
  std::map<std::string, ImportedParameter> byName;
  for (rl::ParameterOp op : forward().getOps<rl::ParameterOp>()) {
    ImportedParameter &parameter = byName[op.getName().str()];
    parameter.name = op.getName().str();
    parameter.shape.assign(nn::shapeOf(op.getResult()).begin(), nn::shapeOf(op.getResult()).end());
    parameter.trained |= op.getTrained();
    const std::set<std::string> &aliases = aliases_[parameter.name];
    parameter.aliases.assign(aliases.begin(), aliases.end());
  }
  for (auto &[name, parameter] : byName)
    out_.parameters.push_back(std::move(parameter));
}

} // namespace

Result<ImportedGraph> importGraph(const Recipe &recipe, MLIRContext &context) {
  return GraphImporter(recipe, context).run();
}

} // namespace graft
