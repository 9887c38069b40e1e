#include "kernels/attention/ranges.h"

#include <algorithm>
#include <cstring>

namespace graft::kernels {

namespace {
/// Segment id of position j; the array may be aligned to 4 bytes only.
int64_t segmentAt(const AttentionMasks &masks, int64_t at) {
  const char *from = static_cast<const char *>(masks.segments) + at * masks.segmentBytes;
  int64_t wide = 0;
  int32_t narrow = 0;
  if (masks.segmentBytes == 8)
    std::memcpy(&wide, from, sizeof wide);
  else
    std::memcpy(&narrow, from, sizeof narrow);
  return masks.segmentBytes == 8 ? wide : narrow;
}

/// label[j] = the first position with j's segment id. `heads` is work space for those first positions.
void labelSegments(const AttentionMasks &masks, int64_t base, int64_t count, int32_t *label, int32_t *heads) {
  int64_t found = 0;
  for (int64_t j = 0; j < count; ++j) {
    int64_t id = segmentAt(masks, base + j);
    if (j > 0 && id == segmentAt(masks, base + j - 1)) {
      label[j] = label[j - 1];
      continue;
    }
    int64_t h = 0;
    while (h < found && segmentAt(masks, base + heads[h]) != id)
      ++h;
    if (h == found)
      heads[found++] = static_cast<int32_t>(j);
    label[j] = heads[h];
  }
}

/// Keys that are not valid lose their label; queries keep theirs unless they are to be skipped.
void labelAll(const AttentionShape &shape, const AttentionMasks &masks, int64_t batch, const AttentionRanges &r) {
  int64_t base = batch * shape.keys;
  std::fill_n(r.label, roundUp(shape.keys, attentionPanel), -1);
  std::fill_n(r.label, shape.keys, 0);
  if (masks.segments)
    labelSegments(masks, base, shape.keys, r.label, r.first);
  if (shape.queries == shape.keys)
    std::copy_n(r.label, shape.queries, r.queryLabel);
  else
    std::fill_n(r.queryLabel, shape.queries, 0);
  if (!masks.keyValid)
    return;
  for (int64_t j = 0; j < shape.keys; ++j)
    if (!masks.keyValid[base + j]) {
      r.label[j] = -1;
      if (shape.skipInvalidQueries)
        r.queryLabel[j] = -1;
    }
}

void findLabels(const AttentionShape &shape, const AttentionRanges &r) {
  std::fill_n(r.count, shape.keys, 0);
  for (int64_t j = 0; j < shape.keys; ++j) {
    int32_t label = r.label[j];
    if (label < 0)
      continue;
    if (r.count[label]++ == 0)
      r.first[label] = static_cast<int32_t>(j);
    r.last[label] = static_cast<int32_t>(j);
  }
}

/// [lo, hi) that causal and window leave to the query at `position`.
void bounds(const AttentionShape &shape, int64_t position, int64_t &lo, int64_t &hi) {
  lo = 0, hi = shape.keys;
  if (shape.causal)
    hi = std::min(hi, position + 1);
  if (shape.window > 0 && shape.window <= shape.queries + shape.keys) { // wider ones exclude nothing
    lo = std::max(lo, position - shape.window + 1);
    hi = std::min(hi, position + shape.window);
  }
}
} // namespace

int64_t rangesSize(const AttentionShape &shape) {
  return roundUp(4 * shape.queries + 4 * roundUp(shape.keys, attentionPanel), attentionVector);
}

float *layRanges(const AttentionShape &shape, float *memory, AttentionRanges &ranges) {
  auto *next = reinterpret_cast<int32_t *>(memory);
  int64_t keys = roundUp(shape.keys, attentionPanel);
  for (int32_t **array : {&ranges.label, &ranges.first, &ranges.last, &ranges.count}) {
    *array = next;
    next += keys;
  }
  for (int32_t **array : {&ranges.lo, &ranges.hi, &ranges.queryLabel, &ranges.holes}) {
    *array = next;
    next += shape.queries;
  }
  return memory + rangesSize(shape);
}

void findRanges(const AttentionShape &shape, const AttentionMasks &masks, int64_t batch, const AttentionRanges &r) {
  labelAll(shape, masks, batch, r);
  findLabels(shape, r);
  for (int64_t i = 0; i < shape.queries; ++i) {
    int32_t label = r.queryLabel[i];
    int64_t lo = 0, hi = 0;
    if (label >= 0 && label < shape.keys && r.count[label] > 0) {
      bounds(shape, i + shape.keys - shape.queries, lo, hi);
      lo = std::max<int64_t>(lo, r.first[label]);
      hi = std::min<int64_t>(hi, r.last[label] + 1);
      while (lo < hi && r.label[lo] != label)
        ++lo;
      while (lo < hi && r.label[hi - 1] != label)
        --hi;
    }
    r.lo[i] = static_cast<int32_t>(lo < hi ? lo : 0);
    r.hi[i] = static_cast<int32_t>(lo < hi ? hi : 0);
    r.holes[i] = lo < hi && r.count[label] != r.last[label] + 1 - r.first[label];
  }
}

} // namespace graft::kernels
