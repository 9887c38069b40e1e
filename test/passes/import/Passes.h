// What the tests of import passes share: run a pass on a function, prove by the interpreter that nothing changed, look
// at the result.
#pragma once

#include "dialects/reference/Interpreter.h"
#include "dialects/rl/RLDialect.h"
#include "passes/import/Passes.h"

#include "mlir/IR/Diagnostics.h"
#include "mlir/IR/MLIRContext.h"
#include "mlir/IR/Verifier.h"
#include "mlir/Parser/Parser.h"
#include "mlir/Pass/PassManager.h"
#include "mlir/Transforms/Passes.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <random>

namespace graft {

/// Fails the test unless all elements agree to `tolerance`, relative to the largest.
inline void expectEqual(const Tensor &found, const Tensor &wanted, double tolerance = 1e-12) {
  ASSERT_EQ(found.shape(), wanted.shape());
  double largest = 1, worst = 0;
  for (int64_t k = 0; k < wanted.size(); ++k)
    largest = std::max(largest, std::fabs(wanted.at(k)));
  for (int64_t k = 0; k < wanted.size(); ++k)
    worst = std::isnan(found.at(k)) || std::isnan(wanted.at(k))
                ? INFINITY
                : std::max(worst, std::fabs(found.at(k) - wanted.at(k)));
  EXPECT_LE(worst / largest, tolerance);
}

/// A function under test: `function` of the module that is parsed from text.
class PassTest : public testing::Test {
protected:
  PassTest() : context_(makeRegistry(), mlir::MLIRContext::Threading::DISABLED) {
    context_.getDiagEngine().registerHandler(
        [this](mlir::Diagnostic &diagnostic) { messages += diagnostic.str() + "\n"; });
  }

  /// Parses a body with its signature: "(%x: tensor<2xf32>) -> tensor<2xf32> { ... }".
  void parse(const std::string &signatureAndBody) {
    module_ = mlir::parseSourceString<mlir::ModuleOp>("func.func @f" + signatureAndBody, &context_);
    ASSERT_TRUE(module_) << messages;
    function = *module_->getOps<mlir::func::FuncOp>().begin();
  }

  /// Runs the passes after a CSE pass and checks that the function computes the same as before on random inputs.
  void run(std::vector<std::unique_ptr<mlir::Pass>> passes) {
    std::vector<Tensor> inputs = randomInputs();
    auto before = interpret(function, inputs);
    ASSERT_TRUE(succeeded(before)) << messages;
    mlir::PassManager manager(&context_, mlir::func::FuncOp::getOperationName());
    manager.addPass(mlir::createCSEPass());
    for (auto &pass : passes)
      manager.addPass(std::move(pass));
    manager.addPass(mlir::createCSEPass());
    ASSERT_TRUE(succeeded(manager.run(function))) << messages;
    auto after = interpret(function, inputs);
    ASSERT_TRUE(succeeded(after)) << messages;
    for (auto [found, wanted] : llvm::zip(*after, *before))
      expectEqual(found, wanted);
  }
  template <typename... Passes> void run(Passes... passes) {
    std::vector<std::unique_ptr<mlir::Pass>> all;
    (all.push_back(std::move(passes)), ...);
    run(std::move(all));
  }

  /// Names and counts of the operators, sorted by name, without constants and the return.
  std::map<std::string, int> operators() {
    std::map<std::string, int> out;
    function.walk([&](mlir::Operation *op) {
      if (!mlir::isa<mlir::func::FuncOp, mlir::func::ReturnOp, mlir::arith::ConstantOp>(op))
        ++out[op->getName().getStringRef().str()];
    });
    return out;
  }
  /// The only operator of a kind.
  template <typename Op> Op only() {
    Op found;
    int count = 0;
    function.walk([&](Op op) { found = op, ++count; });
    EXPECT_EQ(count, 1);
    return found;
  }

  mlir::func::FuncOp function;
  std::string messages; ///< all diagnostics

private:
  static mlir::DialectRegistry makeRegistry() {
    mlir::DialectRegistry registry;
    rl::registerDialects(registry);
    return registry;
  }

  /// Normal numbers; masks (integers and booleans) are 1 in the first column and 0 or 1 in the others.
  std::vector<Tensor> randomInputs() {
    std::mt19937 generator(1234);
    std::normal_distribution<double> normal;
    std::vector<Tensor> out;
    for (mlir::BlockArgument argument : function.getArguments()) {
      llvm::ArrayRef<int64_t> shape = nn::shapeOf(argument);
      bool isFloat = mlir::isa<mlir::FloatType>(nn::typeOf(argument).getElementType());
      Tensor tensor = isFloat ? Tensor::floats(shape.vec()) : Tensor::integers(shape.vec());
      for (int64_t k = 0; k < tensor.size(); ++k) {
        if (isFloat)
          tensor.f()[k] = normal(generator);
        else
          tensor.i()[k] = k % shape.back() == 0 || generator() % 2;
      }
      out.push_back(tensor);
    }
    return out;
  }

  mlir::MLIRContext context_;
  mlir::OwningOpRef<mlir::ModuleOp> module_;
};

} // namespace graft
