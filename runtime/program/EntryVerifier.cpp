// Instructions, bindings and lifetimes of one entry.
//
// Every kind of instruction is reduced to its uses: (buffer, first byte, one past the last byte, access). What holds
// for all instructions (inside the buffer, inside the lifetime, written before read, no write to weights) is checked on
// uses; only what is particular to a kind is checked by kind.
#include "runtime/program/HostFunctions.h"
#include "runtime/program/Layout.h"
#include "runtime/program/UpdateVerifier.h"
#include "runtime/program/VerifierSupport.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <map>
#include <set>

namespace graft {

namespace {
using schema::Access;

struct Use {
  unsigned buffer;
  int64_t offset, extent;
  Access access;
};

std::string boundsText(int64_t offset, int64_t extent) {
  return "bytes [" + std::to_string(offset) + ", +" + std::to_string(extent) + ")";
}

class EntryVerifier {
public:
  EntryVerifier(const schema::Program &program, unsigned index, FaultList &faults)
      : program_(program), entry_(*program.entries()->Get(index)), index_(static_cast<int>(index)), faults_(faults),
        written_(sizeOf(program.buffers()), false),
        updates_(program, entry_, [this](std::string what) { fault(what); }),
        name_(placeOf("entry", index, entry_.name())) {}

  void run() {
    if (entry_.parts() < 1 || entry_.parts() > 64)
      faults_.verify(name_, "a packed row has an impossible number of parts");
    for (unsigned i = 0; i < sizeOf(program_.buffers()); ++i)
      lends_ |= buffer(i).storage() == schema::Storage::Lent && buffer(i).entry() == index_;
    verifyBindings(entry_.inputs(), "input", -1);
    for (unsigned i = 0; i < sizeOf(entry_.inputs()); ++i)
      if (entry_.inputs()->Get(i)->buffer() < written_.size())
        written_[entry_.inputs()->Get(i)->buffer()] = true;
    for (unsigned i = 0; i < sizeOf(entry_.instructions()); ++i)
      verifyInstruction(*entry_.instructions()->Get(i), static_cast<int>(i));
    place_ = name_;
    for (const Loop &loop : loops_)
      verifyLoopLifetimes(loop);
    updates_.verifyComplete();
    verifyBindings(entry_.outputs(), "output", static_cast<int>(sizeOf(entry_.instructions())));
    verifyOverlap();
  }

private:
  const schema::Buffer &buffer(unsigned i) const { return *program_.buffers()->Get(i); }
  std::string bufferName(unsigned i) const { return "'" + escaped(buffer(i).name()->string_view()) + "'"; }
  void fault(std::string message) { faults_.verify(place_, std::move(message)); }

  // --- Inputs and outputs -------------------------------------------------------------------------------------------

  void verifyBindings(const flatbuffers::Vector<flatbuffers::Offset<schema::Binding>> *bindings, std::string_view kind,
                      int time) {
    std::set<std::string_view> names;
    std::set<unsigned> buffers;
    for (unsigned i = 0; i < sizeOf(bindings); ++i) {
      const schema::Binding &binding = *bindings->Get(i);
      place_ = name_ + ": " + placeOf(kind, i, binding.name());
      if (std::string_view what = nameFault(binding.name()->string_view()); !what.empty())
        fault(std::string(what));
      if (!names.insert(binding.name()->string_view()).second)
        fault("name occurs twice");
      if (binding.buffer() >= written_.size() || buffer(binding.buffer()).storage() != schema::Storage::Arena ||
          buffer(binding.buffer()).entry() != index_) {
        fault("buffer " + std::to_string(binding.buffer()) + " is not in this entry's arena");
        continue;
      }
      verifyBoundBuffer(binding.buffer(), time);
      if (time < 0 && !buffers.insert(binding.buffer()).second)
        fault("shares its buffer with another input");
    }
  }

  void verifyBoundBuffer(unsigned index, int time) {
    const schema::Buffer &bound = buffer(index);
    if (time < 0 && bound.first() != -1)
      fault("is written at time -1, but its buffer lives from " + std::to_string(bound.first()));
    if (time >= 0 && bound.last() != time)
      fault("is read at time " + std::to_string(time) + ", but its buffer lives to " + std::to_string(bound.last()));
    if (time >= 0 && !written_[index])
      fault("is never written");
  }

