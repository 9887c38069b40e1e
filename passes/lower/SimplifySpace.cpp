// The space of a row program with as few row dimensions and as long rows as its accesses allow.
#include "passes/lower/KernelEmitter.h"

using namespace mlir;

namespace graft {

namespace {

// Rows shorter than this are joined with their neighbours where possible: vectors have 64 lanes.
constexpr int64_t kShortColumns = 1024;

struct Space {
  SmallVector<int64_t> rows;
  int64_t columns;
  SmallVector<SmallVector<int64_t>> strides; ///< per argument
  SmallVector<int64_t> columnStrides;
  SmallVector<bool> indexed; ///< per row dimension: rt.row_index reads it
  SmallVector<int64_t> original;

  void erase(size_t d) {
    rows.erase(rows.begin() + static_cast<int64_t>(d));
    indexed.erase(indexed.begin() + static_cast<int64_t>(d));
    original.erase(original.begin() + static_cast<int64_t>(d));
    for (auto &own : strides)
      own.erase(own.begin() + static_cast<int64_t>(d));
  }
  /// Dimension d runs on where d + 1 ends, for every argument.
  bool canMerge(size_t d) const {
    return !indexed[d] && !indexed[d + 1] &&
           llvm::all_of(strides, [&](const auto &own) { return own[d] == own[d + 1] * rows[d + 1]; });
  }
  bool canJoinColumns() const {
    for (auto [own, column] : llvm::zip(strides, columnStrides))
      if (own.back() != column * columns)
        return false;
    return !indexed.back();
  }
};

} // namespace

void simplifySpace(rt::RowProgramOp program) {
  Space space{llvm::to_vector(program.getRows()), static_cast<int64_t>(program.getColumns()), {}, {}, {}, {}};
  for (rt::AccessType access : program.getAccesses()) {
    space.strides.push_back(llvm::to_vector(access.getRowStrides()));
    space.columnStrides.push_back(access.getColumnStride());
  }
  space.indexed.assign(space.rows.size(), false);
  space.original = llvm::to_vector(llvm::seq<int64_t>(0, static_cast<int64_t>(space.rows.size())));
  bool movesWholeRows = false; // something is said per row or per column
  program.walk([&](Operation *op) {
    if (auto index = dyn_cast<rt::RowIndexOp>(op))
      space.indexed[index.getDimension()] = true;
    auto sweep = dyn_cast<rt::SweepOp>(op);
    movesWholeRows |=
        isa<rt::LoadOp, rt::StoreOp, rt::ScratchOp, rt::ColumnIndexOp>(op) || (sweep && !sweep.getReductions().empty());
  });
  auto boundary = program.getGroup() == 1 ? space.rows.size() : program.getUnitRank();
  for (size_t d = space.rows.size(); d-- > 0;) {
    bool last = d + 1 == space.rows.size();
    if (space.rows[d] == 1 && !space.indexed[d] && space.rows.size() > 1) {
      space.erase(d);
      boundary -= d < boundary;
    } else if (!last && d + 1 != boundary && space.canMerge(d)) {
      space.rows[d + 1] *= space.rows[d];
      space.erase(d);
      boundary -= d < boundary;
    }
  }
  while (!movesWholeRows && program.getGroup() == 1 && space.columns < kShortColumns && space.rows.back() > 1 &&
         space.canJoinColumns()) {
    space.columns *= space.rows.back();
    if (space.rows.size() > 1) {
      space.erase(space.rows.size() - 1);
    } else {
      space.rows.back() = 1;
      for (auto &own : space.strides)
        own.back() = 0;
    }
  }

  program.setRows(space.rows);
  program.setColumns(space.columns);
  for (auto [argument, own] : llvm::zip(program.getBody()->getArguments(), space.strides)) {
    auto access = cast<rt::AccessType>(argument.getType());
    argument.setType(
        rt::AccessType::get(access.getElementType(), own, access.getColumnStride(),
                            {access.getAccumulate(), access.getNoalias(), access.getNontemporal(), access.getAlign()}));
  }
  program.walk([&](rt::RowIndexOp index) {
    index.setDimension(llvm::find(space.original, static_cast<int64_t>(index.getDimension())) - space.original.begin());
  });
}

} // namespace graft
