// The one door from a recipe to a training program.
//
//   Compiler compiler;
//   Result<Compilation> compiled = compiler.compile(recipe, options);
//   writeProgram(compiled->program, "policy.graft");
//
// The stages, in order, named as in --stop-after and --dump:
//   import      graph and weights in, names bound, masks, attention, norms recognised: @forward
//   objective   @logprobs, @accumulate (loss and metrics), @advantages
//   autodiff    @accumulate returns gradients
//   loss        head and objective in a loop over chunks of the loss tokens
//   lower       entries of the program: library calls and row programs, arena offsets
//   codegen     row programs to object code
//
// Deterministic: the same files and options give the same program. A compiler may be used several times, by one thread
// at a time; modules that it returned live no longer than it does.
#pragma once

#include "frontends/recipe/Recipe.h"
#include "passes/ImportModel.h"
#include "passes/autodiff/EntryPoints.h"
#include "passes/codegen/CompileKernels.h"
#include "runtime/program/Program_generated.h"

#include "mlir/IR/MLIRContext.h"

#include <functional>
#include <optional>

namespace graft {

enum class Stage { Import, Objective, Autodiff, Loss, Lower, Codegen };
/// "import", ...
std::string_view text(Stage stage);
std::optional<Stage> stageByName(std::string_view name);
/// All of them, in order.
std::vector<std::string_view> stageNames();

struct CompileOptions {
  std::optional<Stage> stopAfter; ///< no later stage runs; the program is then incomplete
  std::vector<std::pair<Stage, std::string>>
      dumps; ///< MLIR after a stage into a file, with locations; that of import can be a recipe's graph; after lower
             ///< and codegen: the row programs
  std::optional<CpuLevel> level;                      ///< absent: the best of this machine
  unsigned threads = 2;                               ///< for code generation; does not change the bytes
  std::function<void(Stage, double seconds)> onStage; ///< called after each stage
};

struct Compilation {
  schema::ProgramT program;
  std::vector<std::string> notes; ///< for people: what was ignored, what stays as it is
};

/// The functions of a program, before lowering.
struct EntryModule {
  ImportedGraph graph; ///< its module holds @logprobs, @accumulate, @advantages
  EntryPoints entries;
  std::string objectiveText; ///< the objective and the advantages as they were read
};

class Compiler {
public:
  Compiler();
  Compiler(const Compiler &) = delete;

  /// Stage import.
  Result<ImportedGraph> import(const Recipe &recipe);
  /// Stages import to autodiff: what the reference interpreter runs. Stops where the options say.
  Result<EntryModule> buildEntries(const Recipe &recipe, const CompileOptions &options = {});
  /// All stages.
  Result<Compilation> compile(const Recipe &recipe, const CompileOptions &options = {});

  mlir::MLIRContext &context() { return context_; }

private:
  Status addObjective(const Recipe &recipe, EntryModule &module);
  Status fuseHeads(EntryModule &module, const CompileOptions &options);
  Status lower(const Recipe &recipe, EntryModule &module, schema::ProgramT &program, const CompileOptions &options);

  mlir::MLIRContext context_;
};

} // namespace graft
