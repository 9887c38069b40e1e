// A context with all dialects, a parser of function bodies, and the text of the last diagnostics.
#pragma once

#include "dialects/reference/Interpreter.h"
#include "dialects/rl/RLDialect.h"

#include "mlir/IR/Diagnostics.h"
#include "mlir/Parser/Parser.h"

#include <gtest/gtest.h>

namespace graft {

struct Reference {
  Reference() : handler(&context, [this](mlir::Diagnostic &d) { errors += d.str() + "\n"; }) {
    mlir::DialectRegistry registry;
    rl::registerDialects(registry);
    context.appendDialectRegistry(registry);
    context.loadAllAvailableDialects();
  }

  /// The function @f with these arguments and body; the body returns.
  mlir::func::FuncOp parse(const std::string &arguments, const std::string &results, const std::string &body) {
    module = mlir::parseSourceString<mlir::ModuleOp>(
        "func.func @f(" + arguments + ") -> (" + results + ") {\n" + body + "\n}", &context);
    return module ? *module->getOps<mlir::func::FuncOp>().begin() : mlir::func::FuncOp();
  }

  mlir::MLIRContext context;
  std::string errors;
  mlir::ScopedDiagnosticHandler handler;
  mlir::OwningOpRef<mlir::ModuleOp> module;
};

} // namespace graft
