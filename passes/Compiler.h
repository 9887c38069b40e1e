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
//   loss        head and objective in a loop over chunks of the loss tokens; the budget decides how many at a time
//   recompute   what the backward pass keeps and what it computes again, within the budget
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
#include "passes/loss/FuseHead.h"
#include "passes/recompute/EntryPlanner.h"
#include "runtime/program/Program_generated.h"

#include "mlir/IR/MLIRContext.h"

#include <functional>
#include <optional>
#include <set>

namespace graft {

enum class Stage { Import, Objective, Autodiff, Loss, Precision, Recompute, Lower, Codegen };
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
  std::optional<CpuLevel> level; ///< absent: the best of this machine
  std::vector<std::string> cuda; ///< architectures for which the kernels are compiled too (codegen/Ptxas.h)
  unsigned threads = 2;          ///< for code generation; does not change the bytes
  std::function<void(Stage, double seconds)> onStage; ///< called after each stage
};

struct Compilation {
  schema::ProgramT program;
  int64_t microBatches = 1;       ///< as in the recipe, or chosen
  std::vector<std::string> notes; ///< for people: what was ignored, what stays as it is
};

/// What a program needs and costs under a budget, or under none that fits.
struct BudgetPoint {
  int64_t budget = 0;
  bool fits = false; ///< else the rest speaks of the smallest plan
  int64_t microBatches = 1;
  int64_t chunkTokens = 0; ///< whose logits are computed at a time; 0: those of all
  int64_t deviceBytes = 0; ///< parameters, gradients, optimizer state, constants, arena
  int64_t arenaBytes = 0;
  double seconds = 0;      ///< estimate of a step with what is computed again (passes/recompute: TargetRates)
  double againSeconds = 0; ///< of it, what is computed again
  int64_t flops = 0;       ///< of the accumulate entry's products and attention
};

/// The functions of a program, before lowering.
struct EntryModule {
  ImportedGraph graph; ///< its module holds @logprobs, @accumulate, @advantages
  EntryPoints entries;
  std::string objectiveText; ///< the objective and the advantages as they were read
  bool splits = true;        ///< can the loss be computed in micro-batches?
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
  Result<Compilation> compile(Recipe recipe, const CompileOptions &options = {});

  /// Stages import to recompute, once for every budget; without budgets, for `count` of them, evenly from the smallest
  /// that fits to that of the fastest plan. In the order of the budgets. Needs an objective.
  Result<std::vector<BudgetPoint>> sweepBudgets(const Recipe &recipe, std::vector<int64_t> budgets, int count);

  mlir::MLIRContext &context() { return context_; }

private:
  /// A program up to the choice of a recompute plan, with a number of micro-batches and a size of the head's chunks.
  struct Candidate {
    int64_t microBatches = 1;
    FusedHead head;
    double lossSeconds = 0, precisionSeconds = 0; ///< what these stages took
    mlir::OwningOpRef<mlir::ModuleOp> module;     ///< prepared for lowering
    LoweredEntries others;
    std::unique_ptr<EntryPlanner> planner;
  };
  using Candidates = std::vector<std::unique_ptr<Candidate>>;
  /// A candidate's fastest plan within a budget, or its smallest where none fits.
  struct Choice {
    size_t candidate; ///< its index
    recompute::Plan plan;
    BudgetPoint point;
  };
  struct Planned {
    Candidates candidates; ///< those that were looked at
    Choice best;
    LoweredEntries lowered; ///< with the best
  };
  class Chooser;
  using IsEnough = std::function<Result<bool>(const Candidates &)>; ///< of the last candidate

  Status addObjective(const Recipe &recipe, EntryModule &module);
  Status fuseHeads(EntryModule &module, int64_t chunkRows, const CompileOptions &options);
  static FusedHead fuseHeads(mlir::ModuleOp module, int64_t chunkRows);
  Status narrow(const Recipe &recipe, EntryModule &module, const CompileOptions &options);
  /// Gives the names of the parameters that are stored in bfloat16.
  static std::set<std::string> narrow(const Recipe &recipe, mlir::ModuleOp module);
  /// Lowers all entries but @accumulate: a plan for it shares the device with them.
  Result<std::unique_ptr<Candidate>> candidate(const Recipe &recipe, const EntryModule &module, int64_t chunkRows);
  /// Appends candidates from the largest chunk to the smallest, up to the first that is enough. True if that was the
  /// largest.
  Result<bool> addCandidates(const Recipe &recipe, const EntryModule &module, Candidates &all,
                             const IsEnough &isEnough);
  /// Those with the recipe's number of micro-batches; where it leaves that to the compiler, those of every number that
  /// divides the step, up to the first that is enough with its largest chunk.
  Result<Candidates> candidates(const Recipe &recipe, const IsEnough &isEnough);
  Result<Choice> fastestWithin(const Candidates &all, size_t candidate, int64_t budget);
  Result<int64_t> chooseMicroBatches(const Recipe &recipe);
  Result<Planned> choosePlan(const Recipe &recipe, const EntryModule &module, int64_t budget);
  /// Ends the stages loss and precision, which candidates run in clones; runs them in `module` where they are dumped.
  Status endHeadStages(const Recipe &recipe, EntryModule &module, const Candidate &chosen,
                       const CompileOptions &options);
  /// Chooses the size of chunks and a plan, lowers @accumulate.
  Result<LoweredEntries> planMemory(const Recipe &recipe, EntryModule &module, const CompileOptions &options);
  Status generateCode(LoweredEntries &lowered, const CompileOptions &options);

  mlir::MLIRContext context_;
  bool forGpu_ = false; ///< the kernels are compiled for GPUs, too
  /// IR that compiles are done with. It is freed with the compiler, so that a process that ends then can leave it to
  /// the system (tools/graft/Compile.cpp).
  struct {
    Candidates candidates;
    std::vector<mlir::OwningOpRef<mlir::ModuleOp>> modules;
  } done_;
};

} // namespace graft
