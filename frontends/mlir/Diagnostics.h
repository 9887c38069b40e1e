// MLIR's diagnostics as faults of a Status: what the compiler's stages report to people.
#pragma once

#include "runtime/base/Status.h"

#include "mlir/IR/Diagnostics.h"

#include <memory>

namespace graft {

/// "node_MatMul_3, model.layers.0.mlp": node and module path of a location chain; "file:3:5" for text; empty if
/// unknown.
std::string locationText(mlir::Location location);

/// Collects errors and warnings of a context for the lifetime of the object (nothing is printed). One thread.
class DiagnosticCollector {
public:
  /// Faults get the class `code` and places that begin with `place`.
  DiagnosticCollector(mlir::MLIRContext &context, Code code, std::string place);

  /// The errors so far; an Internal fault that says `what` failed without a reason if there are none. For failures.
  Status take(const std::string &what);
  /// Warnings and remarks so far.
  std::vector<std::string> takeNotes() { return std::move(notes_); }

private:
  void add(mlir::Diagnostic &diagnostic);

  Code code_;
  std::string place_;
  Status status_;
  size_t errors_ = 0;
  std::vector<std::string> notes_;
  mlir::ScopedDiagnosticHandler handler_;
};

} // namespace graft
