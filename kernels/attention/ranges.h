// Which keys each query may read, found once per work item: what the vector loops need to skip and to mask.
#pragma once

#include "kernels/attention/attention.h"

namespace graft::kernels {

// Sizes in which forward and backward work, the same for every instruction set.
constexpr int64_t attentionPanel = 64;    ///< keys side by side in packed keys and values
constexpr int64_t attentionVector = 16;   ///< ranges of keys are widened to multiples of it
constexpr int64_t attentionGroup = 6;     ///< rows that one product computes at once
constexpr int64_t forwardRows = 24;       ///< rows (position, head) whose scores exist at once
constexpr int64_t backwardRows = 60;      ///< the same, backward
constexpr int64_t backwardKeys = 256;     ///< keys that the backward handles at once, at most
constexpr int64_t attentionScorePad = 16; ///< floats: keeps rows of scores from being multiples of 4 KiB apart

/// Static: a shared inline function must not come from a file compiled for AVX-512.
static constexpr int64_t roundUp(int64_t value, int64_t multiple) {
  return (value + multiple - 1) / multiple * multiple;
}

/// Arrays by query position (S) or key (T). Query i may read key j exactly when lo[i] <= j < hi[i] and label[j] is
/// queryLabel[i] or parentLabel[i] (equal: one segment). lo and hi are tight, lo = hi: nothing to read. No key of the
/// gap between the two segments may be read: lo <= gapBegin <= gapEnd <= hi, both ends are hi if there is none.
struct AttentionRanges {
  int32_t *lo, *hi, *gapBegin, *gapEnd;
  int32_t *queryLabel, *parentLabel;
  int32_t *holes;                ///< 1: some keys within [lo, hi) but outside of the gap may not be read
  int32_t *label;                ///< by key, rounded up to a panel; -1: not valid
  int32_t *first, *last, *count; ///< by label: where its valid keys are (work arrays)
};

/// 4-byte elements that the arrays of AttentionRanges take.
int64_t rangesSize(const AttentionShape &shape);
/// Lays the arrays out from `memory` on; returns what follows them.
float *layRanges(const AttentionShape &shape, float *memory, AttentionRanges &ranges);
/// Fills the ranges of sequence `batch`.
void findRanges(const AttentionShape &shape, const AttentionMasks &masks, int64_t batch, const AttentionRanges &ranges);

} // namespace graft::kernels