  // --- Uses: what holds for every instruction -----------------------------------------------------------------------

  void addUse(unsigned buffer, int64_t offset, int64_t extent, Access access) {
    uses_.push_back({buffer, offset, extent, access});
  }
  void addUse(const schema::Operand &operand) {
    addUse(operand.buffer(), operand.byte_offset(), operand.extent(), operand.access());
  }

  void verifyUse(const Use &use, int time) {
    if (use.buffer >= written_.size())
      return fault("operand names buffer " + std::to_string(use.buffer) + " of " + std::to_string(written_.size()));
    if (use.access > Access::ReadWrite)
      return fault("operand has no known access");
    const schema::Buffer &used = buffer(use.buffer);
    if (use.offset < 0 || use.extent < 0 || use.offset > used.size() || use.extent > used.size() - use.offset)
      fault(boundsText(use.offset, use.extent) + " are outside of buffer " + bufferName(use.buffer) + " of " +
            std::to_string(used.size()) + " bytes");
    if (use.access != Access::Read && isReadOnly(used.storage()))
      fault("writes " + bufferName(use.buffer) + ", which is read only");
    if (used.storage() == schema::Storage::Gradient)
      return verifyGradientUse(use, time);
    if (used.storage() == schema::Storage::Parameter || used.storage() == schema::Storage::Working)
      updates_.verifyRead(used);
    if (!isTransient(used.storage()))
      return;
    if (used.entry() != index_)
      return fault("uses buffer " + bufferName(use.buffer) + " of another entry");
    if (time < used.first() || time > used.last())
      fault("uses buffer " + bufferName(use.buffer) + " at time " + std::to_string(time) + ", it lives in [" +
            std::to_string(used.first()) + ", " + std::to_string(used.last()) + "]");
    if (use.access != Access::Write && !written_[use.buffer])
      fault("reads buffer " + bufferName(use.buffer) + " before it was written");
  }

  /// Notes when the gradient is touched first. A loop's next pass finds what this one wrote.
  void verifyGradientUse(const Use &use, int time) {
    if (lends_ && use.access != Access::Write && !written_[use.buffer])
      fault("reads gradient " + bufferName(use.buffer) + " before it was written, while the gradients' memory is lent");
    const Loop *loop = loopAt(time);
    touched_.try_emplace(use.buffer, loop ? loop->time : time);
  }

  /// A library call or copy must not read bytes that it writes. (What lies outside of its buffer is verifyUse's to
  /// report.)
  void verifyDisjoint(const Use &target, const Use &source) {
    auto targetEnd = checkedAdd(target.offset, target.extent), sourceEnd = checkedAdd(source.offset, source.extent);
    bool named = target.buffer == source.buffer && target.buffer < written_.size() && targetEnd && sourceEnd;
    if (named && target.offset < *sourceEnd && source.offset < *targetEnd)
      fault("reads and writes the same bytes of buffer " + bufferName(target.buffer));
  }

  // --- By kind ------------------------------------------------------------------------------------------------------

  void verifyInstruction(const schema::Instruction &instruction, int time) {
    place_ = name_ + ": instruction " + std::to_string(time);
    if (instruction.origin() && instruction.origin()->size() > 0)
      place_ += " (" + escaped(instruction.origin()->string_view()) + ")";
    uses_.clear();
    switch (instruction.operation_type()) {
    case schema::Operation::KernelCall:
      verifyKernelCall(*instruction.operation_as_KernelCall(), time);
      break;
    case schema::Operation::Gemm:
      verifyGemm(*instruction.operation_as_Gemm());
      break;
    case schema::Operation::Copy:
      verifyCopy(*instruction.operation_as_Copy());
      break;
    case schema::Operation::Fill:
      verifyFill(*instruction.operation_as_Fill());
      break;
    case schema::Operation::HostCall:
      verifyHostCall(*instruction.operation_as_HostCall());
      break;
    case schema::Operation::RowLoop:
      verifyRowLoop(*instruction.operation_as_RowLoop(), time);
      break;
    case schema::Operation::MoveRows:
      verifyMoveRows(*instruction.operation_as_MoveRows(), time);
      break;
    case schema::Operation::Update:
      verifyUpdate(*instruction.operation_as_Update(), time);
      break;
    default:
      faults_.add(Code::Unsupported, place_, "is of a kind that this runtime does not know");
    }
    if (instruction.flops() < 0 || instruction.bytes() < 0)
      fault("cost is negative");
    verifyChunkSize(instruction, time);
    for (const Use &use : uses_)
      verifyUse(use, time);
    verifyIndicesKept(instruction, time);
    for (const Use &use : uses_)
      if (use.access != Access::Read && use.buffer < written_.size()) {
        updates_.verifyWrite(use.buffer);
        written_[use.buffer] = true;
      }
  }

