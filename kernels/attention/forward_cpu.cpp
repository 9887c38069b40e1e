// Forward: whole rows of scores, forwardRows at a time. Six rows of 8,000 keys fit the second cache, so that a softmax
// in one go is simpler than one that is corrected block by block; keys and values are packed once per work item. Scores
// that no row of a group may read, outside of its reach, are neither computed nor read.
#include "kernels/attention/vectors.h"

namespace graft::kernels::GRAFT_TARGET {

namespace {
class Forward {
public:
  Forward(const AttentionForward &call, const AttentionRanges &ranges, float *scratch, int64_t batch, int64_t keyHead)
      : call_(call), shape_(call.shape), ranges_(ranges), scale_(call.shape), keyHead_(keyHead),
        keyPitch_(roundUp(shape_.keys, attentionPanel) + attentionScorePad),
        valuePitch_(roundUp(shape_.valueDim, attentionVector)) {
    int64_t heads = shape_.queryHeads / shape_.keyHeads;
    rows_ = {heads, keyHead * heads, batch};
    keys_ = scratch;
    values_ = keys_ + roundUp(shape_.keys, attentionPanel) * roundUp(shape_.queryDim, attentionVector);
    scores_ = values_ + roundUp(shape_.keys, attentionPanel) * valuePitch_;
    queries_ = scores_ + forwardRows * keyPitch_;
    out_ = queries_ + forwardRows * roundUp(shape_.queryDim, attentionVector);
  }

  void run() {
    pack();
    int64_t count = shape_.queries * rows_.heads;
    for (int64_t row = 0; row < count; row += forwardRows)
      block(row, smaller(forwardRows, count - row));
  }

private:
  void pack() {
    Span read;
    for (int64_t i = 0; i < shape_.queries; ++i)
      read = join(read, {ranges_.lo[i], ranges_.hi[i]});
    packed_ = read.begin / attentionPanel * attentionPanel, packedEnd_ = read.end;
    const HeadStrides &ks = call_.k.strides, &vs = call_.v.strides;
    packPanels(keys_, call_.k.data + rows_.batch * ks.batch + keyHead_ * ks.head + packed_ * ks.position, ks.position,
               read.end - packed_, shape_.queryDim);
    const float *values = call_.v.data + rows_.batch * vs.batch + keyHead_ * vs.head;
    for (int64_t j = packed_; j < read.end; ++j) // zeros for keys that are not valid: they may hold NaN
      copyRow(values_ + (j - packed_) * valuePitch_, values + j * vs.position,
              ranges_.label[j] < 0 ? 0 : shape_.valueDim, valuePitch_);
  }

  void block(int64_t first, int64_t count) {
    Span read;
    for (int64_t g = 0; g < groupsOf(count); ++g) {
      groups_[g] = {};
      for (int64_t r = g * attentionGroup; r < smaller(count, (g + 1) * attentionGroup); ++r)
        groups_[g] = join(groups_[g], reach(first + r));
      read = join(read, {groups_[g].begin(), groups_[g].end()});
    }
    if (!read.empty()) {
      scores(first, count, read);
      for (int64_t r = 0; r < count; ++r)
        softmax(first + r, r);
      weigh(count, read);
    }
    for (int64_t r = 0; r < count; ++r)
      write(first + r, r, read.empty());
  }

  Reach reach(int64_t row) const { return reachOf(ranges_, rows_.position(row), 0, shape_.keys); }
  static int64_t groupsOf(int64_t count) { return (count + attentionGroup - 1) / attentionGroup; }
  static int64_t groupRows(int64_t g, int64_t count) { return smaller(attentionGroup, count - g * attentionGroup); }

  /// scores = q k^T; a panel of keys stays in the first cache for all rows.
  void scores(int64_t first, int64_t count, Span read) {
    int64_t dim = shape_.queryDim, pitch = roundUp(dim, attentionVector);
    for (int64_t r = 0; r < count; ++r)
      copyRow(queries_ + r * pitch, call_.q.data + rows_.offset(call_.q.strides, first + r), dim, dim);
    forPanels(groups_, groupsOf(count), read, [&](int64_t g, int64_t p, Span keys) {
      product(groupRows(g, count), keys.end - keys.begin, dim, {queries_ + g * attentionGroup * pitch, pitch, 1},
              keys_ + (p - packed_) * dim + (keys.begin - p), attentionPanel,
              {scores_ + g * attentionGroup * keyPitch_ + keys.begin, keyPitch_}, false);
    });
  }

