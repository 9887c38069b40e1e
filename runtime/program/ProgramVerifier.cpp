#include "runtime/program/ProgramVerifier.h"

#include "runtime/device/cpu/Target.h"
#include "runtime/program/Hash.h"
#include "runtime/program/Instructions.h"
#include "runtime/program/Layout.h"
#include "runtime/program/ObjectFile.h"
#include "runtime/program/Program.h"
#include "runtime/program/ProgramFile.h"
#include "runtime/program/VerifierSupport.h"

#include <algorithm>
#include <cmath>
#include <set>

namespace graft {

namespace {
constexpr int64_t alignment = 64;
constexpr int64_t largestBlock = int64_t(1) << 46;

/// A range of bytes in one of the blocks and whose it is.
struct Range {
  int64_t begin, end;
  unsigned owner;
};

/// Whether [offset, offset + size) lies in [0, whole) and starts at a multiple of 64.
bool isPlaced(int64_t offset, int64_t size, int64_t whole) {
  return offset >= 0 && size >= 0 && offset % alignment == 0 && offset <= whole && size <= whole - offset;
}

std::string placement(int64_t offset, int64_t size, int64_t whole, std::string_view block) {
  return "offset " + std::to_string(offset) + " and size " + std::to_string(size) + " do not fit into the " +
         std::string(block) + " of " + std::to_string(whole) + " bytes (offsets are multiples of 64)";
}

void verifyHeader(const schema::Program &program, FaultList &faults) {
  if (program.schema_version() != schemaVersion)
    faults.add(Code::Unsupported, "header",
               "schema version " + std::to_string(program.schema_version()) + ", this runtime reads " +
                   std::to_string(schemaVersion));
  if (program.required_features() != 0)
    faults.add(Code::Unsupported, "header", "requires features that this runtime does not know");
  if (!program.target() || program.target()->string_view() != "cpu")
    faults.add(Code::Unsupported, "header",
               "target '" + escaped(program.target() ? program.target()->string_view() : "") + "', expected 'cpu'");
  const std::pair<const char *, int64_t> blocks[] = {{"parameter_bytes", program.parameter_bytes()},
                                                     {"gradient_bytes", program.gradient_bytes()},
                                                     {"state_bytes", program.state_bytes()},
                                                     {"working_bytes", program.working_bytes()},
                                                     {"arena_bytes", program.arena_bytes()}};
  for (auto [name, bytes] : blocks)
    if (bytes < 0 || bytes > largestBlock)
      faults.verify("header", std::string(name) + " is " + std::to_string(bytes));
  if (updatesInBackward(program) && program.gradient_bytes() != 0)
    faults.verify("header", "has a gradient block, though parameters are updated in the backward pass");
  if (program.constants() && reinterpret_cast<uintptr_t>(program.constants()->data()) % alignment != 0)
    faults.verify("header", "constants are not aligned to 64 bytes");
  int64_t arena = 0;
  for (unsigned i = 0; i < sizeOf(program.entries()); ++i)
    arena = std::max(arena, program.entries()->Get(i)->arena_bytes());
  if (arena != program.arena_bytes())
    faults.verify("header", "arena_bytes is " + std::to_string(program.arena_bytes()) + ", the largest entry uses " +
                                std::to_string(arena));
  for (unsigned i = 0; i < sizeOf(program.settings()); ++i)
    if (i > 0 &&
        program.settings()->Get(i - 1)->key()->string_view() >= program.settings()->Get(i)->key()->string_view())
      faults.verify("setting " + std::to_string(i), "keys are not sorted and unique");
}

/// Parameters by block, for the overlap checks and for buffers that must lie inside one parameter.
struct ParameterRanges {
  std::vector<Range> parameters, gradients, states, working;
};

void verifyTrained(const schema::Parameter &parameter, const schema::Program &program, int64_t elements,
                   const std::string &place, unsigned index, ParameterRanges &ranges, FaultList &faults) {
  if (!parameter.trained()) {
    if (parameter.gradient_offset() != -1 || parameter.state_offset() != -1)
      faults.verify(place, "is not trained but has a gradient or optimizer state");
    return;
  }
  auto bytes = checkedMultiply(elements, 4); // gradients are float32
  if (!bytes)
    return faults.verify(place, "has too many elements");
  bool inBackward = updatesInBackward(program);
  if (inBackward && parameter.gradient_offset() != -1)
    faults.verify(place, "has a place in the gradient block, though it is updated in the backward pass");
  else if (!inBackward && !isPlaced(parameter.gradient_offset(), *bytes, program.gradient_bytes()))
    faults.verify(place, placement(parameter.gradient_offset(), *bytes, program.gradient_bytes(), "gradient block"));
  else if (!inBackward)
    ranges.gradients.push_back({parameter.gradient_offset(), parameter.gradient_offset() + *bytes, index});
  schema::DType form = program.optimizer() ? program.optimizer()->state() : schema::DType::F32;
  int64_t state = momentBytes(form, elements).value_or(0); // another form is a fault of the optimizer's
  if (!isPlaced(parameter.state_offset(), state, program.state_bytes()))
    faults.verify(place, placement(parameter.state_offset(), state, program.state_bytes(), "moment block"));
  else
    ranges.states.push_back({parameter.state_offset(), parameter.state_offset() + state, index});
}

void verifyParameter(const schema::Parameter &parameter, const schema::Program &program, unsigned index,
                     ParameterRanges &ranges, FaultList &faults) {
  std::string place = placeOf("parameter", index, parameter.name());
  if (parameter.dtype() != schema::DType::F32 && parameter.dtype() != schema::DType::BF16)
    return faults.add(Code::Unsupported, place, "weights are stored as float32 or bfloat16 only");
  if (sizeOf(parameter.shape()) > 64)
    return faults.verify(place, "has " + std::to_string(sizeOf(parameter.shape())) + " dimensions");
  auto bytes = parameterBytes(parameter);
  if (!bytes)
    return faults.verify(place, "shape or row pitch " + std::to_string(parameter.row_pitch()) + " is impossible");
  if (!isPlaced(parameter.offset(), *bytes, program.parameter_bytes()))
    faults.verify(place, placement(parameter.offset(), *bytes, program.parameter_bytes(), "parameter block"));
  else
    ranges.parameters.push_back({parameter.offset(), parameter.offset() + *bytes, index});
  for (float number : {parameter.weight_decay(), parameter.learning_rate_scale()})
    if (!std::isfinite(number) || number < 0)
      faults.verify(place, "weight decay or learning rate scale is negative or not finite");
  int64_t elements = *bytes / byteSize(parameter.dtype());
  verifyTrained(parameter, program, elements, place, index, ranges, faults);
  int64_t copy = parameter.working_offset(), half = 2 * elements;
  if (copy != -1 && parameter.dtype() != schema::DType::F32)
    faults.verify(place, "has a working copy, though it is stored as narrow");
  else if (copy != -1 && !isPlaced(copy, half, program.working_bytes()))
    faults.verify(place, placement(copy, half, program.working_bytes(), "working block"));
  else if (copy != -1)
    ranges.working.push_back({copy, copy + half, index});
}

void verifyNoOverlap(std::vector<Range> &ranges, const schema::Program &program, std::string_view block,
                     FaultList &faults) {
  std::sort(ranges.begin(), ranges.end(), [](const Range &a, const Range &b) {
    return std::tie(a.begin, a.end, a.owner) < std::tie(b.begin, b.end, b.owner);
  });
  for (size_t i = 1; i < ranges.size(); ++i)
    if (ranges[i].begin < ranges[i - 1].end)
      faults.verify(
          placeOf("parameter", ranges[i].owner, program.parameters()->Get(ranges[i].owner)->name()),
          "overlaps " +
              placeOf("parameter", ranges[i - 1].owner, program.parameters()->Get(ranges[i - 1].owner)->name()) +
              " in the " + std::string(block));
}

ParameterRanges verifyParameters(const schema::Program &program, FaultList &faults) {
  ParameterRanges ranges;
  std::set<std::string_view> names;
  auto checkName = [&](const flatbuffers::String &name, unsigned index) {
    if (std::string_view what = nameFault(name.string_view()); !what.empty())
      faults.verify(placeOf("parameter", index, &name), std::string(what));
    if (!names.insert(name.string_view()).second)
      faults.verify(placeOf("parameter", index, &name), "name or alias occurs twice");
  };
  for (unsigned i = 0; i < sizeOf(program.parameters()); ++i) {
    const schema::Parameter &parameter = *program.parameters()->Get(i);
    checkName(*parameter.name(), i);
    for (unsigned j = 0; j < sizeOf(parameter.aliases()); ++j)
      checkName(*parameter.aliases()->Get(j), i);
    verifyParameter(parameter, program, i, ranges, faults);
  }
  verifyNoOverlap(ranges.parameters, program, "parameter block", faults);
  verifyNoOverlap(ranges.gradients, program, "gradient block", faults);
  verifyNoOverlap(ranges.states, program, "moment block", faults);
  verifyNoOverlap(ranges.working, program, "working block", faults);
  return ranges;
}

/// Whether [begin, end) lies inside one of the sorted ranges.
bool isInsideOne(const std::vector<Range> &ranges, int64_t begin, int64_t end) {
  auto after = std::upper_bound(ranges.begin(), ranges.end(), begin,
                                [](int64_t value, const Range &range) { return value < range.begin; });
  return after != ranges.begin() && end <= std::prev(after)->end;
}

void verifyTransientBuffer(const schema::Buffer &buffer, const schema::Program &program, const std::string &place,
                           FaultList &faults) {
  if (buffer.entry() < 0 || static_cast<unsigned>(buffer.entry()) >= sizeOf(program.entries()))
    return faults.verify(place, "belongs to entry " + std::to_string(buffer.entry()) + " of " +
                                    std::to_string(sizeOf(program.entries())));
  const schema::Entry &entry = *program.entries()->Get(static_cast<unsigned>(buffer.entry()));
  bool lent = buffer.storage() == schema::Storage::Lent;
  int64_t whole = lent ? program.gradient_bytes() : entry.arena_bytes();
  if (!isPlaced(buffer.offset(), buffer.size(), whole))
    faults.verify(place, placement(buffer.offset(), buffer.size(), whole, lent ? "gradient block" : "entry's arena"));
  auto end = static_cast<int64_t>(sizeOf(entry.instructions()));
  if (buffer.first() < -1 || buffer.first() > buffer.last() || buffer.last() > end)
    faults.verify(place, "lifetime [" + std::to_string(buffer.first()) + ", " + std::to_string(buffer.last()) +
                             "] is not within [-1, " + std::to_string(end) + "]");
}

void verifyBuffer(const schema::Buffer &buffer, const schema::Program &program, const ParameterRanges &ranges,
                  unsigned index, FaultList &faults) {
  std::string place = placeOf("buffer", index, buffer.name());
  if (std::string_view what = nameFault(buffer.name()->string_view()); !what.empty())
    faults.verify(place, std::string(what));
  int64_t width = byteSize(buffer.dtype());
  if (width == 0 || buffer.storage() > schema::Storage::Working)
    return faults.verify(place, "dtype or storage is none that this runtime knows");
  if (sizeOf(buffer.shape()) > 64)
    return faults.verify(place, "has more than 64 dimensions");
  auto count = buffer.shape() ? elementCount(*buffer.shape()) : 1;
  auto bytes = count ? checkedMultiply(*count, width) : std::nullopt;
  if (!bytes || *bytes > buffer.size())
    faults.verify(place, "shape does not fit into its " + std::to_string(buffer.size()) + " bytes");
  if (isTransient(buffer.storage()))
    return verifyTransientBuffer(buffer, program, place, faults);
  if (buffer.entry() != -1)
    faults.verify(place, "belongs to an entry but is not in the arena");
  struct {
    const char *name;
    int64_t bytes;
    const std::vector<Range> *owners;
  } block = {"parameter block", program.parameter_bytes(), &ranges.parameters};
  if (buffer.storage() == schema::Storage::Constant)
    block = {"constants", sizeOf(program.constants()), nullptr};
  else if (buffer.storage() == schema::Storage::Gradient)
    block = {"gradient block", program.gradient_bytes(), &ranges.gradients};
  else if (buffer.storage() == schema::Storage::Working)
    block = {"working block", program.working_bytes(), &ranges.working};
  if (!isPlaced(buffer.offset(), buffer.size(), block.bytes))
    return faults.verify(place, placement(buffer.offset(), buffer.size(), block.bytes, block.name));
  if (block.owners && !isInsideOne(*block.owners, buffer.offset(), buffer.offset() + buffer.size()))
    faults.verify(place, "is not inside one parameter's part of the " + std::string(block.name));
}

void verifyBuffers(const schema::Program &program, const ParameterRanges &ranges, FaultList &faults) {
  std::set<std::pair<int, std::string_view>> names;
  for (unsigned i = 0; i < sizeOf(program.buffers()); ++i) {
    const schema::Buffer &buffer = *program.buffers()->Get(i);
    verifyBuffer(buffer, program, ranges, i, faults);
    if (!names.emplace(buffer.entry(), buffer.name()->string_view()).second)
      faults.verify(placeOf("buffer", i, buffer.name()), "another buffer of the entry has this name");
  }
}

bool isIdentifier(std::string_view symbol) {
  auto letter = [](char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_'; };
  return !symbol.empty() && symbol.size() <= 1024 && letter(symbol[0]) &&
         std::all_of(symbol.begin(), symbol.end(), [&](char c) { return letter(c) || (c >= '0' && c <= '9'); });
}

void verifyPair(const schema::OperandPair &pair, const schema::Kernel &kernel, const std::string &place,
                FaultList &faults) {
  auto has = [&](unsigned operand, schema::Access access) {
    return operand < sizeOf(kernel.operands()) && kernel.operands()->Get(operand) == access;
  };
  if (!has(pair.read(), schema::Access::Read) || !has(pair.written(), schema::Access::Write))
    faults.verify(place, "works in place on operands " + std::to_string(pair.read()) + " and " +
                             std::to_string(pair.written()) +
                             ", which are not one that is read and one that is written");
}

void verifyKernels(const schema::Program &program, FaultList &faults) {
  std::set<std::string_view> symbols;
  for (unsigned i = 0; i < sizeOf(program.kernels()); ++i) {
    const schema::Kernel &kernel = *program.kernels()->Get(i);
    std::string place = placeOf("kernel", i, kernel.symbol());
    if (!isIdentifier(kernel.symbol()->string_view()))
      faults.verify(place, "symbol is not an identifier");
    if (!symbols.insert(kernel.symbol()->string_view()).second)
      faults.verify(place, "symbol occurs twice");
    for (unsigned j = 0; j < sizeOf(kernel.operands()); ++j)
      if (kernel.operands()->Get(j) > schema::Access::ReadWrite)
        faults.verify(place, "operand " + std::to_string(j) + " has no known access");
    if (sizeOf(kernel.extents()) != sizeOf(kernel.operands()))
      faults.verify(place, "has " + std::to_string(sizeOf(kernel.extents())) + " extents for " +
                               std::to_string(sizeOf(kernel.operands())) + " operands");
    if (kernel.units() < 0)
      faults.verify(place, "has " + std::to_string(kernel.units()) + " work items");
    for (unsigned j = 0; j < sizeOf(kernel.in_place()); ++j)
      verifyPair(*kernel.in_place()->Get(j), kernel, place, faults);
    int32_t threads = kernel.block_threads(), units = kernel.block_units();
    bool isBlock = threads >= 32 && threads <= 1024 && threads % 32 == 0 && units >= 1 && units <= threads;
    if (!isBlock && (threads != 0 || units != 0))
      faults.verify(place, "has blocks of " + std::to_string(threads) + " threads for " + std::to_string(units) +
                               " units, expected whole warps up to 1024 threads, and a thread or more for each unit");
  }
}

Status verifyCode(const schema::Object &object) {
  std::span<const uint8_t> bytes(object.bytes()->data(), object.bytes()->size());
  switch (objectKind(object.target()->string_view())) {
  case ObjectKind::Cubin:
    return verifyCubin(bytes);
  case ObjectKind::Ptx:
    return verifyPtx(bytes);
  case ObjectKind::SharedObject:
    break;
  }
  return verifyObject(bytes);
}

void verifyObjects(const schema::Program &program, FaultList &faults) {
  std::set<std::string_view> targets;
  bool isCuda = false;
  for (unsigned i = 0; i < sizeOf(program.objects()); ++i) {
    const schema::Object &object = *program.objects()->Get(i);
    std::string place = placeOf("object", i, object.target());
    if (!targets.insert(object.target()->string_view()).second)
      faults.verify(place, "target occurs twice");
    if (hash64(object.bytes()->data(), object.bytes()->size()) != object.digest())
      faults.verify(place, "digest of the object code does not match");
    else
      faults.merge(verifyCode(object).at(place));
    isCuda |= objectKind(object.target()->string_view()) != ObjectKind::SharedObject;
  }
  for (unsigned i = 0; isCuda && i < sizeOf(program.kernels()); ++i)
    if (program.kernels()->Get(i)->block_threads() == 0)
      faults.verify(placeOf("kernel", i, program.kernels()->Get(i)->symbol()), "has CUDA code but no block of threads");
  if (sizeOf(program.kernels()) > 0 && !chooseObject(program)) {
    std::string message = "object code for";
    for (std::string_view target : targets)
      message += " " + escaped(target);
    faults.add(Code::Unsupported, "objects",
               message + " does not run on this CPU" + (bestTarget().empty() ? "" : ", which has ") +
                   std::string(bestTarget()));
  }
}

void verifyOptimizer(const schema::Optimizer &optimizer, FaultList &faults) {
  if (optimizer.name()->string_view() != "adamw")
    faults.add(Code::Unsupported, "optimizer", "'" + escaped(optimizer.name()->string_view()) + "', expected 'adamw'");
  if (optimizer.in_backward() && optimizer.clip_grad_norm() > 0)
    faults.verify("optimizer", "updates parameters in the backward pass, before the norm that it clips by is known");
  for (double beta : {optimizer.beta1(), optimizer.beta2()})
    if (!(beta >= 0 && beta < 1))
      faults.verify("optimizer", "beta " + std::to_string(beta) + " is not in [0, 1)");
  for (double number : {optimizer.epsilon(), optimizer.clip_grad_norm(), optimizer.learning_rate()})
    if (!(number >= 0 && std::isfinite(number)))
      faults.verify("optimizer", "epsilon, clip_grad_norm or learning_rate is negative or not finite");
  if (!momentBytes(optimizer.state(), 1))
    faults.verify("optimizer", "state has a form that this runtime does not know");
  if (optimizer.schedule() > schema::Schedule::Cosine || optimizer.warmup_steps() < 0)
    faults.verify("optimizer", "schedule is unknown or has negative warmup steps");
}

void verifyEntries(const schema::Program &program, FaultList &faults) {
  std::set<std::string_view> names;
  for (unsigned i = 0; i < sizeOf(program.entries()); ++i) {
    const schema::Entry &entry = *program.entries()->Get(i);
    if (std::string_view what = nameFault(entry.name()->string_view()); !what.empty())
      faults.verify(placeOf("entry", i, entry.name()), std::string(what));
    if (!names.insert(entry.name()->string_view()).second)
      faults.verify(placeOf("entry", i, entry.name()), "another entry has this name");
    verifyEntry(program, i, faults);
  }
  if (names.empty())
    faults.verify("entries", "there are none");
  if (updatesInBackward(program) && !names.contains(updatingEntry))
    faults.verify("entries", "none is named 'step', though parameters are updated in the backward pass");
}
} // namespace

Result<const schema::Program *> verifyProgram(std::span<const uint8_t> buffer) {
  if (buffer.size() < 16 || !schema::ProgramBufferHasIdentifier(buffer.data()))
    return Status::error(Code::Format, "is not a FlatBuffer with identifier GRFT");
  flatbuffers::Verifier structure(buffer.data(), buffer.size(), 64, 1'000'000);
  if (!schema::VerifyProgramBuffer(structure))
    return Status::error(Code::Format, "FlatBuffer structure is broken, or a required field is missing");
  const schema::Program &program = *schema::GetProgram(buffer.data());
  if (!vectorsAreAligned(program))
    return Status::error(Code::Format, "FlatBuffer has a vector that is not aligned");

  FaultList faults;
  verifyHeader(program, faults);
  ParameterRanges ranges = verifyParameters(program, faults);
  verifyBuffers(program, ranges, faults);
  verifyKernels(program, faults);
  if (program.optimizer())
    verifyOptimizer(*program.optimizer(), faults);
  // What follows indexes buffers and opens object code: only when these are sound.
  if (faults.empty()) {
    verifyEntries(program, faults);
    verifyObjects(program, faults);
  }
  if (!faults.empty())
    return faults.take();
  return &program;
}

} // namespace graft