  void verifyKernelCall(const schema::KernelCall &call, int time) {
    if (call.kernel() >= sizeOf(program_.kernels()))
      return fault("calls kernel " + std::to_string(call.kernel()) + " of " +
                   std::to_string(sizeOf(program_.kernels())));
    const schema::Kernel &kernel = *program_.kernels()->Get(call.kernel());
    if (sizeOf(kernel.extents()) != sizeOf(kernel.operands()))
      return; // said of the kernel
    if (sizeOf(call.operands()) != sizeOf(kernel.operands()))
      return fault("passes " + std::to_string(sizeOf(call.operands())) + " operands to kernel '" +
                   escaped(kernel.symbol()->string_view()) + "', which takes " +
                   std::to_string(sizeOf(kernel.operands())));
    if (call.units() != kernel.units())
      fault("has " + std::to_string(call.units()) + " work items, kernel '" + escaped(kernel.symbol()->string_view()) +
            "' has " + std::to_string(kernel.units()));
    for (unsigned i = 0; i < sizeOf(call.operands()); ++i) {
      const schema::Operand &operand = *call.operands()->Get(i);
      if (operand.access() != kernel.operands()->Get(i))
        fault("operand " + std::to_string(i) + " has another access than the kernel's");
      if (operand.extent() != kernel.extents()->Get(i))
        fault("operand " + std::to_string(i) + " has " + std::to_string(operand.extent()) +
              " bytes, the kernel's has " + std::to_string(kernel.extents()->Get(i)));
      addUse(operand);
    }
    for (unsigned i = 0; i < sizeOf(kernel.in_place()); ++i)
      noteInPlace(*kernel.in_place()->Get(i), time);
  }

  /// Notes that a buffer may lie where another lies that the call reads for the last time: both are used from their
  /// beginning, by one operand each, and the next pass of a loop does not read what this one overwrote.
  void noteInPlace(const schema::OperandPair &pair, int time) {
    if (pair.read() >= uses_.size() || pair.written() >= uses_.size())
      return; // said of the kernel
    const Use &read = uses_[pair.read()], &written = uses_[pair.written()];
    if (read.buffer >= written_.size() || written.buffer >= written_.size())
      return; // verifyUse() says so
    auto isAlone = [&](const Use &use) {
      return use.offset == 0 && std::ranges::count(uses_, use.buffer, &Use::buffer) == 1;
    };
    const Loop *loop = loopAt(time);
    const schema::Buffer &from = buffer(read.buffer), &to = buffer(written.buffer);
    if (isAlone(read) && isAlone(written) && from.size() == to.size() && from.last() == time && to.first() == time &&
        (!loop || from.first() > loop->time))
      inPlace_.insert({read.buffer, written.buffer});
  }

