#include "passes/lower/Groups.h"

#include "dialects/nn/NNDialect.h"
#include "dialects/rl/RLDialect.h"

#include "mlir/IR/Matchers.h"

using namespace mlir;

namespace graft {

namespace {

/// How large a kernel may become.
struct Limits {
  int level;
  size_t externals, members;
  bool siblings; ///< may operators share a kernel that share nothing but what they read?
};
// A row's working set should stay in cache and its streams in the prefetchers' reach: about 4 sweeps.
constexpr Limits usual{4, 12, 64, false};
// In a loop over tokens a row of logits is by far the largest thing, and a second of its kind costs a chunk of memory:
// whatever the formula makes of the distribution is computed again from the one.
constexpr Limits inLoops{128, 32, 512, true};
// A virtual operator is computed again by every user: it must be small, and its operands must be small beside its
// result.
constexpr int kMaxVirtualOps = 16;
constexpr int64_t kSmallOperand = 8;

bool isSplat(Operation *op) {
  DenseElementsAttr value;
  return matchPattern(op, m_Constant(&value)) && value.isSplat();
}

/// Functions that cost tens of instructions per element: never computed twice.
bool isExpensive(Operation *op) {
  return isa<math::MathDialect>(op->getDialect()) || isa<arith::DivFOp, arith::DivSIOp, arith::RemSIOp>(op);
}

Value sourceOf(Value value) {
  while (isView(value.getDefiningOp()))
    value = value.getDefiningOp()->getOperand(0);
  return value;
}

/// The axes of a reduction that spares the last dimension; empty for everything else.
ArrayRef<int64_t> columnReductionAxes(Operation *op) {
  auto reduce = dyn_cast<nn::ReduceOp>(op);
  bool last = reduce && llvm::is_contained(reduce.getAxes(), nn::typeOf(reduce.getInput()).getRank() - 1);
  return reduce && !last ? reduce.getAxes() : ArrayRef<int64_t>();
}

/// True if a library operator or the function's return reads the value, through views or directly.
bool feedsLibrary(Value value) {
  return llvm::any_of(value.getUsers(), [](Operation *user) {
    if (isView(user))
      return feedsLibrary(user->getResult(0));
    return !nn::isElementwise(user) && !isa<nn::ReduceOp>(user);
  });
}

} // namespace

class GroupBuilder {
public:
  GroupBuilder(Grouping &out, const llvm::DenseSet<Operation *> &folded, const Limits &limits)
      : out_(out), folded_(folded), limits_(limits) {}
  LogicalResult run(Block &block);

private:
  struct Open {
    Group group;
    bool closed = false;
    int mergedInto = -1;
    llvm::DenseSet<Value> externals;
    SmallVector<int64_t> columnAxes; ///< of its column reductions: all must sum over the same dimensions
  };
  /// How an operand of a member reaches a group.
  enum class Link { None, Full, Row, RowBroadcast };

  std::optional<Role> classify(Operation *op);
  bool isVirtual(Operation *op);
  void placeMember(Operation *op);
  Link linkTo(Value operand, int &group);
  int siblingOf(Operation *op, ArrayRef<int64_t> space, int level, ArrayRef<Value> externals);
  bool fits(int group, Operation *op, ArrayRef<int64_t> space, bool rowLevel, int level, ArrayRef<Value> externals);
  int find(int group) { return groups_[group].mergedInto < 0 ? group : find(groups_[group].mergedInto); }
  int memberGroup(Value value) {
    auto it = out_.memberOf_.find(value.getDefiningOp());
    return it == out_.memberOf_.end() ? -1 : find(it->second);
  }
  void close(Value value) {
    if (int group = memberGroup(sourceOf(value)); group >= 0)
      groups_[group].closed = true;
  }
  bool canMerge(int a, int b) const;
  void merge(int into, int from);
  void finish();

