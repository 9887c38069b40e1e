// One operator per node of the graph. Inputs are masked once, where they enter; after that only reductions and
// broadcasts look at the mask, so nothing that is masked passes from token to sequence, forward or backward.

#include "passes/objective/BuildObjective.h"

#include "dialects/nn/Build.h"
#include "dialects/rl/RLDialect.h"

#include <limits>

using namespace mlir;

namespace graft::objective {

namespace {

using nn::ReduceKind;

class Emitter {
public:
  Emitter(OpBuilder &builder, Location loc, const Objective &objective, const ObjectiveInputs &inputs)
      : builder_(builder), b_(builder, loc), loc_(loc), objective_(objective), graph_(objective.graph),
        inputs_(inputs) {}

  FailureOr<BuiltObjective> run() {
    if (failed(findShape()))
      return failure();
    std::vector<NodeId> roots = {objective_.result};
    std::vector<const Metric *> metrics;
    for (const Metric &metric : objective_.metrics)
      if (available(metric.value)) {
        metrics.push_back(&metric);
        roots.push_back(metric.value);
      }
    emitted_.resize(graph_.size());
    std::vector<bool> reached = graph_.reachable(roots);
    for (NodeId id = 0; id < graph_.size(); ++id)
      if (reached[id])
        emitted_[id] = emit(graph_[id]);
    BuiltObjective built;
    Kind kind = graph_[objective_.result].kind;
    built.result = at(objective_.result, kind <= Kind::Scalar  ? Kind::Scalar
                                         : kind == Kind::Token ? Kind::Token
                                                               : Kind::Sequence);
    for (const Metric *metric : metrics)
      built.metrics.push_back({metric->name, at(metric->value, Kind::Scalar), metric->combine});
    return built;
  }

private:
  // ---- inputs

  /// B and S from the mask or the inputs; every required input is there and has the right shape.
  LogicalResult findShape() {
    bool good = true;
    auto fail = [&](const Twine &message) {
      emitError(loc_, message);
      good = false;
    };
    for (const Input &input : objective_.requiredInputs())
      if (!inputs_.values.count(input.name))
        fail("objective '" + objective_.name + "' needs '" + input.name + "' (" + std::string(phrase(input.kind)) +
             "), which is not given");
    if (objective_.usesGroups() && !inputs_.groupIds)
      fail("objective '" + objective_.name + "' needs 'group_ids', which are not given");
    if (objective_.usesLabels() && !inputs_.labels)
      fail("objective '" + objective_.name + "' needs 'labels', the words that the tokens are, which are not given");
    if (inputs_.lossMask)
      adopt(nn::shapeOf(inputs_.lossMask));
    for (size_t rank : {3, 2, 1}) // [B,S,V] first: it says more than [B]
      for (const Input &input : objective_.inputs)
        if (auto at = inputs_.values.find(input.name);
            at != inputs_.values.end() && nn::shapeOf(at->second).size() == rank)
          adopt(nn::shapeOf(at->second));
    for (const Input &input : objective_.inputs) {
      auto at = inputs_.values.find(input.name);
      if (at == inputs_.values.end())
        continue;
      auto type = nn::typeOf(at->second);
      if (!isa<FloatType>(type.getElementType()) || (element_ && type.getElementType() != element_))
        fail("'" + input.name + "' is not of the other inputs' float type");
      element_ = type.getElementType();
      if (!fits(input.kind, type.getShape()))
        fail("'" + input.name + "' is " + std::string(phrase(input.kind)) + ", but has rank " + Twine(type.getRank()) +
             " or other sizes than the batch");
    }
    if (inputs_.labels && nn::shapeOf(inputs_.labels) != ArrayRef<int64_t>{batch_, width_})
      fail("'labels' are not one per token");
    if (inputs_.groupIds && nn::shapeOf(inputs_.groupIds) != ArrayRef<int64_t>{batch_})
      fail("'group_ids' are not one per sequence");
    if (!element_)
      fail("objective '" + objective_.name + "' is given no input");
    if (good && !available(objective_.result)) // its inputs are there
      fail("objective '" + objective_.name + "' counts words, but uses no input per word");
    return success(good);
  }
  void adopt(ArrayRef<int64_t> shape) {
    if (batch_ < 0 && !shape.empty())
      batch_ = shape[0];
    if (width_ < 0 && shape.size() >= 2)
      width_ = shape[1];
    if (words_ < 0 && shape.size() == 3)
      words_ = shape[2];
  }
  bool fits(Kind kind, ArrayRef<int64_t> shape) const {
    if (kind == Kind::Vocabulary)
      return shape == ArrayRef<int64_t>{batch_, width_, words_};
    bool perToken = shape == ArrayRef<int64_t>{batch_, width_}, perSequence = shape == ArrayRef<int64_t>{batch_};
    return kind == Kind::Token ? perToken || perSequence : kind == Kind::Sequence ? perSequence : shape.empty();
  }

