// The way: decompose, canonicalize; find the kernels; decide where results live; then one walk over the operators in
// program order.
#include "passes/lower/Lower.h"

#include "dialects/nn/NNDialect.h"
#include "dialects/rl/RLDialect.h"
#include "passes/lower/Decompose.h"
#include "passes/lower/KernelEmitter.h"
#include "passes/lower/Products.h"
#include "passes/schedule/Arena.h"
#include "runtime/program/Hash.h"
#include "runtime/program/Layout.h"

#include "mlir/IR/Dominance.h"
#include "mlir/Transforms/CSE.h"
#include "mlir/Transforms/GreedyPatternRewriteDriver.h"

using namespace mlir;

namespace graft {

namespace {

constexpr StringLiteral gradientPrefix = "grad.";

class EntryLowering {
public:
  EntryLowering(func::FuncOp function, schema::ProgramT &program, ModuleOp kernels)
      : function_(function), program_(program), kernels_(kernels),
        entry_(program, static_cast<int>(program.entries.size())) {}

  LogicalResult run();

private:
  Block &block() { return function_.getBody().front(); }
  Operation *terminator() { return block().getTerminator(); }
  StringRef resultName(unsigned i) {
    return function_.getResultAttrOfType<StringAttr>(i, rl::nameAttribute).getValue();
  }

  LogicalResult bindParameters();
  void bindInputs();
  LogicalResult bindGradients();
  void accumulateInto(Value value, const Place &place);
  void placeConcatInputs();
  LogicalResult emit(Operation *op);
  void bindOutputs();
  void planOffsets();

  // Library operators.
  void emitConcat(nn::ConcatOp op);
  void emitPad(nn::PadOp op);
  LogicalResult emitGather(nn::GatherOp op);
  LogicalResult emitScatter(nn::ScatterAddOp op);
  LogicalResult emitElements(Operation *op, StringRef function, Value wide, Value indices, Value narrow, int64_t axis,
                             bool scatters);
  void hostCall(Operation *op, StringRef function, std::initializer_list<schema::Operand> operands,
                std::vector<int64_t> ints);
  schema::Operand denseOperand(Value value);

