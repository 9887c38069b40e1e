#include "kernels/copy/copy.h"

#include <algorithm>
#include <cstring>

namespace graft::kernels {

namespace {
constexpr int64_t transposeTile = 32;
constexpr int64_t unitElements = 4096; // of a work item, about: short rows are joined, long runs are cut

template <typename T> void copyRun(T *to, const T *from, int64_t count, int64_t toStride, int64_t fromStride) {
  if (toStride == 1 && fromStride == 1)
    std::memcpy(to, from, static_cast<size_t>(count) * sizeof(T));
  else
    for (int64_t i = 0; i < count; ++i)
      to[i * toStride] = from[i * fromStride];
}
} // namespace

StridedCopy::StridedCopy(int64_t elementBytes, std::span<const int64_t> shape, std::span<const int64_t> dst,
                         std::span<const int64_t> src)
    : elementBytes_(elementBytes) {
  std::vector<Dim> dims;
  for (size_t i = 0; i < shape.size(); ++i) {
    if (shape[i] == 0)
      return;
    if (shape[i] > 1)
      dims.push_back({shape[i], dst[i], src[i]});
  }
  std::sort(dims.begin(), dims.end(), [](const Dim &a, const Dim &b) { return a.dst > b.dst; });
  for (const Dim &dim : dims)
    if (!outer_.empty() && outer_.back().dst == dim.dst * dim.size && outer_.back().src == dim.src * dim.size)
      outer_.back() = {outer_.back().size * dim.size, dim.dst, dim.src};
    else
      outer_.push_back(dim);

  if (!outer_.empty()) {
    run_ = outer_.back();
    outer_.pop_back();
  }
  auto fastest =
      std::min_element(outer_.begin(), outer_.end(), [](const Dim &a, const Dim &b) { return a.src < b.src; });
  if (fastest != outer_.end() && fastest->src < run_.src && run_.src > 1) {
    form_ = Form::Transpose;
    tile_ = transposeTile;
    tiled_ = *fastest;
    outer_.erase(fastest);
  } else if (!outer_.empty() && run_.size <= unitElements / 2) {
    form_ = Form::Rows;
    tile_ = unitElements / run_.size;
    tiled_ = outer_.back();
    outer_.pop_back();
  } else {
    form_ = Form::Run;
    tile_ = unitElements;
    tiled_ = run_;
    run_ = {1, 1, 1};
  }
  units_ = (tiled_.size + tile_ - 1) / tile_;
  for (const Dim &dim : outer_)
    units_ *= dim.size;
}

template <typename T> void StridedCopy::copyTile(T *to, const T *from, int64_t count) const {
  if (form_ == Form::Transpose) {
    for (int64_t block = 0; block < run_.size; block += transposeTile)
      for (int64_t i = 0; i < count; ++i)
        for (int64_t j = block; j < std::min(block + transposeTile, run_.size); ++j)
          to[i * tiled_.dst + j * run_.dst] = from[i * tiled_.src + j * run_.src];
  } else if (form_ == Form::Rows) {
    for (int64_t i = 0; i < count; ++i)
      copyRun(to + i * tiled_.dst, from + i * tiled_.src, run_.size, run_.dst, run_.src);
  } else {
    copyRun(to, from, count, tiled_.dst, tiled_.src);
  }
}

template <typename T> void StridedCopy::runAs(T *dst, const T *src, int64_t begin, int64_t end) const {
  int64_t tiles = (tiled_.size + tile_ - 1) / tile_;
  for (int64_t unit = begin; unit < end; ++unit) {
    int64_t first = unit % tiles * tile_, count = std::min(tile_, tiled_.size - first), rest = unit / tiles;
    T *to = dst + first * tiled_.dst;
    const T *from = src + first * tiled_.src;
    for (size_t d = outer_.size(); d-- > 0; rest /= outer_[d].size) {
      to += rest % outer_[d].size * outer_[d].dst;
      from += rest % outer_[d].size * outer_[d].src;
    }
    copyTile(to, from, count);
  }
}

void StridedCopy::run(void *dst, const void *src, int64_t begin, int64_t end) const {
  switch (elementBytes_) {
  case 1:
    return runAs(static_cast<uint8_t *>(dst), static_cast<const uint8_t *>(src), begin, end);
  case 2:
    return runAs(static_cast<uint16_t *>(dst), static_cast<const uint16_t *>(src), begin, end);
  case 4:
    return runAs(static_cast<uint32_t *>(dst), static_cast<const uint32_t *>(src), begin, end);
  case 8:
    return runAs(static_cast<uint64_t *>(dst), static_cast<const uint64_t *>(src), begin, end);
  }
}

} // namespace graft::kernels
