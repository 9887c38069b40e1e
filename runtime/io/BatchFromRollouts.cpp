// Batches from rollouts: prompt, completion, padding.
#include "runtime/io/BatchArrays.h"

#include <algorithm>
#include <map>

namespace graft {

namespace {
using namespace batch;

class Assembler {
public:
  Assembler(std::span<const Rollout> rollouts, const BatchOptions &options, int64_t padId)
      : rollouts_(rollouts), options_(options), padId_(padId), faults_(options.faults) {}

  Result<LoadedBatch> assemble();

private:
  bool checkLengths();
  void ids();
  void perSequence();
  void perToken();
  void checkRequired();
  /// Whether to make an array that only some rollouts may have; faults for those that lack it although others have it.
  template <typename Has> bool everyHas(const std::string &name, const std::string &field, Has has);
  RawArray &add(const std::string &name, bool integral, bool tokens);
  /// Calls set(flat index, index in the completion) for each completion token of a row.
  template <typename Set> void forCompletion(size_t row, Set set) {
    size_t begin = row * width_ + rollouts_[row].promptIds.size();
    for (size_t i = 0; i < rollouts_[row].completionIds.size(); ++i)
      set(begin + i, i);
  }

  std::span<const Rollout> rollouts_;
  const BatchOptions &options_;
  int64_t padId_;
  size_t width_ = 0;
  Faults faults_;
  std::vector<std::string> notes_;
  RawBatch batch_;
};

RawArray &Assembler::add(const std::string &name, bool integral, bool tokens) {
  std::vector<int64_t> shape = {batch_.sequences};
  if (tokens)
    shape.push_back(batch_.tokens);
  size_t count = rollouts_.size() * (tokens ? width_ : 1);
  RawArray array{name, shape, integral, std::vector<int64_t>(integral ? count : 0),
                 std::vector<double>(integral ? 0 : count)};
  return batch_.arrays[name] = std::move(array);
}

bool Assembler::checkLengths() {
  if (!options_.tokens || *options_.tokens <= 0 || *options_.tokens > (int64_t{1} << 26)) {
    faults_.add(Code::Usage, "the width of the batch must be given, from 1 to 2^26 tokens", "[batch] tokens");
    return false;
  }
  if (rollouts_.empty() || rollouts_.size() > (size_t{1} << 26) / static_cast<size_t>(*options_.tokens)) {
    faults_.add(Code::Range, "a batch of " + std::to_string(rollouts_.size()) + " rollouts cannot be made");
    return false;
  }
  width_ = static_cast<size_t>(*options_.tokens);
  for (const Rollout &rollout : rollouts_)
    if (rollout.length() > width_)
      faults_.add(Code::Range,
                  "has " + std::to_string(rollout.length()) + " tokens (prompt " +
                      std::to_string(rollout.promptIds.size()) + ", completion " +
                      std::to_string(rollout.completionIds.size()) + "), but a row has " + std::to_string(width_),
                  rollout.place, "raise [batch] tokens in the recipe, or leave this rollout out");
  return faults_.none();
}

void Assembler::ids() {
  std::vector<int64_t> &ids = add("input_ids", true, true).integers;
  std::vector<int64_t> &mask = add("attention_mask", true, true).integers;
  std::vector<double> &loss = add("loss_mask", false, true).reals;
  std::ranges::fill(ids, padId_);
  int64_t end = options_.vocabulary.value_or(int64_t{1} << 31);
  for (size_t row = 0; row < rollouts_.size(); ++row) {
    const Rollout &rollout = rollouts_[row];
    std::ranges::copy(rollout.promptIds, ids.begin() + static_cast<ptrdiff_t>(row * width_));
    std::ranges::copy(rollout.completionIds,
                      ids.begin() + static_cast<ptrdiff_t>(row * width_ + rollout.promptIds.size()));
    std::fill_n(mask.begin() + static_cast<ptrdiff_t>(row * width_), rollout.length(), 1);
    forCompletion(row, [&](size_t index, size_t) { loss[index] = 1; });
    // Said here, where file and line are known.
    for (const std::vector<int32_t> *part : {&rollout.promptIds, &rollout.completionIds})
      if (auto bad = std::ranges::find_if(*part, [&](int64_t id) { return id < 0 || id >= end; }); bad != part->end())
        faults_.add(Code::Range,
                    "token id " + std::to_string(*bad) + " does not lie in the vocabulary of " + std::to_string(end),
                    rollout.place);
  }
}

template <typename Has> bool Assembler::everyHas(const std::string &name, const std::string &field, Has has) {
  size_t count = static_cast<size_t>(std::ranges::count_if(rollouts_, has));
  if (!isUsed(options_, name)) {
    if (count > 0 && name != "rewards" && name != "group_ids")
      notes_.push_back("'" + field + "' is used neither by the graph nor by the objective: ignored");
    return false;
  }
  bool required = std::ranges::find(options_.required, name) != options_.required.end();
  if (count == rollouts_.size() || (count == 0 && !required))
    return count > 0;
  for (const Rollout &rollout : rollouts_)
    if (!has(rollout))
      faults_.add(Code::Graph,
                  "'" + field + "' is missing" + (count > 0 ? ", which other rollouts of the batch have" : ""),
                  rollout.place);
  return false;
}

void Assembler::perSequence() {
  if (everyHas("rewards", "reward", [](const Rollout &rollout) { return rollout.reward.has_value(); })) {
    RawArray &rewards = add("rewards", false, false);
    for (size_t row = 0; row < rollouts_.size(); ++row)
      rewards.reals[row] = *rollouts_[row].reward;
  }
  if (everyHas("group_ids", "group_id", [](const Rollout &rollout) { return !rollout.group.empty(); })) {
    RawArray &groups = add("group_ids", true, false);
    std::map<std::string, int64_t> numbers;
    for (size_t row = 0; row < rollouts_.size(); ++row)
      groups.integers[row] = numbers.emplace(rollouts_[row].group, static_cast<int64_t>(numbers.size())).first->second;
  }
}

void Assembler::perToken() {
  for (size_t i = 0; i < tokenFieldCount; ++i) {
    TokenField field = static_cast<TokenField>(i);
    bool isAdvantage = field == TokenField::Advantages;
    std::string arrayName(name(field));
    auto has = [&](const Rollout &rollout) {
      return rollout.tokens(field).has_value() || (isAdvantage && rollout.advantage);
    };
    if (!everyHas(arrayName, isAdvantage ? "advantage" : arrayName, has))
      continue;
    RawArray &array = add(arrayName, false, true);
    for (size_t row = 0; row < rollouts_.size(); ++row) {
      const auto &values = rollouts_[row].tokens(field);
      if (values && values->size() != rollouts_[row].completionIds.size())
        faults_.add(Code::Range, "'" + arrayName + "' does not have the completion's length", rollouts_[row].place);
      else
        forCompletion(row, [&](size_t index, size_t token) {
          array.reals[index] = values ? static_cast<double>((*values)[token]) : *rollouts_[row].advantage;
        });
    }
  }
}

/// Required arrays that rollouts cannot have at all.
void Assembler::checkRequired() {
  for (const std::string &name : options_.required) {
    bool known = tokenFieldByName(name) || name == "rewards" || name == "group_ids" || isAlwaysUsed(name);
    if (!known)
      faults_.add(Code::Unsupported, "cannot come from rollouts", escaped(name), "pass a batch as safetensors");
  }
}

Result<LoadedBatch> Assembler::assemble() {
  if (!checkLengths())
    return faults_.take();
  batch_.sequences = static_cast<int64_t>(rollouts_.size());
  batch_.tokens = static_cast<int64_t>(width_);
  ids();
  perSequence();
  perToken();
  checkRequired();
  return finish(std::move(batch_), options_, std::move(faults_), std::move(notes_));
}
} // namespace

Result<LoadedBatch> batchFromRollouts(std::span<const Rollout> rollouts, const BatchOptions &options, int64_t padId) {
  return Assembler(rollouts, options, padId).assemble();
}

} // namespace graft
