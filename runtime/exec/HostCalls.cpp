#include "runtime/exec/HostCalls.h"

#include "kernels/gather/gather.h"

namespace graft {

namespace {
using Ints = std::span<const int64_t>;

kernels::RowsShape rowsShape(Ints i) {
  return {i[0], i[1], i[2], i[3], i[4]};
}
kernels::ElementsShape elementsShape(Ints i) {
  return {i[0], i[1], i[2], i[3], i[4]};
}
const float *input(void *const *operands, int i) {
  return static_cast<const float *>(operands[i]);
}
float *output(void *const *operands, int i) {
  return static_cast<float *>(operands[i]);
}

int64_t first(Ints i) {
  return i[0];
} // count of rows
int64_t second(Ints i) {
  return i[1];
} // width: scatter_add_rows is cut by columns
int64_t third(Ints i) {
  return i[2];
} // what indices must stay below

constexpr HostKernel table[] = {
    {"gather_rows", first, 1,
     [](Ints i, void *const *p, int64_t begin, int64_t end) {
       return kernels::gatherRows(rowsShape(i), p[0], input(p, 1), output(p, 2), begin, end);
     },
     third},
    {"scatter_add_rows", second, 16,
     [](Ints i, void *const *p, int64_t begin, int64_t end) {
       return kernels::scatterAddRows(rowsShape(i), p[0], input(p, 1), output(p, 2), i[5] != 0, begin, end);
     },
     third},
    {"gather_elements", first, 1,
     [](Ints i, void *const *p, int64_t begin, int64_t end) {
       return kernels::gatherElements(elementsShape(i), p[0], input(p, 1), output(p, 2), begin, end);
     },
     third},
    {"scatter_add_elements", first, 1,
     [](Ints i, void *const *p, int64_t begin, int64_t end) {
       return kernels::scatterAddElements(elementsShape(i), p[0], input(p, 1), output(p, 2), i[5] != 0, begin, end);
     },
     third},
};
} // namespace

const HostKernel *findHostKernel(std::string_view name) {
  for (const HostKernel &kernel : table)
    if (kernel.name == name)
      return &kernel;
  return nullptr;
}

} // namespace graft
