// The way from a module to a shared object: identity of programs, determinism, refusals, and the C++ builders.
#include "mlir/IR/Verifier.h"
#include "passes/codegen/Fingerprint.h"
#include "test/passes/codegen/Kernels.h"

using namespace mlir;

namespace graft::test {
namespace {

/// Adds `constant` to rows of `columns`.
std::string addConstant(const std::string &name, double constant, int64_t columns = 64) {
  return substitute(R"(
rt.row_program @NAME rows [4] columns COLUMNS (%x: !rt.access<f32, [COLUMNS], 1>, %y: !rt.access<f32, [COLUMNS], 1>) {
  %c = arith.constant CONSTANT : f32
  rt.sweep (%a = %x : !rt.access<f32, [COLUMNS], 1>) writes (%y : !rt.access<f32, [COLUMNS], 1>) {
    %b = arith.addf %a, %c : f32
    rt.yield %b : f32
  }
})",
                    {{"NAME", name}, {"COLUMNS", std::to_string(columns)}, {"CONSTANT", std::to_string(constant)}});
}

std::string compileBytes(const std::string &text, unsigned threads, CpuLevel level = CpuLevel::X86_64_V3) {
  MLIRContext context;
  auto module = parse(context, text);
  Result<CompiledKernels> compiled = compileRowPrograms(*module, {.level = level, .threads = threads});
  EXPECT_TRUE(compiled.isOk()) << compiled.status().text();
  return compiled.isOk() ? compiled->object : "";
}

TEST(CompileKernels, NoProgramsGiveNoObject) {
  Kernels kernels = Kernels::compile("func.func private @other()", CpuLevel::X86_64_V3);
  EXPECT_TRUE(kernels.compiled().object.empty());
  EXPECT_TRUE(kernels.compiled().kernels.empty());
}

TEST(CompileKernels, EqualProgramsShareASymbol) {
  Kernels kernels =
      Kernels::compile(addConstant("a", 1) + addConstant("b", 2) + addConstant("c", 1), runnableLevels().back());
  const auto &infos = kernels.compiled().kernels;
  ASSERT_EQ(infos.size(), 3u);
  EXPECT_EQ(infos[0].symbol, "a");
  EXPECT_EQ(infos[1].symbol, "b");
  EXPECT_EQ(infos[2].symbol, "a");
  EXPECT_EQ(infos[0].fingerprint, infos[2].fingerprint);
  std::vector<float> x(256, 5), y(256);
  kernels.run("b", {x.data(), y.data()});
  EXPECT_EQ(y[255], 7);
  kernels.run("c", {x.data(), y.data()});
  EXPECT_EQ(y[255], 6);
}

TEST(CompileKernels, BytesDependOnTheProgramsAlone) {
  std::string text;
  for (int i = 0; i < 60; ++i)
    text += addConstant("kernel_" + std::to_string(i), i, 64 + i % 7);
  std::string one = compileBytes(text, 1);
  EXPECT_EQ(one, compileBytes(text, 2));
  EXPECT_EQ(one, compileBytes(text, 5));
  EXPECT_NE(one, compileBytes(text, 1, CpuLevel::X86_64_V4));
  EXPECT_EQ(one.substr(0, 4), "\x7f"
                              "ELF");
}

// Tests that a kernel's code does not depend on which other kernels exist.
TEST(CompileKernels, ManyPartsAllRun) {
  std::string text;
  for (int i = 0; i < 30; ++i)
    text += addConstant("kernel_" + std::to_string(i), i);
  Kernels kernels = Kernels::compile(text, runnableLevels().back(), 2);
  std::vector<float> x(256, 1), y(256);
  for (int i = 0; i < 30; ++i) {
    kernels.run("kernel_" + std::to_string(i), {x.data(), y.data()});
    EXPECT_EQ(y[100], 1 + i);
  }
}

TEST(CompileKernels, RefusesLibraryCalls) {
  std::string text = substitute(addConstant("remainder", 3), {{"arith.addf", "arith.remf"}});
  std::string error = compileError(text);
  EXPECT_NE(error.find("unsupported"), std::string::npos) << error;
  EXPECT_NE(error.find("would call library functions: fmodf"), std::string::npos) << error;
}

TEST(CompileKernels, RefusesFunctionsWithoutAForm) {
  std::string text = substitute(addConstant("clz", 3), {{"%b = arith.addf %a, %c : f32", R"(
    %i = arith.fptosi %a : f32 to i32
    %z = math.ctpop %i : i32
    %b = arith.sitofp %z : i32 to f32)"}});
  std::string error = compileError(text);
  EXPECT_NE(error.find("'math.ctpop' op has no form without a library call"), std::string::npos) << error;
}

TEST(Fingerprint, IsThatOfTheCode) {
  MLIRContext context;
  auto module =
      parse(context, addConstant("a", 1) + addConstant("b", 1) + addConstant("c", 2) + addConstant("d", 1, 65));
  std::vector<std::string> prints;
  for (auto program : module->getOps<rt::RowProgramOp>())
    prints.push_back(fingerprint(program));
  ASSERT_EQ(prints.size(), 4u);
  EXPECT_EQ(prints[0].size(), 32u);
  EXPECT_EQ(prints[0], prints[1]) << "a name is not part of the code";
  EXPECT_NE(prints[0], prints[2]) << "a constant is";
  EXPECT_NE(prints[0], prints[3]) << "and so are the columns";
}

/// sum[row] = sum of x[row, :]^2, built by the C++ builders; y = x * sum through scratch.
rt::RowProgramOp buildProgram(OpBuilder &builder, StringRef name) {
  Location loc = builder.getUnknownLoc();
  Type f32 = builder.getF32Type();
  auto rows = rt::AccessType::get(f32, {100}, 1);
  auto perRow = rt::AccessType::get(f32, {1}, 0, {.noalias = true});
  auto program = rt::RowProgramOp::create(builder, loc, name, {3}, 100, 1, {rows, rows, perRow});
  OpBuilder::InsertionGuard guard(builder);
  builder.setInsertionPointToEnd(program.getBody());
  Value x = program.getBody()->getArgument(0), y = program.getBody()->getArgument(1),
        sum = program.getBody()->getArgument(2);
  Value squares = rt::ScratchOp::create(builder, loc);
  auto sweep = rt::SweepOp::create(builder, loc, x, squares, {rt::ReductionKind::Add}, f32,
                                   [](OpBuilder &b, Location at, ValueRange in) -> SmallVector<Value> {
                                     Value square = arith::MulFOp::create(b, at, in[0], in[0]);
                                     return {square, square};
                                   });
  Value total = sweep.getResult(0);
  rt::StoreOp::create(builder, loc, total, sum);
  Value again = rt::LoadOp::create(builder, loc, sum);
  rt::SweepOp::create(builder, loc, squares, y, {}, {},
                      [&](OpBuilder &b, Location at, ValueRange in) -> SmallVector<Value> {
                        return {arith::MulFOp::create(b, at, in[0], again)};
                      });
  return program;
}

TEST(Builders, MakeARunningProgram) {
  MLIRContext context;
  prepare(context);
  OpBuilder builder(&context);
  OwningOpRef<ModuleOp> module = ModuleOp::create(builder.getUnknownLoc());
  builder.setInsertionPointToStart(module->getBody());
  buildProgram(builder, "built");
  ASSERT_TRUE(succeeded(verify(*module)));
  std::string text;
  llvm::raw_string_ostream(text) << *module;
  for (const Machine &machine : machines()) {
    Kernels kernels = Kernels::compile(text, machine);
    std::vector<float> x(300, 2), y(300), sum(3);
    kernels.run("built", {x.data(), y.data(), sum.data()});
    EXPECT_EQ(sum, (std::vector<float>{400, 400, 400})) << name(machine);
    EXPECT_EQ(y[299], 1600) << name(machine);
  }
}

TEST(Builders, ReportUnitsAndAccesses) {
  MLIRContext context;
  prepare(context);
  OpBuilder builder(&context);
  auto access = rt::AccessType::get(builder.getBF16Type(), {60, 20, 0}, 1, {.align = 64});
  EXPECT_EQ(access.getElementBytes(), 2);
  EXPECT_TRUE(access.getComputeType().isF32());
  EXPECT_EQ(access.getExtent({2, 3, 5}, 20), 60 + 40 + 20);
  OwningOpRef<rt::RowProgramOp> program =
      rt::RowProgramOp::create(builder, builder.getUnknownLoc(), "p", {2, 3, 5}, 20, 15, {access});
  EXPECT_EQ(program->getRowCount(), 30);
  EXPECT_EQ(program->getUnitCount(), 2);
  EXPECT_EQ(program->getUnitRank(), 1u);
  EXPECT_EQ(program->getAccesses().front(), access);
}

} // namespace
} // namespace graft::test