  void verifyGemm(const schema::Gemm &gemm) {
    if (gemm.dtype() != schema::DType::F32 && gemm.dtype() != schema::DType::BF16)
      return faults_.add(Code::Unsupported, place_, "matrix products are of float32 or bfloat16 only");
    if (sizeOf(gemm.batch()) > 8)
      return faults_.add(Code::Limit, place_, "has more than 8 batch dimensions");
    if (!std::isfinite(gemm.alpha()))
      fault("alpha is not finite");
    int64_t width = byteSize(gemm.dtype());
    auto a = matrixUse(*gemm.a(), gemm, gemm.m(), gemm.k(), width, Access::Read, "a");
    auto b = matrixUse(*gemm.b(), gemm, gemm.k(), gemm.n(), width, Access::Read, "b");
    Access adds = gemm.accumulate() ? Access::ReadWrite : Access::Write;
    auto c = matrixUse(*gemm.c(), gemm, gemm.m(), gemm.n(), byteSize(schema::DType::F32), adds, "c");
    if (gemm.after_first() && gemm.accumulate())
      fault("accumulates always, and after the first pass only");
    if (!a || !b || !c)
      return;
    verifyDisjoint(*c, *a);
    verifyDisjoint(*c, *b);
  }

  /// The use of a matrix operand, after its strides were checked; absent if they are impossible.
  std::optional<Use> matrixUse(const schema::MatrixOperand &matrix, const schema::Gemm &gemm, int64_t rows,
                               int64_t columns, int64_t width, Access access, const char *which) {
    std::vector<int64_t> dims, strides;
    if (gemm.batch())
      dims.assign(gemm.batch()->begin(), gemm.batch()->end());
    if (matrix.batch_strides())
      strides.assign(matrix.batch_strides()->begin(), matrix.batch_strides()->end());
    if (dims.size() != strides.size()) {
      fault(std::string("operand ") + which + " has " + std::to_string(strides.size()) + " batch strides for " +
            std::to_string(dims.size()) + " batch dimensions");
      return std::nullopt;
    }
    dims.insert(dims.end(), {rows, columns});
    strides.insert(strides.end(), {matrix.row_stride(), matrix.column_stride()});
    auto extent = stridedExtent(dims, strides);
    auto bytes = extent ? checkedMultiply(*extent, width) : std::nullopt;
    bool unit = rows <= 1 || columns <= 1 || matrix.row_stride() == 1 || matrix.column_stride() == 1;
    // Rows may not overlap within one matrix (the library's leading dimension); batches of a and b may repeat.
    bool injective = isInjective(std::span(dims).last(2), std::span(strides).last(2)) &&
                     (access == Access::Read || isInjective(dims, strides));
    if (!bytes || !unit || !injective || matrix.byte_offset() % width != 0) {
      fault(std::string("operand ") + which + " has impossible sizes or strides");
      return std::nullopt;
    }
    addUse(matrix.buffer(), matrix.byte_offset(), *bytes, access);
    return uses_.back();
  }

  void verifyCopy(const schema::Copy &copy) {
    int64_t width = byteSize(copy.dtype());
    unsigned rank = sizeOf(copy.shape());
    if (width == 0 || rank > 16 || sizeOf(copy.dst_strides()) != rank || sizeOf(copy.src_strides()) != rank)
      return fault("dtype is unknown, rank is above 16 or strides do not match the shape");
    std::vector<int64_t> shape, dst, src;
    for (unsigned i = 0; i < rank; ++i) {
      shape.push_back(copy.shape()->Get(i));
      dst.push_back(copy.dst_strides()->Get(i));
      src.push_back(copy.src_strides()->Get(i));
    }
    auto bytes = [&](const std::vector<int64_t> &strides) {
      auto extent = stridedExtent(shape, strides);
      return extent ? checkedMultiply(*extent, width) : std::nullopt;
    };
    auto dstBytes = bytes(dst), srcBytes = bytes(src);
    if (!dstBytes || !srcBytes || *dstBytes > copy.dst()->extent() || *srcBytes > copy.src()->extent())
      return fault("shape and strides reach beyond the operands");
    if (!isInjective(shape, dst))
      return fault("writes an element twice");
    if (copy.dst()->access() != Access::Write || copy.src()->access() != Access::Read ||
        copy.dst()->byte_offset() % width != 0 || copy.src()->byte_offset() % width != 0)
      return fault("operands are not Write and Read, or not aligned to an element");
    addUse(*copy.dst());
    addUse(copy.src()->buffer(), copy.src()->byte_offset(), *srcBytes, Access::Read);
    verifyDisjoint({uses_[0].buffer, uses_[0].offset, *dstBytes, Access::Write}, uses_[1]);
  }

