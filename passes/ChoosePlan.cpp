// From a budget to a program's plan: how many micro-batches, how many tokens' logits at a time, what is computed again.
//
// Candidates differ in the first two; each has an EntryPlanner, which knows the third and measures memory by lowering.
// They are looked at from the fastest to the slowest, until none that follows can be better.
#include "dialects/rt/RTOps.h"
#include "frontends/mlir/Diagnostics.h"
#include "passes/Compiler.h"
#include "passes/ProgramTables.h"
#include "passes/precision/NarrowProducts.h"
#include "passes/precision/NarrowStorage.h"
#include "runtime/base/Stopwatch.h"
#include "runtime/device/cpu/Memory.h"
#include "runtime/observe/NumberText.h"

#include <limits>

using namespace mlir;

namespace graft {

FusedHead Compiler::fuseHeads(ModuleOp module, int64_t chunkRows) {
  FusedHead head;
  for (StringRef name : {"logprobs", "accumulate"})
    if (auto function = module.lookupSymbol<func::FuncOp>(name))
      head = fuseHead(function, {chunkRows});
  return head;
}

std::set<std::string> Compiler::narrow(const Recipe &recipe, ModuleOp module) {
  std::set<std::string> stored;
  for (StringRef name : {"logprobs", "accumulate"})
    if (auto function = module.lookupSymbol<func::FuncOp>(name)) {
      if (recipe.precision.parameters == StorageType::BFloat16)
        stored = narrowStorage(function);
      if (recipe.precision.compute == ComputeType::BFloat16)
        narrowProducts(function);
    }
  return stored;
}

namespace {

/// Does a step run @accumulate more than once? Packed, it may, if gradients outlive a run.
bool addsToGradients(const Recipe &recipe, const EntryModule &module) {
  if (recipe.optimizer.inBackward)
    return false;
  return recipe.batch.microBatches > 1 || (recipe.batch.packed && module.splits);
}

} // namespace

Result<std::unique_ptr<Compiler::Candidate>> Compiler::candidate(const Recipe &recipe, const EntryModule &module,
                                                                 int64_t chunkRows) {
  auto made = std::make_unique<Candidate>();
  made->microBatches = recipe.batch.microBatches;
  made->module = ModuleOp(*module.graph.module).clone();
  Stopwatch loss;
  made->head = fuseHeads(*made->module, chunkRows);
  made->lossSeconds = loss.seconds();
  Stopwatch precision;
  std::set<std::string> stored = narrow(recipe, *made->module), copies = narrowParameters(*made->module);
  made->precisionSeconds = precision.seconds();
  fillTables(recipe, module, made->others.program);
  for (const auto &parameter : made->others.program.parameters)
    if (stored.contains(parameter->name))
      parameter->dtype = schema::DType::BF16;
  std::erase_if(copies, [&](const std::string &name) { return stored.contains(name); });
  layOutParameters(made->others.program, copies);
  made->others.kernels = ModuleOp::create(UnknownLoc::get(&context_));
  if (forGpu_)
    (*made->others.kernels)->setAttr(rt::anyOrderAttribute, UnitAttr::get(&context_));
  DiagnosticCollector diagnostics(context_, Code::Unsupported, escaped(recipe.model.graph.resolved, 400));
  bool good = true;
  for (StringRef name : {"logprobs", "advantages"})
    if (auto function = made->module->lookupSymbol<func::FuncOp>(name))
      good = succeeded(prepareEntry(function)) &&
             succeeded(lowerEntry(function, made->others.program, *made->others.kernels)) && good;
  auto accumulate = made->module->lookupSymbol<func::FuncOp>("accumulate");
  if (failed(prepareEntry(accumulate)) || !good)
    return diagnostics.take("lowering");
  made->planner =
      std::make_unique<EntryPlanner>(accumulate, made->others, addsToGradients(recipe, module), made->microBatches);
  return made;
}

Result<bool> Compiler::addCandidates(const Recipe &recipe, const EntryModule &module, Candidates &all,
                                     const IsEnough &isEnough) {
  int64_t last = 0;
  for (int64_t rows : chunkSizes) {
    if (last != 0 && rows >= last)
      continue; // there are not so many tokens
    GRAFT_ASSIGN_OR_RETURN(std::unique_ptr<Candidate> made, candidate(recipe, module, rows));
    all.push_back(std::move(made));
    GRAFT_ASSIGN_OR_RETURN(bool enough, isEnough(all));
    if (enough)
      return last == 0;
    if (!all.back()->head.fused)
      break;
    last = all.back()->head.chunkRows;
  }
  return false;
}

Result<Compiler::Candidates> Compiler::candidates(const Recipe &recipe, const IsEnough &isEnough) {
  Candidates all;
  bool chosen = recipe.batch.microBatches != 0;
  bool divides = !chosen && !recipe.optimizer.inBackward; // which excludes more than one
  int64_t first = chosen ? recipe.batch.microBatches : 1, last = divides ? recipe.batch.sequences : first;
  for (int64_t count = first; count <= last; ++count) {
    if (!chosen && recipe.batch.sequences % count != 0)
      continue;
    Recipe own = recipe;
    own.batch.microBatches = count;
    GRAFT_ASSIGN_OR_RETURN(EntryModule module, buildEntries(own));
    GRAFT_ASSIGN_OR_RETURN(bool enough, addCandidates(own, module, all, isEnough));
    if (enough || !module.splits)
      break;
  }
  return all;
}

Result<Compiler::Choice> Compiler::fastestWithin(const Candidates &all, size_t index, int64_t budget) {
  DiagnosticCollector diagnostics(context_, Code::Unsupported, "the plan");
  const Candidate &candidate = *all[index];
  EntryPlanner &planner = *candidate.planner;
  auto fitting = planner.fit(budget);
  if (failed(fitting))
    return diagnostics.take("lowering");
  auto chosen = *fitting ? FailureOr<recompute::Measured>(**fitting) : planner.smallest();
  if (failed(chosen))
    return diagnostics.take("lowering");
  const PlanFigures &figures = planner.figures(chosen->plan);
  BudgetPoint point{budget,
                    fitting->has_value(),
                    candidate.microBatches,
                    candidate.head.fused ? candidate.head.chunkRows : 0,
                    figures.deviceBytes,
                    figures.arenaBytes,
                    figures.step.seconds,
                    figures.step.againSeconds,
                    figures.step.flops};
  return Choice{index, chosen->plan, point};
}

namespace {

/// Fits before does not, then faster, then smaller; of equals the first.
bool isBetter(const BudgetPoint &one, const BudgetPoint &other) {
  if (one.fits != other.fits)
    return one.fits;
  return one.fits ? one.seconds < other.seconds : one.deviceBytes < other.deviceBytes;
}

} // namespace

/// Keeps the best choice of all candidates that it was shown.
class Compiler::Chooser {
public:
  Chooser(Compiler &compiler, int64_t budget) : compiler_(compiler), budget_(budget) {}

