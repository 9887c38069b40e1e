#include "frontends/objective/Graph.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>

namespace graft::objective {

namespace {
constexpr double infinity = std::numeric_limits<double>::infinity();
enum class Class { Leaf, Elementwise, Reduction };

struct OpInfo {
  std::string_view name;
  Class form;
  bool boolean = false;                       ///< result is boolean
  double (*unary)(double) = nullptr;          ///< value on constants
  double (*binary)(double, double) = nullptr; ///< value on constants
  Kind reduced = Kind::Number;                ///< Reduction: kind of the result
  Combine partial = Combine::Exact;           ///< Reduction to a scalar: how parts combine
};

double sigmoid(double x) {
  return 1 / (1 + std::exp(-x));
}
double logSigmoid(double x) {
  return std::min(x, 0.0) - std::log1p(std::exp(-std::abs(x)));
}

constexpr OpInfo leaf(std::string_view name) {
  return {name, Class::Leaf};
}
constexpr OpInfo unary(std::string_view name, double (*f)(double), bool boolean = false) {
  return {name, Class::Elementwise, boolean, f};
}
constexpr OpInfo binary(std::string_view name, double (*f)(double, double), bool boolean = false) {
  return {name, Class::Elementwise, boolean, nullptr, f};
}
constexpr OpInfo reduction(std::string_view name, Kind kind, Combine partial = Combine::Exact) {
  return {name, Class::Reduction, false, nullptr, nullptr, kind, partial};
}

// In the order of the enumeration.
const OpInfo ops[] = {
    leaf("constant"),
    leaf("input"),
    leaf("symbol"),
    unary("neg", [](double x) { return -x; }),
    unary("exp", [](double x) { return std::exp(x); }),
    unary("log", [](double x) { return std::log(x); }),
    unary("log1p", [](double x) { return std::log1p(x); }),
    unary("expm1", [](double x) { return std::expm1(x); }),
    unary("sqrt", [](double x) { return std::sqrt(x); }),
    unary("abs", [](double x) { return std::abs(x); }),
    unary("tanh", [](double x) { return std::tanh(x); }),
    unary("sigmoid", sigmoid),
    unary("log_sigmoid", logSigmoid),
    unary("floor", [](double x) { return std::floor(x); }),
    unary("stop_gradient", [](double x) { return x; }),
    binary("add", [](double x, double y) { return x + y; }),
    binary("sub", [](double x, double y) { return x - y; }),
    binary("mul", [](double x, double y) { return x * y; }),
    binary("div", [](double x, double y) { return x / y; }),
    binary("pow", [](double x, double y) { return std::pow(x, y); }),
    binary("min", [](double x, double y) { return x < y ? x : y; }),
    binary("max", [](double x, double y) { return x > y ? x : y; }),
    unary(
        "is_finite", [](double x) { return std::isfinite(x) ? 1.0 : 0.0; }, true),
    binary(
        "less", [](double x, double y) { return x < y ? 1.0 : 0.0; }, true),
    binary(
        "less_equal", [](double x, double y) { return x <= y ? 1.0 : 0.0; }, true),
    binary(
        "equal", [](double x, double y) { return x == y ? 1.0 : 0.0; }, true),
    unary(
        "not", [](double x) { return x == 0 ? 1.0 : 0.0; }, true),
    binary(
        "and", [](double x, double y) { return x != 0 && y != 0 ? 1.0 : 0.0; }, true),
    binary(
        "or", [](double x, double y) { return x != 0 || y != 0 ? 1.0 : 0.0; }, true),
    {"select", Class::Elementwise},
    reduction("vocabulary_sum", Kind::Token),
    reduction("vocabulary_max", Kind::Token),
    reduction("vocabulary_min", Kind::Token),
    reduction("at_token", Kind::Token),
    reduction("sequence_sum", Kind::Sequence),
    reduction("sequence_max", Kind::Sequence),
    reduction("sequence_min", Kind::Sequence),
    reduction("group_sum", Kind::Group),
    reduction("group_max", Kind::Group),
    reduction("group_min", Kind::Group),
    reduction("batch_sum", Kind::Scalar, Combine::Sum),
    reduction("batch_max", Kind::Scalar, Combine::Max),
    reduction("batch_min", Kind::Scalar, Combine::Min),
};
const OpInfo &info(Op op) {
  return ops[static_cast<size_t>(op)];
}

/// The combine rule of a scalar elementwise operation from those of its operands.
Combine combined(Op op, Combine a, Combine b, Combine c) {
  using enum Combine;
  bool exactA = a == Exact, exactB = b == Exact;
  switch (op) {
  case Op::Neg:
    return a == Max ? Min : a == Min ? Max : a;
  case Op::StopGradient:
    return a;
  case Op::Add:
    return a == b && (exactA || a == Sum) ? a : Whole;
  case Op::Sub:
    return a == b && (exactA || a == Sum) ? a : Whole;
  case Op::Mul:
    return exactA && exactB ? Exact : (a == Sum && exactB) || (exactA && b == Sum) ? Sum : Whole;
  case Op::Div:
    return exactB && (exactA || a == Sum) ? a : Whole;
  case Op::Max:
  case Op::Min: {
    Combine same = op == Op::Max ? Max : Min;
    return exactA && exactB ? Exact : (a == same || exactA) && (b == same || exactB) ? same : Whole;
  }
  case Op::Select:
    return exactA && b == c ? b : Whole;
  default:
    return exactA && exactB && c == Exact ? Exact : Whole;
  }
}
} // namespace

std::string_view name(Kind kind) {
  constexpr std::string_view names[] = {"number", "scalar", "group", "sequence", "token", "vocabulary"};
  return names[static_cast<size_t>(kind)];
}
std::string_view phrase(Kind kind) {
  constexpr std::string_view phrases[] = {"a number",          "one value for the step",
                                          "a value per group", "a value per sequence",
                                          "a value per token", "a value per word"};
  return phrases[static_cast<size_t>(kind)];
}
std::string_view name(Combine combine) {
  constexpr std::string_view names[] = {"exact", "sum", "max", "min", "whole"};
  return names[static_cast<size_t>(combine)];
}
std::string_view name(Symbol symbol) {
  constexpr std::string_view names[] = {"tokens", "sequences", "rows", "width", "words"};
  return names[static_cast<size_t>(symbol)];
}
std::string_view name(Op op) {
  return info(op).name;
}
bool isReduction(Op op) {
  return info(op).form == Class::Reduction;
}

NodeId Graph::intern(Node node) {
  Key key{node.op, node.kind, node.boolean, std::bit_cast<uint64_t>(node.value), node.index, node.operands};
  auto [at, isNew] = known_.try_emplace(key, static_cast<NodeId>(nodes_.size()));
  if (isNew)
    nodes_.push_back(node);
  return at->second;
}

NodeId Graph::constant(double value, Kind kind, bool boolean) {
  Node node;
  node.kind = kind;
  node.value = value;
  node.boolean = boolean;
  return intern(node);
}

NodeId Graph::input(uint32_t index, Kind kind, Span span) {
  Node node;
  node.op = Op::Input;
  node.kind = kind;
  node.index = index;
  node.span = span;
  return intern(node);
}

NodeId Graph::symbol(Symbol symbol) {
  Node node;
  node.op = Op::Symbol;
  node.kind = Kind::Scalar;
  node.index = static_cast<uint32_t>(symbol);
  return intern(node);
}

NodeId Graph::make(Op op, std::initializer_list<NodeId> operands, Span span) {
  Node node;
  node.op = op;
  node.span = span;
  std::array<Combine, 3> rules = {};
  bool partial = false;
  for (NodeId id : operands) {
    const Node &operand = nodes_[id];
    rules[node.operandCount] = operand.combine;
    node.operands[node.operandCount++] = id;
    node.kind = std::max(node.kind, operand.kind);
    node.wholeGroups |= operand.wholeGroups;
    partial |= operand.combine != Combine::Exact;
  }
  const OpInfo &rule = info(op);
  node.boolean = op == Op::Select ? nodes_[node.operands[1]].boolean : rule.boolean;
  if (rule.form == Class::Reduction) {
    node.combine = partial ? Combine::Whole : rule.partial;
    node.wholeGroups |= rule.reduced == Kind::Group;
    node.kind = rule.reduced;
  } else if (node.kind <= Kind::Scalar) {
    node.combine = combined(op, rules[0], rules[1], rules[2]);
  } else {
    node.combine = partial ? Combine::Whole : Combine::Exact;
  }
  if (auto known = folded(node))
    return *known;
  return intern(node);
}

/// `id` where its kind is already `kind`; a constant is given that kind; nothing else can be promoted without a node.
NodeId Graph::promoted(NodeId id, Kind kind) {
  const Node node = nodes_[id];
  return node.op == Op::Constant ? constant(node.value, kind, node.boolean) : id;
}

std::optional<NodeId> Graph::folded(const Node &node) {
  auto [a, b, c] = node.operands;
  auto constantAt = [&](NodeId id) { return nodes_[id].op == Op::Constant; };
  const OpInfo &rule = info(node.op);
  // A neutral operand leaves the other, if that is already of the result's kind.
  auto keep = [&](NodeId id) -> std::optional<NodeId> {
    if (nodes_[id].kind == node.kind || constantAt(id))
      return promoted(id, node.kind);
    return std::nullopt;
  };
  if (rule.form == Class::Reduction) {
    // The sum of zeros is 0 for any number of them.
    bool sum = node.op == Op::VocabularySum || node.op == Op::AtToken || node.op == Op::SequenceSum ||
               node.op == Op::GroupSum || node.op == Op::BatchSum;
    return sum && isConstant(a, 0) ? std::optional(constant(0, node.kind)) : std::nullopt;
  }
  if (rule.unary && constantAt(a))
    return constant(rule.unary(nodes_[a].value), node.kind, rule.boolean);
  if (rule.binary && constantAt(a) && constantAt(b))
    return constant(rule.binary(nodes_[a].value, nodes_[b].value), node.kind, rule.boolean);
  switch (node.op) {
  case Op::Add:
    return isConstant(a, 0) ? keep(b) : isConstant(b, 0) ? keep(a) : std::nullopt;
  case Op::Sub:
    return isConstant(b, 0) ? keep(a) : std::nullopt;
  case Op::Mul:
    if (isConstant(a, 0) || isConstant(b, 0))
      return constant(0, node.kind);
    return isConstant(a, 1) ? keep(b) : isConstant(b, 1) ? keep(a) : std::nullopt;
  case Op::Div:
    return isConstant(b, 1) ? keep(a) : std::nullopt;
  case Op::Pow:
    return isConstant(b, 1) ? keep(a) : std::nullopt;
  case Op::Min:
    return isConstant(a, infinity) ? keep(b) : isConstant(b, infinity) ? keep(a) : std::nullopt;
  case Op::Max:
    return isConstant(a, -infinity) ? keep(b) : isConstant(b, -infinity) ? keep(a) : std::nullopt;
  case Op::Less: // nothing is above infinity, so an infinite bound costs nothing
    if (isConstant(a, infinity) || isConstant(b, -infinity))
      return constant(0, node.kind, true);
    return std::nullopt;
  case Op::And:
    if (isConstant(a, 0) || isConstant(b, 0))
      return constant(0, node.kind, true);
    return isConstant(a, 1) ? keep(b) : isConstant(b, 1) ? keep(a) : std::nullopt;
  case Op::Or:
    if (isConstant(a, 1) || isConstant(b, 1))
      return constant(1, node.kind, true);
    return isConstant(a, 0) ? keep(b) : isConstant(b, 0) ? keep(a) : std::nullopt;
  case Op::Select:
    if (constantAt(a))
      return keep(nodes_[a].value != 0 ? b : c);
    return b == c ? keep(b) : std::nullopt;
  default:
    return std::nullopt;
  }
}

std::vector<bool> Graph::reachable(const std::vector<NodeId> &roots) const {
  std::vector<bool> reached(nodes_.size());
  for (NodeId root : roots)
    reached[root] = true;
  for (size_t i = nodes_.size(); i-- > 0;)
    if (reached[i])
      for (uint8_t k = 0; k < nodes_[i].operandCount; ++k)
        reached[nodes_[i].operands[k]] = true;
  return reached;
}

} // namespace graft::objective