  /// Are the inputs of a value given? How many words there are, an input per word says.
  bool available(NodeId root) const {
    std::vector<bool> reached = graph_.reachable({root});
    for (NodeId id = 0; id < graph_.size(); ++id) {
      const Node &node = graph_[id];
      bool lacks = node.op == Op::Input    ? !inputs_.values.count(objective_.inputs[node.index].name)
                   : node.op == Op::Symbol ? static_cast<Symbol>(node.index) == Symbol::Words && words_ < 0
                                           : false;
      if (reached[id] && lacks)
        return false;
    }
    return true;
  }

  Value truth(ArrayRef<int64_t> shape) { return b_.splat(RankedTensorType::get(shape, builder_.getI1Type()), 1); }
  Value mask() {
    if (!mask_)
      mask_ = inputs_.lossMask ? inputs_.lossMask : truth({batch_, width()});
    return mask_;
  }
  /// Which sequences have a loss token.
  Value rows() {
    if (!rows_)
      rows_ = inputs_.lossMask ? hasTokens() : truth({batch_});
    return rows_;
  }
  Value hasTokens() {
    Value ones = constant(1, Kind::Token, false);
    Value count = rl::SequenceReduceOp::create(builder_, loc_, ReduceKind::Sum, ones, mask());
    return b_.compare(arith::CmpFPredicate::OGT, count, b_.like(count, 0));
  }
  /// Without a mask and without values per token every sequence counts as one token.
  int64_t width() const { return width_ < 0 ? 1 : width_; }

  // ---- values

  SmallVector<int64_t> shape(Kind kind) const {
    if (kind == Kind::Vocabulary)
      return {batch_, width(), words_};
    if (kind == Kind::Token)
      return {batch_, width()};
    return kind >= Kind::Group ? SmallVector<int64_t>{batch_} : SmallVector<int64_t>{};
  }
  Value constant(double value, Kind kind, bool boolean) {
    return b_.splat(RankedTensorType::get(shape(kind), boolean ? Type(builder_.getI1Type()) : element_), value);
  }

  /// The node's value, repeated to `kind`.
  Value at(NodeId id, Kind kind) {
    const Node &node = graph_[id];
    if (node.op == Op::Constant)
      return constant(node.value, kind, node.boolean);
    Value value = emitted_[id];
    Kind have = node.kind;
    if (have <= Kind::Scalar && kind >= Kind::Group) {
      value = rl::BatchBroadcastOp::create(builder_, loc_, value, rows());
      have = Kind::Sequence;
    }
    if (have >= Kind::Group && have <= Kind::Sequence && kind >= Kind::Token) {
      value = rl::SequenceBroadcastOp::create(builder_, loc_, value, mask());
      have = Kind::Token;
    }
    return have == Kind::Token && kind == Kind::Vocabulary ? eachWord(value) : value;
  }
  /// A value per token, repeated for each word.
  Value eachWord(Value value) { return b_.broadcast(value, shape(Kind::Vocabulary), {0, 1}); }

  Value emit(const Node &node) {
    if (node.op == Op::Constant)
      return {}; // made where it is used, in the shape it is used in
    if (node.op == Op::Input)
      return input(node);
    if (node.op == Op::Symbol)
      return symbol(static_cast<Symbol>(node.index));
    return isReduction(node.op) ? reduction(node) : elementwise(node);
  }

  Value input(const Node &node) {
    Value value = inputs_.values.at(objective_.inputs[node.index].name);
    if (node.kind == Kind::Scalar)
      return value;
    if (node.kind == Kind::Sequence)
      return b_.selectOrZero(rows(), value);
    if (node.kind == Kind::Vocabulary)
      return b_.selectOrZero(eachWord(mask()), value);
    if (nn::typeOf(value).getRank() == 1)
      return rl::SequenceBroadcastOp::create(builder_, loc_, b_.selectOrZero(rows(), value), mask());
    return b_.selectOrZero(mask(), value);
  }

  Value batchSum(Value x) { return rl::BatchReduceOp::create(builder_, loc_, ReduceKind::Sum, x, rows()); }
  Value symbol(Symbol symbol) {
    switch (symbol) {
    case Symbol::Tokens:
      if (inputs_.tokens)
        return inputs_.tokens;
      return batchSum(
          rl::SequenceReduceOp::create(builder_, loc_, ReduceKind::Sum, constant(1, Kind::Token, false), mask()));
    case Symbol::Sequences:
      return inputs_.sequences ? inputs_.sequences : batchSum(constant(1, Kind::Sequence, false));
    case Symbol::Rows:
      return inputs_.rows ? inputs_.rows : constant(static_cast<double>(batch_), Kind::Scalar, false);
    case Symbol::Width:
      return constant(static_cast<double>(width()), Kind::Scalar, false);
    case Symbol::Words:
      return constant(static_cast<double>(words_), Kind::Scalar, false);
    }
    return {};
  }