  void verifyFill(const schema::Fill &fill) {
    unsigned width = sizeOf(fill.pattern());
    if (width != 1 && width != 2 && width != 4 && width != 8)
      return fault("pattern has " + std::to_string(width) + " bytes, expected 1, 2, 4 or 8");
    if (fill.dst()->extent() % width != 0 || fill.dst()->byte_offset() % width != 0)
      fault("pattern does not divide the operand");
    if (fill.dst()->access() != Access::Write)
      fault("operand is not Write");
    addUse(*fill.dst());
  }

  void verifyHostCall(const schema::HostCall &call) {
    const HostFunction *function = findHostFunction(call.function()->string_view());
    if (!function)
      return faults_.add(Code::Unsupported, place_,
                         "calls '" + escaped(call.function()->string_view()) + "', which this runtime does not have");
    if (sizeOf(call.operands()) != function->operands || sizeOf(call.ints()) != function->ints ||
        sizeOf(call.floats()) != function->floats)
      return fault("does not pass the operands and numbers that '" + std::string(function->name) + "' takes");
    std::vector<int64_t> ints(call.ints()->begin(), call.ints()->end());
    std::vector<float> floats;
    if (call.floats())
      floats.assign(call.floats()->begin(), call.floats()->end());
    auto extents = function->extents(ints, floats);
    if (!extents)
      return fault("passes impossible numbers to '" + std::string(function->name) + "'");
    for (unsigned i = 0; i < function->operands; ++i)
      verifyHostOperand(*call.operands()->Get(i), i, *function, (*extents)[i],
                        function->mayOverwrite && ints.back() == 1);
  }

  void verifyHostOperand(const schema::Operand &operand, unsigned i, const HostFunction &function, int64_t bytes,
                         bool overwrites) {
    Access expected = function.access[i] == Access::ReadWrite && overwrites ? Access::Write : function.access[i];
    if (operand.access() != expected)
      fault("operand " + std::to_string(i) + " of '" + std::string(function.name) + "' has the wrong access");
    if (operand.extent() < bytes || operand.byte_offset() % 4 != 0)
      fault("operand " + std::to_string(i) + " of '" + std::string(function.name) + "' is misaligned or shorter than " +
            std::to_string(bytes) + " bytes");
    addUse(operand);
    if (expected != Access::Read)
      for (size_t j = uses_.size() - 1; j-- > 0;)
        verifyDisjoint(uses_.back(), uses_[j]);
  }

  void verifyUpdate(const schema::Update &update, int time) {
    updates_.verify(update, loopAt(time) != nullptr, written_);
    addUse(*update.gradient());
  }

  // --- Loops ------------------------------------------------------------------------------------------------------

  struct Loop {
    const schema::RowLoop *op;
    int time, end; ///< of the loop, and one past its body
  };
  const Loop *loopAt(int time) const {
    return !loops_.empty() && time > loops_.back().time && time < loops_.back().end ? &loops_.back() : nullptr;
  }

  void verifyRowLoop(const schema::RowLoop &loop, int time) {
    auto bytes = checkedMultiply(loop.chunk(), 8);
    int64_t left = static_cast<int64_t>(sizeOf(entry_.instructions())) - time - 1;
    bool sound = loop.rows() >= 1 && loop.chunk() >= 1 && loop.parts() >= 1 && loop.body() >= 1 && bytes;
    if (!sound || loop.chunk() % std::max<int64_t>(loop.parts(), 1) != 0 || loop.parts() > 64)
      return fault("loop has impossible numbers of rows, parts or instructions");
    if (loop.body() > left)
      return fault("body of " + std::to_string(loop.body()) + " instructions, " + std::to_string(left) + " are left");
    if (loopAt(time))
      return fault("is a loop within a loop");
    if (loop.mask()->access() != Access::Read || loop.indices()->access() != Access::Write ||
        loop.mask()->extent() < loop.rows() || loop.indices()->extent() != *bytes ||
        loop.indices()->byte_offset() % 8 != 0)
      fault("mask or indices are misaligned, too short or of the wrong access");
    addUse(*loop.mask());
    addUse(*loop.indices());
    verifyDisjoint(uses_[1], uses_[0]);
    loops_.push_back({&loop, time, time + 1 + static_cast<int>(loop.body())});
  }