  func::FuncOp function_;
  schema::ProgramT &program_;
  ModuleOp kernels_;
  EntryBuilder entry_;
  Grouping grouping_;
  llvm::DenseSet<Value> accumulated_;  ///< products and scatters that add into a gradient
  llvm::DenseSet<Operation *> folded_; ///< additions that these make unnecessary
  llvm::DenseSet<int> written_;        ///< gradient buffers that hold something already
  struct Gradient {
    Value value;
    Place place;
    bool direct; ///< written by its operator; otherwise copied at the end
  };
  SmallVector<Gradient> gradients_;
};

const schema::ParameterT *findParameter(const schema::ProgramT &program, StringRef name) {
  for (const auto &parameter : program.parameters)
    if (parameter->name == name)
      return parameter.get();
  return nullptr;
}

LogicalResult EntryLowering::bindParameters() {
  bool good = true;
  function_.walk([&](rl::ParameterOp op) {
    const schema::ParameterT *parameter = findParameter(program_, op.getName());
    if (!parameter) {
      op.emitError() << "parameter '" << op.getName() << "' is not in the program's table";
      good = false;
      return;
    }
    int buffer =
        entry_.addBuffer(schema::Storage::Parameter, parameter->offset, nn::typeOf(op.getResult()), op.getName().str());
    entry_.setPlace(op.getResult(), {buffer, 0, denseStrides(nn::shapeOf(op.getResult()))});
  });
  return success(good);
}

void EntryLowering::bindInputs() {
  for (BlockArgument argument : block().getArguments()) {
    if (argument.use_empty())
      continue;
    auto name = function_.getArgAttrOfType<StringAttr>(argument.getArgNumber(), rl::nameAttribute).getValue().str();
    int buffer = entry_.addBuffer(schema::Storage::Arena, 0, nn::typeOf(argument), name);
    entry_.setPlace(argument, {buffer, 0, denseStrides(nn::shapeOf(argument))});
    auto binding = std::make_unique<schema::BindingT>();
    binding->name = name;
    binding->buffer = static_cast<uint32_t>(buffer);
    entry_.entry().inputs.push_back(std::move(binding));
  }
}

/// A gradient that is the sum of products and scatters: each adds into the gradient where it runs, and the additions
/// vanish.
void EntryLowering::accumulateInto(Value value, const Place &place) {
  Operation *op = value.getDefiningOp();
  if (auto add = dyn_cast_or_null<arith::AddFOp>(op)) {
    auto isPart = [](Value operand) {
      return operand.hasOneUse() &&
             isa_and_nonnull<arith::AddFOp, nn::ContractOp, nn::ScatterAddOp>(operand.getDefiningOp());
    };
    auto isSum = [&](Value operand, auto &&self) -> bool {
      auto inner = operand.getDefiningOp<arith::AddFOp>();
      return isPart(operand) && (!inner || (self(inner.getLhs(), self) && self(inner.getRhs(), self)));
    };
    if (isSum(add.getLhs(), isSum) && isSum(add.getRhs(), isSum)) {
      folded_.insert(op);
      accumulateInto(add.getLhs(), place);
      accumulateInto(add.getRhs(), place);
      return;
    }
  }
  entry_.setPlace(value, place);
  if (isa_and_nonnull<nn::ContractOp, nn::ScatterAddOp>(op))
    accumulated_.insert(value);
}

LogicalResult EntryLowering::bindGradients() {
  bool good = true;
  for (auto [i, value] : llvm::enumerate(terminator()->getOperands())) {
    StringRef name = resultName(i);
    if (!name.consume_front(gradientPrefix))
      continue;
    const schema::ParameterT *parameter = findParameter(program_, name);
    if (!parameter || parameter->gradient_offset < 0) {
      function_.emitError() << "result '" << gradientPrefix << name << "' is not the gradient of a trained parameter";
      good = false;
      continue;
    }
    int buffer = entry_.addBuffer(schema::Storage::Gradient, parameter->gradient_offset, nn::typeOf(value),
                                  (gradientPrefix + name).str());
    Place place{buffer, 0, denseStrides(nn::shapeOf(value))};
    Operation *op = value.getDefiningOp();
    bool direct =
        op && value.hasOneUse() && (isa<nn::ContractOp, nn::ScatterAddOp, nn::ReduceOp>(op) || nn::isElementwise(op));
    if (direct)
      accumulateInto(value, place);
    gradients_.push_back({value, place, direct});
  }
  return success(good);
}

/// An input of a concatenation that nobody else reads is written into the concatenation at once.
void EntryLowering::placeConcatInputs() {
  for (nn::ConcatOp op : block().getOps<nn::ConcatOp>()) {
    const Place outer = entry_.place(op.getResult());
    int64_t start = 0;
    for (Value input : op.getInputs()) {
      Operation *producer = input.getDefiningOp();
      Role role = producer ? grouping_.role(producer) : Role::Parameter;
      bool once = llvm::count(op.getInputs(), input) == 1 && input.hasOneUse() && !entry_.hasPlace(input);
      if (once && (role == Role::Member || role == Role::Library) &&
          !isa<nn::ScatterAddOp, nn::ScatterElementsAddOp, nn::PadOp, nn::GatherOp, nn::GatherElementsOp>(producer))
        entry_.setPlace(input, {outer.buffer, outer.offset + start * outer.strides[op.getAxis()], outer.strides});
      start += nn::shapeOf(input)[op.getAxis()];
    }
  }
}

//===-- Library operators -----------------------------------------------------------------------------------------===//

schema::Operand EntryLowering::denseOperand(Value value) {
  return entry_.operand(entry_.readDense(value), nn::shapeOf(value), schema::Access::Read);
}

void EntryLowering::hostCall(Operation *op, StringRef function, std::initializer_list<schema::Operand> operands,
                             std::vector<int64_t> ints) {
  schema::HostCallT call;
  call.function = function.str();
  call.operands.assign(operands.begin(), operands.end());
  call.ints = std::move(ints);
  entry_.append(std::move(call), originOf(op), "gather");
}

void EntryLowering::emitConcat(nn::ConcatOp op) {
  const Place outer = entry_.place(op.getResult());
  int64_t start = 0;
  for (Value input : op.getInputs()) {
    auto shape = nn::shapeOf(input);
    Access to{outer.buffer, outer.offset + start * outer.strides[op.getAxis()], outer.strides};
    bool inPlace =
        !isView(input.getDefiningOp()) && entry_.hasPlace(input) && entry_.place(input).buffer == outer.buffer;
    if (!inPlace)
      entry_.copy(to, entry_.read(input), shape, originOf(op));
    start += shape[op.getAxis()];
  }
}

void EntryLowering::emitPad(nn::PadOp op) {
  const Place outer = entry_.place(op.getResult());
  entry_.fillZero(outer, nn::shapeOf(op.getResult()), originOf(op));
  Access box{outer.buffer, outer.offset, outer.strides};
  for (auto [d, start] : llvm::enumerate(op.getStarts())) {
    box.offset += start * outer.strides[d];
    box.strides[d] *= op.getSteps()[d];
  }
  entry_.copy(box, entry_.read(op.getInput()), nn::shapeOf(op.getInput()), originOf(op));
}

int64_t indexBytes(Value indices) {
  return getElementTypeOrSelf(indices.getType()).isInteger(32) ? 4 : 8;
}

LogicalResult EntryLowering::emitGather(nn::GatherOp op) {
  auto shape = nn::shapeOf(op.getData());
  int64_t count = nn::typeOf(op.getIndices()).getNumElements(),
          width = nn::typeOf(op.getData()).getNumElements() / std::max<int64_t>(shape[0], 1);
  if (op.getAxis() != 0 || !getElementTypeOrSelf(op.getData().getType()).isF32())
    return op.emitError() << "only float32 rows can be gathered by the compiled program";
  auto index = denseOperand(op.getIndices()), table = denseOperand(op.getData());
  Access out{entry_.place(op.getResult()).buffer, 0, denseStrides(nn::shapeOf(op.getResult()))};
  hostCall(op, "gather_rows", {index, table, entry_.operand(out, nn::shapeOf(op.getResult()), schema::Access::Write)},
           {count, width, shape[0], width, indexBytes(op.getIndices())});
  return success();
}

LogicalResult EntryLowering::emitScatter(nn::ScatterAddOp op) {
  auto shape = nn::shapeOf(op.getResult());
  int64_t count = nn::typeOf(op.getIndices()).getNumElements(),
          width = nn::typeOf(op.getResult()).getNumElements() / std::max<int64_t>(shape[0], 1);
  if (op.getAxis() != 0 || !getElementTypeOrSelf(op.getResult().getType()).isF32())
    return op.emitError() << "only float32 rows can be scattered by the compiled program";
  auto index = denseOperand(op.getIndices()), values = denseOperand(op.getUpdates());
  const Place &place = entry_.place(op.getResult());
  bool adds = accumulated_.contains(op.getResult()) && !written_.insert(place.buffer).second;
  auto mode = adds ? schema::Access::ReadWrite : schema::Access::Write;
  hostCall(op, "scatter_add_rows",
           {index, values, entry_.operand({place.buffer, place.offset, place.strides}, shape, mode)},
           {count, width, shape[0], width, indexBytes(op.getIndices()), adds ? 0 : 1});
  return success();
}

LogicalResult EntryLowering::emitElements(Operation *op, StringRef function, Value wide, Value indices, Value narrow,
                                          int64_t axis, bool scatters) {
  auto shape = nn::shapeOf(wide);
  if (axis != static_cast<int64_t>(shape.size()) - 1 || !getElementTypeOrSelf(wide.getType()).isF32())
    return op->emitError() << "only float32 elements along the last dimension can be picked by the compiled program";
  int64_t columns = shape.back(), rows = nn::typeOf(wide).getNumElements() / std::max<int64_t>(columns, 1),
          picks = nn::shapeOf(indices).back();
  auto index = denseOperand(indices), source = denseOperand(scatters ? narrow : wide);
  Value result = op->getResult(0);
  const Place &place = entry_.place(result);
  auto out = entry_.operand({place.buffer, place.offset, place.strides}, nn::shapeOf(result), schema::Access::Write);
  std::vector<int64_t> ints = {rows, picks, columns, columns, indexBytes(indices)};
  if (scatters)
    ints.push_back(1);
  hostCall(op, function, {index, source, out}, ints);
  return success();
}

LogicalResult EntryLowering::emit(Operation *op) {
  if (folded_.contains(op))
    return success();
  switch (grouping_.role(op)) {
  case Role::View:
  case Role::Virtual:
  case Role::Constant:
  case Role::Parameter:
    return success();
  case Role::Member: {
    int group = grouping_.groupOf(op);
    return grouping_.last(group) == op ? emitGroup(kernels_, entry_, grouping_, group) : success();
  }
  case Role::Library:
    break;
  }
  if (auto contract = dyn_cast<nn::ContractOp>(op)) {
    bool adds = accumulated_.contains(contract.getResult()) &&
                !written_.insert(entry_.place(contract.getResult()).buffer).second;
    emitProduct(entry_, contract, adds);
    return success();
  }
  if (auto concat = dyn_cast<nn::ConcatOp>(op))
    return emitConcat(concat), success();
  if (auto pad = dyn_cast<nn::PadOp>(op))
    return emitPad(pad), success();
  if (auto gather = dyn_cast<nn::GatherOp>(op))
    return emitGather(gather);
  if (auto scatter = dyn_cast<nn::ScatterAddOp>(op))
    return emitScatter(scatter);
  if (auto gather = dyn_cast<nn::GatherElementsOp>(op))
    return emitElements(op, "gather_elements", gather.getData(), gather.getIndices(), gather.getResult(),
                        gather.getAxis(), false);
  if (auto scatter = dyn_cast<nn::ScatterElementsAddOp>(op))
    return emitElements(op, "scatter_add_elements", scatter.getResult(), scatter.getIndices(), scatter.getUpdates(),
                        scatter.getAxis(), true);
  return op->emitError() << "'" << op->getName() << "' cannot be compiled for this target";
}

//===-- Results and offsets ---------------------------------------------------------------------------------------===//

void EntryLowering::bindOutputs() {
  for (const Gradient &gradient : gradients_)
    if (!gradient.direct) {
      auto shape = nn::shapeOf(gradient.value);
      entry_.copy({gradient.place.buffer, 0, gradient.place.strides}, entry_.read(gradient.value), shape, "gradient");
    }
  llvm::DenseSet<int> taken;
  SmallVector<std::pair<std::string, int>> outputs;
  for (auto [i, value] : llvm::enumerate(terminator()->getOperands())) {
    std::string name = resultName(i).str();
    if (StringRef(name).starts_with(gradientPrefix))
      continue;
    Access access = entry_.readDense(value);
    schema::BufferT &buffer = entry_.buffer(access.buffer);
    bool own = buffer.storage == schema::Storage::Arena && access.offset == 0 &&
               buffer.size == nn::typeOf(value).getNumElements() * entry_.elementBytes(access.buffer) &&
               !isa<BlockArgument>(value) && buffer.first >= 0 && taken.insert(access.buffer).second;
    if (!own) {
      Place place = entry_.newBuffer(nn::typeOf(value), name, "result");
      entry_.copy({place.buffer, 0, place.strides}, access, nn::shapeOf(value), "result");
      access.buffer = place.buffer;
      taken.insert(place.buffer);
    }
    entry_.buffer(access.buffer).name = name;
    auto shape = nn::shapeOf(value);
    entry_.buffer(access.buffer).shape.assign(shape.begin(), shape.end());
    outputs.push_back({name, access.buffer});
  }
  for (auto &[name, buffer] : outputs) {
    entry_.use(buffer);
    auto binding = std::make_unique<schema::BindingT>();
    binding->name = name;
    binding->buffer = static_cast<uint32_t>(buffer);
    entry_.entry().outputs.push_back(std::move(binding));
  }
}

void EntryLowering::planOffsets() {
  std::vector<Lifetime> lifetimes;
  std::vector<schema::BufferT *> buffers;
  for (auto &buffer : program_.buffers) {
    if (buffer->storage != schema::Storage::Arena || buffer->entry != entry_.entryIndex())
      continue;
    if (buffer->first == -2) // made, but never used
      buffer->first = buffer->last = 0;
    lifetimes.push_back({buffer->size, buffer->first, buffer->last});
    buffers.push_back(buffer.get());
  }
  ArenaPlan plan = planArena(lifetimes);
  for (auto [buffer, offset] : llvm::zip(buffers, plan.offsets))
    buffer->offset = offset;
  entry_.entry().arena_bytes = plan.bytes;
  program_.arena_bytes = std::max(program_.arena_bytes, plan.bytes);
}

LogicalResult EntryLowering::run() {
  if (failed(decompose(function_)))
    return failure();
  IRRewriter rewriter(function_.getContext());
  DominanceInfo dominance(function_);
  eliminateCommonSubExpressions(rewriter, dominance, function_);
  if (failed(bindParameters()))
    return failure();
  bindInputs();
  if (failed(bindGradients()))
    return failure();
  auto grouping = Grouping::compute(function_, folded_);
  if (failed(grouping))
    return failure();
  grouping_ = std::move(*grouping);
  placeConcatInputs();
  bool good = true;
  for (Operation &op : block().without_terminator())
    good = succeeded(emit(&op)) && good;
  if (!good)
    return failure();
  bindOutputs();
  planOffsets();
  entry_.entry().name = function_.getName().str();
  program_.entries.push_back(std::make_unique<schema::EntryT>(std::move(entry_.entry())));
  return success();
}

} // namespace

LogicalResult lowerEntry(func::FuncOp function, schema::ProgramT &program, ModuleOp kernels) {
  return EntryLowering(function, program, kernels).run();
}

Status compileKernels(ModuleOp kernels, schema::ProgramT &program, const CodegenOptions &options) {
  GRAFT_ASSIGN_OR_RETURN(CompiledKernels compiled, compileRowPrograms(kernels, options));
  // Equal row programs are one kernel: number the distinct ones, and let the calls, which count row programs, follow.
  std::map<std::string, uint32_t> numbers;
  std::vector<uint32_t> kernelOf;
  for (const CompiledKernel &kernel : compiled.kernels) {
    auto [it, isNew] = numbers.try_emplace(kernel.symbol, static_cast<uint32_t>(numbers.size()));
    kernelOf.push_back(it->second);
    if (isNew) {
      program.kernels.push_back(std::make_unique<schema::KernelT>());
      program.kernels.back()->symbol = kernel.symbol;
    }
  }
  for (const auto &entry : program.entries)
    for (const auto &instruction : entry->instructions)
      if (schema::KernelCallT *call = instruction->operation.AsKernelCall()) {
        call->kernel = kernelOf[call->kernel];
        schema::KernelT &kernel = *program.kernels[call->kernel];
        kernel.operands.clear();
        kernel.extents.clear();
        for (const schema::Operand &operand : call->operands) {
          kernel.operands.push_back(operand.access());
          kernel.extents.push_back(operand.extent());
        }
        kernel.units = call->units;
      }
  if (compiled.object.empty())
    return Status::ok();
  auto object = std::make_unique<schema::ObjectT>();
  object->target = std::string(name(options.level));
  object->bytes.assign(compiled.object.begin(), compiled.object.end());
  object->digest = hash64(object->bytes.data(), object->bytes.size());
  program.objects.push_back(std::move(object));
  return Status::ok();
}

void layOutParameters(schema::ProgramT &program) {
  auto advance = [](int64_t &end, int64_t bytes) {
    int64_t offset = end;
    end = (end + bytes + arenaAlignment - 1) / arenaAlignment * arenaAlignment;
    return offset;
  };
  program.parameter_bytes = program.gradient_bytes = program.state_bytes = 0;
  for (auto &parameter : program.parameters) {
    int64_t elements = 1;
    for (int64_t size : parameter->shape)
      elements *= size;
    parameter->row_pitch = parameter->shape.empty() ? 1 : parameter->shape.back();
    parameter->offset = advance(program.parameter_bytes, elements * byteSize(parameter->dtype));
    parameter->gradient_offset = parameter->trained ? advance(program.gradient_bytes, elements * 4) : -1;
    parameter->state_offset = parameter->trained ? advance(program.state_bytes, elements * 4) : -1;
  }
}

} // namespace graft
