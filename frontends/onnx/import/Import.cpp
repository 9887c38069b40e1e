#include "frontends/onnx/import/Importer.h"

#include "dialects/rl/RLDialect.h"
#include "frontends/onnx/import/Table.h"

#include "mlir/IR/Diagnostics.h"
#include "mlir/IR/Verifier.h"

#include <algorithm>
#include <cstring>

using namespace mlir;

namespace graft::onnx {

//===-- Tensors of the file ---------------------------------------------------------------------------------------===//

mlir::Type elementTypeOf(int32_t dataType, MLIRContext *context) {
  Builder builder(context);
  switch (dataType) {
  case Float:
    return builder.getF32Type();
  case Double:
    return builder.getF64Type();
  case Float16:
    return builder.getF16Type();
  case Bfloat16:
    return builder.getBF16Type();
  case Int64:
    return builder.getI64Type();
  case Int32:
    return builder.getI32Type();
  case Bool:
    return builder.getI1Type();
  default:
    return {};
  }
}

Result<DenseElementsAttr> tensorAttribute(const Tensor &tensor, ExternalData *external, MLIRContext *context) {
  mlir::Type element = elementTypeOf(tensor.dataType, context);
  if (!element)
    return Status::error(Code::Unsupported, "element type " + dataTypeName(tensor.dataType) + " is not supported");
  GRAFT_ASSIGN_OR_RETURN(uint64_t count, elementCount(tensor.dims));
  GRAFT_ASSIGN_OR_RETURN(uint64_t size, byteCount(tensor.dataType, count));
  if (size > maxConstantBytes)
    return Status::error(Code::Limit, "a constant of " + std::to_string(size) + " bytes, at most " +
                                          std::to_string(maxConstantBytes) + " are supported");
  GRAFT_ASSIGN_OR_RETURN(TensorBytes bytes, tensorBytes(tensor, external));
  auto type = RankedTensorType::get(tensor.dims, element);
  if (tensor.dataType == Bool) {
    SmallVector<bool> values(bytes.view.size());
    for (size_t i = 0; i < values.size(); ++i)
      values[i] = bytes.view[i] != 0;
    return DenseElementsAttr::get(type, ArrayRef<bool>(values));
  }
  return DenseElementsAttr::getFromRawBuffer(type, {bytes.view.data(), bytes.view.size()});
}

//===-- Inputs and outputs ----------------------------------------------------------------------------------------===//

namespace {

bool isFloatType(int32_t dataType) {
  return dataType == Float || dataType == Double || dataType == Float16 || dataType == Bfloat16;
}

/// "model.norm.weight": a path of at least two names that ends as parameters of modules do.
bool namedLikeParameter(std::string_view name) {
  return (name.ends_with(".weight") || name.ends_with(".bias")) && name.find('.') > 0;
}

std::string describeInput(const ValueInfo &input) {
  return "input '" + escaped(input.name) + "'";
}

} // namespace

void Importer::chooseOutputs() {
  const std::vector<ValueInfo> &all = file_.graph().outputs;
  if (options_.allOutputs) {
    for (const ValueInfo &output : all)
      outputs_.push_back(&output);
    return;
  }
  auto named = llvm::find_if(all, [](const ValueInfo &output) { return output.name == "logits"; });
  if (named == all.end())
    named = llvm::find_if(all, [](const ValueInfo &output) {
      return isFloatType(output.type.elementType) && output.type.shape && output.type.shape->size() == 3;
    });
  if (named == all.end())
    named = all.begin();
  if (named == all.end())
    return faults_.add(Code::Graph, "", "the graph has no output");
  outputs_.push_back(&*named);
  for (const ValueInfo &output : all)
    if (&output != &*named)
      out_.notes.push_back("output '" + escaped(output.name) + "' is ignored");
}

std::optional<int64_t> Importer::inputSize(const ValueInfo &input, size_t axis, bool tokens, bool past) {
  const Dimension &dimension = (*input.type.shape)[axis];
  std::string place = describeInput(input) + ", axis " + std::to_string(axis);
  std::optional<int64_t> wanted;
  if (int64_t asked = axis == 0 ? options_.batch : options_.sequence; tokens && asked > 0)
    wanted = asked;
  if (dimension.value) {
    if (wanted && *dimension.value != *wanted)
      faults_.add(Code::Range, place,
                  "the graph has the size " + std::to_string(*dimension.value) + " baked in, but " +
                      std::to_string(*wanted) + " is asked for",
                  "export with dynamic axes, or use the size of the graph");
    return dimension.value;
  }
  if (past && (axis != 0 || options_.batch > 0)) // the first symbol is the batch, another the length of the past
    return axis == 0 ? options_.batch : 0;
  if (wanted)
    return wanted;
  if (auto given = options_.dimensions.find(dimension.symbol); given != options_.dimensions.end())
    return given->second;
  faults_.add(Code::Unsupported, place, "the size '" + escaped(dimension.symbol) + "' is not known",
              "say what it is, or export with a number");
  return std::nullopt;
}

std::optional<Sizes> Importer::inputShape(const ValueInfo &input) {
  if (input.type.kind != onnx::Type::Kind::Tensor || !input.type.shape) {
    faults_.add(Code::Unsupported, describeInput(input), "not a tensor of known rank");
    return std::nullopt;
  }
  bool past = input.name.starts_with("past_key_values.");
  bool tokens = !past && input.type.shape->size() == 2 && !isFloatType(input.type.elementType);
  Sizes shape;
  bool known = true;
  for (size_t axis = 0; axis < input.type.shape->size(); ++axis) {
    std::optional<int64_t> size = inputSize(input, axis, tokens, past);
    known = known && size.has_value();
    shape.push_back(size.value_or(0));
  }
  if (!known)
    return std::nullopt;
  int64_t count = 1;
  for (int64_t size : shape)
    if (size < 0 || (size > 0 && __builtin_mul_overflow(count, size, &count)) || count > maxTensorElements) {
      faults_.add(Code::Range, describeInput(input), "the shape " + text(shape) + " is not possible");
      return std::nullopt;
    }
  return shape;
}

void Importer::bindInputs() {
  Block &block = function_.getBody().front();
  SmallVector<DictionaryAttr> attributes;
  for (const ValueInfo &input : file_.graph().inputs) {
    if (initializers_.contains(input.name)) // an initializer that may be overridden: its value is what counts
      continue;
    std::optional<Sizes> shape = inputShape(input);
    mlir::Type element = elementTypeOf(input.type.elementType, &context_);
    if (!element)
      faults_.add(Code::Unsupported, describeInput(input),
                  "element type " + dataTypeName(input.type.elementType) + " is not supported");
    if (!shape || !element) {
      names_[input.name].kind = Binding::Kind::Failed;
      continue;
    }
    auto type = RankedTensorType::get(*shape, element);
    Location loc = NameLoc::get(builder_.getStringAttr(llvm::StringRef(input.name)));
    if (input.name.starts_with("past_key_values.") && type.getNumElements() == 0) {
      builder_.setInsertionPointToEnd(&block);
      Value empty = arith::ConstantOp::create(builder_, loc, DenseElementsAttr::get(type, ArrayRef<mlir::Attribute>()));
      lastHeader_ = empty.getDefiningOp();
      names_[input.name].values = {empty};
      out_.notes.push_back("input '" + escaped(input.name) + "' is bound to an empty past");
      continue;
    }
    names_[input.name].values = {block.addArgument(type, loc)};
    attributes.push_back(builder_.getDictionaryAttr(
        builder_.getNamedAttr(rl::nameAttribute, builder_.getStringAttr(llvm::StringRef(input.name)))));
  }
  function_.setFunctionType(builder_.getFunctionType(block.getArgumentTypes(), {}));
  function_.setAllArgAttrs(attributes);
}

/// Walks backwards from the outputs, so that nodes that only feed ignored outputs are not asked for anything.
std::vector<const Node *> Importer::neededNodes() const {
  llvm::DenseSet<llvm::StringRef> names;
  for (const ValueInfo *output : outputs_)
    names.insert(output->name);
  std::vector<const Node *> nodes;
  for (const Node &node : llvm::reverse(file_.graph().nodes))
    if (llvm::any_of(node.outputs, [&](std::string_view name) { return names.contains(name); })) {
      nodes.push_back(&node);
      for (std::string_view input : node.inputs)
        if (!input.empty())
          names.insert(input);
    }
  std::ranges::reverse(nodes);
  return nodes;
}

//===-- Names -----------------------------------------------------------------------------------------------------===//

const Binding &Importer::lookup(std::string_view name) {
  auto found = names_.find(name);
  if (found == names_.end())
    found = names_.emplace(name, materialize(name)).first;
  return found->second;
}

Value Importer::parameter(std::string_view name, std::vector<int64_t> shape, int32_t dataType, bool trained,
                          const Tensor *initializer) {
  ImportedParameter info{std::string(name), std::move(shape), dataType, trained, initializer, {}};
  if (initializer && initializer->dataLocation == 1)
    if (Result<ExternalReference> reference = externalReference(*initializer); reference.isOk())
      info.external = *reference;
  auto type = RankedTensorType::get(info.shape, elementTypeOf(dataType, &context_));
  Value value = rl::ParameterOp::create(builder_, NameLoc::get(builder_.getStringAttr(llvm::StringRef(name))), type,
                                        builder_.getStringAttr(llvm::StringRef(name)),
                                        trained ? builder_.getUnitAttr() : UnitAttr());
  out_.parameters.push_back(std::move(info));
  return value;
}

/// The operator behind a name that is no result of a node: a parameter or a constant, placed before all nodes.
Binding Importer::materialize(std::string_view name) {
  Binding failed{Binding::Kind::Failed, {}, {}};
  OpBuilder::InsertionGuard guard(builder_);
  Block &block = function_.getBody().front();
  if (lastHeader_)
    builder_.setInsertionPointAfter(lastHeader_);
  else
    builder_.setInsertionPointToStart(&block);

  std::string place = "initializer '" + escaped(name) + "'";
  std::optional<ParameterInfo> info = options_.parameter ? options_.parameter(name) : std::nullopt;
  auto found = initializers_.find(name);
  const Tensor *tensor = found == initializers_.end() ? nullptr : found->second;
  int32_t dataType = tensor ? tensor->dataType : info ? info->dataType : Undefined;
  if (!tensor && !info) {
    faults_.add(Code::Graph, "value '" + escaped(name) + "'", "neither the graph nor the checkpoint defines it");
    return failed;
  }
  std::vector<int64_t> shape = tensor ? tensor->dims : info->shape;
  Result<uint64_t> count = elementCount(shape);
  if (!elementTypeOf(dataType, &context_))
    faults_.add(Code::Unsupported, place, "element type " + dataTypeName(dataType) + " is not supported",
                "FLOAT, DOUBLE, FLOAT16, BFLOAT16, INT64, INT32 and BOOL are");
  else if (!count.isOk())
    faults_.merge(count.takeStatus().at(place));
  else if (*count > static_cast<uint64_t>(maxTensorElements))
    faults_.add(Code::Limit, place, "a tensor of shape " + shapeText(shape) + ", at most 2^34 elements are supported");
  else {
    bool external = tensor && tensor->dataLocation == 1;
    bool likely = !options_.parameter && (external || namedLikeParameter(name));
    Value value;
    if (isFloatType(dataType) && (shape.size() >= 2 || info || likely)) {
      value = parameter(name, shape, dataType, info ? info->trained : likely, tensor);
    } else if (!tensor) {
      faults_.add(Code::Type, place, "a parameter of " + dataTypeName(dataType) + ", expected floating-point numbers");
      return failed;
    } else {
      Result<DenseElementsAttr> attribute = tensorAttribute(*tensor, &file_.external(), &context_);
      if (!attribute.isOk()) {
        faults_.merge(attribute.takeStatus().at(place));
        return failed;
      }
      value =
          arith::ConstantOp::create(builder_, NameLoc::get(builder_.getStringAttr(llvm::StringRef(name))), *attribute);
    }
    lastHeader_ = value.getDefiningOp();
    return {Binding::Kind::Tensor, {value}, {}};
  }
  return failed;
}

//===-- Nodes -----------------------------------------------------------------------------------------------------===//

Location Importer::location(const Node &node) {
  if (node.op == "Constant") // equal ones will be one constant, from no place in particular; a third of all nodes
    return function_.getLoc();
  std::string_view name = !node.name.empty() || node.outputs.empty() ? node.name : node.outputs[0];
  auto id = builder_.getStringAttr(llvm::StringRef(name));
  std::string path = modulePath(node);
  if (path.empty())
    return NameLoc::get(id);
  if (path != modulePath_) { // nodes of a module follow each other
    module_ = NameLoc::get(builder_.getStringAttr(path));
    modulePath_ = std::move(path);
  }
  return NameLoc::get(id, Location(module_));
}

/// Offers the operators after `last` to the folder, in order; results that were folded are replaced.
void Importer::foldSince(Operation *last, SmallVector<Binding, 1> &results) {
  Block &block = function_.getBody().front();
  auto it = last ? std::next(last->getIterator()) : block.begin();
  llvm::DenseMap<Value, Value> replaced;
  while (it != block.end()) {
    Operation &op = *it++;
    SmallVector<Value> old(op.getResults());
    SmallVector<Value> constants = folder_.fold(&op);
    for (auto [from, to] : llvm::zip(old, constants))
      replaced[from] = to;
  }
  for (Binding &binding : results)
    for (Value &value : binding.values)
      if (Value to = replaced.lookup(value))
        value = to;
}

void Importer::translate(const Node &node) {
  auto add = [&](Code code, std::string message, std::string hint) {
    faults_.add(code, describe(node), std::move(message), std::move(hint));
  };
  auto bindAll = [&](Binding::Kind kind, const std::string &reason, size_t from) {
    for (size_t i = from; i < node.outputs.size(); ++i)
      names_[node.outputs[i]] = {kind, {}, reason};
  };
  Block &block = function_.getBody().front();
  builder_.setInsertionPointToEnd(&block);
  const Translation *translation = node.domain.empty() ? findTranslation(node.op) : nullptr;
  if (!translation || node.opset < translation->minOpset) {
    add(Code::Unsupported,
        "operator " + escaped(node.op) + " of opset " + std::to_string(node.opset) + " is not supported" +
            (translation ? ", only from opset " + std::to_string(translation->minOpset) : ""),
        std::string(nearestForm(node.op)));
    return bindAll(Binding::Kind::Failed, "", 0);
  }
  Operation *last = block.empty() ? nullptr : &block.back();
  Call call(*this, node, builder_, location(node));
  try {
    translation->translate(call);
    call.checkAllRead();
    for (auto it = last ? std::next(last->getIterator()) : block.begin(); it != block.end(); ++it)
      for (Value result : it->getResults())
        call.elements(shapeOf(result));
    foldSince(last, call.results);
  } catch (const NodeFault &fault) {
    add(fault.code, fault.message, fault.hint);
    return bindAll(Binding::Kind::Failed, "", 0);
  } catch (const Dependent &) {
    return bindAll(Binding::Kind::Failed, "", 0);
  }
  for (size_t i = 0; i < node.outputs.size() && i < call.results.size(); ++i)
    names_[node.outputs[i]] = std::move(call.results[i]);
  for (size_t i = call.results.size(); i < node.outputs.size(); ++i)
    names_[node.outputs[i]] = {
        Binding::Kind::Absent, {}, "output " + std::to_string(i) + " of " + describe(node) + " is not supported"};
}

//===-- The function ----------------------------------------------------------------------------------------------===//

void Importer::finish() {
  SmallVector<Value> values;
  SmallVector<DictionaryAttr> attributes;
  for (const ValueInfo *output : outputs_) {
    const Binding &found = lookup(output->name);
    std::string place = "output '" + escaped(output->name) + "'";
    if (found.kind == Binding::Kind::Absent)
      faults_.add(Code::Unsupported, place, found.reason);
    else if (found.kind == Binding::Kind::Sequence)
      faults_.add(Code::Unsupported, place, "a sequence");
    if (found.kind != Binding::Kind::Tensor)
      continue;
    values.push_back(found.values[0]);
    attributes.push_back(builder_.getDictionaryAttr(
        builder_.getNamedAttr(rl::nameAttribute, builder_.getStringAttr(llvm::StringRef(output->name)))));
  }
  if (faults_.any())
    return;
  Block &block = function_.getBody().front();
  builder_.setInsertionPointToEnd(&block);
  func::ReturnOp::create(builder_, function_.getLoc(), values);
  function_.setFunctionType(builder_.getFunctionType(block.getArgumentTypes(), ValueRange(values).getTypes()));
  function_.setAllResultAttrs(attributes);
  eraseDeadOperators(block);
  llvm::DenseSet<llvm::StringRef> left;
  for (rl::ParameterOp op : block.getOps<rl::ParameterOp>())
    left.insert(op.getName());
  llvm::erase_if(out_.parameters, [&](const ImportedParameter &p) { return !left.contains(p.name); });
}

void Importer::verify() {
  std::string message;
  ScopedDiagnosticHandler handler(&context_, [&](Diagnostic &diagnostic) {
    if (message.empty())
      message = diagnostic.str();
    return success();
  });
  if (failed(mlir::verify(*out_.module)))
    faults_.add(Code::Internal, "", "the imported function is not sound: " + message);
}

Result<ImportedModel> Importer::run() {
  if (options_.batch < 0 || options_.sequence < 0)
    return Status::error(Code::Range, "batch and sequence must not be negative");
  context_.loadDialect<func::FuncDialect, nn::NNDialect, rl::RLDialect, arith::ArithDialect, math::MathDialect>();
  Location loc = FileLineColLoc::get(builder_.getStringAttr(file_.path()), 0, 0);
  out_.module = ModuleOp::create(loc);
  builder_.setInsertionPointToEnd(out_.module->getBody());
  function_ = func::FuncOp::create(builder_, loc, "forward", builder_.getFunctionType({}, {}));
  function_.addEntryBlock();

  const Graph &graph = file_.graph();
  names_.reserve(graph.nodes.size() + graph.initializers.size());
  initializers_.reserve(graph.initializers.size());
  for (const Tensor &initializer : graph.initializers)
    initializers_.emplace(initializer.name, &initializer);
  chooseOutputs();
  bindInputs();
  for (const Node *node : neededNodes())
    translate(*node);
  finish();
  if (!faults_.any())
    verify();
  if (faults_.any()) {
    // A block without terminator is not sound, and erasing it is.
    out_.module = {};
    return faults_.take().at(file_.path());
  }
  return std::move(out_);
}

Result<ImportedModel> importModel(ModelFile &file, MLIRContext &context, const ImportOptions &options) {
  return Importer(file, context, options).run();
}

} // namespace graft::onnx
