#include "frontends/recipe/Keys.h"

#include <algorithm>
#include <cmath>
#include <type_traits>

namespace graft::recipe {

namespace {
using Names = std::string_view[];
constexpr Names aggregations = {"token_mean", "token_sum", "sequence_mean_token_mean", "sequence_mean_token_sum",
                                "sequence_mean_token_sum_norm"};
constexpr Names klKinds = {"none", "k1", "k2", "k3"};
constexpr Names oldLogprobs = {"batch", "initial", "current"};
constexpr Names refLogprobs = {"batch", "initial"};
constexpr Names decays = {"matrices", "all"};
constexpr Names optimizers = {"adamw"};
constexpr Names nonfinitePolicies = {"stop", "skip"};
constexpr Names schedules = {"constant", "linear", "cosine"};
constexpr Names storageTypes = {"float32", "bfloat16"};
constexpr Names stateTypes = {"float32", "bfloat16", "8bit"};
constexpr Names computeTypes = {"float32", "bfloat16", "tf32"};
constexpr Names devices = {"cpu", "cuda"};
constexpr Names adapters = {"lora"};

template <typename Field> void assign(Field &field, const Value &value) {
  if constexpr (std::is_enum_v<Field>)
    field = static_cast<Field>(std::get<int64_t>(value));
  else
    field = std::get<Field>(value);
}
template <typename Field> void assign(std::optional<Field> &field, const Value &value) {
  assign(field.emplace(), value);
}

template <typename Field> Value read(const Field &field) {
  if constexpr (std::is_enum_v<Field>)
    return static_cast<int64_t>(field);
  else
    return field;
}
template <typename Field> Value read(const std::optional<Field> &field) {
  return field ? read(*field) : Value();
}
Value read(const std::string &field) {
  return field.empty() ? Value() : Value(field);
}
Value read(const RecipePath &field) {
  return field.isSet() ? Value(field) : Value();
}

/// Access to a member by its path: at<&Recipe::model, &Recipe::Model::graph>.
template <auto... Members>
constexpr Access at = {[](Recipe &recipe, const Value &value) { assign((recipe.*....*Members), value); },
                       [](const Recipe &recipe) { return read((recipe.*....*Members)); }};

using R = Recipe;
using Schedule = Recipe::Optimizer::Schedule;
constexpr Access none = {};
const double infinity = std::numeric_limits<double>::infinity();
const double belowOne = std::nextafter(1.0, 0.0);

// clang-format off
const Key table[] = {
  // table, name, type, place, choices, least, most, required, not yet, done
  {"model", "graph", Type::Path, at<&R::model, &R::Model::graph>, {}, 0, 0, true},
  {"model", "weights", Type::Path, at<&R::model, &R::Model::weights>},

  {"objective", "preset", Type::Text, at<&R::objective, &R::Objective::preset>},
  {"objective", "file", Type::Path, at<&R::objective, &R::Objective::file>},
  {"objective", "advantages", Type::Text, at<&R::objective, &R::Objective::advantages>},
  {"objective", "aggregation", Type::Choice, at<&R::objective, &R::Objective::aggregation>, aggregations},
  {"objective", "kl", Type::Choice, at<&R::objective, &R::Objective::kl>, klKinds},
  {"objective", "old_logprobs", Type::Choice, at<&R::objective, &R::Objective::oldLogprobs>, oldLogprobs},
  {"objective", "ref_logprobs", Type::Choice, at<&R::objective, &R::Objective::refLogprobs>, refLogprobs},

  {"batch", "sequences", Type::Integer, at<&R::batch, &R::Batch::sequences>, {}, 1, 65536, true},
  {"batch", "tokens", Type::Integer, at<&R::batch, &R::Batch::tokens>, {}, 2, 1 << 20, true},
  {"batch", "packed", Type::Integer, at<&R::batch, &R::Batch::packed>, {}, 2, 1 << 30},
  {"batch", "share_prompts", Type::Boolean, at<&R::batch, &R::Batch::sharePrompts>},
  {"batch", "micro_batches", Type::Count, at<&R::batch, &R::Batch::microBatches>, {}, 1, 65536},

  {"optimizer", "name", Type::Choice, at<&R::optimizer, &R::Optimizer::name>, optimizers},
  {"optimizer", "lr", Type::Number, at<&R::optimizer, &R::Optimizer::lr>, {}, 0, infinity},
  {"optimizer", "betas", Type::Numbers, at<&R::optimizer, &R::Optimizer::betas>, {}, 0, belowOne},
  {"optimizer", "eps", Type::Number, at<&R::optimizer, &R::Optimizer::eps>, {}, 0, infinity},
  {"optimizer", "weight_decay", Type::Number, at<&R::optimizer, &R::Optimizer::weightDecay>, {}, 0, infinity},
  {"optimizer", "decay", Type::Choice, at<&R::optimizer, &R::Optimizer::decay>, decays},
  {"optimizer", "clip_grad_norm", Type::Number, at<&R::optimizer, &R::Optimizer::clipGradNorm>, {}, 0, infinity},
  {"optimizer", "state", Type::Choice, at<&R::optimizer, &R::Optimizer::state>, stateTypes},
  {"optimizer", "on_nonfinite", Type::Choice, at<&R::optimizer, &R::Optimizer::onNonfinite>, nonfinitePolicies},
  {"optimizer", "in_backward", Type::Boolean, at<&R::optimizer, &R::Optimizer::inBackward>},
  {"optimizer", "groups", Type::Tables, none, {}, 0, 0, false, "leave it out: decay = \"matrices\" or \"all\" chooses what decays"},
  {"optimizer.schedule", "kind", Type::Choice, at<&R::optimizer, &R::Optimizer::schedule, &Schedule::kind>, schedules},
  {"optimizer.schedule", "warmup_steps", Type::Integer, at<&R::optimizer, &R::Optimizer::schedule, &Schedule::warmupSteps>, {}, 0, 1e9},

  {"precision", "parameters", Type::Choice, at<&R::precision, &R::Precision::parameters>, storageTypes},
  {"precision", "compute", Type::Choice, at<&R::precision, &R::Precision::compute>, computeTypes, 0, 0, false, "use \"float32\" or \"bfloat16\"", 2},

  {"adapter", "kind", Type::Choice, none, adapters, 0, 0, false, "leave [adapter] out: all parameters are trained"},
  {"adapter", "rank", Type::Integer, none, {}, 1, 65536, false, "leave [adapter] out: all parameters are trained"},
  {"adapter", "targets", Type::Texts, none, {}, 0, 0, false, "leave [adapter] out: all parameters are trained"},

  {"memory", "budget", Type::Bytes, at<&R::memory, &R::Memory::budget>, {}, 1, 0x1p62},

  {"mesh", "data", Type::Integer, at<&R::mesh, &R::Mesh::data>, {}, 1, 65536, false, "leave it out: one device"},
  {"mesh", "tensor", Type::Integer, at<&R::mesh, &R::Mesh::tensor>, {}, 1, 65536, false, "leave it out: one device"},

  {"target", "device", Type::Choice, at<&R::target, &R::Target::device>, devices, 0, 0, false, "use \"cpu\""},
};
// clang-format on

constexpr Names tableNames = {"model",     "model.names", "objective", "batch", "optimizer", "optimizer.schedule",
                              "precision", "adapter",     "memory",    "mesh",  "target"};
} // namespace

std::span<const Key> keys() {
  return table;
}
std::span<const std::string_view> tables() {
  return tableNames;
}

const Key *findKey(std::string_view inTable, std::string_view name) {
  auto found = std::ranges::find_if(table, [&](const Key &key) { return key.table == inTable && key.name == name; });
  return found == std::end(table) ? nullptr : found;
}

} // namespace graft::recipe

