// A batch: named arrays over B sequences of S tokens, from a safetensors file or from rollouts.
//
// Index t speaks of token t: old_logprobs[b, t] = log p(x_t | x_<t). Index 0 predicts nothing. What comes in may be
// looser than what goes out; after loading, every batch has this canonical form:
//
//   input_ids, attention_mask, position_ids, group_ids   int64; the mask is 0 or 1
//   loss_mask, advantages and all other numbers          float32 (float64 if asked for)
//   [B, S-1] arrays (tokens 1 .. S-1)                    shifted in, 0 at index 0
//   advantages [B]                                       broadcast to [B, S]
//   attention_mask absent                                all ones
//   position_ids absent                                  running count of real tokens: max(cumsum(mask) - 1, 0)
//   segment_ids [1, T], arrays [1, T]                    sequences 1, 2, ... as rows; [B] stays as it is
//   loss_mask                                            0 at index 0 and at a row's first real token, which nothing
//   predicts (a note says so) numbers of tokens outside of the loss                finite: NaN and infinities there
//   become 0
//
// Faults name array, row and column; all arrays are checked before anything is returned.
#pragma once

#include "runtime/io/Rollouts.h"
#include "runtime/io/Safetensors.h"

#include <set>
#include <span>
#include <variant>

namespace graft {

struct BatchArray {
  std::string name;
  std::vector<int64_t> shape; ///< [B, S], [B], or, for arrays that the contract does not know, any
  std::variant<std::vector<int64_t>, std::vector<float>, std::vector<double>> values;

  DType dtype() const { return std::array{DType::I64, DType::F32, DType::F64}[values.index()]; }
  /// Element `index` in row-major order, whatever its type.
  double at(size_t index) const {
    return std::visit([&](const auto &typed) { return static_cast<double>(typed[index]); }, values);
  }
  /// Row-major bytes of the values.
  std::span<const std::byte> bytes() const;
};

struct Batch {
  int64_t sequences = 0, tokens = 0; ///< B and S
  std::vector<BatchArray> arrays;    ///< sorted by name

  const BatchArray *find(std::string_view name) const;
  /// The values of an array that is known to be there with this type.
  std::span<const int64_t> integers(std::string_view name) const { return std::get<0>(find(name)->values); }
  std::span<const float> floats(std::string_view name) const { return std::get<1>(find(name)->values); }
  std::span<const double> doubles(std::string_view name) const { return std::get<2>(find(name)->values); }
};

struct BatchOptions {
  /// Names that the graph or the objective uses; others are ignored with a note. input_ids, attention_mask,
  /// position_ids and loss_mask always count as used.
  std::vector<std::string> used;
  /// Names without which there is no batch (they count as used).
  std::vector<std::string> required = {"input_ids"};
  std::optional<int64_t> vocabulary;        ///< ids must be below it
  std::optional<int64_t> sequences, tokens; ///< what B and S must be
  bool float64 = false;                     ///< numbers as float64 (for the reference interpreter)
  std::set<std::string> wide;               ///< arrays with numbers in float64 in any case
  size_t faults = 20;                       ///< reported; the rest is counted
};

struct LoadedBatch {
  Batch batch;
  std::vector<std::string> notes; ///< for the user: what was ignored, what was changed
  /// Where the tokens [B, S] stood in the file's packed row of so many (-1: padding); 0 tokens: it was not packed.
  struct {
    int64_t tokens = 0;
    std::vector<int64_t> places;
  } packed;
};

/// B and S come from input_ids; without it, from the widest array whose rows are tokens.
Result<LoadedBatch> loadBatch(const std::string &path, const BatchOptions &options = {});
Result<LoadedBatch> loadBatch(const SafetensorsFile &file, const BatchOptions &options = {});

/// Row b is the prompt of rollouts[b], then its completion, padded on the right with `padId` to options.tokens
/// (required). loss_mask is 1 on completion tokens. Per-token arrays are those of the rollouts, 0 elsewhere; advantages
/// come from `advantages` or `advantage`; rewards and group_ids (numbered 0, 1, ... in order of appearance) from the
/// fields of the same meaning. An array is made if it is used and every rollout has it; if only some have it, or it is
/// required and missing, that is a Graph fault for each rollout that lacks it. A sequence longer than options.tokens is
/// a Range fault.
Result<LoadedBatch> batchFromRollouts(std::span<const Rollout> rollouts, const BatchOptions &options,
                                      int64_t padId = 0);

} // namespace graft
