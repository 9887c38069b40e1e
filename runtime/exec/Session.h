// A session: a program with its memory, ready to run. The door for everything that trains or evaluates.
//
//   auto session = Session::open(program, {});
//   session->bindAll(reader);                                    // weights from a checkpoint
//   session->run("accumulate", inputs, outputs);                 // first micro-batch: overwrites gradients
//   session->run("accumulate_more", inputs, outputs);            // the others: add to them
//   session->apply(learningRate, step);                          // norm, clip, AdamW
//
// or, for a program whose optimizer works in the backward pass, session->step(inputs, outputs, use, learningRate,
// step).
//
// Memory is allocated when the session opens and never again: parameter block, gradient block and two moment blocks
// (only when training), working copies, and one arena, each of exactly the size that the program states.
//
// Threads: computation runs on the session's own pinned threads. Any thread may call, one call at a time per session:
// calls from several threads must be serialized by the caller. Several sessions may run at once and compete for CPUs.
//
// After an error: weights and optimizer state are as before the call; the gradients of a failed accumulate are garbage.
// Only a step() may fail when it has updated some parameters already: then isBetweenSteps(), and the session neither
// runs anything nor gives its arrays away.
#pragma once

#include "runtime/base/Status.h"
#include "runtime/exec/Convert.h"
#include "runtime/exec/Optimizer.h"
#include "runtime/program/Program.h"

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace graft {

using Inputs = std::map<std::string, ConstArray, std::less<>>;
using Outputs = std::map<std::string, MutableArray, std::less<>>;

/// An input or output of an entry.
struct BindingInfo {
  std::string name;
  schema::DType dtype;
  std::vector<int64_t> shape;
  bool required;
};

struct ParameterInfo {
  std::string name;
  std::vector<std::string> aliases;
  std::vector<int64_t> shape;
  int64_t elements; ///< of the shape, without padding
  bool trained;
};

/// Time of one instruction since profiling was switched on.
struct Timing {
  std::string entry; ///< "apply" for the optimizer
  int instruction;
  std::string origin, category;
  int64_t calls;
  double seconds;
  int64_t flops, bytes; ///< of one call, as the compiler counted
};

/// Bytes.
struct MemoryUse {
  int64_t parameters, gradients, state /* both moments */, working /* bfloat16 copies of parameters */, arena,
      constants, processPeak /* resident */;
};

/// The arrays that belong to a parameter.
enum class Block { Parameter, Gradient, Mean, Square };

class Session {
public:
  struct Options {
    int threads = 0;      ///< 0: GRAFT_THREADS, else what affinity and cgroup grant
    bool training = true; ///< false: no gradients and optimizer state; only entries that do not train can run
    bool profiling = false;
  };

  /// Errors: Usage (GRAFT_THREADS), DoesNotFit (memory, threads), Verify or Failed (object code).
  static Result<std::unique_ptr<Session>> open(Program program, Options options);
  ~Session();

  const Program &program() const;
  int threads() const;
  /// "oneDNN 2.6.3", or what is used instead of it.
  const std::string &matrixLibrary() const;
  /// What a user should know: "oneDNN is missing: ...".
  const std::vector<std::string> &notices() const;

  const std::vector<ParameterInfo> &parameters() const;
  /// Usage error if there is no such entry.
  Result<std::vector<BindingInfo>> inputs(std::string_view entry) const;
  Result<std::vector<BindingInfo>> outputs(std::string_view entry) const;

  /// Fills every parameter: `read` writes the dense elements of one into `values`. All its errors are reported.
  Status bindAll(const std::function<Status(const ParameterInfo &, std::span<float> values)> &read);
  /// Copies dense elements into or out of a block; `name` may be an alias. Graph error for unknown names, Range for a
  /// wrong number of elements, Usage for a block that this session or parameter does not have.
  Status write(Block block, std::string_view name, std::span<const float> values);
  Status read(Block block, std::string_view name, std::span<float> values) const;

  /// How many places of a packed row hold tokens, from the first on; of 0: all.
  struct Use {
    int64_t places = 0, of = 0;
  };
  /// Runs an entry once. Inputs are converted (Convert.h) and must have the exact shape; absent optional ones are
  /// zeros. Outputs that are not asked for are not copied; those asked for must have the program's dtype and shape. All
  /// faults of the arguments are reported at once. Failed if an output named "loss" is not finite, or a step failed.
  /// What `use` says is not in use may be left out. Usage error for an entry that updates parameters.
  Status run(std::string_view entry, const Inputs &inputs, const Outputs &outputs, Use use);
  Status run(std::string_view entry, const Inputs &inputs, const Outputs &outputs) {
    return run(entry, inputs, outputs, Use());
  }

  /// Where a value that is no number (NaN) or infinite (+) appears first when the entry runs: in weights, in an input,
  /// or in what an instruction makes of finite ones. Absent: nowhere; minus infinity counts as finite, as the logarithm
  /// of nothing. Slow. Outputs are not copied; gradients and arena are those of this run afterwards; parameters are not
  /// updated. Errors as of run().
  Result<std::optional<std::string>> findNonFinite(std::string_view entry, const Inputs &inputs);

  /// Optimizer.h. `step` counts from 1. Usage error without an optimizer, or with one in the backward pass.
  Result<ApplyReport> apply(double learningRate, int64_t step);

  /// Runs the entry that updates every parameter in its backward pass, as run() does. Failed if the loss is not finite,
  /// before anything is updated, or if a gradient is not. Usage error if the program's optimizer is apply()'s.
  Result<ApplyReport> step(const Inputs &inputs, const Outputs &outputs, Use use, double learningRate, int64_t step);
  /// True if a step failed when some parameters were updated and others were not. It stays so.
  bool isBetweenSteps() const;

  void setProfiling(bool on); ///< resets the timings
  /// In program order: entries, then "apply"; only what ran.
  std::vector<Timing> timings() const;
  /// Seconds by category, largest first.
  std::vector<std::pair<std::string, double>> secondsByCategory() const;
  MemoryUse memory() const;

private:
  struct State;
  explicit Session(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

} // namespace graft
