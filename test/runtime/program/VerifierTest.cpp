// One case per fault that the program verifier knows: break a valid program, expect the sentence.
#include "runtime/program/Hash.h"
#include "runtime/program/HostFunctions.h"
#include "runtime/program/Layout.h"
#include "runtime/program/Program.h"
#include "runtime/program/ProgramFile.h"
#include "test/runtime/program/SampleProgram.h"

#include <functional>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <limits>

namespace graft {
namespace {
using namespace schema;
using testing::HasSubstr;
constexpr int64_t huge = std::numeric_limits<int64_t>::max();

struct Fault {
  const char *name;
  std::function<void(ProgramT &)> breakIt;
  const char *says;
};
void PrintTo(const Fault &fault, std::ostream *stream) {
  *stream << fault.name;
}

std::string verdict(const std::function<void(ProgramT &)> &breakIt, ProgramT program = test::sampleProgram()) {
  breakIt(program);
  auto bytes = serializeProgram(program);
  if (!bytes.isOk())
    return bytes.status().text();
  auto opened = graft::Program::fromBytes(*bytes);
  if (opened.isOk())
    return "ok";
  EXPECT_EQ(opened.status().exitCode(), 3) << opened.status().text();
  return opened.status().text();
}

// Parts of the sample.
BufferT &buffer(ProgramT &p, int entry, const std::string &name) {
  for (auto &each : p.buffers)
    if (each->entry == entry && each->name == name)
      return *each;
  throw std::runtime_error(name);
}
unsigned number(ProgramT &p, int entry, const std::string &name) {
  for (unsigned i = 0; i < p.buffers.size(); ++i)
    if (p.buffers[i].get() == &buffer(p, entry, name))
      return i;
  return ~0u;
}
OperationUnion &operation(ProgramT &p, size_t entry, size_t i) {
  return p.entries[entry]->instructions[i]->operation;
}
HostCallT &gather(ProgramT &p) {
  return *operation(p, 0, 0).AsHostCall();
}
GemmT &gemm(ProgramT &p) {
  return *operation(p, 0, 1).AsGemm();
}
CopyT &copy(ProgramT &p) {
  return *operation(p, 0, 2).AsCopy();
}
FillT &fill(ProgramT &p) {
  return *operation(p, 0, 3).AsFill();
}
KernelCallT &kernel(ProgramT &p) {
  return *operation(p, 1, 2).AsKernelCall();
}
HostCallT &scatter(ProgramT &p) {
  return *operation(p, 1, 6).AsHostCall();
}

void setBuffer(Operand &o, unsigned buffer) {
  o = {buffer, o.access(), o.byte_offset(), o.extent()};
}
void setAccess(Operand &o, Access access) {
  o = {o.buffer(), access, o.byte_offset(), o.extent()};
}
void setByteOffset(Operand &o, int64_t offset) {
  o = {o.buffer(), o.access(), offset, o.extent()};
}
void setExtent(Operand &o, int64_t extent) {
  o = {o.buffer(), o.access(), o.byte_offset(), extent};
}

class Verifier : public testing::TestWithParam<Fault> {};
TEST_P(Verifier, Rejects) {
  EXPECT_THAT(verdict(GetParam().breakIt), HasSubstr(GetParam().says));
}
std::string caseName(const testing::TestParamInfo<Fault> &info) {
  return info.param.name;
}

const Fault headerFaults[] = {
    {"Features", [](ProgramT &p) { p.required_features = 1; }, "requires features"},
    {"Target", [](ProgramT &p) { p.target = "cuda"; }, "target 'cuda', expected 'cpu'"},
    {"NoTarget", [](ProgramT &p) { p.target.clear(); }, "target ''"},
    {"NegativeBlock", [](ProgramT &p) { p.state_bytes = -64; }, "state_bytes is -64"},
    {"HugeBlock", [](ProgramT &p) { p.parameter_bytes = huge; }, "parameter_bytes is 9223372036854775807"},
    {"Arena", [](ProgramT &p) { p.arena_bytes = 768; }, "arena_bytes is 768, the largest entry uses 704"},
    {"HugeArena", [](ProgramT &p) { p.arena_bytes = p.entries[0]->arena_bytes = int64_t(1) << 62; }, "arena_bytes"},
    {"NoEntries",
     [](ProgramT &p) {
       p.entries.clear();
       p.buffers.clear();
       p.arena_bytes = 0;
     },
     "there are none"},
    {"Settings",
     [](ProgramT &p) {
       for (const char *key : {"b", "a"}) {
         p.settings.push_back(std::make_unique<SettingT>());
         p.settings.back()->key = key;
       }
     },
     "not sorted"},
    {"Optimizer", [](ProgramT &p) { p.optimizer->name = "sgd"; }, "'sgd', expected 'adamw'"},
    {"Beta", [](ProgramT &p) { p.optimizer->beta2 = 1; }, "is not in [0, 1)"},
    {"BetaNan", [](ProgramT &p) { p.optimizer->beta1 = std::numeric_limits<double>::quiet_NaN(); }, "not in [0, 1)"},
    {"Epsilon", [](ProgramT &p) { p.optimizer->epsilon = -1; }, "negative or not finite"},
    {"State", [](ProgramT &p) { p.optimizer->state = DType::I32; }, "state has a form"},
    {"NarrowState", [](ProgramT &p) { p.optimizer->state = DType::U8; }, "do not fit into the moment block"},
    {"Schedule", [](ProgramT &p) { p.optimizer->schedule = static_cast<Schedule>(9); }, "schedule is unknown"}};
INSTANTIATE_TEST_SUITE_P(Header, Verifier, testing::ValuesIn(headerFaults), caseName);

const Fault parameterFaults[] = {
    {"Empty", [](ProgramT &p) { p.parameters[0]->name = ""; }, "name is empty"},
    {"Control", [](ProgramT &p) { p.parameters[0]->name = std::string("a\0b", 3); }, "control characters"},
    {"NotUtf8", [](ProgramT &p) { p.parameters[0]->name = "\xFF"; }, "not UTF-8"},
    {"Dots", [](ProgramT &p) { p.parameters[0]->name = "../../x"; }, "contains '../'"},
    {"Long", [](ProgramT &p) { p.parameters[0]->name.assign(5000, 'x'); }, "longer than 4096"},
    {"Twice", [](ProgramT &p) { p.parameters[1]->name = "embed"; }, "occurs twice"},
    {"AliasTwice", [](ProgramT &p) { p.parameters[1]->aliases = {"embed"}; }, "occurs twice"},
    {"DType", [](ProgramT &p) { p.parameters[0]->dtype = DType::F16; }, "float32 or bfloat16 only"},
    {"Narrow", [](ProgramT &p) { p.parameters[0]->dtype = DType::BF16; }, "is not inside one parameter"},
    {"NegativeShape", [](ProgramT &p) { p.parameters[0]->shape = {-1, 3}; }, "is impossible"},
    {"HugeShape", [](ProgramT &p) { p.parameters[0]->shape = {huge, 3}; }, "is impossible"},
    {"Pitch", [](ProgramT &p) { p.parameters[0]->row_pitch = 2; }, "row pitch 2 is impossible"},
    {"Rank", [](ProgramT &p) { p.parameters[0]->shape.assign(100, 1); }, "has 100 dimensions"},
    {"Offset", [](ProgramT &p) { p.parameters[0]->offset = 4; }, "offsets are multiples of 64"},
    {"NegativeOffset", [](ProgramT &p) { p.parameters[0]->offset = -64; }, "do not fit into the parameter block"},
    {"Outside", [](ProgramT &p) { p.parameters[2]->offset = 384; }, "do not fit into the parameter block"},
    {"Overlap", [](ProgramT &p) { p.parameters[2]->offset = 64; }, "overlaps"},
    {"Gradient", [](ProgramT &p) { p.parameters[0]->gradient_offset = -1; }, "gradient block"},
    {"GradientOverlap", [](ProgramT &p) { p.parameters[0]->gradient_offset = 64; }, "in the gradient block"},
    {"State", [](ProgramT &p) { p.parameters[0]->state_offset = 640; }, "moment block"},
    {"Frozen", [](ProgramT &p) { p.parameters[2]->gradient_offset = 0; }, "is not trained but has"},
    {"Decay", [](ProgramT &p) { p.parameters[0]->weight_decay = -1; }, "negative or not finite"}};
INSTANTIATE_TEST_SUITE_P(Parameter, Verifier, testing::ValuesIn(parameterFaults), caseName);

const Fault bufferFaults[] = {
    {"Name", [](ProgramT &p) { buffer(p, 0, "h").name = "\n"; }, "control characters"},
    {"Twice", [](ProgramT &p) { buffer(p, 0, "h").name = "y"; }, "has this name"},
    {"Storage", [](ProgramT &p) { buffer(p, 0, "h").storage = static_cast<Storage>(7); }, "dtype or storage"},
    {"DType", [](ProgramT &p) { buffer(p, 0, "h").dtype = static_cast<DType>(200); }, "dtype or storage"},
    {"Shape", [](ProgramT &p) { buffer(p, 0, "h").shape = {6, 4}; }, "does not fit into its 72 bytes"},
    {"NegativeShape", [](ProgramT &p) { buffer(p, 0, "h").shape = {-1}; }, "does not fit"},
    {"HugeShape", [](ProgramT &p) { buffer(p, 0, "h").shape = {1 << 30, 1 << 30, 1 << 30}; }, "does not fit"},
    {"Rank", [](ProgramT &p) { buffer(p, 0, "h").shape.assign(100, 1); }, "more than 64 dimensions"},
    {"Entry", [](ProgramT &p) { buffer(p, 0, "h").entry = 3; }, "belongs to entry 3 of 3"},
    {"NegativeEntry", [](ProgramT &p) { buffer(p, 0, "h").entry = -1; }, "belongs to entry -1"},
    {"Offset", [](ProgramT &p) { buffer(p, 0, "h").offset = 68; }, "offsets are multiples of 64"},
    {"Outside", [](ProgramT &p) { buffer(p, 0, "sevens").offset = 384; }, "do not fit into the entry's arena"},
    {"Wraps", [](ProgramT &p) { buffer(p, 0, "h").offset = huge - 63; }, "do not fit into the entry's arena"},
    {"NegativeSize", [](ProgramT &p) { buffer(p, 0, "h").size = -1; }, "do not fit"},
    {"Lifetime", [](ProgramT &p) { buffer(p, 0, "h").first = 2; }, "lifetime [2, 1]"},
    {"LifetimeEnd", [](ProgramT &p) { buffer(p, 0, "h").last = 99; }, "lifetime [0, 99]"},
    {"Constant", [](ProgramT &p) { buffer(p, -1, "constant").size = 128; }, "do not fit into the constants"},
    {"ConstantWraps", [](ProgramT &p) { buffer(p, -1, "constant").offset = huge - 63; }, "do not fit"},
    {"TwoParameters", [](ProgramT &p) { buffer(p, -1, "embed").size = 128; }, "is not inside one parameter"},
    {"GlobalEntry", [](ProgramT &p) { buffer(p, -1, "weight").entry = 1; }, "but is not in the arena"}};
INSTANTIATE_TEST_SUITE_P(Buffer, Verifier, testing::ValuesIn(bufferFaults), caseName);

class WorkingCopies : public testing::TestWithParam<Fault> {};
TEST_P(WorkingCopies, Rejects) {
  EXPECT_THAT(verdict(GetParam().breakIt, test::workingCopyProgram()), HasSubstr(GetParam().says));
}
const Fault workingFaults[] = {
    {"Nothing", [](ProgramT &) {}, "ok"},
    {"NegativeBlock", [](ProgramT &p) { p.working_bytes = -64; }, "working_bytes is -64"},
    {"Outside", [](ProgramT &p) { p.parameters[1]->working_offset = 192; }, "do not fit into the working block"},
    {"Offset", [](ProgramT &p) { p.parameters[1]->working_offset = 130; }, "offsets are multiples of 64"},
    {"NegativeOffset", [](ProgramT &p) { p.parameters[1]->working_offset = -64; }, "do not fit into the working block"},
    {"Overlap", [](ProgramT &p) { p.parameters[1]->working_offset = 64; }, "in the working block"},
    {"OfNarrow", [](ProgramT &p) { p.parameters[1]->dtype = DType::BF16; }, "though it is stored as narrow"},
    {"BufferOutside", [](ProgramT &p) { buffer(p, -1, "working.weight").size = 256; },
     "do not fit into the working block"},
    {"TwoParameters", [](ProgramT &p) { buffer(p, -1, "working.weight").size = 192; }, "is not inside one parameter"},
    {"Written",
     [](ProgramT &p) {
       GemmT &product = *operation(p, 0, 0).AsGemm();
       product.c->buffer = product.a->buffer;
       product.c->row_stride = 4;
     },
     "which is read only"},
    {"Float32", [](ProgramT &p) { operation(p, 0, 0).AsGemm()->dtype = DType::F32; }, "outside of buffer"},
    {"OddOffset", [](ProgramT &p) { operation(p, 0, 0).AsGemm()->a->byte_offset = 1; }, "impossible sizes or strides"}};
INSTANTIATE_TEST_SUITE_P(All, WorkingCopies, testing::ValuesIn(workingFaults), caseName);

const Fault lifetimeFaults[] = {
    {"Overlap", [](ProgramT &p) { buffer(p, 1, "d").offset = 256; }, "overlap while both live"},
    {"OverlapOfParts", [](ProgramT &p) { buffer(p, 1, "loss").offset = 576; }, "overlap while both live"},
    {"ReuseTooEarly", [](ProgramT &p) { buffer(p, 1, "y").last = 5; }, "overlap while both live"},
    {"TooLate", [](ProgramT &p) { buffer(p, 1, "d").last = 4; }, "at time 5, it lives in [2, 4]"},
    {"TooEarly", [](ProgramT &p) { buffer(p, 1, "d").first = 3; }, "at time 2, it lives in [3, 5]"},
    {"ReadFirst", [](ProgramT &p) { std::swap(p.entries[0]->instructions[0], p.entries[0]->instructions[1]); },
     "before it was written"},
    {"OtherEntry", [](ProgramT &p) { kernel(p).operands[0] = {number(p, 2, "y"), Access::Read, 0, 96}; },
     "of another entry"},
    {"InputLate", [](ProgramT &p) { buffer(p, 1, "target").first = 0; }, "is written at time -1"},
    {"OutputEarly", [](ProgramT &p) { buffer(p, 1, "loss").last = 6; }, "is read at time 7"},
    {"OutputNeverWritten",
     [](ProgramT &p) {
       p.entries[1]->instructions.erase(p.entries[1]->instructions.begin() + 3);
       buffer(p, 1, "loss").last = 6;
     },
     "is never written"}};
INSTANTIATE_TEST_SUITE_P(Lifetime, Verifier, testing::ValuesIn(lifetimeFaults), caseName);

const Fault entryFaults[] = {
    {"Name", [](ProgramT &p) { p.entries[1]->name = "predict"; }, "another entry has this name"},
    {"EmptyName", [](ProgramT &p) { p.entries[1]->name = ""; }, "name is empty"},
    {"InputTwice", [](ProgramT &p) { p.entries[1]->inputs[1]->name = "ids"; }, "name occurs twice"},
    {"InputName", [](ProgramT &p) { p.entries[1]->inputs[1]->name = "../x"; }, "contains '../'"},
    {"InputBuffer", [](ProgramT &p) { p.entries[1]->inputs[1]->buffer = 1000; }, "is not in this entry's arena"},
    {"InputSharesBuffer", [](ProgramT &p) { p.entries[1]->inputs[1]->buffer = p.entries[1]->inputs[0]->buffer; },
     "shares its buffer"},
    {"InputIsParameter", [](ProgramT &p) { p.entries[1]->inputs[1]->buffer = 0; }, "is not in this entry's arena"},
    {"OutputOfOther", [](ProgramT &p) { p.entries[1]->outputs[0]->buffer = p.entries[2]->outputs[0]->buffer; },
     "is not in this entry's arena"}};
INSTANTIATE_TEST_SUITE_P(Entry, Verifier, testing::ValuesIn(entryFaults), caseName);

void setBytes(ProgramT &program, size_t object, std::vector<uint8_t> bytes) {
  program.objects[object]->digest = hash64(bytes.data(), bytes.size());
  program.objects[object]->bytes = std::move(bytes);
}

const Fault kernelFaults[] = {
    {"Symbol", [](ProgramT &p) { p.kernels[0]->symbol = "a b"; }, "not an identifier"},
    {"SymbolTwice", [](ProgramT &p) { p.kernels[0]->symbol = "half_square_sum"; }, "occurs twice"},
    {"Access", [](ProgramT &p) { p.kernels[0]->operands[0] = static_cast<Access>(9); }, "no known access"},
    {"Ordinal", [](ProgramT &p) { kernel(p).kernel = 2; }, "calls kernel 2 of 2"},
    {"OrdinalMax", [](ProgramT &p) { kernel(p).kernel = ~0u; }, "calls kernel 4294967295 of 2"},
    {"OperandCount", [](ProgramT &p) { kernel(p).operands.pop_back(); }, "passes 2 operands"},
    {"OperandAccess", [](ProgramT &p) { setAccess(kernel(p).operands[0], Access::Write); }, "another access"},
    {"OperandBuffer", [](ProgramT &p) { setBuffer(kernel(p).operands[0], 1000); }, "names buffer 1000"},
    {"OperandBufferMax", [](ProgramT &p) { setBuffer(kernel(p).operands[0], ~0u); }, "names buffer 4294967295"},
    {"OperandOutside", [](ProgramT &p) { setExtent(kernel(p).operands[0], 97); }, "outside of buffer 'y'"},
    {"OperandNegative", [](ProgramT &p) { setByteOffset(kernel(p).operands[0], -4); }, "outside of buffer 'y'"},
    {"OperandWraps", [](ProgramT &p) { setByteOffset(kernel(p).operands[0], huge); }, "outside of buffer 'y'"},
    {"Units", [](ProgramT &p) { kernel(p).units = -1; }, "has -1 work items"},
    {"OtherUnits", [](ProgramT &p) { kernel(p).units += 1; }, "has 7 work items, kernel 'subtract_rows' has 6"},
    {"KernelUnits", [](ProgramT &p) { p.kernels[1]->units = -1; }, "kernel 1 'half_square_sum': has -1 work items"},
    {"OtherExtent", [](ProgramT &p) { setExtent(kernel(p).operands[0], 48); }, "has 48 bytes, the kernel's has 96"},
    {"OtherKernel", [](ProgramT &p) { kernel(p).kernel = 1; }, "the kernel's has"},
    {"ExtentCount", [](ProgramT &p) { p.kernels[0]->extents.pop_back(); }, "has 2 extents for 3 operands"},
    {"WritesWeights",
     [](ProgramT &p) {
       buffer(p, -1, "embed").size = 60;
       kernel(p).operands[2] = {number(p, -1, "embed"), Access::Write, 0, 60};
     },
     "which is read only"},
    {"WritesConstants", [](ProgramT &p) { kernel(p).operands[2] = {number(p, -1, "constant"), Access::Write, 0, 64}; },
     "which is read only"},
    {"Cost", [](ProgramT &p) { p.entries[1]->instructions[2]->flops = -1; }, "cost is negative"},
    {"ObjectDigest", [](ProgramT &p) { p.objects[0]->digest ^= 1; }, "digest of the object code"},
    {"ObjectBytes", [](ProgramT &p) { p.objects[0]->bytes[500] ^= 1; }, "digest of the object code"},
    {"ObjectTarget", [](ProgramT &p) { p.objects[0]->target = "x86-64-v9"; }, "does not run on this CPU"},
    {"NoObject", [](ProgramT &p) { p.objects.clear(); }, "does not run on this CPU"},
    {"OnlyCuda", [](ProgramT &p) { p.objects.erase(p.objects.begin()); }, "for ptx sm_80 does not run on this CPU"},
    {"CubinDigest", [](ProgramT &p) { p.objects[1]->digest ^= 1; }, "object 1 'sm_80': digest of the object code"},
    {"Cubin", [](ProgramT &p) { setBytes(p, 1, p.objects[0]->bytes); }, "object 1 'sm_80': cubin is not a 64-bit"},
    {"Ptx", [](ProgramT &p) { setBytes(p, 2, {'x'}); }, "object 2 'ptx': PTX does not begin with a version"},
    {"NoBlock", [](ProgramT &p) { p.kernels[1]->block_threads = p.kernels[1]->block_units = 0; },
     "kernel 1 'half_square_sum': has CUDA code but no block of threads"},
    {"HalfWarp", [](ProgramT &p) { p.kernels[0]->block_threads = 48; }, "has blocks of 48 threads for 4 units"},
    {"LargeBlock", [](ProgramT &p) { p.kernels[0]->block_threads = 2048; }, "has blocks of 2048 threads"},
    {"BlockUnits", [](ProgramT &p) { p.kernels[0]->block_units = -1; }, "has blocks of 128 threads for -1 units"}};
INSTANTIATE_TEST_SUITE_P(Kernel, Verifier, testing::ValuesIn(kernelFaults), caseName);

const Fault gemmFaults[] = {
    {"NegativeSize", [](ProgramT &p) { gemm(p).m = -1; }, "impossible sizes or strides"},
    {"LargerThanBuffer", [](ProgramT &p) { gemm(p).m = 7; }, "outside of buffer"},
    {"Overflow", [](ProgramT &p) { gemm(p).a->row_stride = huge; }, "impossible sizes or strides"},
    {"NegativeStride", [](ProgramT &p) { gemm(p).a->row_stride = -3; }, "impossible sizes or strides"},
    {"NoUnitStride", [](ProgramT &p) { gemm(p).a->column_stride = 2; }, "impossible sizes or strides"},
    {"RowsOverlap", [](ProgramT &p) { gemm(p).c->row_stride = 3; }, "impossible sizes or strides"},
    {"Misaligned", [](ProgramT &p) { gemm(p).a->byte_offset = 2; }, "impossible sizes or strides"},
    {"Buffer", [](ProgramT &p) { gemm(p).b->buffer = 1000; }, "names buffer 1000"},
    {"NegativeOffset", [](ProgramT &p) { gemm(p).b->byte_offset = -64; }, "outside of buffer"},
    {"BatchStrides", [](ProgramT &p) { gemm(p).batch = {2}; }, "0 batch strides for 1"},
    {"BatchOverlap",
     [](ProgramT &p) {
       gemm(p).batch = {2};
       gemm(p).a->batch_strides = gemm(p).b->batch_strides = gemm(p).c->batch_strides = {0};
     },
     "operand c has impossible"},
    {"BatchRank", [](ProgramT &p) { gemm(p).batch.assign(9, 1); }, "more than 8 batch"},
    {"DType", [](ProgramT &p) { gemm(p).dtype = DType::F16; }, "of float32 or bfloat16 only"},
    {"Alpha", [](ProgramT &p) { gemm(p).alpha = std::numeric_limits<float>::infinity(); }, "alpha is not finite"},
    {"InPlace",
     [](ProgramT &p) {
       gemm(p).c->buffer = gemm(p).a->buffer;
       gemm(p).n = 3;
       gemm(p).c->row_stride = 3;
     },
     "reads and writes the same bytes"},
    {"AccumulatesNothing", [](ProgramT &p) { gemm(p).accumulate = true; }, "before it was written"}};
INSTANTIATE_TEST_SUITE_P(Gemm, Verifier, testing::ValuesIn(gemmFaults), caseName);

const Fault copyFaults[] = {
    {"DType", [](ProgramT &p) { copy(p).dtype = static_cast<DType>(77); }, "dtype is unknown"},
    {"Rank", [](ProgramT &p) { copy(p).dst_strides.pop_back(); }, "strides do not match"},
    {"Reach", [](ProgramT &p) { copy(p).src_strides = {6, 4}; }, "reach beyond the operands"},
    {"Negative", [](ProgramT &p) { copy(p).src_strides = {-1, 4}; }, "reach beyond the operands"},
    {"Overflow", [](ProgramT &p) { copy(p).shape = {huge, huge}; }, "reach beyond the operands"},
    {"WritesTwice", [](ProgramT &p) { copy(p).dst_strides = {1, 1}; }, "writes an element twice"},
    {"Access", [](ProgramT &p) { setAccess(*copy(p).src, Access::ReadWrite); }, "not Write and Read"},
    {"Buffer", [](ProgramT &p) { setBuffer(*copy(p).src, 1000); }, "names buffer 1000"},
    {"Itself", [](ProgramT &p) { setBuffer(*copy(p).dst, copy(p).src->buffer()); }, "reads and writes the same bytes"},
    {"FillPattern", [](ProgramT &p) { fill(p).pattern = {1, 2, 3}; }, "pattern has 3 bytes"},
    {"FillEmpty", [](ProgramT &p) { fill(p).pattern.clear(); }, "pattern has 0 bytes"},
    {"FillExtent", [](ProgramT &p) { setExtent(*fill(p).dst, 18); }, "does not divide"},
    {"FillOutside", [](ProgramT &p) { setExtent(*fill(p).dst, 64); }, "outside of buffer"},
    {"FillAccess", [](ProgramT &p) { setAccess(*fill(p).dst, Access::Read); }, "is not Write"}};
INSTANTIATE_TEST_SUITE_P(Copy, Verifier, testing::ValuesIn(copyFaults), caseName);

const Fault hostFaults[] = {
    {"Unknown", [](ProgramT &p) { gather(p).function = "system"; }, "calls 'system'"},
    {"Operands", [](ProgramT &p) { gather(p).operands.pop_back(); }, "does not pass the operands"},
    {"Ints", [](ProgramT &p) { gather(p).ints.pop_back(); }, "does not pass the operands"},
    {"Floats", [](ProgramT &p) { gather(p).floats = {1}; }, "does not pass the operands"},
    {"NegativeInt", [](ProgramT &p) { gather(p).ints[0] = -1; }, "impossible numbers"},
    {"HugeInt", [](ProgramT &p) { gather(p).ints[1] = huge; }, "impossible numbers"},
    {"IndexBytes", [](ProgramT &p) { gather(p).ints[4] = 2; }, "impossible numbers"},
    {"Pitch", [](ProgramT &p) { gather(p).ints[3] = 1; }, "impossible numbers"},
    {"Overwrite", [](ProgramT &p) { scatter(p).ints[5] = 2; }, "impossible numbers"},
    {"OverwriteAccess", [](ProgramT &p) { scatter(p).ints[5] = 0; }, "wrong access"},
    {"Short", [](ProgramT &p) { gather(p).ints[0] = 7; }, "is misaligned or shorter"},
    {"Misaligned", [](ProgramT &p) { setByteOffset(gather(p).operands[1], 2); }, "is misaligned or shorter"},
    {"Buffer", [](ProgramT &p) { setBuffer(gather(p).operands[1], 1000); }, "names buffer 1000"},
    {"InPlace",
     [](ProgramT &p) {
       scatter(p).operands[1] = {scatter(p).operands[2].buffer(), Access::Read, 0, 60};
       scatter(p).ints[0] = 5;
     },
     "reads and writes the same bytes"}};
INSTANTIATE_TEST_SUITE_P(HostCall, Verifier, testing::ValuesIn(hostFaults), caseName);

// Breaks the attention program.
class AttentionVerifier : public testing::TestWithParam<Fault> {};
TEST_P(AttentionVerifier, Rejects) {
  EXPECT_THAT(verdict(GetParam().breakIt, test::attentionProgram()), HasSubstr(GetParam().says));
}
HostCallT &forward(ProgramT &p) {
  return *operation(p, 0, 0).AsHostCall();
}
HostCallT &backward(ProgramT &p) {
  return *operation(p, 0, 1).AsHostCall();
}

const Fault attentionFaults[] = {
    {"Ints", [](ProgramT &p) { forward(p).ints.pop_back(); }, "does not pass the operands"},
    {"Floats", [](ProgramT &p) { forward(p).floats.pop_back(); }, "does not pass the operands"},
    {"Operands", [](ProgramT &p) { backward(p).operands.pop_back(); }, "does not pass the operands"},
    {"Batch", [](ProgramT &p) { forward(p).ints[0] = -1; }, "impossible numbers"},
    {"Heads", [](ProgramT &p) { forward(p).ints[2] = 3; }, "impossible numbers"},
    {"NoKeyHeads", [](ProgramT &p) { forward(p).ints[2] = 0; }, "impossible numbers"},
    {"Queries", [](ProgramT &p) { forward(p).ints[3] = huge; }, "impossible numbers"},
    {"Keys", [](ProgramT &p) { backward(p).ints[4] = int64_t(1) << 31; }, "impossible numbers"},
    {"Dim", [](ProgramT &p) { forward(p).ints[5] = 0; }, "impossible numbers"},
    {"HugeDim", [](ProgramT &p) { forward(p).ints[6] = 65537; }, "impossible numbers"},
    {"Causal", [](ProgramT &p) { forward(p).ints[7] = 2; }, "impossible numbers"},
    {"Window", [](ProgramT &p) { forward(p).ints[8] = -1; }, "impossible numbers"},
    {"KeyValid", [](ProgramT &p) { forward(p).ints[9] = -1; }, "impossible numbers"},
    {"SegmentBytes", [](ProgramT &p) { forward(p).ints[10] = 2; }, "impossible numbers"},
    {"SegmentRows", [](ProgramT &p) { forward(p).ints[11] = 3; }, "impossible numbers"},
    {"SegmentsWithoutRows", [](ProgramT &p) { forward(p).ints[11] = 0; }, "impossible numbers"},
    {"SegmentRowsWithoutSegments", [](ProgramT &p) { forward(p).ints[10] = 0; }, "impossible numbers"},
    {"SegmentsNotSquare", [](ProgramT &p) { forward(p).ints[3] = 64; }, "impossible numbers"},
    {"SkipNotSquare",
     [](ProgramT &p) {
       forward(p).ints[3] = 64;
       forward(p).ints[10] = forward(p).ints[11] = 0;
       forward(p).ints[12] = 1;
     },
     "impossible numbers"},
    {"NegativeStride", [](ProgramT &p) { forward(p).ints[15] = -64; }, "impossible numbers"},
    {"HugeStride", [](ProgramT &p) { forward(p).ints[13] = huge; }, "impossible numbers"},
    {"RowsMeet", [](ProgramT &p) { forward(p).ints[15] = 8; }, "impossible numbers"},
    {"Repeated", [](ProgramT &p) { forward(p).ints[16] = 0; }, "impossible numbers"},
    {"Scale", [](ProgramT &p) { forward(p).floats[0] = std::numeric_limits<float>::infinity(); }, "impossible numbers"},
    {"Softcap", [](ProgramT &p) { forward(p).floats[1] = -1; }, "impossible numbers"},
    {"ShortKeys", [](ProgramT &p) { forward(p).ints[16] = 8192; }, "operand 1 of 'attention_forward' is misaligned"},
    {"ShortMask", [](ProgramT &p) { setExtent(backward(p).operands[6], 255); }, "operand 6 of 'attention_backward'"},
    {"ShortSegments", [](ProgramT &p) { setExtent(backward(p).operands[7], 8); }, "operand 7 of 'attention_backward'"},
    {"ShortSecondRowOfSegments", [](ProgramT &p) { backward(p).ints[11] = 2; }, "operand 7 of 'attention_backward'"},
    {"ShortGradient", [](ProgramT &p) { setExtent(backward(p).operands[10], 4); },
     "operand 10 of 'attention_backward'"},
    {"ShortLse", [](ProgramT &p) { setExtent(forward(p).operands[6], 4092); }, "operand 6 of 'attention_forward'"},
    {"Access", [](ProgramT &p) { setAccess(forward(p).operands[5], Access::ReadWrite); }, "wrong access"},
    {"InPlace", [](ProgramT &p) { setBuffer(backward(p).operands[8], backward(p).operands[0].buffer()); },
     "reads and writes the same bytes"}};
INSTANTIATE_TEST_SUITE_P(HostCall, AttentionVerifier, testing::ValuesIn(attentionFaults), caseName);

TEST(AttentionVerifier, AcceptsMasksAndTheirAbsence) {
  EXPECT_EQ(verdict([](ProgramT &) {}, test::attentionProgram()), "ok");
  auto drop = [](ProgramT &p) {
    forward(p).ints[9] = forward(p).ints[10] = forward(p).ints[11] = 0;
    for (size_t i : {3, 4}) {
      forward(p).operands[i] = forward(p).operands[0];
      setExtent(forward(p).operands[i], 0);
    }
  };
  EXPECT_EQ(verdict(drop, test::attentionProgram()), "ok");
}

// Breaks the program with a loop.
class LoopVerifier : public testing::TestWithParam<Fault> {};
TEST_P(LoopVerifier, Rejects) {
  EXPECT_THAT(verdict(GetParam().breakIt, test::loopProgram()), HasSubstr(GetParam().says));
}
RowLoopT &loop(ProgramT &p) {
  return *operation(p, 0, 1).AsRowLoop();
}
MoveRowsT &gatherRows(ProgramT &p) {
  return *operation(p, 0, 2).AsMoveRows();
}
MoveRowsT &scatterRows(ProgramT &p) {
  return *operation(p, 0, 4).AsMoveRows();
}
GemmT &loopGemm(ProgramT &p) {
  return *operation(p, 0, 3).AsGemm();
}
ChunkSize &chunkSize(ProgramT &p, size_t i) {
  return p.entries[0]->instructions[i]->chunk_size;
}

const Fault loopFaults[] = {
    {"NoRows", [](ProgramT &p) { loop(p).rows = 0; }, "impossible numbers of rows"},
    {"HugeChunk", [](ProgramT &p) { loop(p).chunk = huge; }, "impossible numbers of rows"},
    {"NoParts", [](ProgramT &p) { loop(p).parts = 0; }, "impossible numbers of rows"},
    {"PartsDoNotDivide", [](ProgramT &p) { loop(p).parts = 3; }, "impossible numbers of rows"},
    {"NoBody", [](ProgramT &p) { loop(p).body = 0; }, "impossible numbers of rows"},
    {"LongBody", [](ProgramT &p) { loop(p).body = 4; }, "body of 4 instructions, 3 are left"},
    {"Nested",
     [](ProgramT &p) {
       RowLoopT inner(loop(p));
       inner.body = 1;
       operation(p, 0, 2).Set(std::move(inner));
     },
     "is a loop within a loop"},
    {"ShortMask", [](ProgramT &p) { setExtent(*loop(p).mask, 5); }, "mask or indices are misaligned, too short"},
    {"ShortIndices", [](ProgramT &p) { setExtent(*loop(p).indices, 24); }, "mask or indices are misaligned, too short"},
    {"IndicesRead", [](ProgramT &p) { setAccess(*loop(p).indices, Access::Read); }, "mask or indices"},
    {"Outside", [](ProgramT &p) { loop(p).body = 2; }, "moves other rows than those of the loop around it"},
    {"OtherIndices", [](ProgramT &p) { setByteOffset(*gatherRows(p).indices, 8); }, "moves other rows"},
    {"OtherCount", [](ProgramT &p) { gatherRows(p).count = 3; }, "moves other rows"},
    {"OtherRows", [](ProgramT &p) { scatterRows(p).rows = 5; }, "moves other rows"},
    {"WideRows", [](ProgramT &p) { gatherRows(p).width = 20; }, "rows reach beyond the operands"},
    {"NoWidth", [](ProgramT &p) { gatherRows(p).width = 0; }, "rows reach beyond the operands"},
    {"HugeWidth", [](ProgramT &p) { gatherRows(p).width = huge; }, "rows reach beyond the operands"},
    {"Access", [](ProgramT &p) { setAccess(*scatterRows(p).to, Access::Write); }, "operands have the wrong access"},
    {"InPlace", [](ProgramT &p) { setBuffer(*scatterRows(p).to, scatterRows(p).from->buffer()); },
     "reads and writes the same bytes of buffer 'chunk'"},
    {"IndicesWritten",
     [](ProgramT &p) {
       loopGemm(p).c->buffer = number(p, 0, "indices");
       loopGemm(p).m = loopGemm(p).n = 1;
     },
     "reads and writes the same bytes of buffer 'indices'"},
    {"AddsTwice", [](ProgramT &p) { loopGemm(p).accumulate = true; },
     "accumulates always, and after the first pass only"},
    {"AddsOutside", [](ProgramT &p) { loop(p).body = 1; }, "accumulates after the first pass of no loop"},
    {"SizeOfAnother", [](ProgramT &p) { chunkSize(p, 3) = ChunkSize::Units; }, "says that a size counts rows"},
    {"SizeOfNothing", [](ProgramT &p) { chunkSize(p, 0) = ChunkSize::M; }, "says that a size counts rows"},
    {"SizeIsNotCut", [](ProgramT &p) { loopGemm(p).k = 3; }, "says that a size counts rows"},
    {"DiesInTheLoop", [](ProgramT &p) { buffer(p, 0, "x").last = 2; }, "'x' lives through a part of the loop at 1"},
    {"MaskDies", [](ProgramT &p) { buffer(p, 0, "mask").last = 1; }, "'mask' lives through a part of the loop"},
    {"BornInTheLoop", [](ProgramT &p) { buffer(p, 0, "sum").first = 3; }, "'sum' lives through a part of the loop"}};
INSTANTIATE_TEST_SUITE_P(RowLoop, LoopVerifier, testing::ValuesIn(loopFaults), caseName);

TEST(LoopVerifier, AcceptsTheLoop) {
  EXPECT_EQ(verdict([](ProgramT &) {}, test::loopProgram()), "ok");
}

/// Puts a buffer of an entry into the gradients' memory. That of 'embed' is [0, 60), that of 'weight' [64, 320);
/// `accumulate` writes the latter at 4 and the former at 6.
void lend(ProgramT &p, int entry, const std::string &name, int64_t offset) {
  buffer(p, entry, name).storage = Storage::Lent;
  buffer(p, entry, name).offset = offset;
}

class LentVerifier : public testing::TestWithParam<Fault> {};

TEST_P(LentVerifier, Rejects) {
  EXPECT_THAT(verdict(GetParam().breakIt), HasSubstr(GetParam().says));
}

const Fault lentFaults[] = {
    {"LivesTooLong", [](ProgramT &p) { lend(p, 1, "d", 64); }, "buffers 'weight' and 'd' overlap while both live"},
    {"LivesAtTheWrite", [](ProgramT &p) { lend(p, 1, "h", 192); }, "buffers 'weight' and 'h' overlap"},
    {"OfTheOther", [](ProgramT &p) { lend(p, 1, "dh", 0); }, "buffers 'dh' and 'weight' overlap"},
    {"Outside", [](ProgramT &p) { lend(p, 1, "y", 256); },
     "offset 256 and size 96 do not fit into the gradient block of 320 bytes"},
    {"Twice",
     [](ProgramT &p) {
       lend(p, 1, "y", 64);
       lend(p, 1, "h", 128);
     },
     "overlap while both live"},
    {"NoGradientWritten", [](ProgramT &p) { lend(p, 0, "h", 64); }, "buffers 'h' and 'weight' overlap while both live"},
    {"GradientsAreRead", [](ProgramT &p) { lend(p, 2, "y", 64); },
     "reads gradient 'grad.weight' before it was written"},
    {"Input", [](ProgramT &p) { lend(p, 1, "target", 64); }, "is not in this entry's arena"},
    {"Lifetime", [](ProgramT &p) { lend(p, 1, "y", 64), buffer(p, 1, "y").last = 99; }, "is not within [-1, 7]"},
    {"OtherEntry",
     [](ProgramT &p) {
       lend(p, 1, "y", 64);
       gemm(p).c->buffer = number(p, 1, "y");
     },
     "uses buffer 'y' of another entry"},
    {"Unknown", [](ProgramT &p) { buffer(p, 1, "y").storage = static_cast<Storage>(6); }, "storage is none that"}};
INSTANTIATE_TEST_SUITE_P(Lent, LentVerifier, testing::ValuesIn(lentFaults), caseName);

TEST(LentVerifier, AcceptsWhatEndsInTime) {
  EXPECT_EQ(verdict([](ProgramT &p) { lend(p, 1, "y", 64); }), "ok");
  EXPECT_EQ(verdict([](ProgramT &p) { lend(p, 1, "d", 0), buffer(p, 1, "d").size = 64; }),
            verdict([](ProgramT &p) { buffer(p, 1, "d").size = 64; })); // it may lie where 'embed' comes at 6
}

/// The kernel at 2 of `accumulate` writes d where y lies, which it reads for the last time. What reuses the bytes of y
/// otherwise goes where d was.
void runInPlace(ProgramT &p) {
  p.kernels[0]->in_place.emplace_back(0, 2);
  buffer(p, 1, "d").offset = buffer(p, 1, "y").offset;
  buffer(p, 1, "dh").offset = 512;
}

class InPlaceVerifier : public testing::TestWithParam<Fault> {};
TEST_P(InPlaceVerifier, Rejects) {
  auto breakIt = [](ProgramT &p) {
    runInPlace(p);
    GetParam().breakIt(p);
  };
  EXPECT_THAT(verdict(breakIt), HasSubstr(GetParam().says));
}

const Fault inPlaceFaults[] = {
    {"KernelCannot", [](ProgramT &p) { p.kernels[0]->in_place.clear(); }, "buffers 'd' and 'y' overlap"},
    {"OtherOperand", [](ProgramT &p) { p.kernels[0]->in_place[0] = {1, 2}; }, "buffers 'd' and 'y' overlap"},
    {"WrittenTwice", [](ProgramT &p) { p.kernels[0]->in_place[0] = {2, 2}; },
     "works in place on operands 2 and 2, which are not"},
    {"ReadOnly", [](ProgramT &p) { p.kernels[0]->in_place[0] = {0, 1}; },
     "works in place on operands 0 and 1, which are not"},
    {"NoOperand", [](ProgramT &p) { p.kernels[0]->in_place[0] = {0, ~0u}; },
     "works in place on operands 0 and 4294967295, which are not"},
    {"ReadAgain", [](ProgramT &p) { buffer(p, 1, "y").last = 3; }, "overlap while both live"},
    {"Shifted", [](ProgramT &p) { buffer(p, 1, "d").offset += 64; }, "overlap while both live"},
    {"Longer", [](ProgramT &p) { buffer(p, 1, "y").size += 4; }, "buffers 'd' and 'y' overlap"},
    {"ReadTwice", [](ProgramT &p) { setBuffer(kernel(p).operands[1], kernel(p).operands[0].buffer()); },
     "buffers 'd' and 'y' overlap"},
    {"ByTwo",
     [](ProgramT &p) {
       buffer(p, 1, "loss").offset = buffer(p, 1, "y").offset;
       buffer(p, 1, "loss").first = 2;
     },
     "overlap while both live"}};
INSTANTIATE_TEST_SUITE_P(Kernel, InPlaceVerifier, testing::ValuesIn(inPlaceFaults), caseName);

TEST(InPlaceVerifier, AcceptsWhatDiesWhereTheOtherIsBorn) {
  EXPECT_EQ(verdict(runInPlace), "ok");
}

/// In place of the loop's scatter: a kernel that overwrites `name`.
std::string overwrittenInALoop(const std::string &name) {
  auto change = [&](ProgramT &p) {
    ProgramT sample = test::sampleProgram();
    p.objects = std::move(sample.objects);
    const BufferT &old = buffer(p, 0, name);
    Operand read(number(p, 0, name), Access::Read, 0, old.size);
    Operand written(static_cast<uint32_t>(p.buffers.size()), Access::Write, 0, old.size);
    p.buffers.push_back(std::make_unique<BufferT>(old));
    p.buffers.back()->name = "made";
    p.buffers.back()->first = p.buffers.back()->last = 4;
    p.kernels.push_back(std::make_unique<KernelT>());
    p.kernels[0]->symbol = "negate";
    p.kernels[0]->operands = {Access::Read, Access::Write};
    p.kernels[0]->extents = {old.size, old.size};
    p.kernels[0]->in_place.emplace_back(0, 1);
    std::erase_if(p.objects, [](const auto &object) { return !object->target.starts_with("x86"); });
    KernelCallT call;
    call.operands = {read, written};
    operation(p, 0, 4).Set(std::move(call));
  };
  return verdict(change, test::loopProgram());
}

TEST(InPlaceVerifier, RejectsWhatTheNextPassReads) {
  EXPECT_EQ(overwrittenInALoop("chunk"), "ok");
  EXPECT_THAT(overwrittenInALoop("x"), HasSubstr("buffers 'made' and 'x' overlap"));
}

UpdateT &update(ProgramT &p, size_t time) {
  return *operation(p, 1, time).AsUpdate();
}
/// Takes the instruction at `time` of `step` out, and puts it in before the one at `to` of those that are left.
void moveInstruction(ProgramT &p, std::ptrdiff_t time, std::ptrdiff_t to) {
  auto &all = p.entries[1]->instructions;
  auto moved = std::move(all[static_cast<size_t>(time)]);
  all.erase(all.begin() + time);
  all.insert(all.begin() + to, std::move(moved));
}

class UpdateVerifierTest : public testing::TestWithParam<Fault> {};
TEST_P(UpdateVerifierTest, Rejects) {
  EXPECT_THAT(verdict(GetParam().breakIt, test::stepProgram()), HasSubstr(GetParam().says));
}

const Fault updateFaults[] = {
    {"OtherEntry", [](ProgramT &p) { p.entries[1]->name = "accumulate"; }, "as only the entry 'step' does"},
    {"NoEntry", [](ProgramT &p) { p.entries[1]->name = "accumulate"; }, "none is named 'step'"},
    {"Apply",
     [](ProgramT &p) {
       ProgramT other = test::sampleProgram();
       p.optimizer->in_backward = false;
       p.gradient_bytes = other.gradient_bytes;
       for (size_t i = 0; i < p.parameters.size(); ++i)
         p.parameters[i]->gradient_offset = other.parameters[i]->gradient_offset;
     },
     "as only the entry 'step' does when the optimizer works in the backward pass"},
    {"GradientBlock", [](ProgramT &p) { p.gradient_bytes = 320; }, "header: has a gradient block, though"},
    {"GradientOffset", [](ProgramT &p) { p.parameters[0]->gradient_offset = 0; },
     "'embed': has a place in the gradient block"},
    {"GradientStorage", [](ProgramT &p) { p.buffers[2]->storage = Storage::Gradient; }, "gradient block of 0 bytes"},
    {"Clips", [](ProgramT &p) { p.optimizer->clip_grad_norm = 1; }, "before the norm that it clips by is known"},
    {"NoParameter", [](ProgramT &p) { update(p, 6).parameter = 3; }, "updates parameter 3 of 3"},
    {"NotTrained", [](ProgramT &p) { update(p, 6).parameter = 2; }, "updates 'frozen', which is not trained"},
    {"Twice", [](ProgramT &p) { update(p, 8).parameter = 1; }, "updates 'weight' a second time"},
    {"Never", [](ProgramT &p) { update(p, 8).parameter = 1; }, "never updates 'embed'"},
    {"OtherShape", [](ProgramT &p) { setExtent(*update(p, 6).gradient, 44); }, "is not one that is read in the arena"},
    {"Padding",
     [](ProgramT &p) {
       p.parameters[1]->row_pitch = 16;
       p.buffers[3]->size = 256, setExtent(*update(p, 6).gradient, 256);
       p.entries[1]->arena_bytes = p.arena_bytes = 960;
     },
     "updates 'weight', whose rows have padding"},
    {"Misaligned", [](ProgramT &p) { setByteOffset(*update(p, 8).gradient, 2); },
     "is not one that is read in the arena"},
    {"Outside", [](ProgramT &p) { setByteOffset(*update(p, 8).gradient, 4); }, "are outside of buffer 'grad.embed'"},
    {"WritesTheGradient", [](ProgramT &p) { setAccess(*update(p, 6).gradient, Access::ReadWrite); },
     "is not one that is read in the arena"},
    {"NoBuffer", [](ProgramT &p) { setBuffer(*update(p, 6).gradient, 99); }, "operand names buffer 99"},
    {"WeightsAsGradient", [](ProgramT &p) { setBuffer(*update(p, 6).gradient, 1); },
     "is not one that is read in the arena"},
    {"DeadGradient", [](ProgramT &p) { p.buffers[3]->last = 5; }, "uses buffer 'grad.weight' at time 6"},
    {"UnwrittenGradient", [](ProgramT &p) { setBuffer(*update(p, 6).gradient, 2), p.buffers[2]->first = 6; },
     "reads buffer 'grad.embed' before it was written"},
    {"ReadAfterwards", [](ProgramT &p) { moveInstruction(p, 6, 5); }, "reads 'weight' after the update of 'weight'"},
    {"BeforeTheLoss",
     [](ProgramT &p) {
       moveInstruction(p, 3, 6);
       p.buffers[3]->first = 3, buffer(p, 1, "bias").last = 7;
     },
     "updates 'weight' before there is a loss"},
    {"NoLoss", [](ProgramT &p) { p.entries[1]->outputs[0]->name = "cost"; }, "before there is a loss"},
    {"WideLoss", [](ProgramT &p) { buffer(p, 1, "loss").size = 8; }, "before there is a loss"}};
INSTANTIATE_TEST_SUITE_P(Step, UpdateVerifierTest, testing::ValuesIn(updateFaults), caseName);

TEST(UpdateVerifierTest, AcceptsTheStep) {
  EXPECT_EQ(verdict([](ProgramT &) {}, test::stepProgram()), "ok");
}

TEST(UpdateVerifierTest, LossIsNotWrittenAgain) {
  auto again = [](ProgramT &p) { // dh, which the scatter reads, in place of the loss
    setBuffer(operation(p, 1, 7).AsHostCall()->operands[2], number(p, 1, "loss"));
  };
  EXPECT_THAT(verdict(again, test::stepProgram()), HasSubstr("writes the loss after a parameter was updated by it"));
}

TEST(UpdateVerifierTest, WorkingCopiesAreNotReadAfterwards) {
  auto change = [](ProgramT &p) {
    p.parameters[1]->working_offset = 0;
    p.working_bytes = 64;
    p.buffers.push_back(std::make_unique<BufferT>(*p.buffers[1]));
    BufferT &copy = *p.buffers.back();
    copy.name = "working.weight", copy.storage = Storage::Working, copy.offset = 0;
    copy.dtype = DType::BF16, copy.size = 24;
    CopyT read;
    read.dst = std::make_unique<Operand>(number(p, 1, "dh"), Access::Write, 0, 2);
    read.src = std::make_unique<Operand>(static_cast<uint32_t>(p.buffers.size() - 1), Access::Read, 0, 2);
    read.dtype = DType::BF16;
    operation(p, 1, 7).Set(std::move(read));
  };
  EXPECT_THAT(verdict(change, test::stepProgram()), HasSubstr("reads 'working.weight' after the update of 'weight'"));
}

TEST(UpdateVerifierTest, LoopsDoNotUpdate) {
  auto change = [](ProgramT &p) {
    RowLoopT loop;
    loop.mask = std::make_unique<Operand>(number(p, 1, "target"), Access::Read, 0, 1);
    loop.indices = std::make_unique<Operand>(number(p, 1, "dh"), Access::Write, 0, 8);
    loop.rows = loop.chunk = loop.parts = 1, loop.body = 1;
    operation(p, 1, 5).Set(std::move(loop));
  };
  EXPECT_THAT(verdict(change, test::stepProgram()), HasSubstr("updates a parameter in a loop"));
}

TEST(Verifier, PartsOfAPackedRow) {
  auto cut = [](int64_t parts, ChunkSize size) {
    return [=](ProgramT &p) {
      p.entries[0]->parts = parts;
      p.entries[0]->instructions[1]->chunk_size = size; // y [6, 4] = h [6, 3] w
    };
  };
  EXPECT_EQ(verdict(cut(2, ChunkSize::M)), "ok");
  EXPECT_EQ(verdict(cut(3, ChunkSize::K)), "ok");
  EXPECT_THAT(verdict(cut(4, ChunkSize::M)), HasSubstr("says that a size counts rows"));
  EXPECT_THAT(verdict(cut(1, ChunkSize::M)), HasSubstr("says that a size counts rows"));
  EXPECT_THAT(verdict(cut(0, ChunkSize::None)), HasSubstr("a packed row has an impossible number of parts"));
  EXPECT_THAT(verdict(cut(65, ChunkSize::None)), HasSubstr("impossible number of parts"));
  EXPECT_THAT(verdict([](ProgramT &p) { // kernels run in full
                p.entries[1]->parts = 2;
                p.entries[1]->instructions[2]->chunk_size = ChunkSize::Units;
              }),
              HasSubstr("says that a size counts rows"));
}

TEST(Verifier, AcceptsTheSample) {
  EXPECT_EQ(verdict([](ProgramT &) {}), "ok");
}

TEST(Verifier, ReportsAllFaultsAtOnce) {
  std::string text = verdict([](ProgramT &p) {
    gemm(p).m = 7;
    kernel(p).units = -1;
    gather(p).function = "system";
  });
  for (const char *part : {"outside of buffer", "-1 work items", "calls 'system'", "(linear)", "entry 1 'accumulate'"})
    EXPECT_THAT(text, HasSubstr(part));
}

TEST(Verifier, CountsFaultsBeyondFifty) {
  std::string text = verdict([](ProgramT &p) {
    for (int i = 0; i < 80; ++i) {
      p.settings.push_back(std::make_unique<SettingT>());
      p.settings.back()->key = "same";
    }
  });
  EXPECT_THAT(text, HasSubstr("and 29 more faults"));
}

TEST(Verifier, RejectsUnknownSchemaAndInstruction) {
  ProgramT program = test::sampleProgram();
  program.schema_version = 99; // the writer sets it: pack by hand
  flatbuffers::FlatBufferBuilder builder;
  builder.Finish(schema::Program::Pack(builder, &program), ProgramIdentifier());
  EXPECT_THAT(verdict([](ProgramT &p) { p.entries[0]->instructions[0]->operation.Reset(); }),
              HasSubstr("required field is missing"));
}

// Tests that lifetimes of many buffers are checked in a time that grows with their number, not its square.
TEST(Verifier, TakesManyBuffers) {
  EXPECT_THAT(verdict([](ProgramT &p) {
                for (int i = 0; i < 100000; ++i) {
                  auto extra = std::make_unique<BufferT>();
                  extra->name = "extra" + std::to_string(i);
                  extra->entry = 0;
                  extra->size = 64;
                  extra->offset = 0;
                  extra->first = extra->last = 4;
                  p.buffers.push_back(std::move(extra));
                }
              }),
              HasSubstr("more faults"));
}

TEST(Layout, CountsElements) {
  EXPECT_EQ(elementCount(std::vector<int64_t>{}), 1);
  EXPECT_EQ(elementCount(std::vector<int64_t>{2, 0, 3}), 0);
  EXPECT_EQ(elementCount(std::vector<int64_t>{2, -1}), std::nullopt);
  EXPECT_EQ(elementCount(std::vector<int64_t>{huge, 2}), std::nullopt);
  EXPECT_EQ(elementCount(std::vector<int64_t>{huge, 2, 0}), std::nullopt);
}

TEST(Layout, StridesReachAndCollide) {
  const int64_t dims[] = {2, 3}, rows[] = {3, 1}, overlapping[] = {2, 1}, transposed[] = {1, 2}, empty[] = {0, 3};
  EXPECT_EQ(stridedExtent(dims, rows), 6);
  EXPECT_EQ(stridedExtent(empty, rows), 0);
  EXPECT_TRUE(isInjective(dims, rows));
  EXPECT_TRUE(isInjective(dims, transposed));
  EXPECT_FALSE(isInjective(dims, overlapping));
}

TEST(HostFunctions, AreFoundByName) {
  for (const HostFunction &function : hostFunctions())
    EXPECT_EQ(findHostFunction(function.name), &function);
  EXPECT_EQ(findHostFunction("system"), nullptr);
}

} // namespace
} // namespace graft
