// Any bytes as lines of rollouts, and the batch made of those that are accepted: no crash, no leak, and every id within
// the vocabulary. Seeds: test/data/rollouts and what test/bad_inputs/rollouts.py writes.
#include "runtime/io/Batch.h"

#include <cmath>
#include <cstdlib>

using namespace graft;

namespace {
void require(bool holds) {
  if (!holds)
    std::abort();
}

void checkBatch(const std::vector<Rollout> &rollouts) {
  BatchOptions options;
  options.tokens = 64;
  options.vocabulary = 1000;
  options.used = {"advantages", "old_logprobs", "values", "rewards", "group_ids"};
  auto loaded = batchFromRollouts(rollouts, options);
  if (!loaded.isOk())
    return require(!loaded.status().text().empty());
  for (int64_t id : loaded->batch.integers("input_ids"))
    require(id >= 0 && id < 1000);
  for (const BatchArray &array : loaded->batch.arrays)
    if (array.dtype() == DType::F32)
      for (float value : std::get<1>(array.values))
        require(std::isfinite(value));
}
} // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  std::string_view text(reinterpret_cast<const char *>(data), size);
  RolloutOptions options;
  options.required = {};
  std::vector<Rollout> rollouts;
  while (!text.empty() && rollouts.size() < 16) {
    size_t end = std::min(text.find('\n'), text.size());
    auto rollout = parseRollout(text.substr(0, end), options);
    if (rollout.isOk())
      rollouts.push_back(std::move(*rollout));
    else
      require(!rollout.status().text().empty());
    text.remove_prefix(std::min(end + 1, text.size()));
  }
  checkBatch(rollouts);
  return 0;
}
