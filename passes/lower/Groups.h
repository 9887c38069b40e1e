// Which element-wise operators and reductions run together in one kernel.
//
// The idea: walk the operators in program order; an operator joins the kernel that produces its operands as long as
// nobody outside has used anything of that kernel yet (then it is closed). A kernel runs at the place of its last
// member, so no cycle can arise, and one linear walk suffices. What is cheap to compute from small operands (masks from
// indices, broadcast comparisons) is *virtual*: every kernel that needs it computes it for itself, and it never exists
// in memory.
#pragma once

#include "passes/lower/Indexing.h"

#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "llvm/ADT/DenseMap.h"
#include "llvm/ADT/DenseSet.h"

namespace graft {

/// What an operator is to the lowering.
enum class Role {
  View,      ///< moves no data (Indexing.h)
  Virtual,   ///< computed inside each user: constants of one value, iota, cheap functions of small operands
  Member,    ///< an element-wise operator or reduction that belongs to a group
  Library,   ///< matrix products, gathers, scans, concatenation: an instruction of its own
  Constant,  ///< a constant with elements: a buffer
  Parameter, ///< rl.parameter: a buffer of the parameter block
};

struct Group {
  llvm::SmallVector<int64_t> space;             ///< the shape of full members: rows..., columns
  llvm::SmallVector<mlir::Operation *> members; ///< in program order
};

class Grouping {
public:
  /// Requires a block of a decomposed function (Decompose.h). Operators without a role are reported with an error.
  /// `folded`: additions that the caller makes unnecessary; they belong to no group.
  static mlir::FailureOr<Grouping> compute(mlir::Block &block, const llvm::DenseSet<mlir::Operation *> &folded = {});

  Role role(mlir::Operation *op) const { return roles_.lookup(op); }
  const std::vector<Group> &groups() const { return groups_; }
  /// Index of the group that an operator belongs to, -1 if none.
  int groupOf(mlir::Operation *op) const {
    auto it = memberOf_.find(op);
    return it == memberOf_.end() ? -1 : it->second;
  }
  /// The operator after which a group runs: its last member.
  mlir::Operation *last(int group) const { return groups_[group].members.back(); }
  /// True when the value is a function of the row alone in its group (space without the last dimension).
  bool isRowLevel(mlir::Value value) const { return rowLevel_.contains(value); }
  /// The sweep of its group in which a member's value is known: reductions of sweep s give row values of level s + 1.
  int level(mlir::Value value) const { return levels_.lookup(value); }

private:
  friend class GroupBuilder;
  llvm::DenseMap<mlir::Operation *, Role> roles_;
  std::vector<Group> groups_;
  llvm::DenseMap<mlir::Operation *, int> memberOf_;
  llvm::DenseSet<mlir::Value> rowLevel_;
  llvm::DenseMap<mlir::Value, int> levels_;
};

} // namespace graft
