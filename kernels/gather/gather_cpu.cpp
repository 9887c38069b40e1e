#include "kernels/Dispatch.h"
#include "kernels/gather/gather.h"

#include <cstring>

namespace graft::kernels {

namespace {
size_t bytesOf(int64_t floats) {
  return static_cast<size_t>(floats) * sizeof(float);
}

/// Remembers the first position only.
void remember(int64_t &first, int64_t position) {
  if (first < 0)
    first = position;
}
} // namespace

int64_t gatherRows(const RowsShape &shape, const void *index, const float *table, float *out, int64_t begin,
                   int64_t end) {
  int64_t bad = -1;
  for (int64_t i = begin; i < end; ++i) {
    int64_t row = indexAt(index, shape.indexBytes, i);
    if (row < 0 || row >= shape.rows)
      remember(bad, i);
    else if (shape.width > 0)
      std::memcpy(out + i * shape.width, table + row * shape.pitch, bytesOf(shape.width));
  }
  return bad;
}

int64_t scatterAddRows(const RowsShape &shape, const void *index, const float *values, float *table, bool overwrite,
                       int64_t begin, int64_t end) {
  if (overwrite && begin < end)
    for (int64_t row = 0; row < shape.rows; ++row)
      std::memset(table + row * shape.pitch + begin, 0, bytesOf(end - begin));
  auto *add = vectorFunctions().addTo;
  int64_t bad = -1;
  for (int64_t i = 0; i < shape.count; ++i) {
    int64_t row = indexAt(index, shape.indexBytes, i);
    if (row < 0 || row >= shape.rows)
      remember(bad, i);
    else
      add(table + row * shape.pitch + begin, values + i * shape.width + begin, end - begin);
  }
  return bad;
}

int64_t gatherElements(const ElementsShape &shape, const void *index, const float *source, float *out, int64_t begin,
                       int64_t end) {
  int64_t bad = -1;
  for (int64_t i = begin * shape.picks; i < end * shape.picks; ++i) {
    int64_t column = indexAt(index, shape.indexBytes, i);
    if (column < 0 || column >= shape.columns)
      remember(bad, i);
    else
      out[i] = source[i / shape.picks * shape.pitch + column];
  }
  return bad;
}

int64_t scatterAddElements(const ElementsShape &shape, const void *index, const float *values, float *target,
                           bool overwrite, int64_t begin, int64_t end) {
  int64_t bad = -1;
  for (int64_t row = begin; row < end; ++row) {
    if (overwrite && shape.columns > 0)
      std::memset(target + row * shape.pitch, 0, bytesOf(shape.columns));
    for (int64_t i = row * shape.picks; i < (row + 1) * shape.picks; ++i) {
      int64_t column = indexAt(index, shape.indexBytes, i);
      if (column < 0 || column >= shape.columns)
        remember(bad, i);
      else
        target[row * shape.pitch + column] += values[i];
    }
  }
  return bad;
}

} // namespace graft::kernels
