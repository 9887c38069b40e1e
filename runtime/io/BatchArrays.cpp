// The rules on the values of a batch.
#include "runtime/io/BatchArrays.h"

#include <algorithm>
#include <cmath>
#include <limits>

namespace graft::batch {

namespace {
constexpr Contract contracts[] = {
    {"input_ids", Role::Token, true, false},
    {"attention_mask", Role::Token, true, false},
    {"position_ids", Role::Token, true, false},
    {"loss_mask", Role::Token, false, true},
    {"advantages", Role::TokenOrSequence, false, true},
    {"old_logprobs", Role::Token, false, true},
    {"ref_logprobs", Role::Token, false, true},
    {"sampler_logprobs", Role::Token, false, true},
    {"values", Role::Token, false, true},
    {"returns", Role::Token, false, true},
    {"logprobs", Role::Token, false, true},
    {"entropy", Role::Token, false, true},
    {"rewards", Role::Sequence, false, false},
    {"group_ids", Role::Sequence, true, false},
};

std::string at(std::string_view name, int64_t row, int64_t column) {
  return escaped(name) + "[" + std::to_string(row) + ", " + std::to_string(column) + "]";
}

std::string text(double value) {
  char buffer[32];
  std::snprintf(buffer, sizeof buffer, "%g", value);
  return buffer;
}
} // namespace

Contract contractOf(std::string_view name) {
  auto found = std::ranges::find(contracts, name, &Contract::name);
  return found == std::end(contracts) ? Contract{name, Role::Free, false, true} : *found;
}

void Faults::add(Code code, std::string message, std::string place, std::string hint) {
  if (count_++ < limit_)
    status_.merge(Status::error(code, std::move(message), std::move(place), std::move(hint)));
}

Status Faults::take() {
  if (count_ > limit_)
    status_.merge(Status::error(Code::Range, "and " + std::to_string(count_ - limit_) + " more faults"));
  return std::move(status_);
}

bool isAlwaysUsed(std::string_view name) {
  constexpr std::string_view always[] = {"input_ids", "attention_mask", "position_ids", "loss_mask"};
  return std::ranges::find(always, name) != std::end(always);
}

bool isUsed(const BatchOptions &options, std::string_view name) {
  auto in = [&](const std::vector<std::string> &names) { return std::ranges::find(names, name) != names.end(); };
  return isAlwaysUsed(name) || in(options.used) || in(options.required);
}

namespace {
/// One pass over a batch; the functions are called in the order in which they stand here.
class Finisher {
public:
  Finisher(RawBatch batch, const BatchOptions &options, Faults faults, std::vector<std::string> notes)
      : batch_(std::move(batch)), options_(options), faults_(std::move(faults)), notes_(std::move(notes)) {}

  Result<LoadedBatch> finish() {
    checkSize();
    checkIds();
    addDefaults();
    checkMask();
    checkPositions();
    checkLossMask();
    for (auto &[name, array] : batch_.arrays)
      if (!array.integral && name != "loss_mask")
        checkNumbers(array);
    if (!faults_.none())
      return faults_.take();
    return canonical();
  }

private:
  RawArray *find(const char *name) {
    auto found = batch_.arrays.find(name);
    return found == batch_.arrays.end() ? nullptr : &found->second;
  }
  bool isWide(const std::string &name) const { return options_.float64 || options_.wide.contains(name); }
  /// Reports the first value of an integral [B, S] array that is not good, and how many there are.
  template <typename Good>
  void checkIntegers(const RawArray &array, Good good, const std::string &expected, const std::string &hint = "");
  void checkSize();
  void checkIds();
  void addDefaults();
  void checkMask();
  void checkPositions();
  void checkLossMask();
  void checkNumbers(RawArray &array);
  /// Whether the loss can depend on per-token numbers at this flat index.
  bool matters(size_t index);
  LoadedBatch canonical();

