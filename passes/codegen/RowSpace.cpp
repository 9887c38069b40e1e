// See RowSpace.h.
#include "passes/codegen/RowSpace.h"

using namespace mlir;

namespace graft {
namespace {

/// Whether two neighbouring dimensions are one for every operand.
bool areEven(const RowDimension &outer, const RowDimension &inner) {
  return llvm::all_of(llvm::zip(outer.strides, inner.strides),
                      [&](auto pair) { return std::get<0>(pair) == std::get<1>(pair) * inner.size; });
}

/// The program's dimensions [from, to), merged; those in `kept` stay as they are.
SmallVector<RowDimension> merge(rt::RowProgramOp program, size_t from, size_t to,
                                const llvm::SmallDenseSet<int64_t> &kept) {
  SmallVector<RowDimension> merged;
  for (size_t d = from; d < to; ++d) {
    RowDimension next{program.getRows()[d], {}, static_cast<int64_t>(d)};
    for (rt::AccessType access : program.getAccesses())
      next.strides.push_back(access.getRowStrides()[d]);
    if (next.size == 1)
      continue;
    RowDimension *last = merged.empty() ? nullptr : &merged.back();
    if (last && !kept.contains(last->source) && !kept.contains(next.source) && areEven(*last, next))
      *last = {last->size * next.size, next.strides, -1};
    else
      merged.push_back(next);
  }
  return merged;
}

} // namespace

RowSpace RowSpace::of(rt::RowProgramOp program) {
  llvm::SmallDenseSet<int64_t> kept;
  for (auto index : program.getBody()->getOps<rt::RowIndexOp>())
    kept.insert(index.getDimension());
  size_t unitRank = program.getUnitRank();
  return {merge(program, 0, unitRank, kept), merge(program, unitRank, program.getRows().size(), kept)};
}

} // namespace graft
