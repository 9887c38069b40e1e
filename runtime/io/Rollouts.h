// Rollouts: JSON lines, one sampled completion per line.
//
//   {"prompt_ids": [1, 9690], "completion_ids": [39, 2], "reward": 1.0, "group_id": 0, "sampler_logprobs": [-0.1,
//   -0.2], ...}
//
// prompt_ids and completion_ids are required, and what the caller names besides. A field that is null counts as absent.
// Per-token arrays speak of the completion and have its length. Unknown fields are carried along as the text that stood
// there. Faults name file, line and field; all faults of a file are reported at once, up to a limit. Lines are read one
// at a time, so memory is bounded by the longest line allowed plus what is asked for.
#pragma once

#include "runtime/base/Status.h"

#include <array>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace graft {

/// The arrays with one number per completion token, by their names in the file.
enum class TokenField { SamplerLogprobs, OldLogprobs, RefLogprobs, Values, Returns, Advantages };
inline constexpr size_t tokenFieldCount = 6;
/// "sampler_logprobs", ...
std::string_view name(TokenField field);
std::optional<TokenField> tokenFieldByName(std::string_view name);

struct Rollout {
  std::vector<int32_t> promptIds, completionIds;
  std::optional<double> reward, advantage;
  /// What the completion is compared with: the integer or string as it stands in the file ("7", "\"a\""); empty if
  /// absent.
  std::string group;
  bool truncated = false;
  std::string prompt, completion;
  std::array<std::optional<std::vector<float>>, tokenFieldCount> perToken;
  /// Other fields: name, and the JSON text of the value. In the order of the line.
  std::vector<std::pair<std::string, std::string>> others;
  /// "rollouts.jsonl:12"; for messages.
  std::string place;

  const std::optional<std::vector<float>> &tokens(TokenField field) const {
    return perToken[static_cast<size_t>(field)];
  }
  size_t length() const { return promptIds.size() + completionIds.size(); }
};

struct RolloutOptions {
  /// Fields that every line must have besides the ids: "reward", "group_id", "sampler_logprobs", ...
  std::vector<std::string> required = {"reward", "group_id"};
  /// If known, ids must be below it.
  std::optional<int64_t> vocabulary;
  size_t lineBytes = 16u << 20; ///< the longest line accepted; longer ones are a Limit fault
  size_t faults = 20;           ///< reported per file; the rest is counted
};

/// One line, without its line feed. The place of each fault is the field; the caller puts file and line in front.
Result<Rollout> parseRollout(std::string_view line, const RolloutOptions &options = {});

/// Reads several files, one after the other, as one stream. Not thread-safe.
class RolloutStream {
public:
  /// Each pattern is a file, "-" for standard input (once), or a glob (sorted by name) where no file has this very
  /// name. Opens nothing that is not a regular file, except standard input. Io fault if a pattern matches nothing.
  static Result<RolloutStream> open(const std::vector<std::string> &patterns, const RolloutOptions &options = {});
  RolloutStream(RolloutStream &&) noexcept;
  RolloutStream &operator=(RolloutStream &&) noexcept;
  ~RolloutStream();

  /// The next `count` rollouts; fewer at the end, none when all is read. Faulty lines: the rest of that file is checked
  /// too, and all its faults are returned; the stream is then at its end.
  Result<std::vector<Rollout>> next(size_t count);
  /// Goes on without the next `count` rollouts, for resuming. Range fault if there are fewer.
  Status skip(size_t count);

private:
  struct State;
  explicit RolloutStream(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

/// Reads everything and keeps it, or all faults of all files.
Result<std::vector<Rollout>> readRollouts(const std::vector<std::string> &patterns, const RolloutOptions &options = {});

/// Checks all regular files of the patterns (not "-") without keeping them: before a long run, not in its middle.
/// Returns their number of rollouts.
Result<size_t> checkRollouts(const std::vector<std::string> &patterns, const RolloutOptions &options = {});

} // namespace graft
