// A step of a recipe by the reference interpreter, in float64: the oracle of the compiled program.
#pragma once

#include "dialects/reference/Tensor.h"
#include "passes/Compiler.h"
#include "runtime/io/Batch.h"
#include "tools/graft/Weights.h"

#include <map>

namespace graft::cli {

class Interpreted {
public:
  /// Imports and differentiates again; the recipe's micro-batches are one batch here.
  static Result<std::unique_ptr<Interpreted>> build(Recipe recipe);

  /// Names that the entries read: for BatchOptions::used.
  std::vector<std::string> inputs() const;
  /// Results of an entry by their names ("loss", "grad.NAME"). Fills in advantages, old log-probs ("initial": under
  /// these weights) and denominators as a compiled step does. The batch has float64 numbers.
  Result<std::map<std::string, Tensor>> run(const std::string &entry, const Batch &batch, Weights &weights);
  const EntryModule &module() const { return module_; }
  const Recipe &recipe() const { return recipe_; }

private:
  Result<std::map<std::string, Tensor>> call(const std::string &entry, const std::map<std::string, Tensor> &arrays,
                                             Weights &weights);

  Compiler compiler_;
  Recipe recipe_;
  EntryModule module_;
};

} // namespace graft::cli
