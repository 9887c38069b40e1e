#include "runtime/exec/SessionState.h"

#include "kernels/Dispatch.h"
#include "kernels/adamw/adamw.h"
#include "runtime/base/Convert.h"
#include "runtime/base/Environment.h"
#include "runtime/device/cpu/Threads.h"
#include "runtime/program/Instructions.h"
#include "runtime/program/Layout.h"

#include <algorithm>
#include <cstring>
#include <new>
#include <system_error>

namespace graft {

namespace {
using Bindings = flatbuffers::Vector<flatbuffers::Offset<schema::Binding>>;

std::vector<BindingInfo> describe(const schema::Program &program, const Bindings *bindings) {
  std::vector<BindingInfo> infos;
  for (unsigned i = 0; bindings && i < bindings->size(); ++i) {
    const schema::Binding &binding = *bindings->Get(i);
    const schema::Buffer &buffer = *program.buffers()->Get(binding.buffer());
    infos.push_back({binding.name()->str(), buffer.dtype(), shapeOf(buffer.shape()), binding.required()});
  }
  return infos;
}

std::vector<ParameterInfo> describeParameters(const schema::Program &program) {
  std::vector<ParameterInfo> infos;
  for (unsigned i = 0; program.parameters() && i < program.parameters()->size(); ++i) {
    const schema::Parameter &parameter = *program.parameters()->Get(i);
    ParameterInfo info{parameter.name()->str(), {}, shapeOf(parameter.shape()), 0, parameter.trained()};
    for (unsigned j = 0; parameter.aliases() && j < parameter.aliases()->size(); ++j)
      info.aliases.push_back(parameter.aliases()->Get(j)->str());
    info.elements = *elementCount(info.shape);
    infos.push_back(std::move(info));
  }
  return infos;
}

/// Does the entry need gradients, or update parameters?
bool trains(const schema::Program &program, const schema::Entry &entry) {
  bool trains = false;
  for (unsigned i = 0; entry.instructions() && i < entry.instructions()->size(); ++i) {
    const schema::Instruction &instruction = *entry.instructions()->Get(i);
    trains |= instruction.operation_type() == schema::Operation::Update;
    visitBuffers(instruction, [&](uint32_t buffer, schema::Access) {
      schema::Storage storage = program.buffers()->Get(buffer)->storage();
      trains |= storage == schema::Storage::Gradient || storage == schema::Storage::Lent;
    });
  }
  return trains;
}

} // namespace

// --- Opening
// ----------------------------------------------------------------------------------------------------------

Session::State::State(Program loaded, Options chosen)
    : program(std::move(loaded)), options(chosen), parameters(describeParameters(program.root())),
      bound(parameters.size(), false) {}

Status Session::State::allocate() {
  struct Part {
    HostBlock *block;
    int64_t bytes;
    const char *name;
  };
  const schema::Program &program = root();
  bool training = options.training;
  const Part parts[] = {{&parameterBlock, program.parameter_bytes(), "parameters"},
                        {&gradientBlock, training ? program.gradient_bytes() : 0, "gradients"},
                        {&meanBlock, training ? program.state_bytes() : 0, "optimizer's means"},
                        {&squareBlock, training ? program.state_bytes() : 0, "optimizer's squares"},
                        {&workingBlock, program.working_bytes(), "working copies of parameters"},
                        {&arena, program.arena_bytes(), "arena"}};
  int64_t needed = 0, available = hostMemoryBytes();
  for (const Part &part : parts)
    needed += part.bytes; // each is below 2^46: verified
  if (needed > available)
    return Status::error(Code::DoesNotFit, "parameters, gradients, optimizer state and arena take " +
                                               std::to_string(needed) + " bytes, this machine has " +
                                               std::to_string(available));
  for (const Part &part : parts) {
    GRAFT_ASSIGN_OR_RETURN(*part.block, HostBlock::allocate(static_cast<size_t>(part.bytes), part.name));
  }
  return Status::ok();
}

Status Session::State::openKernels() {
  if (!root().kernels() || root().kernels()->size() == 0)
    return Status::ok();
  const schema::Object &code = *program.object();
  GRAFT_ASSIGN_OR_RETURN(object, KernelObject::open({code.bytes()->data(), code.bytes()->size()}));
  return Status::ok();
}

Status Session::State::startWorkers() {
  int threads = options.threads;
  if (threads == 0) {
    GRAFT_ASSIGN_OR_RETURN(Environment environment, Environment::read());
    threads = environment.threads.value_or(defaultThreadCount());
  }
  if (threads < 1 || threads > 1024)
    return Status::error(Code::Usage, "a session has 1 to 1024 threads, not " + std::to_string(threads));
  auto opened = kernels::MatrixLibrary::open();
  if (opened.isOk()) {
    library = *opened;
    libraryName = library->version();
  } else {
    const Fault &fault = opened.status().faults().front();
    notices.push_back("matrix products run without oneDNN, about ten times slower: " + fault.message + "; " +
                      fault.hint);
  }
  pool = std::make_unique<WorkerPool>(threads, [library = library](int) {
    if (library)
      library->useOneThread();
  });
  planner.emplace(library, threads);
  workers.emplace(Workers{*pool, {}, {}, {}, {}, false});
  for (int i = 0; i < threads; ++i)
    workers->gemm.push_back(planner->makeWorkspace());
  return Status::ok();
}

/// Each worker touches its share of every block, so that pages lie on its memory node and no step pays for page faults.
void Session::State::touchPages() {
  constexpr int64_t page = 4096;
  pool->parallel([&](int worker) {
    for (HostBlock *block : {&gradientBlock, &meanBlock, &squareBlock, &arena}) {
      Share share = shareOf(static_cast<int64_t>(block->size()), worker, pool->workers(), page);
      for (int64_t at = share.begin; at < share.end; at += page)
        block->data()[at] = 0;
    }
  });
}

Status Session::State::prepareEntry(unsigned index, const StepMaker &maker) {
  const schema::Entry &entry = *root().entries()->Get(index);
  PreparedEntry &prepared = entries[index];
  prepared.available = options.training || !trains(root(), entry);
  const schema::RowLoop *loop = nullptr;
  unsigned loopEnd = 0;
  for (unsigned i = 0; prepared.available && entry.instructions() && i < entry.instructions()->size(); ++i) {
    const schema::Instruction &instruction = *entry.instructions()->Get(i);
    if (const schema::RowLoop *begun = instruction.operation_as_RowLoop()) {
      loop = begun;
      loopEnd = i + 1 + static_cast<unsigned>(loop->body());
      prepared.steps.push_back({nullptr, maker.makeLoop(*loop)});
      continue;
    }
    auto step = maker.make(entry, instruction, i < loopEnd ? loop : nullptr);
    if (!step.isOk())
      return step.takeStatus().at("entry '" + escaped(entry.name()->string_view()) + "': instruction " +
                                  std::to_string(i));
    prepared.steps.push_back({std::move(*step), std::nullopt});
  }
  return Status::ok();
}

/// Scratch of the steps, touched by its worker like everything else.
Status Session::State::prepareScratch() {
  int64_t bytes = 0;
  for (const PreparedEntry &entry : entries)
    for (const TimedStep &timed : entry.steps)
      if (timed.step)
        bytes = std::max(bytes, timed.step->scratchBytes());
  for (int i = 0; i < pool->workers(); ++i) {
    GRAFT_ASSIGN_OR_RETURN(HostBlock block, HostBlock::allocate(static_cast<size_t>(bytes), "a worker's scratch"));
    workers->scratch.push_back(std::move(block));
  }
  pool->parallel([&](int worker) {
    HostBlock &block = workers->scratch[static_cast<size_t>(worker)];
    std::fill_n(block.data(), block.size(), uint8_t(0));
  });
  return Status::ok();
}

Blocks Session::State::blocks() {
  Blocks blocks{arena.data(), parameterBlock.data(), gradientBlock.data(), nullptr, workingBlock.data()};
  if (root().constants())
    blocks.constants = const_cast<uint8_t *>(root().constants()->data());
  return blocks;
}

Status Session::State::prepare() {
  if (root().optimizer() && options.training && root().parameters())
    optimizer.emplace(root(), Optimizer::State{parameterBlock.data(), gradientBlock.data(), meanBlock.data(),
                                               squareBlock.data(), workingBlock.data()});
  StepMaker maker{root(), blocks(), object ? &*object : nullptr, *planner, optimizer ? &*optimizer : nullptr};
  entries.resize(root().entries()->size());
  Status status;
  pool->drive([&] { // products are prepared under the workers' OpenMP setting
    touchPages();
    for (unsigned i = 0; i < entries.size() && status.isOk(); ++i)
      status = prepareEntry(i, maker);
    if (status.isOk())
      status = prepareScratch();
  });
  return status;
}

Result<std::unique_ptr<Session>> Session::open(Program program, Options options) {
  try {
    auto state = std::make_unique<State>(std::move(program), options);
    const std::string &name = state->program.name();
    GRAFT_RETURN_IF_ERROR(state->allocate().at(name));
    GRAFT_RETURN_IF_ERROR(state->openKernels().at(name));
    GRAFT_RETURN_IF_ERROR(state->startWorkers());
    GRAFT_RETURN_IF_ERROR(state->prepare().at(name));
    return std::unique_ptr<Session>(new Session(std::move(state)));
  } catch (const std::bad_alloc &) {
    return Status::error(Code::DoesNotFit, "no memory to open the program");
  } catch (const std::system_error &error) {
    return Status::error(Code::DoesNotFit, std::string("cannot start the worker threads: ") + error.what());
  }
}

Session::Session(std::unique_ptr<State> state) : state_(std::move(state)) {}
Session::~Session() = default;

// --- What there is
// ----------------------------------------------------------------------------------------------------

const Program &Session::program() const {
  return state_->program;
}
int Session::threads() const {
  return state_->pool->workers();
}
const std::string &Session::matrixLibrary() const {
  return state_->libraryName;
}
const std::vector<std::string> &Session::notices() const {
  return state_->notices;
}
const std::vector<ParameterInfo> &Session::parameters() const {
  return state_->parameters;
}

Result<int> Session::State::findEntry(std::string_view name) const {
  int entry = program.findEntry(name);
  if (entry >= 0)
    return entry;
  std::string known;
  for (const schema::Entry *each : *root().entries())
    known += (known.empty() ? "" : ", ") + each->name()->str();
  return Status::error(Code::Usage, "the program has no entry '" + escaped(name) + "', it has " + known);
}

Result<std::vector<BindingInfo>> Session::inputs(std::string_view entry) const {
  GRAFT_ASSIGN_OR_RETURN(int index, state_->findEntry(entry));
  return describe(state_->root(), state_->root().entries()->Get(static_cast<unsigned>(index))->inputs());
}

Result<std::vector<BindingInfo>> Session::outputs(std::string_view entry) const {
  GRAFT_ASSIGN_OR_RETURN(int index, state_->findEntry(entry));
  return describe(state_->root(), state_->root().entries()->Get(static_cast<unsigned>(index))->outputs());
}

MemoryUse Session::memory() const {
  auto size = [](const HostBlock &block) { return static_cast<int64_t>(block.size()); };
  const State &s = *state_;
  int64_t constants = s.root().constants() ? s.root().constants()->size() : 0;
  return {size(s.parameterBlock), size(s.gradientBlock), size(s.meanBlock) + size(s.squareBlock),
          size(s.workingBlock),   size(s.arena),         constants,
          peakResidentBytes()};
}

// --- Weights
// ----------------------------------------------------------------------------------------------------------

/// Index of a parameter that has an array of so many elements in `block`.
Result<unsigned> Session::State::findArray(Block block, std::string_view name, size_t elements) const {
  int index = program.findParameter(name);
  if (index < 0)
    return Status::error(Code::Graph, "the program has no parameter '" + escaped(name) + "'");
  const ParameterInfo &info = parameters[static_cast<size_t>(index)];
  if (static_cast<int64_t>(elements) != info.elements)
    return Status::error(Code::Range, "parameter '" + escaped(name) + "' has shape " + shapeText(info.shape) +
                                          ", not " + std::to_string(elements) + " elements");
  if (block != Block::Parameter && !(options.training && info.trained))
    return Status::error(Code::Usage, "parameter '" + escaped(name) +
                                          "' is not trained in this session: it has no gradient and no moments");
  if (block == Block::Gradient && updatesInBackward(root()))
    return Status::error(Code::Usage, "the gradient of '" + escaped(name) +
                                          "' is gone: parameters are updated in the backward pass");
  return static_cast<unsigned>(index);
}

/// True for arrays of another form than float32.
bool Session::State::isPacked(Block block, unsigned index) const {
  if (block == Block::Parameter)
    return root().parameters()->Get(index)->dtype() != schema::DType::F32;
  return block != Block::Gradient && root().optimizer() && root().optimizer()->state() != schema::DType::F32;
}

/// Such an array as float32, padding included.
std::vector<float> Session::State::unpacked(Block block, unsigned index) const {
  const schema::Parameter &p = *root().parameters()->Get(index);
  std::vector<float> values(static_cast<size_t>(storedElements(p)));
  if (block == Block::Parameter)
    toFloat(DType::BF16, std::as_bytes(std::span(parameterBlock.data() + p.offset(), 2 * values.size())), values);
  else
    kernels::vectorFunctions().unpackMoment(optimizer->moments(index), block == Block::Square,
                                            static_cast<int64_t>(values.size()), values.data());
  return values;
}

void Session::State::pack(Block block, unsigned index, std::span<const float> values) {
  const schema::Parameter &p = *root().parameters()->Get(index);
  if (block == Block::Parameter)
    fromFloat(DType::BF16, values,
              std::as_writable_bytes(std::span(parameterBlock.data() + p.offset(), 2 * values.size())));
  else
    kernels::vectorFunctions().packMoment(optimizer->moments(index), block == Block::Square,
                                          static_cast<int64_t>(values.size()), values.data());
}

/// An array as float32: where it lies, or, in another form, in `unpacked`.
float *Session::State::floatsOf(Block block, unsigned index, std::vector<float> &unpacked) {
  if (isPacked(block, index)) {
    unpacked = this->unpacked(block, index);
    return unpacked.data();
  }
  const schema::Parameter &p = *root().parameters()->Get(index);
  uint8_t *at = block == Block::Parameter  ? parameterBlock.data() + p.offset()
                : block == Block::Gradient ? gradientBlock.data() + p.gradient_offset()
                : block == Block::Mean     ? meanBlock.data() + p.state_offset()
                                           : squareBlock.data() + p.state_offset();
  return reinterpret_cast<float *>(at);
}

/// Calls f(first element of the row in memory, first dense element, elements of the row) for every row of a parameter.
template <typename F> void Session::State::forEachRow(unsigned index, F f) const {
  const ParameterInfo &info = parameters[index];
  int64_t columns = info.shape.empty() ? 1 : info.shape.back();
  int64_t pitch = root().parameters()->Get(index)->row_pitch();
  if (info.elements == 0)
    return;
  if (pitch == columns)
    return f(int64_t(0), int64_t(0), info.elements);
  for (int64_t row = 0; row < info.elements / columns; ++row)
    f(row * pitch, row * columns, columns);
}

/// Rounds a parameter into its working copy, if it has one.
void Session::State::copyToWorking(unsigned index) {
  const schema::Parameter &parameter = *root().parameters()->Get(index);
  if (parameter.working_offset() < 0)
    return;
  auto count = static_cast<size_t>(storedElements(parameter));
  const auto *from = reinterpret_cast<const float *>(parameterBlock.data() + parameter.offset());
  auto *to = reinterpret_cast<std::byte *>(workingBlock.data() + parameter.working_offset());
  fromFloat(DType::BF16, {from, count}, {to, count * sizeof(uint16_t)});
}

Status Session::write(Block block, std::string_view name, std::span<const float> values) {
  GRAFT_ASSIGN_OR_RETURN(unsigned index, state_->findArray(block, name, values.size()));
  std::vector<float> unpacked;
  float *memory = state_->floatsOf(block, index, unpacked);
  state_->forEachRow(index, [&](int64_t at, int64_t first, int64_t count) {
    std::memcpy(memory + at, values.data() + first, static_cast<size_t>(count) * sizeof(float));
  });
  if (state_->isPacked(block, index))
    state_->pack(block, index, unpacked);
  if (block == Block::Parameter) {
    state_->bound[index] = true;
    state_->copyToWorking(index);
  }
  return Status::ok();
}

Status Session::read(Block block, std::string_view name, std::span<float> values) const {
  GRAFT_RETURN_IF_ERROR(state_->checkWhole());
  GRAFT_ASSIGN_OR_RETURN(unsigned index, state_->findArray(block, name, values.size()));
  std::vector<float> unpacked;
  const float *memory = state_->floatsOf(block, index, unpacked);
  state_->forEachRow(index, [&](int64_t at, int64_t first, int64_t count) {
    std::memcpy(values.data() + first, memory + at, static_cast<size_t>(count) * sizeof(float));
  });
  return Status::ok();
}

Status Session::bindAll(const std::function<Status(const ParameterInfo &, std::span<float>)> &read) {
  Status all;
  std::vector<float> staging;
  for (unsigned i = 0; i < state_->parameters.size(); ++i) {
    const ParameterInfo &info = state_->parameters[i];
    const schema::Parameter &parameter = *state_->root().parameters()->Get(i);
    int64_t columns = info.shape.empty() ? 1 : info.shape.back();
    auto count = static_cast<size_t>(info.elements);
    Status status;
    if (parameter.row_pitch() == columns && !state_->isPacked(Block::Parameter, i)) { // straight into the block
      status = read(info, {reinterpret_cast<float *>(state_->parameterBlock.data() + parameter.offset()), count});
      state_->bound[i] = status.isOk();
      state_->copyToWorking(i);
    } else {
      staging.resize(count);
      status = read(info, staging);
      if (status.isOk())
        status = write(Block::Parameter, info.name, staging);
    }
    all.merge(std::move(status));
  }
  return all;
}

} // namespace graft
