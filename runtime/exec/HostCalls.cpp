#include "runtime/exec/HostCalls.h"

#include "kernels/attention/attention.h"
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
const float *input(const HostArguments &a, int i) {
  return static_cast<const float *>(a.operands[i]);
}
float *output(const HostArguments &a, int i) {
  return static_cast<float *>(a.operands[i]);
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

// --- Attention: ints and operands in the order of HostFunctions.h

kernels::AttentionShape attentionShape(const HostArguments &a) {
  Ints i = a.ints;
  return {i[0], i[1], i[2], i[3], i[4], i[5], i[6], i[7] != 0, i[8], i[12] != 0, a.floats[0], a.floats[1]};
}
kernels::AttentionMasks attentionMasks(const HostArguments &a, int first) {
  return {a.ints[9] ? static_cast<const uint8_t *>(a.operands[first]) : nullptr,
          a.ints[10] ? a.operands[first + 1] : nullptr, a.ints[10], a.ints[11]};
}
/// Strides of array number `which`.
kernels::HeadStrides strides(Ints i, size_t which) {
  return {i[13 + 3 * which], i[14 + 3 * which], i[15 + 3 * which]};
}
kernels::HeadsIn heads(const HostArguments &a, int operand, size_t which) {
  return {input(a, operand), strides(a.ints, which)};
}
kernels::HeadsOut headsOut(const HostArguments &a, int operand, size_t which) {
  return {output(a, operand), strides(a.ints, which)};
}

int64_t attentionItems(Ints i) {
  return i[0] * i[2];
}
int64_t forwardScratch(const HostArguments &a) {
  return kernels::attentionForwardScratch(attentionShape(a));
}
int64_t backwardScratch(const HostArguments &a) {
  return kernels::attentionBackwardScratch(attentionShape(a));
}
int64_t attentionForward(const HostArguments &a, int64_t begin, int64_t end) {
  kernels::attentionForward({attentionShape(a), attentionMasks(a, 3), heads(a, 0, 0), heads(a, 1, 1), heads(a, 2, 2),
                             headsOut(a, 5, 3), output(a, 6)},
                            a.scratch, begin, end);
  return -1;
}
int64_t attentionBackward(const HostArguments &a, int64_t begin, int64_t end) {
  kernels::attentionBackward({attentionShape(a), attentionMasks(a, 6), heads(a, 0, 0), heads(a, 1, 1), heads(a, 2, 2),
                              heads(a, 3, 3), heads(a, 4, 4), input(a, 5), headsOut(a, 8, 5), headsOut(a, 9, 6),
                              headsOut(a, 10, 7)},
                             a.scratch, begin, end);
  return -1;
}

constexpr HostKernel table[] = {
    {"gather_rows", first, 1,
     [](const HostArguments &a, int64_t begin, int64_t end) {
       return kernels::gatherRows(rowsShape(a.ints), a.operands[0], input(a, 1), output(a, 2), begin, end);
     },
     third},
    {"scatter_add_rows", second, 16,
     [](const HostArguments &a, int64_t begin, int64_t end) {
       return kernels::scatterAddRows(rowsShape(a.ints), a.operands[0], input(a, 1), output(a, 2), a.ints[5] != 0,
                                      begin, end);
     },
     third},
    {"gather_elements", first, 1,
     [](const HostArguments &a, int64_t begin, int64_t end) {
       return kernels::gatherElements(elementsShape(a.ints), a.operands[0], input(a, 1), output(a, 2), begin, end);
     },
     third},
    {"scatter_add_elements", first, 1,
     [](const HostArguments &a, int64_t begin, int64_t end) {
       return kernels::scatterAddElements(elementsShape(a.ints), a.operands[0], input(a, 1), output(a, 2),
                                          a.ints[5] != 0, begin, end);
     },
     third},
    {"attention_forward", attentionItems, 1, attentionForward, nullptr, forwardScratch},
    {"attention_backward", attentionItems, 1, attentionBackward, nullptr, backwardScratch},
};
} // namespace

const HostKernel *findHostKernel(std::string_view name) {
  for (const HostKernel &kernel : table)
    if (kernel.name == name)
      return &kernel;
  return nullptr;
}

} // namespace graft