namespace graft {

using namespace recipe;

std::string_view text(Aggregation value) {
  return aggregations[static_cast<size_t>(value)];
}
std::string_view text(KlKind value) {
  return klKinds[static_cast<size_t>(value)];
}
std::string_view text(OldLogprobs value) {
  return oldLogprobs[static_cast<size_t>(value)];
}
std::string_view text(RefLogprobs value) {
  return refLogprobs[static_cast<size_t>(value)];
}
std::string_view text(Decay value) {
  return decays[static_cast<size_t>(value)];
}
std::string_view text(NonfinitePolicy value) {
  return nonfinitePolicies[static_cast<size_t>(value)];
}
std::string_view text(OptimizerKind value) {
  return optimizers[static_cast<size_t>(value)];
}
std::string_view text(ScheduleKind value) {
  return schedules[static_cast<size_t>(value)];
}
std::string_view text(StorageType value) {
  return storageTypes[static_cast<size_t>(value)];
}
std::string_view text(ComputeType value) {
  return computeTypes[static_cast<size_t>(value)];
}
std::string_view text(DeviceKind value) {
  return devices[static_cast<size_t>(value)];
}

std::vector<std::string_view> recipeKeys(std::string_view inTable) {
  std::vector<std::string_view> names;
  for (const Key &key : keys())
    if (key.table == inTable)
      names.push_back(key.name);
  return names;
}

} // namespace graft
