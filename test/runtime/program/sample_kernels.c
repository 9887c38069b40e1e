// Kernels of the sample program, as the compiler would write them: no library, no constructor, one C type.
#include <stdint.h>

// difference[r, 4] = a[r, 4] - b[r, 4]
void subtract_rows(void *const *operands, int64_t begin, int64_t end) {
  const float *a = operands[0], *b = operands[1];
  float *difference = operands[2];
  for (int64_t i = begin * 4; i < end * 4; ++i)
    difference[i] = a[i] - b[i];
}

// loss = bias + sum of d^2 / 2 over [6, 4]; one work item
void half_square_sum(void *const *operands, int64_t begin, int64_t end) {
  const float *d = operands[0], *bias = operands[1];
  float sum = *bias;
  if (begin == 0 && end == 1)
    for (int64_t i = 0; i < 24; ++i)
      sum += d[i] * d[i] / 2;
  *(float *)operands[2] = sum;
}
