// The way: decompose, merge what is equal; find the kernels; decide where results live; then one walk over the
// operators in program order.
#include "passes/lower/Lower.h"

#include "dialects/rt/RTOps.h"
#include "passes/codegen/Ptxas.h"
#include "passes/lower/Decompose.h"
#include "passes/lower/EntryLowering.h"
#include "passes/lower/InPlace.h"
#include "passes/lower/KernelEmitter.h"
#include "passes/lower/Products.h"
#include "runtime/program/Hash.h"
#include "runtime/program/Layout.h"

#include "mlir/IR/Dominance.h"
#include "mlir/Transforms/CSE.h"

using namespace mlir;

namespace graft {

int64_t elementsOf(const schema::ParameterT &parameter) {
  return *elementCount(parameter.shape);
}

namespace {

constexpr StringRef lossName = "loss";

} // namespace

LogicalResult EntryLowering::bindParameters() {
  for (auto [index, parameter] : llvm::enumerate(program_.parameters))
    parameters_.try_emplace(parameter->name, static_cast<uint32_t>(index));
  bool good = true;
  function_.walk([&](rl::ParameterOp op) {
    auto found = parameters_.find(op.getName());
    if (found == parameters_.end()) {
      op.emitError() << "parameter '" << op.getName() << "' is not in the program's table";
      good = false;
      return;
    }
    const schema::ParameterT &parameter = *program_.parameters[found->second];
    RankedTensorType type = nn::typeOf(op.getResult());
    bool copy = type.getElementType().isBF16() && parameter.dtype == schema::DType::F32;
    int buffer = copy ? entry_.addBuffer(schema::Storage::Working, parameter.working_offset, type,
                                         rl::workingPrefix.str() + parameter.name)
                      : entry_.addBuffer(schema::Storage::Parameter, parameter.offset, type, parameter.name);
    weights_[found->second].push_back(buffer);
    entry_.setPlace(op.getResult(), {buffer, 0, denseStrides(type.getShape())});
  });
  return success(good);
}

void EntryLowering::bindInputs() {
  for (BlockArgument argument : block().getArguments()) {
    if (argument.use_empty())
      continue;
    std::string name = nameOf(argument).str();
    if (StringRef(name).starts_with(rl::gradientPrefix))
      continue; // what the gradient was (addToGradients)
    int buffer = entry_.addBuffer(schema::Storage::Arena, 0, nn::typeOf(argument), name);
    entry_.setPlace(argument, {buffer, 0, denseStrides(nn::shapeOf(argument))});
    auto binding = std::make_unique<schema::BindingT>();
    binding->name = name;
    binding->buffer = static_cast<uint32_t>(buffer);
    entry_.entry().inputs.push_back(std::move(binding));
  }
}

namespace {

/// True for what its operator can add to what lies in its place: products, scatters, sums of a loop.
bool isAccumulated(Value value) {
  auto loop = value.getDefiningOp<rl::TokenLoopOp>();
  return loop ? llvm::is_contained(loop.getSums(), value)
              : isa_and_nonnull<nn::ContractOp, nn::ScatterAddOp>(value.getDefiningOp());
}

/// The same, or a sum of such values that nobody else reads.
bool isSumOfAccumulated(Value value) {
  auto add = value.getDefiningOp<arith::AddFOp>();
  return value.hasOneUse() &&
         (add ? isSumOfAccumulated(add.getLhs()) && isSumOfAccumulated(add.getRhs()) : isAccumulated(value));
}

} // namespace

/// A gradient that is the sum of products and scatters: each adds into the gradient where it runs, and the additions
/// vanish.
void EntryLowering::accumulateInto(Value value, const Place &place) {
  auto add = value.getDefiningOp<arith::AddFOp>();
  if (add && isSumOfAccumulated(value)) {
    folded_.insert(add);
    accumulateInto(add.getLhs(), place);
    accumulateInto(add.getRhs(), place);
    return;
  }
  entry_.setPlace(value, place);
  if (isAccumulated(value))
    accumulated_.insert(value);
}

/// In the gradient block; or, if the parameter is updated in this entry, in the arena until then.
Place EntryLowering::gradientPlace(const schema::ParameterT &parameter, RankedTensorType type) {
  std::string name = rl::gradientPrefix.str() + parameter.name;
  if (updatesInBackward(program_)) {
    Place place = entry_.newBuffer(type, name, "gradient");
    entry_.buffer(place.buffer).name = name;
    return place;
  }
  int buffer = entry_.addBuffer(schema::Storage::Gradient, parameter.gradient_offset, type, name);
  return {buffer, 0, denseStrides(type.getShape())};
}

LogicalResult EntryLowering::bindGradients() {
  llvm::StringMap<BlockArgument> arguments;
  for (BlockArgument argument : block().getArguments())
    arguments.try_emplace(nameOf(argument), argument);
  bool good = true;
  for (auto [i, value] : llvm::enumerate(terminator()->getOperands())) {
    StringRef name = resultName(function_, i);
    if (!name.consume_front(rl::gradientPrefix))
      continue;
    auto found = parameters_.find(name);
    if (found == parameters_.end() || !program_.parameters[found->second]->trained) {
      function_.emitError() << "result '" << rl::gradientPrefix << name
                            << "' is not the gradient of a trained parameter";
      good = false;
      continue;
    }
    Place place = gradientPlace(*program_.parameters[found->second], nn::typeOf(value));
    if (BlockArgument before = arguments.lookup(resultName(function_, i)))
      entry_.setPlace(before, place);
    Operation *op = value.getDefiningOp();
    bool direct = op && value.hasOneUse() && (isAccumulated(value) || isa<nn::ReduceOp>(op) || nn::isElementwise(op));
    if (direct)
      accumulateInto(value, place);
    gradients_.push_back({found->second, value, place, direct});
  }
  return success(good);
}

/// Where a pass adds to gradients that are neither products nor scatters, it reads what they were: an argument that
/// lies where the gradient lies.
void EntryLowering::addToGradients() {
  for (OpOperand &operand : terminator()->getOpOperands()) {
    StringRef name = resultName(function_, operand.getOperandNumber());
    if (!name.starts_with(rl::gradientPrefix) || isSumOfAccumulated(operand.get()))
      continue;
    Value before = addArgument(function_, name, operand.get().getType());
    OpBuilder builder(terminator());
    operand.set(arith::AddFOp::create(builder, function_.getLoc(), before, operand.get()));
  }
}

/// An input of a concatenation that nobody else reads is written into the concatenation at once, by operators that can
/// write with strides.
void EntryLowering::placeConcatInputs(Block &body) {
  for (nn::ConcatOp op : body.getOps<nn::ConcatOp>()) {
    const Place outer = entry_.place(op.getResult());
    int64_t start = 0;
    for (Value input : op.getInputs()) {
      Operation *producer = input.getDefiningOp();
      bool strided =
          producer && (grouping_.role(producer) == Role::Member || isa<nn::ContractOp, nn::ConcatOp>(producer));
      bool once = llvm::count(op.getInputs(), input) == 1 && input.hasOneUse() && !entry_.hasPlace(input);
      if (once && strided)
        entry_.setPlace(input, {outer.buffer, outer.offset + start * outer.strides[op.getAxis()], outer.strides});
      start += nn::shapeOf(input)[op.getAxis()];
    }
  }
}

namespace {

schema::Phase markedPhase(Operation *op) {
  auto mark = op->getAttrOfType<StringAttr>(rl::phaseAttribute);
  return !mark                        ? schema::Phase::Forward
         : mark == rl::recomputePhase ? schema::Phase::Recompute
                                      : schema::Phase::Backward;
}

} // namespace

/// That of an operator, or of the kernel in which it is the last: computing again counts as backward where both are in
/// one kernel.
schema::Phase EntryLowering::phaseOf(Operation *op) const {
  schema::Phase phase = markedPhase(op);
  if (int group = grouping_.groupOf(op); group >= 0)
    for (Operation *member : grouping_.groups()[group].members)
      if (markedPhase(member) != phase)
        phase = schema::Phase::Backward;
  return phase;
}

/// The operator of the function after which the value is there: the last of the kernel that makes it or, of a view, its
/// source.
Operation *EntryLowering::makerOf(Value value) const {
  while (isView(value.getDefiningOp()))
    value = value.getDefiningOp()->getOperand(0);
  Operation *op = value.getDefiningOp();
  int group = op ? grouping_.groupOf(op) : -1;
  return group < 0 ? op : grouping_.last(group);
}

void EntryLowering::findMakers() {
  for (auto [number, gradient] : llvm::enumerate(gradients_))
    if (!gradient.placed)
      copiedAfter_[makerOf(gradient.value)].push_back(static_cast<unsigned>(number));
  for (auto [i, value] : llvm::enumerate(terminator()->getOperands()))
    if (resultName(function_, i) == lossName)
      lossMaker_ = makerOf(value);
}

/// What waits for an operator: the loss, and gradients that it cannot write where they belong.
void EntryLowering::finishResults(Operation *op) {
  for (unsigned number : copiedAfter_.lookup(op))
    copyToPlace(gradients_[number]);
  if (op == lossMaker_)
    lossTime_ = entry_.time();
}

void EntryLowering::copyToPlace(Gradient &gradient) {
  entry_.copy({gradient.place.buffer, 0, gradient.place.strides}, entry_.read(gradient.value),
              nn::shapeOf(gradient.value), "gradient");
  gradient.placed = true;
}

/// The operators of a block in order: of the function, or of a loop within it.
LogicalResult EntryLowering::emitBlock(Block &body) {
  auto grouping = Grouping::compute(body, folded_);
  if (failed(grouping))
    return failure();
  Grouping outer = std::exchange(grouping_, std::move(*grouping));
  if (&body == &block())
    findMakers();
  placeConcatInputs(body);
  bool good = true;
  for (Operation &op : body.without_terminator()) {
    int begin = entry_.time();
    good = succeeded(emit(&op)) && good;
    finishResults(&op);
    if (entry_.time() == begin)
      continue;
    schema::Phase phase = phaseOf(&op);
    for (int time = begin; time < entry_.time(); ++time)
      entry_.entry().instructions[time]->phase = phase;
  }
  grouping_ = std::move(outer);
  return success(good);
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
  if (auto contract = dyn_cast<nn::ContractOp>(op))
    return emitProductOf(contract), success();
  if (auto attention = dyn_cast<nn::AttentionOp>(op))
    return emitAttention(attention);
  if (auto gradient = dyn_cast<nn::AttentionGradientOp>(op))
    return emitAttention(gradient);
  if (auto loop = dyn_cast<rl::TokenLoopOp>(op))
    return emitLoop(loop);
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
  for (Gradient &gradient : gradients_)
    if (!gradient.placed) // of what no operator makes
      copyToPlace(gradient);
  llvm::DenseSet<int> taken;
  SmallVector<std::pair<std::string, int>> outputs;
  for (auto [i, value] : llvm::enumerate(terminator()->getOperands())) {
    std::string name = resultName(function_, i).str();
    if (StringRef(name).starts_with(rl::gradientPrefix))
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
      if (name == lossName)
        lossTime_ = entry_.time();
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

/// The gradients' memory, if this entry writes them anew: each part is free until its gradient is touched first.
LentMemory EntryLowering::lentMemory() {
  LentMemory lent;
  if (adds_ || gradients_.empty())
    return lent;
  llvm::DenseMap<int64_t, int> touched;
  for (const Gradient &gradient : gradients_)
    if (auto uses = entry_.usesOutside(gradient.place.buffer))
      touched[entry_.buffer(gradient.place.buffer).offset] = uses->first;
  lent.bytes = program_.gradient_bytes;
  for (const auto &parameter : program_.parameters)
    if (parameter->gradient_offset >= 0) {
      auto it = touched.find(parameter->gradient_offset);
      lent.owners.push_back(
          {parameter->gradient_offset, 4 * elementsOf(*parameter), it == touched.end() ? -1 : it->second});
    }
  return lent;
}

void EntryLowering::planOffsets() {
  std::vector<Lifetime> lifetimes;
  std::vector<schema::BufferT *> buffers;
  llvm::DenseMap<uint32_t, int> lifetimeOf;
  llvm::DenseMap<uint32_t, InPlace> inPlace = findInPlace(entry_.entry(), program_, kernels_);
  llvm::DenseSet<uint32_t> bound; // inputs and outputs are the caller's to find: in the arena
  for (const auto *bindings : {&entry_.entry().inputs, &entry_.entry().outputs})
    for (const auto &binding : *bindings)
      bound.insert(binding->buffer);
  for (auto [index, buffer] : llvm::enumerate(program_.buffers)) {
    if (buffer->storage != schema::Storage::Arena || buffer->entry != entry_.entryIndex())
      continue;
    if (buffer->first == -2) // made, but never used
      buffer->first = buffer->last = 0;
    auto number = static_cast<uint32_t>(index);
    lifetimeOf[number] = static_cast<int>(lifetimes.size());
    lifetimes.push_back({buffer->size, buffer->first, buffer->last, !bound.contains(number)});
    buffers.push_back(buffer.get());
  }
  for (auto &[to, pair] : inPlace)
    lifetimes[static_cast<size_t>(lifetimeOf[to])].inPlaceOf = lifetimeOf[pair.from];
  ArenaPlan plan = planArena(lifetimes, lentMemory());
  for (auto [buffer, offset, lent] : llvm::zip(buffers, plan.offsets, plan.lent)) {
    buffer->offset = offset;
    buffer->storage = lent ? schema::Storage::Lent : schema::Storage::Arena;
  }
  for (auto &[to, pair] : inPlace) {
    const schema::BufferT &made = *program_.buffers[to], &old = *program_.buffers[pair.from];
    if (made.storage == old.storage && made.offset == old.offset)
      pair.kernel.letRunInPlace(pair.read, pair.written);
  }
  entry_.entry().arena_bytes = plan.bytes;
  program_.arena_bytes = std::max(program_.arena_bytes, plan.bytes);
}

LogicalResult prepareEntry(func::FuncOp function) {
  if (failed(decompose(function)))
    return failure();
  IRRewriter rewriter(function.getContext());
  DominanceInfo dominance(function);
  eliminateCommonSubExpressions(rewriter, dominance, function);
  return success();
}

LogicalResult EntryLowering::run() {
  if (adds_)
    addToGradients();
  if (failed(bindParameters()))
    return failure();
  bindInputs();
  followPlaces();
  if (failed(bindGradients()) || failed(emitBlock(block())))
    return failure();
  bindOutputs();
  if (updates())
    insertUpdates();
  planOffsets();
  entry_.entry().name = updates() ? std::string(updatingEntry) : function_.getName().str() + (adds_ ? "_more" : "");
  program_.entries.push_back(std::make_unique<schema::EntryT>(std::move(entry_.entry())));
  return success();
}

void LoweredEntries::goBackTo(LoweredEntries &earlier) {
  program.entries.resize(earlier.program.entries.size());
  program.buffers.resize(earlier.program.buffers.size());
  program.constants.resize(earlier.program.constants.size());
  program.arena_bytes = earlier.program.arena_bytes;
  Block &own = *kernels->getBody();
  for (size_t count = own.getOperations().size(), kept = earlier.kernels->getBody()->getOperations().size();
       count > kept; --count)
    own.back().erase();
}

LogicalResult lowerEntry(func::FuncOp function, schema::ProgramT &program, ModuleOp kernels, bool adds) {
  return EntryLowering(function, program, kernels, adds).run();
}

static void addObject(schema::ProgramT &program, std::string_view target, const std::string &bytes) {
  auto object = std::make_unique<schema::ObjectT>();
  object->target = std::string(target);
  object->bytes.assign(bytes.begin(), bytes.end());
  object->digest = hash64(object->bytes.data(), object->bytes.size());
  program.objects.push_back(std::move(object));
}

/// PTX, and a cubin for each architecture where there is an assembler.
static Status addCudaObjects(ModuleOp kernels, schema::ProgramT &program, const CodegenOptions &options) {
  GRAFT_ASSIGN_OR_RETURN(CompiledPtx compiled, compileRowProgramsToPtx(kernels, options));
  std::map<std::string, CudaLaunch> launches;
  for (const CompiledKernel &kernel : compiled.kernels)
    launches.emplace(kernel.symbol, kernel.launch);
  for (const auto &kernel : program.kernels) {
    kernel->block_threads = launches.at(kernel->symbol).blockThreads;
    kernel->block_units = launches.at(kernel->symbol).blockUnits;
  }
  if (std::optional<std::string> ptxas = findPtxas())
    for (const std::string &architecture : options.cuda) {
      GRAFT_ASSIGN_OR_RETURN(std::string cubin, assemblePtx(*ptxas, compiled.text, architecture));
      addObject(program, architecture, cubin);
    }
  addObject(program, "ptx", compiled.text);
  return Status::ok();
}

Status compileKernels(ModuleOp kernels, schema::ProgramT &program, const CodegenOptions &options) {
  GRAFT_ASSIGN_OR_RETURN(CompiledKernels compiled, compileRowPrograms(kernels, options));
  // Equal row programs are one kernel: number the distinct ones, and let the calls, which count row programs, follow.
  std::map<std::string, uint32_t> numbers;
  std::vector<uint32_t> kernelOf;
  for (auto [kernel, rowProgram] : llvm::zip_equal(compiled.kernels, kernels.getOps<rt::RowProgramOp>())) {
    auto [it, isNew] = numbers.try_emplace(kernel.symbol, static_cast<uint32_t>(numbers.size()));
    kernelOf.push_back(it->second);
    if (isNew) {
      program.kernels.push_back(std::make_unique<schema::KernelT>());
      program.kernels.back()->symbol = kernel.symbol;
      for (auto [read, written] : rowProgram.getInPlacePairs())
        if (rowProgram.mayRunInPlace(read, written))
          program.kernels.back()->in_place.emplace_back(read, written);
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
  addObject(program, name(options.level), compiled.object);
  return options.cuda.empty() ? Status::ok() : addCudaObjects(kernels, program, options);
}

void layOutParameters(schema::ProgramT &program, const std::set<std::string> &workingCopies) {
  auto advance = [](int64_t &end, int64_t bytes) {
    int64_t offset = end;
    end = (end + bytes + arenaAlignment - 1) / arenaAlignment * arenaAlignment;
    return offset;
  };
  schema::DType stateForm = program.optimizer ? program.optimizer->state : schema::DType::F32;
  bool hasBlock = !updatesInBackward(program);
  program.parameter_bytes = program.gradient_bytes = program.state_bytes = program.working_bytes = 0;
  for (auto &parameter : program.parameters) {
    int64_t elements = elementsOf(*parameter);
    parameter->row_pitch = parameter->shape.empty() ? 1 : parameter->shape.back();
    parameter->offset = advance(program.parameter_bytes, elements * byteSize(parameter->dtype));
    parameter->gradient_offset = hasBlock && parameter->trained ? advance(program.gradient_bytes, elements * 4) : -1;
    parameter->state_offset = parameter->trained ? advance(program.state_bytes, *momentBytes(stateForm, elements)) : -1;
    bool copied = workingCopies.contains(parameter->name);
    parameter->working_offset = copied ? advance(program.working_bytes, elements * 2) : -1;
  }
}

} // namespace graft