  /// Looks at the last of the candidates. True if none that would come after it can be better: they take more time
  /// where nothing is computed again, and that is what this one's fastest plan takes at least.
  Result<bool> operator()(const Candidates &all) {
    size_t last = all.size() - 1;
    GRAFT_ASSIGN_OR_RETURN(bool outrun, isOutrun(all, last));
    if (outrun)
      return true;
    GRAFT_ASSIGN_OR_RETURN(Choice choice, compiler_.fastestWithin(all, last, budget_));
    bool isFastest = choice.point.fits && choice.plan == all[last]->planner->tradeoff().fastest();
    if (!best_ || isBetter(choice.point, best_->point))
      best_ = std::move(choice);
    return isFastest ? Result<bool>(true) : isOutrun(all, last);
  }
  Choice take() { return std::move(*best_); }

private:
  /// Does a candidate's fastest plan take no less than the best choice that fits?
  Result<bool> isOutrun(const Candidates &all, size_t candidate) {
    if (!best_ || !best_->point.fits)
      return false;
    GRAFT_ASSIGN_OR_RETURN(Choice fastest,
                           compiler_.fastestWithin(all, candidate, std::numeric_limits<int64_t>::max()));
    return fastest.point.seconds >= best_->point.seconds;
  }

  Compiler &compiler_;
  int64_t budget_;
  std::optional<Choice> best_;
};

Result<int64_t> Compiler::chooseMicroBatches(const Recipe &recipe) {
  Chooser chooser(*this, recipe.memory.budget.value_or(hostMemoryBytes()));
  auto all = candidates(recipe, std::ref(chooser));
  if (!all.isOk())
    return all.takeStatus();
  return chooser.take().point.microBatches;
}

Result<Compiler::Planned> Compiler::choosePlan(const Recipe &recipe, const EntryModule &module, int64_t budget) {
  Chooser chooser(*this, budget);
  Candidates all;
  auto added = addCandidates(recipe, module, all, std::ref(chooser));
  if (!added.isOk())
    return added.takeStatus();
  Choice best = chooser.take();
  DiagnosticCollector diagnostics(context_, Code::Unsupported, "the plan");
  auto lowered = all[best.candidate]->planner->lowered(best.plan);
  if (failed(lowered))
    return diagnostics.take("lowering");
  return Planned{std::move(all), std::move(best), std::move(*lowered)};
}

Result<std::vector<BudgetPoint>> Compiler::sweepBudgets(const Recipe &recipe, std::vector<int64_t> budgets, int count) {
  int64_t least = std::numeric_limits<int64_t>::max(), most = 0;
  auto all = candidates(recipe, [&](const Candidates &some) -> Result<bool> {
    GRAFT_ASSIGN_OR_RETURN(Choice smallest, fastestWithin(some, some.size() - 1, 0));
    GRAFT_ASSIGN_OR_RETURN(Choice fastest, fastestWithin(some, some.size() - 1, std::numeric_limits<int64_t>::max()));
    least = std::min(least, smallest.point.deviceBytes);
    most = std::max(most, fastest.point.deviceBytes);
    return false;
  });
  if (!all.isOk())
    return all.takeStatus();
  if (!budgets.empty())
    count = 0;
  for (int i = 0; i < count; ++i)
    budgets.push_back(least + (most - least) * i / std::max(1, count - 1));
  std::vector<BudgetPoint> points;
  for (int64_t budget : budgets) {
    std::optional<BudgetPoint> best;
    for (size_t i = 0; i < all->size(); ++i) {
      GRAFT_ASSIGN_OR_RETURN(Choice choice, fastestWithin(*all, i, budget));
      if (!best || isBetter(choice.point, *best))
        best = choice.point;
    }
    points.push_back(*best);
  }
  return points;
}

} // namespace graft
