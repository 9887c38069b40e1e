// Rows and elements picked by index, and their gradients. The shapes are those of runtime/program/HostFunctions.h;
// values are float32, index arrays int32 or int64 (`indexBytes` 4 or 8).
//
// Every function works on a share and returns the position in the index array of the first index outside of its range
// that it met, -1 if there was none; rows of bad indices are left alone.
#pragma once

#include <cstdint>

namespace graft::kernels {

struct RowsShape {
  int64_t count, width; ///< index [count]; values [count, width]
  int64_t rows, pitch;  ///< table [rows, width], rows `pitch` elements apart
  int64_t indexBytes;
};

/// out[i, :] = table[index[i], :] for i in [begin, end).
int64_t gatherRows(const RowsShape &shape, const void *index, const float *table, float *out, int64_t begin,
                   int64_t end);
/// table[index[i], c] += values[i, c] for all i in order and c in [begin, end); with `overwrite` the table's columns
/// are set to zero first. Shares are columns, so that each element is summed in order of i whatever the number of
/// threads.
int64_t scatterAddRows(const RowsShape &shape, const void *index, const float *values, float *table, bool overwrite,
                       int64_t begin, int64_t end);

struct ElementsShape {
  int64_t rows, picks;    ///< index, values [rows, picks]
  int64_t columns, pitch; ///< source, target [rows, columns], rows `pitch` elements apart
  int64_t indexBytes;
};

/// out[r, j] = source[r, index[r, j]] for r in [begin, end).
int64_t gatherElements(const ElementsShape &shape, const void *index, const float *source, float *out, int64_t begin,
                       int64_t end);
/// target[r, index[r, j]] += values[r, j] for r in [begin, end), j in order; with `overwrite` rows are set to zero
/// first.
int64_t scatterAddElements(const ElementsShape &shape, const void *index, const float *values, float *target,
                           bool overwrite, int64_t begin, int64_t end);

// Obvious loops over everything, in double where they add.
int64_t gatherRowsReference(const RowsShape &shape, const void *index, const float *table, float *out);
int64_t scatterAddRowsReference(const RowsShape &shape, const void *index, const float *values, float *table,
                                bool overwrite);
int64_t gatherElementsReference(const ElementsShape &shape, const void *index, const float *source, float *out);
int64_t scatterAddElementsReference(const ElementsShape &shape, const void *index, const float *values, float *target,
                                    bool overwrite);

/// Element i of an index array.
inline int64_t indexAt(const void *index, int64_t indexBytes, int64_t i) {
  return indexBytes == 8 ? static_cast<const int64_t *>(index)[i] : static_cast<const int32_t *>(index)[i];
}

} // namespace graft::kernels
