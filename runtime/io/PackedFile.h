// A batch that a file holds in one row, told by `segment_ids` [1, T]: 0 is padding, sequence n is where it says n.
#pragma once

#include "runtime/io/BatchArrays.h"

namespace graft::batch {

/// Where the tokens of sequences [B, S] stand in a row of T.
struct PackedRow {
  int64_t sequences = 0, tokens = 0; ///< B and S
  std::vector<int64_t> places;       ///< [B, S] in [0, T); -1: padding

  /// [B, S] from [T]; zeros where there is padding.
  template <typename T> std::vector<T> spread(std::span<const T> row) const {
    std::vector<T> values(places.size());
    for (size_t i = 0; i < places.size(); ++i)
      if (places[i] >= 0)
        values[i] = row[static_cast<size_t>(places[i])];
    return values;
  }
};

/// Reads `segment_ids` of a row. Sequences are numbered 1, 2, ... without gaps, in any order, and their tokens stand
/// together. Rows of the result have `width` tokens, or as many as the longest sequence. Faults go to `faults`: then
/// the result means nothing.
PackedRow readSegments(std::span<const int64_t> segments, std::optional<int64_t> width, Faults &faults);

} // namespace graft::batch
