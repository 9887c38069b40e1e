// Backward: blocks of keys outside, blocks of rows inside. Probabilities are computed again from lse, so that a block
// of scores [backwardRows, backwardKeys] is all that exists; packed keys, values and their gradients stay in the second
// cache. dq is added to block by block, in the order of the keys.
#include "kernels/attention/vectors.h"

namespace graft::kernels::GRAFT_TARGET {

namespace {
class Backward {
public:
  Backward(const AttentionBackward &call, const AttentionRanges &ranges, float *scratch, int64_t batch, int64_t keyHead)
      : call_(call), shape_(call.shape), ranges_(ranges), scale_(call.shape), keyHead_(keyHead),
        keyPitch_(roundUp(shape_.queryDim, attentionVector)), valuePitch_(roundUp(shape_.valueDim, attentionVector)) {
    int64_t heads = shape_.queryHeads / shape_.keyHeads;
    rows_ = {heads, keyHead * heads, batch};
    auto take = [&](int64_t floats) {
      float *at = scratch;
      scratch += roundUp(floats, attentionVector);
      return at;
    };
    int64_t keys = smaller(backwardKeys, roundUp(shape_.keys, attentionPanel));
    delta_ = take(shape_.queries * heads);
    active_ = take(shape_.queries * heads);
    keyPanels_ = take(keys * keyPitch_), keyRows_ = take(keys * keyPitch_), dk_ = take(keys * keyPitch_);
    valuePanels_ = take(keys * valuePitch_), dv_ = take(keys * valuePitch_);
    p_ = take(backwardRows * scorePitch), g_ = take(backwardRows * scorePitch);
    queries_ = take(backwardRows * keyPitch_), dq_ = take(backwardRows * keyPitch_);
    outs_ = take(backwardRows * valuePitch_);
  }

  void run() {
    prepareRows();
    // Blocks of even length, so that the last is not a small rest.
    int64_t blocks = (shape_.keys + backwardKeys - 1) / backwardKeys;
    int64_t length = blocks ? roundUp((shape_.keys + blocks - 1) / blocks, attentionPanel) : 0;
    for (int64_t begin = 0; begin < shape_.keys; begin += length)
      keyBlock(begin, smaller(begin + length, shape_.keys));
  }

private:
  /// delta = do . o of every row; rows of zeros in do are not active; dq = 0.
  void prepareRows() {
    for (int64_t row = 0; row < shape_.queries * rows_.heads; ++row) {
      zero(call_.dq.data + rows_.offset(call_.dq.strides, row), shape_.queryDim);
      const float *__restrict dOut = call_.dOut.data + rows_.offset(call_.dOut.strides, row);
      const float *__restrict o = call_.o.data + rows_.offset(call_.o.strides, row);
      Floats sums = {};
      Ints any = {};
      float rest = 0;
      bool anyRest = false;
      int64_t e = 0;
      for (; e + width <= shape_.valueDim; e += width) {
        Floats d = load(dOut + e);
        sums += d * load(o + e);
        any |= d != 0.0f;
      }
      for (; e < shape_.valueDim; ++e) {
        rest += dOut[e] * o[e];
        anyRest |= dOut[e] != 0;
      }
      delta_[row] = sumOf(sums) + rest;
      int64_t i = rows_.position(row);
      bool some = anyRest || sumOf(select(any, all(1), Floats{})) != 0;
      active_[row] = some && ranges_.lo[i] < ranges_.hi[i] ? 1 : 0;
    }
  }

  void keyBlock(int64_t begin, int64_t end) {
    begin_ = begin, end_ = end;
    bool isPacked = false;
    int64_t count = shape_.queries * rows_.heads;
    for (int64_t row = 0; row < count; row += backwardRows) {
      first_ = row, count_ = smaller(backwardRows, count - row);
      if (!findReach())
        continue;
      if (!isPacked)
        packKeys();
      isPacked = true;
      rowBlock();
    }
    for (int64_t j = begin; j < end; ++j) {
      writeRow(call_.dk, j, isPacked ? dk_ + (j - begin) * keyPitch_ : nullptr, shape_.queryDim);
      writeRow(call_.dv, j, isPacked ? dv_ + (j - begin) * valuePitch_ : nullptr, shape_.valueDim);
    }
  }

