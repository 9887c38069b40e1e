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

/// The labels of one sequence's segments: the first position with an id is the label of the id.
class SegmentLabels {
public:
  /// `heads` is work space for those first positions.
  SegmentLabels(const AttentionMasks &masks, int64_t batch, int64_t count, int32_t *heads)
      : masks_(masks), base_(batch * masks.segmentRows * count), count_(count), heads_(heads) {}

  /// label[j] of row 0.
  void own(int32_t *label) {
    for (int64_t j = 0; j < count_; ++j) {
      if (j > 0 && id(j) == id(j - 1)) {
        label[j] = label[j - 1];
        continue;
      }
      int64_t h = find(id(j));
      if (h == found_)
        heads_[found_++] = static_cast<int32_t>(j);
      label[j] = heads_[h];
    }
  }

  /// parent[i] of row 1, label[i] where no position has its id. To be called after own.
  void parents(const int32_t *label, int32_t *parent) const {
    int64_t last = found_; // where the id of the position before was found
    for (int64_t i = 0; i < count_; ++i) {
      int64_t wanted = id(count_ + i);
      if (i == 0 || wanted != id(count_ + i - 1))
        last = find(wanted);
      parent[i] = last < found_ ? heads_[last] : label[i];
    }
  }

private:
  int64_t id(int64_t at) const { return segmentAt(masks_, base_ + at); }
  int64_t find(int64_t wanted) const {
    int64_t h = 0;
    while (h < found_ && id(heads_[h]) != wanted)
      ++h;
    return h;
  }

  const AttentionMasks &masks_;
  int64_t base_, count_, found_ = 0;
  int32_t *heads_;
};

/// Labels of all keys, of which every one is valid, and of all queries.
void labelSegments(const AttentionShape &shape, const AttentionMasks &masks, int64_t batch, const AttentionRanges &r) {
  std::fill_n(r.label, roundUp(shape.keys, attentionPanel), -1);
  std::fill_n(r.label, shape.keys, 0);
  std::fill_n(r.queryLabel, shape.queries, 0);
  std::fill_n(r.parentLabel, shape.queries, 0);
  if (!masks.segments)
    return;
  SegmentLabels labels(masks, batch, shape.keys, r.first);
  labels.own(r.label);
  std::copy_n(r.label, shape.queries, r.queryLabel);
  if (masks.segmentRows == 2)
    labels.parents(r.label, r.parentLabel);
  else
    std::copy_n(r.label, shape.queries, r.parentLabel);
}

/// Keys that are not valid lose their label; queries keep theirs unless they are to be skipped.
void labelAll(const AttentionShape &shape, const AttentionMasks &masks, int64_t batch, const AttentionRanges &r) {
  labelSegments(shape, masks, batch, r);
  if (!masks.keyValid)
    return;
  for (int64_t j = 0; j < shape.keys; ++j)
    if (!masks.keyValid[batch * shape.keys + j]) {
      r.label[j] = -1;
      if (shape.skipInvalidQueries)
        r.queryLabel[j] = r.parentLabel[j] = -1;
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

/// Keys [lo, hi).
struct Interval {
  int64_t lo = 0, hi = 0;
  bool empty() const { return lo >= hi; }
};

/// What causal and window leave to the query at `position`.
Interval bounds(const AttentionShape &shape, int64_t position) {
  int64_t lo = 0, hi = shape.keys;
  if (shape.causal)
    hi = std::min(hi, position + 1);
  if (shape.window > 0 && shape.window <= shape.queries + shape.keys) { // wider ones exclude nothing
    lo = std::max(lo, position - shape.window + 1);
    hi = std::min(hi, position + shape.window);
  }
  return {lo, hi};
}

/// The part of `within` from the first to the last key with the label.
Interval keysOf(const AttentionRanges &r, int32_t label, Interval within) {
  if (label < 0 || within.empty() || r.count[label] == 0)
    return {};
  int64_t lo = std::max<int64_t>(within.lo, r.first[label]), hi = std::min<int64_t>(within.hi, r.last[label] + 1);
  while (lo < hi && r.label[lo] != label)
    ++lo;
  while (lo < hi && r.label[hi - 1] != label)
    --hi;
  return lo < hi ? Interval{lo, hi} : Interval{};
}

bool hasHoles(const AttentionRanges &r, int32_t label) {
  return r.count[label] != r.last[label] + 1 - r.first[label];
}

void setRange(const AttentionRanges &r, int64_t query, Interval keys, Interval gap, bool holes) {
  r.lo[query] = static_cast<int32_t>(keys.lo);
  r.hi[query] = static_cast<int32_t>(keys.hi);
  r.gapBegin[query] = static_cast<int32_t>(gap.empty() ? keys.hi : gap.lo);
  r.gapEnd[query] = static_cast<int32_t>(gap.empty() ? keys.hi : gap.hi);
  r.holes[query] = holes;
}

/// The range of a query whose segments have these keys, in whichever order they lie.
void joinRanges(const AttentionRanges &r, int64_t query, Interval own, Interval parent) {
  int32_t label = r.queryLabel[query], parentLabel = r.parentLabel[query];
  if (parent.empty())
    return setRange(r, query, own, {}, !own.empty() && hasHoles(r, label));
  if (own.empty())
    return setRange(r, query, parent, {}, hasHoles(r, parentLabel));
  Interval gap = {std::min(own.hi, parent.hi), std::max(own.lo, parent.lo)};
  bool interleaved = gap.lo > gap.hi;
  setRange(r, query, {std::min(own.lo, parent.lo), std::max(own.hi, parent.hi)}, gap,
           interleaved || hasHoles(r, label) || hasHoles(r, parentLabel));
}
} // namespace

int64_t rangesSize(const AttentionShape &shape) {
  return roundUp(7 * shape.queries + 4 * roundUp(shape.keys, attentionPanel), attentionVector);
}

float *layRanges(const AttentionShape &shape, float *memory, AttentionRanges &ranges) {
  auto *next = reinterpret_cast<int32_t *>(memory);
  int64_t keys = roundUp(shape.keys, attentionPanel);
  for (int32_t **array : {&ranges.label, &ranges.first, &ranges.last, &ranges.count}) {
    *array = next;
    next += keys;
  }
  for (int32_t **array : {&ranges.lo, &ranges.hi, &ranges.gapBegin, &ranges.gapEnd, &ranges.queryLabel,
                          &ranges.parentLabel, &ranges.holes}) {
    *array = next;
    next += shape.queries;
  }
  return memory + rangesSize(shape);
}

void findRanges(const AttentionShape &shape, const AttentionMasks &masks, int64_t batch, const AttentionRanges &r) {
  labelAll(shape, masks, batch, r);
  findLabels(shape, r);
  for (int64_t i = 0; i < shape.queries; ++i) {
    Interval within = bounds(shape, i + shape.keys - shape.queries), own = keysOf(r, r.queryLabel[i], within);
    bool two = r.parentLabel[i] != r.queryLabel[i];
    joinRanges(r, i, own, two ? keysOf(r, r.parentLabel[i], within) : Interval{});
  }
}

} // namespace graft::kernels
