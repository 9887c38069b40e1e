#include "test/runtime/program/SampleProgram.h"

#include "runtime/device/cpu/Target.h"
#include "runtime/program/Hash.h"
#include "runtime/program/Layout.h"
#include "runtime/program/ProgramFile.h"

#include <cstring>
#include <elf.h>
#include <fstream>
#include <iterator>
#include <stdexcept>
#include <string>

namespace graft::test {

namespace {
using namespace schema;

class Builder {
public:
  ProgramT program;

  unsigned buffer(std::string name, Storage storage, int entry, int64_t offset, std::vector<int64_t> shape, int first,
                  int last, DType dtype = DType::F32, int64_t size = 0) {
    auto buffer = std::make_unique<BufferT>();
    buffer->name = std::move(name);
    buffer->storage = storage;
    buffer->entry = entry;
    buffer->offset = offset;
    buffer->size = size ? size : *elementCount(shape) * byteSize(dtype);
    buffer->dtype = dtype;
    buffer->shape = std::move(shape);
    buffer->first = first;
    buffer->last = last;
    program.buffers.push_back(std::move(buffer));
    return static_cast<unsigned>(program.buffers.size() - 1);
  }

  template <typename T> static void add(EntryT &entry, T operation, std::string origin, std::string category) {
    auto instruction = std::make_unique<InstructionT>();
    instruction->operation.Set(std::move(operation));
    instruction->origin = std::move(origin);
    instruction->category = std::move(category);
    entry.instructions.push_back(std::move(instruction));
  }

  Operand all(unsigned buffer, Access access) const { return {buffer, access, 0, program.buffers[buffer]->size}; }

  static std::unique_ptr<MatrixOperandT> matrix(unsigned buffer, int64_t row, int64_t column) {
    auto operand = std::make_unique<MatrixOperandT>();
    operand->buffer = buffer;
    operand->row_stride = row;
    operand->column_stride = column;
    return operand;
  }

  static GemmT gemm(int64_t m, int64_t n, int64_t k, std::unique_ptr<MatrixOperandT> a,
                    std::unique_ptr<MatrixOperandT> b, std::unique_ptr<MatrixOperandT> c, bool accumulate = false) {
    GemmT gemm;
    gemm.m = m, gemm.n = n, gemm.k = k;
    gemm.a = std::move(a), gemm.b = std::move(b), gemm.c = std::move(c);
    gemm.accumulate = accumulate;
    return gemm;
  }

  KernelCallT call(unsigned kernel, std::vector<Operand> operands, int64_t units) {
    program.kernels[kernel]->units = units;
    program.kernels[kernel]->extents.clear();
    for (const Operand &operand : operands)
      program.kernels[kernel]->extents.push_back(operand.extent());
    KernelCallT call;
    call.kernel = kernel;
    call.operands = std::move(operands);
    call.units = units;
    return call;
  }

  static HostCallT host(std::string function, std::vector<Operand> operands, std::vector<int64_t> ints,
                        std::vector<float> floats = {}) {
    HostCallT call;
    call.function = std::move(function);
    call.operands = std::move(operands);
    call.ints = std::move(ints);
    call.floats = std::move(floats);
    return call;
  }

  static void bind(std::vector<std::unique_ptr<BindingT>> &bindings, std::string name, unsigned buffer,
                   bool required = true) {
    auto binding = std::make_unique<BindingT>();
    binding->name = std::move(name);
    binding->buffer = buffer;
    binding->required = required;
    bindings.push_back(std::move(binding));
  }

  void parameter(std::string name, std::vector<int64_t> shape, int64_t pitch, int64_t offset, int64_t gradient) {
    auto parameter = std::make_unique<ParameterT>();
    parameter->name = std::move(name);
    parameter->shape = std::move(shape);
    parameter->row_pitch = pitch;
    parameter->offset = offset;
    parameter->trained = gradient >= 0;
    parameter->gradient_offset = parameter->state_offset = gradient;
    parameter->weight_decay = parameter->shape.size() > 1 ? 0.1f : 0;
    program.parameters.push_back(std::move(parameter));
  }

  void object(std::string target, std::vector<uint8_t> bytes) {
    auto object = std::make_unique<ObjectT>();
    object->target = std::move(target);
    object->digest = hash64(bytes.data(), bytes.size());
    object->bytes = std::move(bytes);
    program.objects.push_back(std::move(object));
  }