  void writeRow(const HeadsOut &to, int64_t j, const float *from, int64_t dim) {
    const HeadStrides &s = to.strides;
    float *row = to.data + rows_.batch * s.batch + keyHead_ * s.head + j * s.position;
    copyRow(row, from, from ? dim : 0, dim);
  }

  void packKeys() {
    const HeadStrides &ks = call_.k.strides, &vs = call_.v.strides;
    const float *k = call_.k.data + rows_.batch * ks.batch + keyHead_ * ks.head + begin_ * ks.position;
    const float *v = call_.v.data + rows_.batch * vs.batch + keyHead_ * vs.head + begin_ * vs.position;
    int64_t keys = end_ - begin_, padded = roundUp(keys, attentionPanel);
    packPanels(keyPanels_, k, ks.position, keys, shape_.queryDim);
    packPanels(valuePanels_, v, vs.position, keys, shape_.valueDim);
    for (int64_t j = 0; j < keys; ++j) // zeros for keys that are not valid: they may hold NaN
      copyRow(keyRows_ + j * keyPitch_, k + j * ks.position, ranges_.label[begin_ + j] < 0 ? 0 : shape_.queryDim,
              keyPitch_);
    zero(dk_, padded * keyPitch_);
    zero(dv_, padded * valuePitch_);
  }

  // --- One block of rows. Keys are counted from begin_ in what follows
  // ------------------------------------------------

  int64_t groups() const { return (count_ + attentionGroup - 1) / attentionGroup; }
  int64_t groupRows(int64_t g) const { return smaller(attentionGroup, count_ - g * attentionGroup); }

  Reach reach(int64_t row) const {
    return active_[row] == 0 ? Reach{} : reachOf(ranges_, rows_.position(row), begin_, end_);
  }

  /// Whether the rows read anything of the block of keys.
  bool findReach() {
    all_ = {};
    for (int64_t g = 0; g < groups(); ++g) {
      groups_[g] = {};
      for (int64_t r = g * attentionGroup; r < g * attentionGroup + groupRows(g); ++r)
        groups_[g] = join(groups_[g], reach(first_ + r));
      all_ = join(all_, {groups_[g].begin(), groups_[g].end()});
    }
    return !all_.empty();
  }

  void rowBlock() {
    for (int64_t r = 0; r < count_; ++r) {
      copyRow(queries_ + r * keyPitch_, call_.q.data + rows_.offset(call_.q.strides, first_ + r), shape_.queryDim,
              keyPitch_);
      copyRow(outs_ + r * valuePitch_, call_.dOut.data + rows_.offset(call_.dOut.strides, first_ + r), shape_.valueDim,
              valuePitch_);
    }
    multiply(queries_, keyPitch_, keyPanels_, shape_.queryDim, p_);
    multiply(outs_, valuePitch_, valuePanels_, shape_.valueDim, g_);
    for (int64_t r = 0; r < count_; ++r)
      differentiate(r);
    addQueries();
    addKeys(p_, outs_, valuePitch_, dv_);
    addKeys(g_, queries_, keyPitch_, dk_);
  }

  /// to = rows panels, where the groups read.
  void multiply(const float *rows, int64_t pitch, const float *panels, int64_t dim, float *to) {
    forPanels(groups_, groups(), all_, [&](int64_t g, int64_t p, Span keys) {
      product(groupRows(g), keys.end - keys.begin, dim, {rows + g * attentionGroup * pitch, pitch, 1},
              panels + p * dim + (keys.begin - p), attentionPanel,
              {to + g * attentionGroup * scorePitch + keys.begin, scorePitch}, false);
    });
  }

  /// Row r: p_ from q k to probabilities, g_ from do v to gradients of q k; zeros where the row reads nothing.
  void differentiate(int64_t r) {
    int64_t row = first_ + r, i = rows_.position(row), head = rows_.firstHead + row % rows_.heads;
    Reach own = reach(row);
    float *p = p_ + r * scorePitch, *g = g_ + r * scorePitch;
    float lse = log2e * call_.lse[(rows_.batch * shape_.queryHeads + head) * shape_.queries + i];
    for (Span part : own.parts)
      differentiateSpan(p, g, part, readerOf(ranges_, i), delta_[row], lse);
    zeroAround(p, all_, own);
    zeroAround(g, all_, own);
  }

