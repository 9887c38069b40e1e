// Where the optimizer's step of a parameter goes: behind the last instruction that reads it or its gradient, and behind
// the loss.
#include "dialects/rl/RLDialect.h"
#include "passes/codegen/Passes.h"
#include "passes/lower/Lower.h"
#include "runtime/program/Instructions.h"
#include "runtime/program/Program.h"
#include "runtime/program/ProgramFile.h"

#include "mlir/Parser/Parser.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

using namespace mlir;

namespace graft {
namespace {

using testing::ElementsAre;

class Updates : public testing::Test {
protected:
  Updates() {
    DialectRegistry registry;
    rl::registerDialects(registry);
    registerCodegenDialects(registry);
    context.appendDialectRegistry(registry);
    context.loadAllAvailableDialects();
  }

  /// The program of a function, which the verifier accepts; `parameters` are [8, 8] and train.
  std::optional<Program> compiled(const std::string &body, std::vector<std::string> parameters) {
    std::string text = R"(func.func @accumulate(%x: tensor<4x8xf32> {rl.name = "x"}) -> )" + body;
    OwningOpRef<ModuleOp> module = parseSourceString<ModuleOp>(text, &context);
    EXPECT_TRUE(module);
    schema::ProgramT program;
    program.target = "cpu";
    program.optimizer = std::make_unique<schema::OptimizerT>();
    program.optimizer->name = "adamw";
    program.optimizer->in_backward = true;
    for (std::string &name : parameters) {
      program.parameters.push_back(std::make_unique<schema::ParameterT>());
      program.parameters.back()->name = std::move(name);
      program.parameters.back()->shape = {8, 8};
      program.parameters.back()->trained = true;
    }
    layOutParameters(program);
    OwningOpRef<ModuleOp> kernels = ModuleOp::create(UnknownLoc::get(&context));
    auto function = *module->getOps<func::FuncOp>().begin();
    EXPECT_TRUE(succeeded(prepareEntry(function)) && succeeded(lowerEntry(function, program, *kernels)));
    EXPECT_EQ(program.gradient_bytes, 0);
    CodegenOptions options;
    options.level = *hostCpuLevel();
    EXPECT_TRUE(compileKernels(*kernels, program, options).isOk());
    auto bytes = serializeProgram(program);
    auto loaded = Program::fromBytes(*bytes);
    EXPECT_TRUE(loaded.isOk()) << loaded.status().text();
    return loaded.isOk() ? std::optional(*loaded) : std::nullopt;
  }

  /// "gemm", "kernel", ..., and "update NAME". A sum of everything is two kernels.
  std::vector<std::string> instructionsOf(const std::string &body, std::vector<std::string> parameters) {
    std::vector<std::string> kinds;
    if (std::optional<Program> program = compiled(body, std::move(parameters)))
      for (const schema::Instruction *instruction : *program->root().entries()->Get(0)->instructions()) {
        kinds.push_back(std::string(kindOf(*instruction)));
        if (const schema::Update *update = instruction->operation_as_Update())
          kinds.back() += " " + program->root().parameters()->Get(update->parameter())->name()->str();
      }
    return kinds;
  }

  MLIRContext context;
};

// Two layers, y = (x a) b: the gradient of the second layer is complete before b is read for that of the first.
constexpr const char *twoLayers =
    R"((tensor<f32> {rl.name = "loss"}, tensor<8x8xf32> {rl.name = "grad.a"}, tensor<8x8xf32> {rl.name = "grad.b"}) {
  %a = rl.parameter "a" trained : tensor<8x8xf32>
  %b = rl.parameter "b" trained : tensor<8x8xf32>
  %h = nn.contract "ik,kj->ij" %x, %a : tensor<4x8xf32>, tensor<8x8xf32> -> tensor<4x8xf32>
  %y = nn.contract "ik,kj->ij" %h, %b : tensor<4x8xf32>, tensor<8x8xf32> -> tensor<4x8xf32>
  %loss = nn.reduce sum %y axes = [0, 1] : tensor<4x8xf32> -> tensor<f32>
  %d = math.exp %y : tensor<4x8xf32>
  %db = nn.contract "ik,ij->kj" %h, %d : tensor<4x8xf32>, tensor<4x8xf32> -> tensor<8x8xf32>
  %dh = nn.contract "ij,kj->ik" %d, %b : tensor<4x8xf32>, tensor<8x8xf32> -> tensor<4x8xf32>
  %da = nn.contract "ik,ij->kj" %x, %dh : tensor<4x8xf32>, tensor<4x8xf32> -> tensor<8x8xf32>
  return %loss, %da, %db : tensor<f32>, tensor<8x8xf32>, tensor<8x8xf32>
})";

TEST_F(Updates, WaitForTheLastReaderOfTheParameter) {
  EXPECT_THAT(instructionsOf(twoLayers, {"a", "b"}), ElementsAre("gemm", "gemm", "kernel", "kernel", "kernel", "gemm",
                                                                 "gemm", "update b", "gemm", "update a"));
}

TEST_F(Updates, FreeTheGradientsMemory) {
  std::optional<Program> program = compiled(twoLayers, {"a", "b"});
  ASSERT_TRUE(program);
  EXPECT_EQ(program->root().entries()->Get(0)->name()->str(), "step");
  std::map<std::string, std::pair<int, int>> lives;
  for (const schema::Buffer *buffer : *program->root().buffers())
    lives[buffer->name()->str()] = {buffer->first(), buffer->last()};
  EXPECT_EQ(lives["grad.b"], (std::pair{5, 7}));
  EXPECT_EQ(lives["grad.a"], (std::pair{8, 9}));
  EXPECT_EQ(lives["loss"].second, 10); // outputs are read when all instructions have run
}

