// graft-fold-constants: what becomes a constant, and what must not.
#include "passes/import/FoldConstants.h"

#include "dialects/rl/RLDialect.h"

#include "mlir/Parser/Parser.h"
#include "mlir/Pass/PassManager.h"

#include <gtest/gtest.h>

using namespace mlir;

namespace graft {
namespace {

class FoldConstants : public testing::Test {
protected:
  FoldConstants() {
    DialectRegistry registry;
    rl::registerDialects(registry);
    context.appendDialectRegistry(registry);
    context.loadAllAvailableDialects();
  }

  /// Runs the pass on a function; returns the function.
  func::FuncOp fold(const std::string &text, FoldLimits limits = {}) {
    module = parseSourceString<ModuleOp>(text, &context);
    EXPECT_TRUE(module);
    PassManager manager(&context);
    manager.addNestedPass<func::FuncOp>(createFoldConstantsPass(limits));
    EXPECT_TRUE(succeeded(manager.run(*module)));
    return *module->getOps<func::FuncOp>().begin();
  }

  static Operation *result(func::FuncOp function) {
    return function.getBody().front().getTerminator()->getOperand(0).getDefiningOp();
  }
  template <typename T> static std::vector<T> elements(func::FuncOp function) {
    auto constant = dyn_cast<arith::ConstantOp>(result(function));
    EXPECT_TRUE(constant) << "not a constant";
    if (!constant)
      return {};
    auto values = cast<DenseElementsAttr>(constant.getValue()).getValues<T>();
    return std::vector<T>(values.begin(), values.end());
  }

  MLIRContext context;
  OwningOpRef<ModuleOp> module;
};

// Tests that a chain becomes its value and that nothing of it is left.
TEST_F(FoldConstants, FoldsChains) {
  auto function = fold(R"(func.func @f() -> tensor<3xi64> {
    %i = nn.iota axis = 0 : tensor<3xi64>
    %c = arith.constant dense<[5, 6, 7]> : tensor<3xi64>
    %s = arith.addi %i, %c : tensor<3xi64>
    %p = arith.muli %s, %s : tensor<3xi64>
    return %p : tensor<3xi64>
  })");
  EXPECT_EQ(elements<int64_t>(function), (std::vector<int64_t>{25, 49, 81}));
  EXPECT_EQ(function.getBody().front().getOperations().size(), 2u);
}

// Tests that what depends on an argument or a parameter stays.
TEST_F(FoldConstants, LeavesData) {
  auto function = fold(R"(func.func @f(%x: tensor<2xf32>) -> tensor<2xf32> {
    %w = rl.parameter "w" : tensor<2xf32>
    %y = arith.addf %x, %w : tensor<2xf32>
    return %y : tensor<2xf32>
  })");
  EXPECT_TRUE(isa<arith::AddFOp>(result(function)));
  EXPECT_EQ(function.getBody().front().getOperations().size(), 3u);
}

// Tests that large values stay formulas.
TEST_F(FoldConstants, StopsAtTheLimits) {
  std::string text = R"(func.func @f() -> tensor<100xi64> {
    %i = nn.iota axis = 0 : tensor<100xi64>
    return %i : tensor<100xi64>
  })";
  FoldLimits small;
  small.integers = 99;
  EXPECT_TRUE(isa<nn::IotaOp>(result(fold(text, small))));
  small.integers = 100;
  EXPECT_TRUE(isa<arith::ConstantOp>(result(fold(text, small))));
  small.total = 99;
  EXPECT_TRUE(isa<nn::IotaOp>(result(fold(text, small))));
}

// Tests that masks are not repeated, but grids of indices and equal elements are.
TEST_F(FoldConstants, RepeatsOnlyIndices) {
  auto mask = fold(R"(func.func @f() -> tensor<4x2xi1> {
    %m = arith.constant dense<[true, false]> : tensor<2xi1>
    %b = nn.broadcast %m dims = [1] : tensor<2xi1> -> tensor<4x2xi1>
    return %b : tensor<4x2xi1>
  })");
  EXPECT_TRUE(isa<nn::BroadcastOp>(result(mask)));
  auto grid = fold(R"(func.func @f() -> tensor<2x2xi64> {
    %i = nn.iota axis = 0 : tensor<2xi64>
    %b = nn.broadcast %i dims = [1] : tensor<2xi64> -> tensor<2x2xi64>
    return %b : tensor<2x2xi64>
  })");
  EXPECT_EQ(elements<int64_t>(grid), (std::vector<int64_t>{0, 1, 0, 1}));
  auto equal = fold(R"(func.func @f() -> tensor<1000x1000xf32> {
    %m = arith.constant dense<2.0> : tensor<f32>
    %b = nn.broadcast %m dims = [] : tensor<f32> -> tensor<1000x1000xf32>
    return %b : tensor<1000x1000xf32>
  })");
  EXPECT_TRUE(isa<arith::ConstantOp>(result(equal)));
}

// Tests that a division by zero is left to whoever runs it.
TEST_F(FoldConstants, LeavesWhatHasNoValue) {
  auto function = fold(R"(func.func @f() -> tensor<1xi64> {
    %a = arith.constant dense<1> : tensor<1xi64>
    %b = arith.constant dense<0> : tensor<1xi64>
    %c = arith.divsi %a, %b : tensor<1xi64>
    return %c : tensor<1xi64>
  })");
  EXPECT_TRUE(isa<arith::DivSIOp>(result(function)));
}

// Tests that values are rounded to their type.
TEST_F(FoldConstants, RoundsToTheType) {
  auto function = fold(R"(func.func @f() -> tensor<1xf32> {
    %a = arith.constant dense<2.0> : tensor<1xf32>
    %b = math.sqrt %a : tensor<1xf32>
    return %b : tensor<1xf32>
  })");
  EXPECT_EQ(elements<float>(function), std::vector<float>{1.41421356f});
}

} // namespace
} // namespace graft