  /// The indices are not looked at when the program runs: they must be those that the loop around has written.
  void verifyMoveRows(const schema::MoveRows &move, int time) {
    const Loop *loop = loopAt(time);
    const schema::Operand &indices = *move.indices();
    if (!loop || indices.buffer() != loop->op->indices()->buffer() ||
        indices.byte_offset() != loop->op->indices()->byte_offset() || move.count() != loop->op->chunk() ||
        move.rows() != loop->op->rows() || indices.access() != Access::Read)
      return fault("moves other rows than those of the loop around it");
    auto chunk = checkedMultiply(move.count(), move.width()), all = checkedMultiply(move.rows(), move.width());
    if (move.width() < 1 || !chunk || !all || move.from()->extent() < (move.scatter() ? *chunk : *all) ||
        move.to()->extent() < (move.scatter() ? *all : *chunk))
      return fault("rows reach beyond the operands");
    if (move.from()->access() != Access::Read ||
        move.to()->access() != (move.scatter() ? Access::ReadWrite : Access::Write))
      fault("operands have the wrong access");
    addUse(indices);
    addUse(*move.from());
    addUse(*move.to());
    verifyDisjoint(uses_[2], uses_[1]);
  }

  /// Nothing in a loop writes the indices.
  void verifyIndicesKept(const schema::Instruction &instruction, int time) {
    const Loop *loop = loopAt(time);
    if (!loop || instruction.operation_type() == schema::Operation::RowLoop)
      return;
    const schema::Operand &kept = *loop->op->indices();
    for (const Use &use : uses_)
      if (use.access != Access::Read)
        verifyDisjoint(use, {kept.buffer(), kept.byte_offset(), kept.extent(), Access::Read});
  }

  void verifyChunkSize(const schema::Instruction &instruction, int time) {
    const Loop *loop = loopAt(time);
    const schema::Gemm *gemm = instruction.operation_as_Gemm();
    if (gemm && gemm->after_first() && !loop)
      fault("accumulates after the first pass of no loop");
    schema::ChunkSize which = instruction.chunk_size();
    if (which == schema::ChunkSize::None)
      return;
    const schema::KernelCall *call = instruction.operation_as_KernelCall();
    std::optional<int64_t> size;
    if (call && which == schema::ChunkSize::Units)
      size = call->units();
    if (gemm)
      size = which == schema::ChunkSize::M   ? gemm->m()
             : which == schema::ChunkSize::N ? gemm->n()
             : which == schema::ChunkSize::K ? gemm->k()
                                             : std::optional<int64_t>();
    int64_t parts = loop ? loop->op->parts() : entry_.parts();
    bool cuttable = loop || (gemm && entry_.parts() > 1 && sizeOf(gemm->batch()) == 0);
    if (!cuttable || !size || *size % parts != 0)
      fault("says that a size counts rows of a chunk, which it cannot");
  }

  /// What lives in a body lives in it alone, or all through the loop: the next pass reads it again.
  void verifyLoopLifetimes(const Loop &loop) {
    for (unsigned i = 0; i < sizeOf(program_.buffers()); ++i) {
      const schema::Buffer &used = buffer(i);
      if (!isTransient(used.storage()) || used.entry() != index_)
        continue;
      bool apart = used.last() < loop.time || used.first() >= loop.end;
      bool within = used.first() > loop.time && used.last() < loop.end;
      bool through = used.first() <= loop.time && used.last() >= loop.end - 1;
      if (!apart && !within && !through)
        fault("buffer " + bufferName(i) + " lives through a part of the loop at " + std::to_string(loop.time));
    }
  }

  // --- Lifetimes: a sweep over time with what is live ordered by offset; neighbours must not touch, but a kernel may
  // write where an operand lies that dies there ---

  /// Bytes of a block that belong to someone for a while.
  struct Tenure {
    int64_t offset, size;
    int first, last;
    std::string_view name;
    std::optional<unsigned> buffer = {}; ///< absent: a gradient
  };