  void kernel(std::string symbol, std::vector<Access> operands) {
    auto kernel = std::make_unique<KernelT>();
    kernel->symbol = std::move(symbol);
    kernel->block_threads = 128;
    kernel->block_units = 4;
    kernel->operands = std::move(operands);
    program.kernels.push_back(std::move(kernel));
  }
};

std::vector<uint8_t> readObject() {
  std::ifstream file(GRAFT_SAMPLE_KERNELS, std::ios::binary);
  if (!file)
    throw std::runtime_error("no " GRAFT_SAMPLE_KERNELS);
  return {std::istreambuf_iterator<char>(file), {}};
}

std::unique_ptr<OptimizerT> adamw() {
  auto optimizer = std::make_unique<OptimizerT>();
  optimizer->name = "adamw";
  optimizer->beta1 = 0.9;
  optimizer->beta2 = 0.95;
  optimizer->epsilon = 1e-8;
  optimizer->clip_grad_norm = 1;
  optimizer->learning_rate = 0.01;
  return optimizer;
}

/// What the loader looks at in a cubin: the header and the table of sections.
std::vector<uint8_t> cubin() {
  Elf64_Ehdr header{};
  std::memcpy(header.e_ident, ELFMAG, SELFMAG);
  header.e_ident[EI_CLASS] = ELFCLASS64;
  header.e_ident[EI_DATA] = ELFDATA2LSB;
  header.e_type = ET_EXEC;
  header.e_machine = 190; // EM_CUDA
  header.e_shoff = sizeof header;
  header.e_shentsize = sizeof(Elf64_Shdr);
  header.e_shnum = 1;
  std::vector<uint8_t> bytes(sizeof header + sizeof(Elf64_Shdr));
  std::memcpy(bytes.data(), &header, sizeof header);
  return bytes;
}

void addPredict(Builder &b, unsigned embed, unsigned weight, int64_t pitch) {
  auto entry = std::make_unique<EntryT>();
  entry->name = "predict";
  unsigned ids = b.buffer("ids", Storage::Arena, 0, 0, {6}, -1, 0, DType::I32);
  unsigned h = b.buffer("h", Storage::Arena, 0, 64, {6, 3}, 0, 1);
  unsigned y = b.buffer("y", Storage::Arena, 0, 192, {6, 4}, 1, 4);
  unsigned yt = b.buffer("y.t", Storage::Arena, 0, 0, {4, 6}, 2, 4); // reuses the bytes of ids and h
  unsigned sevens = b.buffer("sevens", Storage::Arena, 0, 320, {5}, 3, 4);
  b.add(*entry,
        b.host("gather_rows", {b.all(ids, Access::Read), b.all(embed, Access::Read), b.all(h, Access::Write)},
               {6, 3, 5, 3, 4}),
        "embed", "gather");
  b.add(*entry, b.gemm(6, 4, 3, b.matrix(h, 3, 1), b.matrix(weight, 1, pitch), b.matrix(y, 4, 1)), "linear", "gemm");
  CopyT copy;
  copy.dst = std::make_unique<Operand>(b.all(yt, Access::Write));
  copy.src = std::make_unique<Operand>(b.all(y, Access::Read));
  copy.shape = {4, 6}, copy.dst_strides = {6, 1}, copy.src_strides = {1, 4};
  b.add(*entry, std::move(copy), "transpose", "copy");
  FillT fill;
  fill.dst = std::make_unique<Operand>(b.all(sevens, Access::Write));
  fill.pattern = {0, 0, 0xE0, 0x40}; // 7.0
  b.add(*entry, std::move(fill), "constant", "copy");
  b.bind(entry->inputs, "ids", ids);
  b.bind(entry->outputs, "y", y);
  b.bind(entry->outputs, "y_transposed", yt);
  b.bind(entry->outputs, "sevens", sevens);
  entry->arena_bytes = 384;
  b.program.entries.push_back(std::move(entry));
}

void addAccumulate(Builder &b, int index, bool more, unsigned embed, unsigned weight, unsigned dEmbed, unsigned dWeight,
                   int64_t pitch) {
  auto entry = std::make_unique<EntryT>();
  entry->name = more ? "accumulate_more" : "accumulate";
  unsigned ids = b.buffer("ids", Storage::Arena, index, 0, {6}, -1, 6, DType::I32);
  unsigned target = b.buffer("target", Storage::Arena, index, 64, {6, 4}, -1, 2);
  unsigned bias = b.buffer("bias", Storage::Arena, index, 192, {1}, -1, 3);
  unsigned h = b.buffer("h", Storage::Arena, index, 256, {6, 3}, 0, 4);
  unsigned y = b.buffer("y", Storage::Arena, index, 384, {6, 4}, 1, 2);
  unsigned d = b.buffer("d", Storage::Arena, index, 512, {6, 4}, 2, 5);
  unsigned loss = b.buffer("loss", Storage::Arena, index, 640, {}, 3, 7);
  unsigned dh = b.buffer("dh", Storage::Arena, index, 384, {6, 3}, 5, 6); // reuses the bytes of y
  b.add(*entry,
        b.host("gather_rows", {b.all(ids, Access::Read), b.all(embed, Access::Read), b.all(h, Access::Write)},
               {6, 3, 5, 3, 4}),
        "embed", "gather");
  b.add(*entry, b.gemm(6, 4, 3, b.matrix(h, 3, 1), b.matrix(weight, 1, pitch), b.matrix(y, 4, 1)), "linear", "gemm");
  b.add(*entry, b.call(0, {b.all(y, Access::Read), b.all(target, Access::Read), b.all(d, Access::Write)}, 6), "error",
        "elementwise");
  b.add(*entry, b.call(1, {b.all(d, Access::Read), b.all(bias, Access::Read), b.all(loss, Access::Write)}, 1), "loss",
        "elementwise");
  b.add(*entry, b.gemm(4, 3, 6, b.matrix(d, 1, 4), b.matrix(h, 3, 1), b.matrix(dWeight, pitch, 1), more),
        "linear: gradient", "gemm");
  b.add(*entry, b.gemm(6, 3, 4, b.matrix(d, 4, 1), b.matrix(weight, pitch, 1), b.matrix(dh, 3, 1)), "linear: gradient",
        "gemm");
  b.add(*entry,
        b.host("scatter_add_rows",
               {b.all(ids, Access::Read), b.all(dh, Access::Read),
                b.all(dEmbed, more ? Access::ReadWrite : Access::Write)},
               {6, 3, 5, 3, 4, more ? 0 : 1}),
        "embed: gradient", "gather");
  b.bind(entry->inputs, "ids", ids);
  b.bind(entry->inputs, "target", target);
  b.bind(entry->inputs, "bias", bias, false);
  b.bind(entry->outputs, "loss", loss);
  entry->arena_bytes = 704;
  b.program.entries.push_back(std::move(entry));
}
} // namespace

ProgramT sampleProgram(int64_t pitch) {
  Builder b;
  b.program.target = "cpu";
  b.program.recipe = "# none\n";
  b.program.graft_version = "0.1.0";
  b.program.fingerprints = std::make_unique<FingerprintsT>();
  b.program.constants.assign(64, 3);
  b.parameter("embed", {5, 3}, 3, 0, 0);
  b.parameter("weight", {4, 3}, pitch, 64, 64);
  b.program.parameters[1]->aliases = {"tied"};
  b.parameter("frozen", {2}, 2, 320, -1);
  b.program.parameter_bytes = 384;
  b.program.gradient_bytes = b.program.state_bytes = 320;
  unsigned embed = b.buffer("embed", Storage::Parameter, -1, 0, {5, 3}, -1, -1);
  unsigned weight = b.buffer("weight", Storage::Parameter, -1, 64, {4, 3}, -1, -1, DType::F32, 16 * pitch);
  unsigned dEmbed = b.buffer("grad.embed", Storage::Gradient, -1, 0, {5, 3}, -1, -1);
  unsigned dWeight = b.buffer("grad.weight", Storage::Gradient, -1, 64, {4, 3}, -1, -1, DType::F32, 16 * pitch);
  b.buffer("constant", Storage::Constant, -1, 0, {16}, -1, -1);
  b.kernel("subtract_rows", {Access::Read, Access::Read, Access::Write});
  b.kernel("half_square_sum", {Access::Read, Access::Read, Access::Write});
  addPredict(b, embed, weight, pitch);
  addAccumulate(b, 1, false, embed, weight, dEmbed, dWeight, pitch);
  addAccumulate(b, 2, true, embed, weight, dEmbed, dWeight, pitch);
  b.program.arena_bytes = 704;
  b.program.optimizer = adamw();
  b.object("x86-64-v3", readObject()); // plain x86-64 code, which runs there too
  b.object("sm_80", cubin());
  std::string_view ptx = ".version 7.0\n.target sm_80\n.address_size 64\n";
  b.object("ptx", {ptx.begin(), ptx.end()});
  return std::move(b.program);
}

namespace {

/// A program of one entry without weights, its buffers one behind the other in the arena.
class OneEntry : public Builder {
public:
  explicit OneEntry(std::string name) {
    program.target = "cpu";
    program.graft_version = "0.1.0";
    entry->name = std::move(name);
  }

