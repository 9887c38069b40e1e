// The recipe: what to train, how, on what. Read from TOML, checked completely, printed back with every default spelled
// out.
//
// A Recipe is plain data and owns everything in it. Its equality compares what the recipe says, not where it stood:
// parseRecipe(printRecipe(r), file) == r for the same `file`.
//
// Faults are of class Usage (exit 2), all of them at once, in the order of the file, each placed at "file:line:column".
// Keys that belong to the grammar but that Graft cannot do yet are refused with what to do instead; their default value
// is accepted.
#pragma once

#include "runtime/base/Status.h"

#include <array>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

namespace graft {

/// A file or folder. Relative paths are relative to the recipe file, not to the working directory.
struct RecipePath {
  std::string written; ///< as the recipe says it; empty: the key is absent
  std::string
      resolved; ///< usable from the working directory: the recipe's folder joined with `written`; empty likewise

  bool isSet() const { return !written.empty(); }
  bool operator==(const RecipePath &) const = default;
};

/// How per-token terms become one number. Names are those of the recipe: text(Aggregation::TokenMean) == "token_mean".
enum class Aggregation { TokenMean, TokenSum, SequenceMeanTokenMean, SequenceMeanTokenSum, SequenceMeanTokenSumNorm };
/// Estimator of the KL term against `ref_logprobs`.
enum class KlKind { None, K1, K2, K3 };
/// Where old log-probs come from: the batch, the first policy of the run, or the policy itself (on-policy: ratio 1).
enum class OldLogprobs { Batch, Initial, Current };
/// Where those of the reference policy come from: the batch, or the first policy of the run.
enum class RefLogprobs { Batch, Initial };
/// What weight decay applies to: parameters of two or more dimensions, or all.
enum class Decay { Matrices, All };
/// What a step does whose loss or gradients are not finite: end the run, or leave weights and moments as they are.
enum class NonfinitePolicy { Stop, Skip };
enum class OptimizerKind { AdamW };
/// The learning rate's course after warm-up; linear and cosine end at 0 with the run's last step.
enum class ScheduleKind { Constant, Linear, Cosine };
enum class StorageType { Float32, BFloat16 };
enum class ComputeType { Float32, BFloat16, TensorFloat32 };
enum class StateType { Float32, BFloat16, Blocks8 };
enum class DeviceKind { Cpu, Cuda };

std::string_view text(Aggregation);
std::string_view text(KlKind);
std::string_view text(OldLogprobs);
std::string_view text(RefLogprobs);
std::string_view text(Decay);
std::string_view text(NonfinitePolicy);
std::string_view text(OptimizerKind);
std::string_view text(ScheduleKind);
std::string_view text(StorageType);
std::string_view text(ComputeType);
std::string_view text(DeviceKind);

/// A value for a parameter that the objective declares, such as clip_low. The recipe's grammar does not know these
/// names: whoever reads the objective checks them, and reports at recipe.origin.place("objective." + name). Integers
/// become numbers.
struct ObjectiveParameter {
  std::string name;
  std::variant<double, std::string, bool> value;

  bool operator==(const ObjectiveParameter &) const = default;
};

/// Line and column, both from 1, columns in code points.
struct RecipePosition {
  uint32_t line = 0;
  uint32_t column = 0;
};

/// Where each key of the recipe stood, for faults that are found after parsing. Takes no part in equality.
struct RecipeOrigin {
  std::string file;                                ///< as given to parseRecipe
  std::map<std::string, RecipePosition> positions; ///< by full key: "objective.clip_low", "model.names.lm_head.weight"

  /// "recipe.toml:12:1" for a key that the file has, "recipe.toml" for one that it has not.
  std::string place(std::string_view key) const;
  bool operator==(const RecipeOrigin &) const { return true; }
};

struct Recipe {
  struct Model {
    RecipePath graph;   ///< required: .onnx, .mlir or .mlirbc
    RecipePath weights; ///< .safetensors or a folder with an index; absent: the graph's external data
    std::map<std::string, std::string> names; ///< graph name -> checkpoint name, where they differ
    bool operator==(const Model &) const = default;
  } model;