  void verifyOverlap() {
    std::vector<Tenure> arena, lent;
    for (unsigned i = 0; i < sizeOf(program_.buffers()); ++i)
      if (const schema::Buffer &b = buffer(i); isTransient(b.storage()) && b.entry() == index_ && b.size() > 0)
        (b.storage() == schema::Storage::Arena ? arena : lent)
            .push_back({b.offset(), b.size(), b.first(), b.last(), b.name()->string_view(), i});
    place_ = name_;
    verifyTenures(arena);
    if (lent.empty())
      return;
    addGradients(lent);
    verifyTenures(lent);
  }

  /// The gradient of every trained parameter, from its first touch on; all the time if the entry does not write it.
  void addGradients(std::vector<Tenure> &tenures) const {
    std::map<int64_t, int> touched; // by offset of the buffer
    for (auto [index, time] : touched_)
      if (auto [known, isNew] = touched.try_emplace(buffer(index).offset(), time); !isNew)
        known->second = std::min(known->second, time);
    for (unsigned i = 0; i < sizeOf(program_.parameters()); ++i) {
      const schema::Parameter &parameter = *program_.parameters()->Get(i);
      auto bytes = parameterBytes(parameter);
      if (!parameter.trained() || !bytes || *bytes == 0)
        continue;
      auto at = touched.find(parameter.gradient_offset());
      int64_t gradient = *bytes / byteSize(parameter.dtype()) * byteSize(schema::DType::F32);
      tenures.push_back({parameter.gradient_offset(), gradient, at == touched.end() ? -1 : at->second,
                         std::numeric_limits<int>::max(), parameter.name()->string_view()});
    }
  }

  void verifyTenures(const std::vector<Tenure> &tenures) {
    std::vector<const Tenure *> starts, ends;
    for (const Tenure &tenure : tenures)
      starts.push_back(&tenure);
    ends = starts;
    std::ranges::stable_sort(starts, {}, &Tenure::first);
    std::ranges::stable_sort(ends, {}, &Tenure::last);
    std::map<int64_t, const Tenure *> live;
    auto end = ends.begin();
    for (const Tenure *added : starts) {
      for (; end != ends.end() && (*end)->last < added->first; ++end)
        if (auto found = live.find((*end)->offset); found != live.end() && found->second == *end)
          live.erase(found);
      insertLive(live, *added);
    }
  }

  bool isTakenOver(const Tenure &old, const Tenure &added) const {
    return old.offset == added.offset && old.buffer && added.buffer && inPlace_.contains({*old.buffer, *added.buffer});
  }

  void insertLive(std::map<int64_t, const Tenure *> &live, const Tenure &added) {
    auto after = live.lower_bound(added.offset);
    auto overlap = [&](const Tenure &other) {
      fault("buffers '" + escaped(added.name) + "' and '" + escaped(other.name) + "' overlap while both live");
    };
    if (after != live.end() && isTakenOver(*after->second, added)) { // its neighbours are those of the other
      after->second = &added;
      return;
    }
    if (after != live.end() && after->first < added.offset + added.size)
      return overlap(*after->second);
    if (after != live.begin()) {
      const Tenure &before = *std::prev(after)->second;
      if (before.offset + before.size > added.offset)
        return overlap(before);
    }
    live.emplace(added.offset, &added);
  }

  const schema::Program &program_;
  const schema::Entry &entry_;
  int index_;
  FaultList &faults_;
  std::vector<bool> written_; // by buffer: some bytes were written so far
  std::vector<Use> uses_;     // of the current instruction
  std::vector<Loop> loops_;   // seen so far
  UpdateVerifier updates_;
  bool lends_ = false;                              // some buffer of this entry lies in the gradients' memory
  std::map<unsigned, int> touched_;                 // gradient buffers: time of the first use
  std::set<std::pair<unsigned, unsigned>> inPlace_; // buffers: the second may lie where the first lies
  std::string name_, place_;
};
} // namespace

void verifyEntry(const schema::Program &program, unsigned index, FaultList &faults) {
  EntryVerifier(program, index, faults).run();
}

} // namespace graft
