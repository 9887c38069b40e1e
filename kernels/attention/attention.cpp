// Scratch and the loop over work items; forward_cpu.cpp and backward_cpu.cpp compute one item.
#include "kernels/attention/attention.h"

#include "kernels/Dispatch.h"
#include "kernels/attention/ranges.h"

#include <algorithm>

namespace graft::kernels {

namespace {
template <typename Call, typename Item>
void forItems(const Call &call, void *scratch, int64_t begin, int64_t end, Item item) {
  AttentionRanges ranges;
  float *rest = layRanges(call.shape, static_cast<float *>(scratch), ranges);
  for (int64_t unit = begin, found = -1; unit < end; ++unit) {
    int64_t batch = unit / call.shape.keyHeads;
    if (batch != found)
      findRanges(call.shape, call.masks, batch, ranges);
    found = batch;
    item(call, ranges, rest, batch, unit % call.shape.keyHeads);
  }
}

constexpr int64_t floatBytes = sizeof(float);
} // namespace

int64_t attentionUnits(const AttentionShape &shape) {
  return shape.batch * shape.keyHeads;
}

int64_t attentionForwardScratch(const AttentionShape &shape) {
  int64_t keys = roundUp(shape.keys, attentionPanel);
  int64_t queryDim = roundUp(shape.queryDim, attentionVector), valueDim = roundUp(shape.valueDim, attentionVector);
  int64_t rows = keys + attentionScorePad + queryDim + valueDim;
  return floatBytes * (rangesSize(shape) + keys * (queryDim + valueDim) + forwardRows * rows);
}

int64_t attentionBackwardScratch(const AttentionShape &shape) {
  int64_t keys = std::min(backwardKeys, roundUp(shape.keys, attentionPanel));
  int64_t queryDim = roundUp(shape.queryDim, attentionVector), valueDim = roundUp(shape.valueDim, attentionVector);
  int64_t itemRows = roundUp(shape.queries * (shape.queryHeads / shape.keyHeads), attentionVector);
  int64_t rows = 2 * (backwardKeys + attentionScorePad) + 2 * queryDim + valueDim;
  return floatBytes * (rangesSize(shape) + 2 * itemRows + keys * (3 * queryDim + 2 * valueDim) + backwardRows * rows);
}

void attentionForward(const AttentionForward &call, void *scratch, int64_t begin, int64_t end) {
  forItems(call, scratch, begin, end, vectorFunctions().attentionForwardItem);
}

void attentionBackward(const AttentionBackward &call, void *scratch, int64_t begin, int64_t end) {
  forItems(call, scratch, begin, end, vectorFunctions().attentionBackwardItem);
}

} // namespace graft::kernels