  /// Row r of scores becomes exp(y - max), zeros where only others of its group read; keeps the sum and lse.
  void softmax(int64_t row, int64_t r) {
    Reader reader = readerOf(ranges_, rows_.position(row));
    Reach own = reach(row);
    float *x = scores_ + r * keyPitch_;
    for (Span part : groups_[r / attentionGroup].parts)
      zeroAround(x, part, own);
    if (own.empty()) {
      inverse_[r] = 0, lse_[r] = -__builtin_inff();
      return;
    }
    float max = scaleRow(x, own, reader), sum = exponentials(x, own, max);
    inverse_[r] = 1 / sum;
    lse_[r] = max * ln2 + __builtin_logf(sum);
  }

  float scaleRow(float *x, const Reach &own, const Reader &reader) const {
    Floats max = all(-__builtin_inff());
    for (Span part : own.parts)
      for (int64_t j = part.begin; j < part.end; j += width) {
        Floats y = load(x + j) * scale_.factor;
        if (scale_.cap > 0)
          y = scale_.cap * tanh(y);
        if (!reader.isWhole(j))
          y = select(reader.mask(j), y, all(-__builtin_inff()));
        store(x + j, y);
        max = select(y > max, y, max);
      }
    return maxOf(max);
  }

  static float exponentials(float *x, const Reach &own, float max) {
    Floats sum = {};
    for (Span part : own.parts)
      for (int64_t j = part.begin; j < part.end; j += width) {
        Floats e = exp2(load(x + j) - max);
        store(x + j, e);
        sum += e;
      }
    return sumOf(sum);
  }

  /// out = scores v; a panel of values stays in the first cache for all rows.
  void weigh(int64_t count, Span read) {
    bool started[forwardRows / attentionGroup] = {};
    read.end = smaller(read.end, packedEnd_);
    forPanels(groups_, groupsOf(count), read, [&](int64_t g, int64_t, Span keys) {
      product(groupRows(g, count), valuePitch_, keys.end - keys.begin,
              {scores_ + g * attentionGroup * keyPitch_ + keys.begin, keyPitch_, 1},
              values_ + (keys.begin - packed_) * valuePitch_, valuePitch_,
              {out_ + g * attentionGroup * valuePitch_, valuePitch_}, started[g]);
      started[g] = true;
    });
  }

  void write(int64_t row, int64_t r, bool empty) {
    int64_t i = rows_.position(row), head = rows_.firstHead + row % rows_.heads;
    float *__restrict to = call_.o.data + rows_.offset(call_.o.strides, row), *__restrict from = out_ + r * valuePitch_;
    bool nothing = empty || ranges_.lo[i] >= ranges_.hi[i];
    for (int64_t e = 0; e < shape_.valueDim; ++e)
      to[e] = nothing ? 0 : from[e] * inverse_[r];
    call_.lse[(rows_.batch * shape_.queryHeads + head) * shape_.queries + i] = nothing ? -__builtin_inff() : lse_[r];
  }

  const AttentionForward &call_;
  const AttentionShape &shape_;
  const AttentionRanges &ranges_;
  Scale scale_;
  ItemRows rows_ = {};
  int64_t keyHead_, keyPitch_, valuePitch_;
  int64_t packed_ = 0, packedEnd_ = 0; ///< keys in keys_ and values_
  float *keys_, *values_, *scores_, *queries_, *out_;
  Reach groups_[forwardRows / attentionGroup];
  float inverse_[forwardRows], lse_[forwardRows];
};
} // namespace

void attentionForwardItem(const AttentionForward &call, const AttentionRanges &ranges, float *scratch, int64_t batch,
                          int64_t keyHead) {
  Forward(call, ranges, scratch, batch, keyHead).run();
}

} // namespace graft::kernels::GRAFT_TARGET