  Grouping &out_;
  const llvm::DenseSet<Operation *> &folded_;
  const Limits &limits_;
  std::vector<Open> groups_;
  llvm::DenseMap<Value, int> virtualSize_;
};

bool GroupBuilder::isVirtual(Operation *op) {
  if (isExpensive(op) || feedsLibrary(op->getResult(0)))
    return false;
  int64_t elements = nn::typeOf(op->getResult(0)).getNumElements();
  int size = 1;
  for (Value operand : op->getOperands()) {
    Value source = sourceOf(operand);
    Operation *producer = source.getDefiningOp();
    Role role = producer ? out_.roles_.lookup(producer) : Role::Parameter;
    if (role == Role::Member)
      return false;
    if (role == Role::Virtual)
      size += virtualSize_.lookup(source);
    else if (nn::typeOf(source).getNumElements() * kSmallOperand > elements)
      return false;
  }
  virtualSize_[op->getResult(0)] = size;
  return size <= kMaxVirtualOps;
}

std::optional<Role> GroupBuilder::classify(Operation *op) {
  if (isView(op))
    return Role::View;
  if (folded_.contains(op))
    return Role::Library;
  if (isa<rl::ParameterOp>(op))
    return Role::Parameter;
  if (isa<arith::ConstantOp>(op))
    return isSplat(op) && !feedsLibrary(op->getResult(0)) ? Role::Virtual : Role::Constant;
  if (isa<nn::IotaOp>(op))
    return feedsLibrary(op->getResult(0)) ? Role::Member : Role::Virtual;
  if (isa<nn::ReduceOp>(op))
    return Role::Member;
  if (nn::isElementwise(op))
    return isVirtual(op) ? Role::Virtual : Role::Member;
  if (isa<nn::ContractOp, nn::ConcatOp, nn::PadOp, nn::GatherOp, nn::ScatterAddOp, nn::GatherElementsOp,
          nn::ScatterElementsAddOp, nn::AttentionOp, nn::AttentionGradientOp, rl::TokenLoopOp>(op))
    return Role::Library;
  return std::nullopt;
}

GroupBuilder::Link GroupBuilder::linkTo(Value operand, int &group) {
  Value source = sourceOf(operand);
  group = memberGroup(source);
  if (group < 0 || groups_[group].closed)
    return Link::None;
  ArrayRef<int64_t> space = groups_[group].group.space;
  bool rowLevel = out_.rowLevel_.contains(source);
  if (operand == source && !isa<nn::ReduceOp>(source.getDefiningOp()) && !rowLevel)
    return Link::Full;
  if (operand == source && rowLevel)
    return Link::Row;
  auto broadcast = operand.getDefiningOp<nn::BroadcastOp>();
  bool alongRow =
      rowLevel && broadcast && broadcast.getInput() == source && nn::shapeOf(operand) == space &&
      (broadcast.getDimensions().empty() || broadcast.getDimensions().back() != static_cast<int64_t>(space.size()) - 1);
  if (alongRow)
    return Link::RowBroadcast;
  groups_[group].closed = true; // read in another order than it is computed in
  return Link::None;
}

bool GroupBuilder::fits(int index, Operation *op, ArrayRef<int64_t> space, bool rowLevel, int level,
                        ArrayRef<Value> externals) {
  const Open &open = groups_[index];
  ArrayRef<int64_t> own = open.group.space;
  if (rowLevel ? own.empty() || own.drop_back() != space : own != space)
    return false;
  auto columnAxes = columnReductionAxes(op);
  if (!columnAxes.empty() && !open.columnAxes.empty() && ArrayRef<int64_t>(open.columnAxes) != columnAxes)
    return false;
  llvm::DenseSet<Value> all = open.externals;
  all.insert(externals.begin(), externals.end());
  return level <= limits_.level && all.size() <= limits_.externals && open.group.members.size() < limits_.members;
}

bool GroupBuilder::canMerge(int a, int b) const {
  const Open &one = groups_[a], &other = groups_[b];
  bool axesAgree = one.columnAxes.empty() || other.columnAxes.empty() || one.columnAxes == other.columnAxes;
  return one.group.space == other.group.space && axesAgree &&
         one.group.members.size() + other.group.members.size() < limits_.members &&
         one.externals.size() + other.externals.size() <= limits_.externals;
}

void GroupBuilder::merge(int into, int from) {
  Open &to = groups_[into], &source = groups_[from];
  llvm::append_range(to.group.members, source.group.members);
  llvm::sort(to.group.members, [](Operation *a, Operation *b) { return a->isBeforeInBlock(b); });
  to.externals.insert(source.externals.begin(), source.externals.end());
  if (to.columnAxes.empty())
    to.columnAxes = source.columnAxes;
  source.group.members.clear();
  source.mergedInto = into;
}

/// An open group that reads something as large as its space that the operator reads, too; -1: none.
int GroupBuilder::siblingOf(Operation *op, ArrayRef<int64_t> space, int level, ArrayRef<Value> externals) {
  for (int group = static_cast<int>(groups_.size()); limits_.siblings && group-- > 0;) {
    const Open &open = groups_[group];
    bool shares = llvm::any_of(
        externals, [&](Value value) { return nn::shapeOf(value) == space && open.externals.contains(value); });
    if (shares && !open.closed && open.mergedInto < 0 && fits(group, op, space, false, level, externals))
      return group;
  }
  return -1;
}

void GroupBuilder::placeMember(Operation *op) {
  auto reduce = dyn_cast<nn::ReduceOp>(op);
  ArrayRef<int64_t> space = nn::shapeOf(reduce ? Value(reduce.getInput()) : Value(op->getResult(0)));
  int level = 0;
  bool anyRow = false;
  SmallVector<Value> externals;
  SmallVector<int> candidates;
  for (Value operand : op->getOperands()) {
    int group = -1;
    Link link = linkTo(operand, group);
    if (link == Link::None) {
      Value source = sourceOf(operand);
      if (!source.getDefiningOp() || out_.roles_.lookup(source.getDefiningOp()) != Role::Virtual)
        externals.push_back(operand);
      continue;
    }
    anyRow |= link == Link::Row;
    level = std::max(level, out_.levels_.lookup(sourceOf(operand)));
    if (!llvm::is_contained(candidates, group))
      candidates.push_back(group);
  }
  // A reduction of a row-level value, or one that mixes levels, starts anew.
  bool rowLevel = anyRow && !reduce;
  int resultLevel = reduce ? level + 1 : level, home = -1;
  llvm::sort(candidates); // the most recent group first
  for (int group : llvm::reverse(candidates)) {
    if (groups_[group].closed || !fits(group, op, space, rowLevel, resultLevel, externals))
      continue;
    if (home < 0)
      home = group;
    else if (canMerge(home, group))
      merge(home, group);
  }
  if (home < 0) {
    rowLevel = false;
    level = 0;
    resultLevel = reduce ? 1 : 0;
    home = siblingOf(op, space, resultLevel, externals);
  }
  if (home < 0) {
    home = static_cast<int>(groups_.size());
    groups_.emplace_back();
    groups_.back().group.space.assign(space.begin(), space.end());
  }
  for (Value operand : op->getOperands())
    if (int group = memberGroup(sourceOf(operand)); group >= 0 && group != home)
      groups_[group].closed = true;
  groups_[home].group.members.push_back(op);
  groups_[home].externals.insert(externals.begin(), externals.end());
  out_.memberOf_[op] = home;
  if (auto axes = columnReductionAxes(op); !axes.empty())
    groups_[home].columnAxes.assign(axes.begin(), axes.end());
  Value result = op->getResult(0);
  bool reducesLast = reduce && reduce.getAxes() == ArrayRef<int64_t>{static_cast<int64_t>(space.size()) - 1};
  out_.levels_[result] = resultLevel;
  if (rowLevel || reducesLast)
    out_.rowLevel_.insert(result);
}

void GroupBuilder::finish() {
  SmallVector<int> renumbered(groups_.size(), -1);
  for (auto [i, open] : llvm::enumerate(groups_))
    if (open.mergedInto < 0) {
      renumbered[i] = static_cast<int>(out_.groups_.size());
      out_.groups_.push_back(open.group);
    }
  for (auto &[op, group] : out_.memberOf_)
    group = renumbered[find(group)];
}

LogicalResult GroupBuilder::run(Block &block) {
  bool good = true;
  for (Operation &op : block) {
    if (op.hasTrait<OpTrait::IsTerminator>())
      break;
    auto role = classify(&op);
    if (!role) {
      good = false;
      op.emitError() << "'" << op.getName() << "' cannot be compiled for this target";
      continue;
    }
    out_.roles_[&op] = *role;
    if (*role == Role::Member)
      placeMember(&op);
    else if (*role == Role::Library)
      for (Value operand : op.getOperands())
        close(operand);
  }
  finish();
  return success(good);
}

FailureOr<Grouping> Grouping::compute(Block &block, const llvm::DenseSet<Operation *> &folded) {
  Grouping grouping;
  const Limits &limits = isa<rl::TokenLoopOp>(block.getParentOp()) ? inLoops : usual;
  if (failed(GroupBuilder(grouping, folded, limits).run(block)))
    return failure();
  return grouping;
}

} // namespace graft