TEST_F(Updates, WaitForTheLoss) {
  const char *body = R"((tensor<f32> {rl.name = "loss"}, tensor<8x8xf32> {rl.name = "grad.a"}) {
  %a = rl.parameter "a" trained : tensor<8x8xf32>
  %y = nn.contract "ik,kj->ij" %x, %a : tensor<4x8xf32>, tensor<8x8xf32> -> tensor<4x8xf32>
  %da = nn.contract "ik,ij->kj" %x, %y : tensor<4x8xf32>, tensor<4x8xf32> -> tensor<8x8xf32>
  %z = nn.contract "ik,jk->ij" %y, %x : tensor<4x8xf32>, tensor<4x8xf32> -> tensor<4x4xf32>
  %loss = nn.reduce sum %z axes = [0, 1] : tensor<4x4xf32> -> tensor<f32>
  return %loss, %da : tensor<f32>, tensor<8x8xf32>
})";
  EXPECT_THAT(instructionsOf(body, {"a"}), ElementsAre("gemm", "gemm", "gemm", "kernel", "kernel", "update a"));
}

// Tests that both contributions to the gradient of a tied weight are there before it moves.
TEST_F(Updates, WaitForEveryContributionToTheGradient) {
  const char *body = R"((tensor<f32> {rl.name = "loss"}, tensor<8x8xf32> {rl.name = "grad.a"}) {
  %a = rl.parameter "a" trained : tensor<8x8xf32>
  %h = nn.contract "ik,kj->ij" %x, %a : tensor<4x8xf32>, tensor<8x8xf32> -> tensor<4x8xf32>
  %y = nn.contract "ik,jk->ij" %h, %a : tensor<4x8xf32>, tensor<8x8xf32> -> tensor<4x8xf32>
  %loss = nn.reduce sum %y axes = [0, 1] : tensor<4x8xf32> -> tensor<f32>
  %second = nn.contract "ij,ik->jk" %y, %h : tensor<4x8xf32>, tensor<4x8xf32> -> tensor<8x8xf32>
  %dh = nn.contract "ij,jk->ik" %y, %a : tensor<4x8xf32>, tensor<8x8xf32> -> tensor<4x8xf32>
  %first = nn.contract "ik,ij->kj" %x, %dh : tensor<4x8xf32>, tensor<4x8xf32> -> tensor<8x8xf32>
  %da = arith.addf %second, %first : tensor<8x8xf32>
  return %loss, %da : tensor<f32>, tensor<8x8xf32>
})";
  EXPECT_THAT(instructionsOf(body, {"a"}),
              ElementsAre("gemm", "gemm", "kernel", "kernel", "gemm", "gemm", "gemm", "update a"));
}

// Tests that a gradient which its operator cannot write where it belongs is copied there at once, not at the end.
TEST_F(Updates, DoNotWaitForTheEndWhereAGradientIsAView) {
  const char *body =
      R"((tensor<f32> {rl.name = "loss"}, tensor<8x8xf32> {rl.name = "grad.a"}, tensor<4x8xf32> {rl.name = "y"}) {
  %a = rl.parameter "a" trained : tensor<8x8xf32>
  %h = nn.contract "ik,kj->ij" %x, %a : tensor<4x8xf32>, tensor<8x8xf32> -> tensor<4x8xf32>
  %loss = nn.reduce sum %h axes = [0, 1] : tensor<4x8xf32> -> tensor<f32>
  %d = nn.contract "ik,ij->kj" %h, %x : tensor<4x8xf32>, tensor<4x8xf32> -> tensor<8x8xf32>
  %da = nn.transpose %d perm = [1, 0] : tensor<8x8xf32> -> tensor<8x8xf32>
  %y = nn.contract "ik,kj->ij" %h, %d : tensor<4x8xf32>, tensor<8x8xf32> -> tensor<4x8xf32>
  return %loss, %da, %y : tensor<f32>, tensor<8x8xf32>, tensor<4x8xf32>
})";
  EXPECT_THAT(instructionsOf(body, {"a"}), ElementsAre("gemm", "kernel", "kernel", "gemm", "copy", "update a", "gemm"));
}

TEST_F(Updates, AFunctionWithoutGradientsHasNone) {
  auto program = compiled(twoLayers, {"a", "b"});
  ASSERT_TRUE(program);
  schema::ProgramT table;
  program->root().UnPackTo(&table);
  OwningOpRef<ModuleOp> module = parseSourceString<ModuleOp>(R"(
    func.func @logprobs(%x: tensor<4x8xf32> {rl.name = "x"}) -> (tensor<4x8xf32> {rl.name = "y"}) {
      %a = rl.parameter "a" trained : tensor<8x8xf32>
      %y = nn.contract "ik,kj->ij" %x, %a : tensor<4x8xf32>, tensor<8x8xf32> -> tensor<4x8xf32>
      return %y : tensor<4x8xf32>
    })",
                                                             &context);
  OwningOpRef<ModuleOp> kernels = ModuleOp::create(UnknownLoc::get(&context));
  ASSERT_TRUE(succeeded(lowerEntry(*module->getOps<func::FuncOp>().begin(), table, *kernels)));
  EXPECT_EQ(table.entries.back()->name, "logprobs");
  EXPECT_EQ(table.entries.back()->instructions.size(), 1u);
}

} // namespace
} // namespace graft
