// The way from a module to PTX: determinism, one header, the table of kernels, refusals.
#include "mlir/Target/LLVMIR/Dialect/Builtin/BuiltinToLLVMIRTranslation.h"
#include "mlir/Target/LLVMIR/Dialect/LLVMIR/LLVMToLLVMIRTranslation.h"
#include "passes/codegen/NativeCode.h"
#include "passes/codegen/Passes.h"
#include "test/passes/codegen/Kernels.h"
#include <gmock/gmock.h>

using namespace mlir;
using testing::HasSubstr;
using testing::Not;

namespace graft::test {
namespace {

std::string sum(const std::string &name, int64_t columns) {
  return substitute(R"(
rt.row_program @NAME rows [4] columns COLUMNS (%x: !rt.access<f32, [COLUMNS], 1, align 64>, %y: !rt.access<f32, [1], 0>) {
  %s = rt.sweep (%a = %x : !rt.access<f32, [COLUMNS], 1, align 64>) reduces (add : f32) { rt.yield %a : f32 }
  rt.store %s, %y : f32, !rt.access<f32, [1], 0>
})",
                    {{"NAME", name}, {"COLUMNS", std::to_string(columns)}});
}

CompiledPtx compilePtx(const std::string &text, unsigned threads = 1) {
  MLIRContext context;
  auto module = parse(context, text);
  Result<CompiledPtx> compiled = compileRowProgramsToPtx(*module, {.threads = threads, .verifyPasses = true});
  EXPECT_TRUE(compiled.isOk()) << compiled.status().text();
  return compiled.isOk() ? std::move(*compiled) : CompiledPtx();
}

size_t count(const std::string &text, const std::string &what) {
  size_t found = 0;
  for (size_t at = text.find(what); at != std::string::npos; at = text.find(what, at + 1))
    ++found;
  return found;
}

TEST(Ptx, NoProgramsGiveNoText) {
  CompiledPtx compiled = compilePtx("func.func private @other()");
  EXPECT_TRUE(compiled.text.empty());
  EXPECT_TRUE(compiled.kernels.empty());
}

TEST(Ptx, DependsOnTheProgramsAlone) {
  std::string text;
  for (int i = 0; i < 60; ++i) // some in a warp, some in a block with shared memory
    text += sum("kernel_" + std::to_string(i), 1000 + i);
  std::string one = compilePtx(text, 1).text;
  EXPECT_EQ(one, compilePtx(text, 2).text);
  EXPECT_EQ(one, compilePtx(text, 5).text);
  EXPECT_EQ(one.substr(0, 9), ".version ");
  for (const char *directive : {".version", ".target", ".address_size"})
    EXPECT_EQ(count(one, directive), 1u) << directive;
  EXPECT_EQ(count(one, ".visible .entry kernel_"), 60u);
}

TEST(Ptx, TableSaysHowKernelsAreLaunched) {
  CompiledPtx compiled = compilePtx(sum("warp", 1024) + sum("block", 1025) + sum("again", 1024));
  ASSERT_EQ(compiled.kernels.size(), 3u);
  EXPECT_EQ(compiled.kernels[0].launch.blockThreads, 128);
  EXPECT_EQ(compiled.kernels[0].launch.blockUnits, 4);
  EXPECT_EQ(compiled.kernels[1].launch.blockThreads, 256);
  EXPECT_EQ(compiled.kernels[1].launch.blockUnits, 1);
  EXPECT_EQ(compiled.kernels[2].symbol, "warp") << "equal programs share a kernel";
  EXPECT_EQ(count(compiled.text, ".entry"), 2u);
}

/// PTX of functions that may call others, which no row program can write.
Result<std::string> ptxOf(const std::string &text) {
  MLIRContext context;
  DialectRegistry registry;
  registerBuiltinDialectTranslation(registry);
  registerLLVMDialectTranslation(registry);
  context.appendDialectRegistry(registry);
  auto module = parse(context, text);
  return compileToPtx(*module);
}

TEST(Ptx, RefusesCalls) {
  Result<std::string> ptx = ptxOf(R"(
llvm.func @__nv_expf(f32) -> f32
llvm.func @nothing()
llvm.func @kernel(%x: f32, %p: !llvm.ptr) {
  %y = llvm.call @__nv_expf(%x) : (f32) -> f32
  llvm.call @nothing() : () -> ()
  llvm.store %y, %p : f32, !llvm.ptr
  llvm.return
})");
  ASSERT_FALSE(ptx.isOk());
  EXPECT_THAT(ptx.status().text(), HasSubstr("would call library functions: __nv_expf, nothing"));
}

TEST(Ptx, EveryFunctionBecomesAKernel) {
  Result<std::string> ptx = ptxOf("llvm.func @kernel(%x: i64) { llvm.return }");
  ASSERT_TRUE(ptx.isOk()) << ptx.status().text();
  EXPECT_THAT(*ptx, HasSubstr(".visible .entry kernel("));
  EXPECT_THAT(*ptx, Not(HasSubstr(".func")));
}

TEST(Ptx, RefusesFunctionsWithoutAForm) {
  MLIRContext context;
  auto module = parse(context, substitute(sum("count", 64), {{"{ rt.yield %a : f32 }", R"({
    %i = arith.fptosi %a : f32 to i32
    %z = math.ctpop %i : i32
    %b = arith.sitofp %z : i32 to f32
    rt.yield %b : f32
  })"}}));
  Result<CompiledPtx> compiled = compileRowProgramsToPtx(*module, {});
  ASSERT_FALSE(compiled.isOk());
  EXPECT_THAT(compiled.status().text(), HasSubstr("'math.ctpop' op has no form without a library call"));
}

} // namespace
} // namespace graft::test
