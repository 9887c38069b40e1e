// Peaks, uses and kinds, on a program that was compiled for it.
#include "passes/report/ProgramReport.h"
#include "dialects/rl/RLDialect.h"
#include "passes/codegen/Passes.h"
#include "passes/lower/Lower.h"
#include "runtime/program/Program.h"
#include "runtime/program/ProgramFile.h"

#include "mlir/Parser/Parser.h"

#include <gtest/gtest.h>

using namespace mlir;

namespace graft::report {
namespace {

/// y = exp(x w^T) and the gradient of w for a cotangent g of x w^T.
constexpr const char *text = R"(
func.func @f(%x: tensor<6x8xf32> {rl.name = "x"}, %g: tensor<6x5xf32> {rl.name = "g"}) -> (tensor<6x5xf32> {rl.name = "y"}, tensor<5x8xf32> {rl.name = "grad.w"}) {
  %w = rl.parameter "w" trained : tensor<5x8xf32>
  %p = nn.contract "bk,nk->bn" %x, %w : tensor<6x8xf32>, tensor<5x8xf32> -> tensor<6x5xf32>
  %y = math.exp %p : tensor<6x5xf32>
  %d = nn.contract "bn,bk->nk" %g, %x : tensor<6x5xf32>, tensor<6x8xf32> -> tensor<5x8xf32>
  return %y, %d : tensor<6x5xf32>, tensor<5x8xf32>
})";

class ProgramReport : public testing::Test {
protected:
  void SetUp() override {
    DialectRegistry registry;
    rl::registerDialects(registry);
    registerCodegenDialects(registry);
    MLIRContext context(registry, MLIRContext::Threading::DISABLED);
    context.loadAllAvailableDialects();
    OwningOpRef<ModuleOp> module = parseSourceString<ModuleOp>(text, &context);
    ASSERT_TRUE(module);
    schema::ProgramT program;
    auto parameter = std::make_unique<schema::ParameterT>();
    parameter->name = "w";
    parameter->shape = {5, 8};
    parameter->trained = true;
    program.parameters.push_back(std::move(parameter));
    layOutParameters(program);
    OwningOpRef<ModuleOp> kernels = ModuleOp::create(UnknownLoc::get(&context));
    func::FuncOp function = *module->getOps<func::FuncOp>().begin();
    ASSERT_TRUE(succeeded(prepareEntry(function)));
    ASSERT_TRUE(succeeded(lowerEntry(function, program, *kernels)));
    CodegenOptions options;
    auto level = hostCpuLevel();
    ASSERT_TRUE(level.isOk());
    options.level = *level;
    Status compiled = compileKernels(*kernels, program, options);
    ASSERT_TRUE(compiled.isOk()) << compiled.text();
    program.target = "cpu";
    auto bytes = serializeProgram(program);
    ASSERT_TRUE(bytes.isOk());
    auto loaded = Program::fromBytes(*bytes);
    ASSERT_TRUE(loaded.isOk()) << loaded.status().text();
    loaded_ = *loaded;
  }
  const schema::Program &program() const { return loaded_->root(); }

  std::optional<Program> loaded_;
};

TEST_F(ProgramReport, peakIsWithinTheArenaAndMadeOfWhatLives) {
  std::vector<PeakMemory> peaks = peakMemory(program());
  ASSERT_EQ(peaks.size(), 1u);
  const PeakMemory &peak = peaks[0];
  EXPECT_EQ(peak.planned, program().arena_bytes());
  EXPECT_GT(peak.lowerBound, 0);
  EXPECT_LE(peak.lowerBound, peak.planned);
  int64_t sum = 0, last = INT64_MAX;
  for (uint32_t index : peak.live) {
    const schema::Buffer &buffer = *program().buffers()->Get(index);
    EXPECT_LE(buffer.first(), peak.time);
    EXPECT_GE(buffer.last(), peak.time);
    EXPECT_LE(buffer.size(), last);
    last = buffer.size();
    sum += (buffer.size() + 63) / 64 * 64;
  }
  EXPECT_EQ(sum, peak.lowerBound);
  // x [6, 8], g [6, 5] are there from the start.
  EXPECT_GE(peak.lowerBound, 192 + 128);
}

TEST_F(ProgramReport, everyArenaBufferIsWrittenBeforeItIsRead) {
  auto uses = bufferUses(program());
  ASSERT_EQ(uses.size(), program().buffers()->size());
  for (unsigned i = 0; i < uses.size(); ++i) {
    const schema::Buffer &buffer = *program().buffers()->Get(i);
    if (buffer.storage() != schema::Storage::Arena || buffer.first() < 0 || uses[i].empty())
      continue;
    EXPECT_NE(uses[i].front().access, schema::Access::Read) << buffer.name()->str();
    EXPECT_EQ(uses[i].front().instruction, buffer.first());
  }
}

TEST_F(ProgramReport, aParameterIsReadAndItsGradientWritten) {
  auto uses = bufferUses(program());
  bool read = false, written = false;
  for (uint32_t index : buffersOf(program(), *program().parameters()->Get(0)))
    for (const BufferUse &use : uses[index]) {
      bool gradient = program().buffers()->Get(index)->storage() == schema::Storage::Gradient;
      read |= !gradient && use.access == schema::Access::Read;
      written |= gradient && use.access != schema::Access::Read;
    }
  EXPECT_TRUE(read);
  EXPECT_TRUE(written);
}

TEST_F(ProgramReport, kindsAreNamed) {
  std::map<std::string, int> kinds;
  for (const schema::Instruction *instruction : *program().entries()->Get(0)->instructions())
    ++kinds[std::string(kindOf(*instruction))];
  EXPECT_EQ(kinds["gemm"], 2);
  EXPECT_EQ(kinds["kernel"], 1);
}

TEST(EmptyProgram, hasNoPeaksAndNoUses) {
  flatbuffers::FlatBufferBuilder builder;
  schema::ProgramT empty;
  builder.Finish(schema::CreateProgram(builder, &empty));
  const auto &program = *flatbuffers::GetRoot<schema::Program>(builder.GetBufferPointer());
  EXPECT_TRUE(peakMemory(program).empty());
  EXPECT_TRUE(bufferUses(program).empty());
}

} // namespace
} // namespace graft::report