  void differentiateSpan(float *p, float *g, Span own, const Reader &reader, float delta, float lse) const {
    for (int64_t j = own.begin; j < own.end; j += width) {
      Floats x = load(p + j) * scale_.factor, slope = all(shape_.scale);
      if (scale_.cap > 0) {
        Floats t = tanh(x);
        x = scale_.cap * t;
        slope *= 1.0f - t * t;
      }
      Floats probability = exp2(x - lse), gradient = probability * (load(g + j) - delta) * slope;
      if (!reader.isWhole(begin_ + j)) {
        Ints mask = reader.mask(begin_ + j);
        probability = select(mask, probability, Floats{});
        gradient = select(mask, gradient, Floats{});
      }
      store(p + j, probability);
      store(g + j, gradient);
    }
  }

  /// dq += g k
  void addQueries() {
    bool started[backwardRows / attentionGroup] = {};
    Span packed = {all_.begin, smaller(all_.end, end_ - begin_)};
    forPanels(groups_, groups(), packed, [&](int64_t g, int64_t, Span keys) {
      product(groupRows(g), keyPitch_, keys.end - keys.begin,
              {g_ + g * attentionGroup * scorePitch + keys.begin, scorePitch, 1}, keyRows_ + keys.begin * keyPitch_,
              keyPitch_, {dq_ + g * attentionGroup * keyPitch_, keyPitch_}, started[g]);
      started[g] = true;
    });
    for (int64_t r = 0; r < count_; ++r)
      if (started[r / attentionGroup]) {
        float *__restrict to = call_.dq.data + rows_.offset(call_.dq.strides, first_ + r);
        const float *__restrict from = dq_ + r * keyPitch_;
        for (int64_t d = 0; d < shape_.queryDim; ++d)
          to[d] += from[d];
      }
  }

  /// to[j] += sum over rows of x[row, j] rows[row]: only groups that read some of the tile of keys.
  void addKeys(const float *x, const float *rows, int64_t pitch, float *to) {
    for (int64_t j = all_.begin; j < all_.end; j += attentionGroup) {
      int64_t end = smaller(j + attentionGroup, all_.end), begin = groups(), last = -1;
      for (int64_t g = 0; g < groups(); ++g)
        if (groups_[g].meets(j, end)) {
          begin = smaller(begin, g);
          last = g;
        }
      if (last < 0)
        continue;
      int64_t row = begin * attentionGroup, rowEnd = smaller(count_, (last + 1) * attentionGroup);
      product(end - j, pitch, rowEnd - row, {x + row * scorePitch + j, 1, scorePitch}, rows + row * pitch, pitch,
              {to + j * pitch, pitch}, true);
    }
  }

  static constexpr int64_t scorePitch = backwardKeys + attentionScorePad;
  const AttentionBackward &call_;
  const AttentionShape &shape_;
  const AttentionRanges &ranges_;
  Scale scale_;
  ItemRows rows_ = {};
  int64_t keyHead_, keyPitch_, valuePitch_;
  float *delta_, *active_;                                 ///< by row of the work item
  float *keyPanels_, *keyRows_, *dk_, *valuePanels_, *dv_; ///< of the block of keys
  float *p_, *g_, *queries_, *dq_, *outs_;                 ///< of the block of rows
  int64_t begin_ = 0, end_ = 0, first_ = 0, count_ = 0;    ///< keys of the block; rows of the block
  Reach groups_[backwardRows / attentionGroup];
  Span all_; ///< from the first key that a group reads to the last
};
} // namespace

void attentionBackwardItem(const AttentionBackward &call, const AttentionRanges &ranges, float *scratch, int64_t batch,
                           int64_t keyHead) {
  Backward(call, ranges, scratch, batch, keyHead).run();
}

} // namespace graft::kernels::GRAFT_TARGET
