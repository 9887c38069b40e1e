#include "kernels/gather/gather.h"

#include <cstddef>
#include <vector>

namespace graft::kernels {

namespace {
/// Position of the first index outside of [0, limit), -1 if there is none.
int64_t firstBad(const void *index, int64_t indexBytes, int64_t count, int64_t limit) {
  for (int64_t i = 0; i < count; ++i)
    if (int64_t at = indexAt(index, indexBytes, i); at < 0 || at >= limit)
      return i;
  return -1;
}

/// target[rowOf(i), columnOf(i)] += values[i] for i in [0, count), summed in double and rounded once.
template <typename RowOf, typename ColumnOf>
void scatterAdd(int64_t rows, int64_t width, int64_t pitch, int64_t count, RowOf rowOf, ColumnOf columnOf,
                const float *values, float *target, bool overwrite) {
  for (int64_t row = 0; row < rows; ++row) {
    std::vector<double> sums(static_cast<std::size_t>(width));
    for (int64_t column = 0; column < width; ++column)
      sums[static_cast<std::size_t>(column)] = overwrite ? 0 : target[row * pitch + column];
    for (int64_t i = 0; i < count; ++i)
      if (rowOf(i) == row && columnOf(i) >= 0 && columnOf(i) < width)
        sums[static_cast<std::size_t>(columnOf(i))] += values[i];
    for (int64_t column = 0; column < width; ++column)
      target[row * pitch + column] = static_cast<float>(sums[static_cast<std::size_t>(column)]);
  }
}
} // namespace

int64_t gatherRowsReference(const RowsShape &shape, const void *index, const float *table, float *out) {
  for (int64_t i = 0; i < shape.count; ++i)
    if (int64_t row = indexAt(index, shape.indexBytes, i); row >= 0 && row < shape.rows)
      for (int64_t column = 0; column < shape.width; ++column)
        out[i * shape.width + column] = table[row * shape.pitch + column];
  return firstBad(index, shape.indexBytes, shape.count, shape.rows);
}

int64_t scatterAddRowsReference(const RowsShape &shape, const void *index, const float *values, float *table,
                                bool overwrite) {
  scatterAdd(
      shape.rows, shape.width, shape.pitch, shape.count * shape.width,
      [&](int64_t i) { return indexAt(index, shape.indexBytes, i / shape.width); },
      [&](int64_t i) { return i % shape.width; }, values, table, overwrite);
  return firstBad(index, shape.indexBytes, shape.count, shape.rows);
}

int64_t gatherElementsReference(const ElementsShape &shape, const void *index, const float *source, float *out) {
  for (int64_t row = 0; row < shape.rows; ++row)
    for (int64_t i = row * shape.picks; i < (row + 1) * shape.picks; ++i)
      if (int64_t column = indexAt(index, shape.indexBytes, i); column >= 0 && column < shape.columns)
        out[i] = source[row * shape.pitch + column];
  return firstBad(index, shape.indexBytes, shape.rows * shape.picks, shape.columns);
}

int64_t scatterAddElementsReference(const ElementsShape &shape, const void *index, const float *values, float *target,
                                    bool overwrite) {
  scatterAdd(
      shape.rows, shape.columns, shape.pitch, shape.rows * shape.picks, [&](int64_t i) { return i / shape.picks; },
      [&](int64_t i) { return indexAt(index, shape.indexBytes, i); }, values, target, overwrite);
  return firstBad(index, shape.indexBytes, shape.rows * shape.picks, shape.columns);
}

} // namespace graft::kernels
