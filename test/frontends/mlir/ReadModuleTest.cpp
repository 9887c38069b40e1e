// Graphs as MLIR text: what is read, and every fault with its place.
#include "frontends/mlir/ReadModule.h"
#include "dialects/rl/RLDialect.h"
#include "frontends/mlir/Diagnostics.h"

#include "mlir/Bytecode/BytecodeWriter.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"

#include "llvm/Support/raw_ostream.h"

#include <gmock/gmock.h>

#include <filesystem>
#include <fstream>
#include <unistd.h>

using namespace mlir;

namespace graft {
namespace {

using testing::HasSubstr;

const char *const sound = R"(func.func @forward(%ids: tensor<2x3xi64> {rl.name = "input_ids"}) -> tensor<2x3x4xf32> {
  %w = rl.parameter "embedding" trained : tensor<5x4xf32>
  %x = nn.gather %w, %ids axis = 0 : tensor<5x4xf32>, tensor<2x3xi64> -> tensor<2x3x4xf32>
  return %x : tensor<2x3x4xf32>
})";

class ReadModuleTest : public testing::Test {
protected:
  ReadModuleTest() {
    folder_ = std::filesystem::temp_directory_path() / ("read_module_" + std::to_string(getpid()));
    std::filesystem::create_directories(folder_);
    DialectRegistry registry;
    rl::registerDialects(registry);
    context.appendDialectRegistry(registry);
    context.loadAllAvailableDialects();
  }
  ~ReadModuleTest() override { std::filesystem::remove_all(folder_); }

  std::string write(const std::string &text, const std::string &name = "graph.mlir") {
    std::string path = (folder_ / name).string();
    std::ofstream(path, std::ios::binary) << text;
    return path;
  }
  Status faultsOf(const std::string &text) {
    auto read = readModule(write(text), context);
    EXPECT_FALSE(read.isOk());
    return read.isOk() ? Status::ok() : read.takeStatus();
  }

  MLIRContext context;

private:
  std::filesystem::path folder_;
};

TEST_F(ReadModuleTest, ReadsTextAndBytecodeAlike) {
  auto text = readModule(write(sound), context);
  ASSERT_TRUE(text.isOk()) << text.status().text();
  std::string bytes;
  llvm::raw_string_ostream stream(bytes);
  ASSERT_TRUE(succeeded(writeBytecodeToFile(*text->module, stream)));
  auto bytecode = readModule(write(bytes, "graph.mlirbc"), context);
  ASSERT_TRUE(bytecode.isOk()) << bytecode.status().text();
  EXPECT_NE(text->fingerprint, bytecode->fingerprint);
  std::string first, second;
  llvm::raw_string_ostream(first) << *text->module;
  llvm::raw_string_ostream(second) << *bytecode->module;
  EXPECT_EQ(first, second);
}

TEST_F(ReadModuleTest, SyntaxErrorsHaveLineAndColumn) {
  Status status = faultsOf("func.func @forward() {\n  lunch\n}");
  EXPECT_EQ(status.faults()[0].code, Code::Format);
  EXPECT_THAT(status.text(), HasSubstr("graph.mlir:2:3"));
}

TEST_F(ReadModuleTest, InvalidOperatorsAreFaultsOfTheFormat) {
  std::string text = sound;
  text.replace(text.find("axis = 0"), 8, "axis = 7");
  EXPECT_THAT(faultsOf(text).text(), HasSubstr("graph.mlir:3:8"));
}

TEST_F(ReadModuleTest, ForeignOperatorsAreReportedAllAtOnce) {
  context.allowUnregisteredDialects();
  Status status = faultsOf(R"(func.func @forward(%x: tensor<2xf32> {rl.name = "x"}) -> tensor<2xf32> {
    %a = "lunch.soup"(%x) : (tensor<2xf32>) -> tensor<2xf32>
    %b = "lunch.bread"(%a) : (tensor<2xf32>) -> tensor<2xf32>
    return %b : tensor<2xf32>
  })");
  EXPECT_EQ(status.faults().size(), 2u);
  EXPECT_THAT(status.text(), HasSubstr("lunch.soup"));
  EXPECT_THAT(status.text(), HasSubstr("lunch.bread"));
}

TEST_F(ReadModuleTest, ArgumentsNeedNamesAndShapes) {
  Status status = faultsOf("func.func @forward(%a: tensor<2xf32>, %b: tensor<?xf32> {rl.name = \"b\"}) -> "
                           "tensor<2xf32> { return %a : tensor<2xf32> }");
  EXPECT_EQ(status.faults().size(), 2u);
  EXPECT_THAT(status.text(), HasSubstr("argument 0 of @forward has no name"));
  EXPECT_THAT(status.text(), HasSubstr("argument 1 of @forward is no tensor of static shape"));
}

TEST_F(ReadModuleTest, ThereMustBeForwardAlone) {
  EXPECT_THAT(faultsOf("func.func @backward() { return }").text(), HasSubstr("no function @forward"));
  EXPECT_THAT(faultsOf("func.func private @forward()").text(), HasSubstr("no function @forward"));
  EXPECT_THAT(faultsOf(std::string(sound) + "\nfunc.func @other() { return }").text(), HasSubstr("more than @forward"));
}

TEST_F(ReadModuleTest, FilesThatAreNone) {
  EXPECT_EQ(faultsOf("").faults()[0].code, Code::Graph);
  auto read = readModule("/nowhere/graph.mlir", context);
  ASSERT_FALSE(read.isOk());
  EXPECT_EQ(read.status().faults()[0].code, Code::Io);
}

TEST_F(ReadModuleTest, LocationsAreWordsForPeople) {
  auto name = [&](const char *text, Location child) { return NameLoc::get(StringAttr::get(&context, text), child); };
  EXPECT_EQ(locationText(UnknownLoc::get(&context)), "");
  EXPECT_EQ(locationText(name("node_MatMul_3", name("model.layers.0.mlp", UnknownLoc::get(&context)))),
            "node_MatMul_3, model.layers.0.mlp");
  EXPECT_EQ(locationText(FileLineColLoc::get(&context, "graph.mlir", 3, 8)), "graph.mlir:3:8");
}

TEST_F(ReadModuleTest, FailuresWithoutReasonAreDefects) {
  DiagnosticCollector collector(context, Code::Unsupported, "graph.onnx");
  EXPECT_EQ(collector.take("lowering").faults()[0].code, Code::Internal);
  emitError(UnknownLoc::get(&context), "first");
  emitWarning(UnknownLoc::get(&context), "beware");
  emitError(UnknownLoc::get(&context), "second");
  Status status = collector.take("lowering");
  ASSERT_EQ(status.faults().size(), 2u);
  EXPECT_EQ(status.faults()[0].place, "graph.onnx");
  EXPECT_EQ(status.faults()[1].message, "second");
  EXPECT_EQ(collector.takeNotes(), std::vector<std::string>{"graph.onnx: beware"});
}

} // namespace
} // namespace graft