  struct Objective {
    std::string preset;     ///< exactly one of preset and file is set
    RecipePath file;        ///< an objective text file
    std::string advantages; ///< where the batch brings none; empty: the batch must bring what the objective needs
    std::optional<Aggregation> aggregation; ///< absent: as the objective says
    std::optional<KlKind> kl;               ///< absent: as the objective says
    OldLogprobs oldLogprobs = OldLogprobs::Batch;
    RefLogprobs refLogprobs = RefLogprobs::Batch;
    std::vector<ObjectiveParameter> parameters; ///< by name, ascending
    bool operator==(const Objective &) const = default;
  } objective;

  struct Batch {
    int64_t sequences = 0;         ///< required: rows per step, 1 .. 65536
    int64_t tokens = 0;            ///< required: width of a row, 2 .. 1048576
    std::optional<int64_t> packed; ///< instead of padded rows: one row of this many tokens; 2 .. 2^30
    bool sharePrompts = true;      ///< packed: a prompt that sequences share is computed once
    int64_t microBatches = 1;      ///< 1 .. 65536; 0: the compiler chooses ("auto")
    bool operator==(const Batch &) const = default;
  } batch;

  struct Optimizer {
    OptimizerKind name = OptimizerKind::AdamW;
    double lr = 1e-6;
    std::array<double, 2> betas = {0.9, 0.95};
    double eps = 1e-8;
    double weightDecay = 0.1; ///< decoupled: w *= 1 - lr * weightDecay
    Decay decay = Decay::Matrices;
    double clipGradNorm = 1.0;            ///< of the global L2 norm; 0: off
    StateType state = StateType::Float32; ///< form of the moments
    NonfinitePolicy onNonfinite = NonfinitePolicy::Stop;
    /// Each parameter is updated in the backward pass as soon as its gradient is there: gradients are never all in
    /// memory. Excludes clipping, micro-batches and skipped steps.
    bool inBackward = false;
    struct Schedule {
      ScheduleKind kind = ScheduleKind::Constant;
      int64_t warmupSteps = 0; ///< steps over which the rate rises linearly to lr
      bool operator==(const Schedule &) const = default;
    } schedule;
    bool operator==(const Optimizer &) const = default;
  } optimizer;

  struct Precision {
    StorageType parameters = StorageType::Float32; ///< of matrices that train; bfloat16 is rounded stochastically
    ComputeType compute = ComputeType::Float32;    ///< of the inputs of matrix products; tf32 is not done yet
    bool operator==(const Precision &) const = default;
  } precision;

  struct Memory {
    /// Bytes of the device that a program may need: parameters, gradients, optimizer state, arena, constants. Absent:
    /// what the machine that compiles has.
    std::optional<int64_t> budget;
    bool operator==(const Memory &) const = default;
  } memory;

  struct Mesh {
    int64_t data = 1;   ///< more than 1 is not done yet
    int64_t tensor = 1; ///< likewise
    bool operator==(const Mesh &) const = default;
  } mesh;

  struct Target {
    DeviceKind device = DeviceKind::Cpu; ///< cuda is not done yet
    bool operator==(const Target &) const = default;
  } target;

  RecipeOrigin origin;

  bool operator==(const Recipe &) const = default;
};

/// Parses and checks a recipe. `file` names it in messages, and its folder is what relative paths are relative to.
/// More than 1 MiB of text is refused.
Result<Recipe> parseRecipe(std::string_view text, const std::string &file);

/// Reads a regular file of at most 1 MiB and parses it.
Result<Recipe> loadRecipe(const std::string &path);

/// AsWritten does not depend on where the recipe lies (for program files); Absolute can be used from anywhere (for run
/// directories).
enum class RecipePaths { AsWritten, Absolute };

/// The resolved recipe as TOML: every default spelled out, keys in the order of the grammar, ending with a newline.
/// Keys without a value (an absent `weights`; an `aggregation` left to the objective) are left out. Deterministic.
std::string printRecipe(const Recipe &recipe, RecipePaths paths = RecipePaths::AsWritten);

/// Names of the keys that the grammar has in a table ("objective", "optimizer.schedule"), for "did you mean".
std::vector<std::string_view> recipeKeys(std::string_view table);

} // namespace graft