  RawBatch batch_;
  const BatchOptions &options_;
  Faults faults_;
  std::vector<std::string> notes_;
};

template <typename Good>
void Finisher::checkIntegers(const RawArray &array, Good good, const std::string &expected, const std::string &hint) {
  size_t bad = 0, first = 0;
  for (size_t i = 0; i < array.integers.size(); ++i)
    if (!good(array.integers[i]) && bad++ == 0)
      first = i;
  if (bad == 0)
    return;
  int64_t index = static_cast<int64_t>(first);
  std::string more = bad > 1 ? " (and " + std::to_string(bad - 1) + " more like it)" : "";
  faults_.add(Code::Range, "is " + std::to_string(array.integers[first]) + ", " + expected + " is expected" + more,
              at(array.name, index / batch_.tokens, index % batch_.tokens), hint);
}

void Finisher::checkSize() {
  if (options_.sequences && *options_.sequences != batch_.sequences)
    faults_.add(Code::Range, "has " + std::to_string(batch_.sequences) + " sequences, " +
                                 std::to_string(*options_.sequences) + " are expected");
  if (options_.tokens && *options_.tokens != batch_.tokens)
    faults_.add(Code::Range, "has " + std::to_string(batch_.tokens) + " tokens per sequence, " +
                                 std::to_string(*options_.tokens) + " are expected");
}

void Finisher::checkIds() {
  if (RawArray *ids = find("input_ids")) {
    int64_t end = options_.vocabulary.value_or(int64_t{1} << 31);
    checkIntegers(
        *ids, [&](int64_t id) { return id >= 0 && id < end; }, "a token id from 0 to " + std::to_string(end - 1),
        "padding needs an id of the vocabulary, too");
  }
}

void Finisher::addDefaults() {
  if (!find("input_ids"))
    return;
  size_t count = static_cast<size_t>(batch_.sequences * batch_.tokens);
  std::vector<int64_t> shape = {batch_.sequences, batch_.tokens};
  if (!find("attention_mask"))
    batch_.arrays["attention_mask"] = {"attention_mask", shape, true, std::vector<int64_t>(count, 1), {}};
  if (find("position_ids"))
    return;
  const std::vector<int64_t> &mask = find("attention_mask")->integers;
  RawArray positions = {"position_ids", shape, true, std::vector<int64_t>(count), {}};
  for (int64_t row = 0; row < batch_.sequences; ++row) {
    int64_t real = 0;
    for (int64_t column = 0; column < batch_.tokens; ++column) {
      size_t index = static_cast<size_t>(row * batch_.tokens + column);
      real += mask[index] != 0;
      positions.integers[index] = std::max<int64_t>(real - 1, 0);
    }
  }
  batch_.arrays["position_ids"] = std::move(positions);
}

void Finisher::checkMask() {
  RawArray *mask = find("attention_mask");
  if (!mask)
    return;
  checkIntegers(*mask, [](int64_t value) { return value == 0 || value == 1; }, "0 or 1");
  int64_t holes = 0, example = 0;
  for (int64_t row = 0; row < batch_.sequences; ++row) {
    auto begin = mask->integers.begin() + row * batch_.tokens, end = begin + batch_.tokens;
    auto first = std::find(begin, end, 1);
    auto last = std::find(std::make_reverse_iterator(end), std::make_reverse_iterator(first), 1).base();
    if (std::find(first, last, 0) != last && holes++ == 0)
      example = row;
  }
  if (holes > 0)
    notes_.push_back("attention_mask: " + std::to_string(holes) +
                     " rows have padding between real tokens, the first is row " + std::to_string(example));
}

void Finisher::checkPositions() {
  if (RawArray *positions = find("position_ids"))
    checkIntegers(
        *positions, [](int64_t value) { return value >= 0 && value < (int64_t{1} << 31); },
        "a position from 0 to 2147483647");
}

void Finisher::checkLossMask() {
  RawArray *loss = find("loss_mask"), *mask = find("attention_mask");
  if (!loss)
    return;
  size_t cleared = 0;
  for (int64_t row = 0; row < batch_.sequences; ++row) {
    bool predicted = false; // whether a real token stands before this one
    size_t onPadding = 0;
    for (int64_t column = 0; column < batch_.tokens; ++column) {
      size_t index = static_cast<size_t>(row * batch_.tokens + column);
      double &value = loss->reals[index];
      bool real = !mask || mask->integers[index] != 0;
      if (!std::isfinite(value) || value < 0)
        faults_.add(Code::Range, "is " + text(value) + ", 0 or a positive weight is expected",
                    at("loss_mask", row, column));
      else if (value != 0 && !real && onPadding++ == 0)
        faults_.add(Code::Graph, "is " + text(value) + ", but attention_mask says that this is padding",
                    at("loss_mask", row, column));
      else if (value != 0 && real && !predicted)
        value = 0, ++cleared;
      predicted = predicted || (mask ? real : true);
    }
  }
  if (cleared > 0)
    notes_.push_back("loss_mask: the first token of " + std::to_string(cleared) +
                     " rows was in the loss; nothing predicts it, so it was taken out");
}

bool Finisher::matters(size_t index) {
  if (index % static_cast<size_t>(batch_.tokens) == 0)
    return false;
  if (RawArray *loss = find("loss_mask"))
    return loss->reals[index] != 0;
  RawArray *mask = find("attention_mask");
  return !mask || mask->integers[index] != 0;
}

void Finisher::checkNumbers(RawArray &array) {
  bool perToken = array.shape == std::vector<int64_t>{batch_.sequences, batch_.tokens};
  double largest =
      options_.float64 ? std::numeric_limits<double>::max() : static_cast<double>(std::numeric_limits<float>::max());
  size_t bad = 0, first = 0;
  for (size_t i = 0; i < array.reals.size(); ++i) {
    if (std::fabs(array.reals[i]) <= largest)
      continue;
    if (perToken && !matters(i))
      array.reals[i] = 0;
    else if (bad++ == 0)
      first = i;
  }
  if (bad == 0)
    return;
  int64_t index = static_cast<int64_t>(first);
  std::string place = perToken ? at(array.name, index / batch_.tokens, index % batch_.tokens)
                               : escaped(array.name) + "[" + std::to_string(index) + "]";
  faults_.add(Code::Range,
              "is " + text(array.reals[first]) + ", a finite number is expected" +
                  (bad > 1 ? " (and " + std::to_string(bad - 1) + " more like it)" : ""),
              place);
}

LoadedBatch Finisher::canonical() {
  LoadedBatch loaded;
  loaded.notes = std::move(notes_);
  loaded.batch.sequences = batch_.sequences;
  loaded.batch.tokens = batch_.tokens;
  for (auto &[name, raw] : batch_.arrays) {
    BatchArray array{name, std::move(raw.shape), {}};
    if (raw.integral)
      array.values = std::move(raw.integers);
    else if (isWide(name))
      array.values = std::move(raw.reals);
    else
      array.values = std::vector<float>(raw.reals.begin(), raw.reals.end());
    loaded.batch.arrays.push_back(std::move(array));
  }
  return loaded;
}
} // namespace

Result<LoadedBatch> finish(RawBatch batch, const BatchOptions &options, Faults faults, std::vector<std::string> notes) {
  return Finisher(std::move(batch), options, std::move(faults), std::move(notes)).finish();
}

} // namespace graft::batch