  Value reduction(const Node &node) {
    NodeId x = node.operands[0];
    ReduceKind kind = kindOf(node.op);
    switch (node.op) {
    case Op::AtToken:
      return b_.sum(b_.selectOrZero(isToken(), at(x, Kind::Vocabulary)), {2});
    case Op::VocabularySum:
    case Op::VocabularyMax:
    case Op::VocabularyMin:
      return b_.reduce(kind, at(x, Kind::Vocabulary), {2});
    case Op::SequenceSum:
    case Op::SequenceMax:
    case Op::SequenceMin:
      return rl::SequenceReduceOp::create(builder_, loc_, kind, at(x, Kind::Token), mask());
    case Op::GroupSum:
    case Op::GroupMax:
    case Op::GroupMin:
      return rl::GroupReduceOp::create(builder_, loc_, kind, at(x, Kind::Sequence), inputs_.groupIds, rows());
    default:
      return rl::BatchReduceOp::create(builder_, loc_, kind, at(x, Kind::Sequence), rows());
    }
  }
  static ReduceKind kindOf(Op op) {
    switch (op) {
    case Op::VocabularyMax:
    case Op::SequenceMax:
    case Op::GroupMax:
    case Op::BatchMax:
      return ReduceKind::Max;
    case Op::VocabularyMin:
    case Op::SequenceMin:
    case Op::GroupMin:
    case Op::BatchMin:
      return ReduceKind::Min;
    default:
      return ReduceKind::Sum;
    }
  }
  /// For each word of each token whether it is the token.
  Value isToken() {
    Value words = b_.iota(shape(Kind::Vocabulary), 2, nn::typeOf(inputs_.labels).getElementType());
    return b_.compare(arith::CmpIPredicate::eq, words, eachWord(inputs_.labels));
  }

  template <typename MathOp> Value math(Value x) { return MathOp::create(builder_, loc_, x); }
  template <typename MathOp> Value math(Value x, Value y) { return MathOp::create(builder_, loc_, x, y); }

  Value elementwise(const Node &node) {
    using P = arith::CmpFPredicate;
    Value x = at(node.operands[0], node.kind);
    Value y = node.operandCount > 1 ? at(node.operands[1], node.kind) : Value();
    Value z = node.operandCount > 2 ? at(node.operands[2], node.kind) : Value();
    // clang-format off
    switch (node.op) {
    case Op::Neg: return b_.neg(x);
    case Op::Exp: return b_.exp(x);
    case Op::Log: return b_.log(x);
    case Op::Log1p: return math<math::Log1pOp>(x);
    case Op::Expm1: return math<math::ExpM1Op>(x);
    case Op::Sqrt: return b_.sqrt(x);
    case Op::Abs: return math<math::AbsFOp>(x);
    case Op::Tanh: return b_.tanh(x);
    case Op::Sigmoid: return b_.sigmoid(x);
    case Op::LogSigmoid: return b_.neg(math<nn::SoftplusOp>(b_.neg(x)));
    case Op::Floor: return math<math::FloorOp>(x);
    case Op::StopGradient: return math<rl::StopGradientOp>(x);
    case Op::Add: return b_.add(x, y);
    case Op::Sub: return b_.sub(x, y);
    case Op::Mul: return b_.mul(x, y);
    case Op::Div: return b_.div(x, y);
    case Op::Pow: return math<math::PowFOp>(x, y);
    case Op::Min: return b_.min(x, y);
    case Op::Max: return b_.max(x, y);
    case Op::IsFinite: return b_.compare(P::OLT, math<math::AbsFOp>(x), b_.like(x, std::numeric_limits<double>::infinity()));
    case Op::Less: return b_.compare(P::OLT, x, y);
    case Op::LessEqual: return b_.compare(P::OLE, x, y);
    case Op::Equal: return graph_[node.operands[0]].boolean ? b_.compare(arith::CmpIPredicate::eq, x, y) : b_.compare(P::OEQ, x, y);
    case Op::Not: return math<arith::XOrIOp>(x, b_.like(x, 1));
    case Op::And: return b_.logicalAnd(x, y);
    case Op::Or: return math<arith::OrIOp>(x, y);
    case Op::Select: return b_.select(x, y, z);
    default: return {};
    }
    // clang-format on
  }

  OpBuilder &builder_;
  nn::Build b_;
  Location loc_;
  const Objective &objective_;
  const Graph &graph_;
  const ObjectiveInputs &inputs_;
  Type element_;
  int64_t batch_ = -1, width_ = -1, words_ = -1;
  Value mask_, rows_;
  std::vector<Value> emitted_;
};

} // namespace

FailureOr<BuiltObjective> buildObjective(OpBuilder &builder, Location loc, const Objective &objective,
                                         const ObjectiveInputs &inputs) {
  return Emitter(builder, loc, objective, inputs).run();
}

} // namespace graft::objective