  /// A temporary.
  unsigned arena(const char *name, std::vector<int64_t> shape, int first, int last, DType dtype = DType::F32) {
    unsigned index = buffer(name, Storage::Arena, 0, entry->arena_bytes, std::move(shape), first, last, dtype);
    entry->arena_bytes += (program.buffers[index]->size + 63) / 64 * 64;
    return index;
  }
  /// An input if it lives from the beginning, otherwise an output.
  unsigned bound(const char *name, std::vector<int64_t> shape, int first, int last, DType dtype = DType::F32) {
    unsigned index = arena(name, std::move(shape), first, last, dtype);
    bind(first < 0 ? entry->inputs : entry->outputs, name, index);
    return index;
  }
  ProgramT finish() {
    program.arena_bytes = entry->arena_bytes;
    program.entries.push_back(std::move(entry));
    return std::move(program);
  }

  std::unique_ptr<EntryT> entry = std::make_unique<EntryT>();
};

} // namespace

ProgramT attentionProgram() {
  OneEntry b("attend");
  const std::vector<int64_t> wide = {2, 128, 4, 16}, narrow = {2, 128, 2, 16};
  auto q = b.bound("q", wide, -1, 1), k = b.bound("k", narrow, -1, 1), v = b.bound("v", narrow, -1, 1);
  auto dOut = b.bound("dout", wide, -1, 1), valid = b.bound("valid", {2, 128}, -1, 1, DType::Bool);
  auto segments = b.bound("segments", {2, 128}, -1, 1, DType::I64);
  auto o = b.bound("o", wide, 0, 2), lse = b.bound("lse", {2, 4, 128}, 0, 2);
  auto dq = b.bound("dq", wide, 1, 2), dk = b.bound("dk", narrow, 1, 2), dv = b.bound("dv", narrow, 1, 2);
  auto read = [&](unsigned index) { return b.all(index, Access::Read); };
  auto write = [&](unsigned index) { return b.all(index, Access::Write); };
  // Sizes, causal, window, masks, then strides: q, k, v, o and do, dq, dk, dv.
  std::vector<int64_t> ints = {2, 4, 2, 128, 128, 16, 16, 1, 100, 1, 8, 1, 0};
  const std::vector<int64_t> qs = {128 * 64, 16, 64}, ks = {128 * 32, 16, 32};
  auto append = [&](std::initializer_list<std::vector<int64_t>> all) {
    for (const auto &strides : all)
      ints.insert(ints.end(), strides.begin(), strides.end());
  };
  append({qs, ks, ks, qs});
  b.add(*b.entry,
        b.host("attention_forward", {read(q), read(k), read(v), read(valid), read(segments), write(o), write(lse)},
               ints, {0.25f, 5}),
        "attention", "attention");
  append({qs, qs, ks, ks});
  b.add(*b.entry,
        b.host("attention_backward",
               {read(q), read(k), read(v), read(o), read(dOut), read(lse), read(valid), read(segments), write(dq),
                write(dk), write(dv)},
               ints, {0.25f, 5}),
        "attention: gradient", "attention");
  return b.finish();
}

ProgramT loopProgram() {
  OneEntry b("loop");
  auto mask = b.bound("mask", {6}, -1, 4, DType::Bool), x = b.bound("x", {6, 4}, -1, 4);
  auto y = b.bound("y", {6, 4}, 0, 5), sum = b.bound("sum", {4, 4}, 1, 5);
  auto indices = b.arena("indices", {4}, 1, 4, DType::I64), chunk = b.arena("chunk", {4, 4}, 2, 4);
  auto operand = [&](unsigned index, Access access) { return std::make_unique<Operand>(b.all(index, access)); };
  FillT fill;
  fill.dst = operand(y, Access::Write);
  fill.pattern = {0};
  b.add(*b.entry, std::move(fill), "zeros", "copy");
  RowLoopT loop;
  loop.mask = operand(mask, Access::Read);
  loop.indices = operand(indices, Access::Write);
  loop.rows = 6, loop.chunk = 4, loop.parts = 2, loop.body = 3;
  b.add(*b.entry, std::move(loop), "loop", "gather");
  auto move = [&](unsigned from, unsigned to, bool scatter) {
    MoveRowsT rows;
    rows.indices = operand(indices, Access::Read);
    rows.from = operand(from, Access::Read);
    rows.to = operand(to, scatter ? Access::ReadWrite : Access::Write);
    rows.count = 4, rows.rows = 6, rows.width = 16;
    rows.scatter = scatter;
    b.add(*b.entry, std::move(rows), "rows", "gather");
  };
  move(x, chunk, false);
  GemmT product =
      Builder::gemm(4, 4, 4, Builder::matrix(chunk, 1, 4), Builder::matrix(chunk, 4, 1), Builder::matrix(sum, 4, 1));
  product.after_first = true;
  b.add(*b.entry, std::move(product), "sum", "gemm");
  b.entry->instructions.back()->chunk_size = ChunkSize::K;
  move(chunk, y, true);
  return b.finish();
}

ProgramT workingCopyProgram() {
  OneEntry b("accumulate");
  b.parameter("weight", {4, 3}, 16, 0, 0);
  b.parameter("frozen", {2, 3}, 3, 256, -1);
  b.program.parameters[0]->working_offset = 0;
  b.program.parameters[1]->working_offset = 128;
  b.program.parameter_bytes = 320;
  b.program.gradient_bytes = b.program.state_bytes = 256;
  b.program.working_bytes = 192;
  unsigned weight = b.buffer("working.weight", Storage::Working, -1, 0, {4, 3}, -1, -1, DType::BF16, 128);
  unsigned frozen = b.buffer("working.frozen", Storage::Working, -1, 128, {2, 3}, -1, -1, DType::BF16);
  unsigned product = b.bound("product", {4, 2}, 0, 1);
  GemmT gemm = Builder::gemm(4, 2, 3, Builder::matrix(weight, 16, 1), Builder::matrix(frozen, 1, 3),
                             Builder::matrix(product, 2, 1));
  gemm.dtype = DType::BF16;
  b.add(*b.entry, std::move(gemm), "product", "gemm");
  b.program.optimizer = adamw();
  return b.finish();
}

namespace {

std::unique_ptr<InstructionT> update(uint32_t parameter, uint32_t gradient, int64_t bytes) {
  UpdateT update;
  update.parameter = parameter;
  update.gradient = std::make_unique<Operand>(gradient, Access::Read, 0, bytes);
  auto instruction = std::make_unique<InstructionT>();
  instruction->operation.Set(std::move(update));
  instruction->category = "optimizer";
  return instruction;
}

} // namespace

ProgramT stepProgram() {
  ProgramT p = sampleProgram(/*pitch=*/3); // gradients in the arena have no padding
  p.entries.pop_back();                    // accumulate_more, whose buffers are the last
  while (p.buffers.back()->entry == 2)
    p.buffers.pop_back();
  p.optimizer->in_backward = true;
  p.optimizer->clip_grad_norm = 0;
  p.gradient_bytes = 0;
  for (auto &parameter : p.parameters)
    parameter->gradient_offset = -1;
  EntryT &entry = *p.entries[1];
  entry.name = "step";
  // `weight` is read at 5 for the last time, `embed` gets its gradient at 6, which becomes 7.
  for (auto &buffer : p.buffers)
    if (buffer->entry == 1)
      buffer->last += buffer->last == 7 ? 2 : buffer->last == 6 ? 1 : 0;
  auto moveToArena = [&](BufferT &gradient, int first, int last) {
    gradient.storage = Storage::Arena;
    gradient.entry = 1;
    gradient.offset = 704;
    gradient.first = first, gradient.last = last;
  };
  moveToArena(*p.buffers[3], 4, 6); // of `weight`
  moveToArena(*p.buffers[2], 7, 8); // of `embed`
  entry.instructions.insert(entry.instructions.begin() + 6, update(1, 3, p.buffers[3]->size));
  entry.instructions.push_back(update(0, 2, p.buffers[2]->size));
  entry.arena_bytes = p.arena_bytes = 768;
  return p;
}

std::vector<uint8_t> sampleFile() {
  ProgramT program = sampleProgram();
  auto bytes = serializeProgram(program);
  if (!bytes.isOk())
    throw std::runtime_error(bytes.status().text());
  return *bytes;
}

} // namespace graft::test
