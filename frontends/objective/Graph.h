// The typed form of an objective: a graph of primitive operations over kinds of values, ready to be emitted or
// evaluated.
//
// Every node has
//  - a kind, which says what it has one value of: Number (known at compile time), Scalar (the step), Group, Sequence,
//    Token, Vocabulary (each word at each token).
//    Kinds are ordered: an elementwise operation has the largest kind of its operands, the others are broadcast;
//  - a type: real (f32 when compiled) or boolean;
//  - a combine rule, which says what becomes of it when the sequences of a step are split into micro-batches.
//
// Masked tokens: nothing at a position whose loss_mask is 0, and nothing of a sequence without any loss token, reaches
// a reduction, forward or backward, even if it is NaN. Where no loss_mask is given, everything counts.
//
// Nodes are hash-consed and stand in the order they were made in: operands before users. The order depends on the text
// only.
#pragma once

#include "frontends/objective/Diagnostics.h"

#include <array>
#include <map>
#include <optional>
#include <string>
#include <tuple>
#include <vector>

namespace graft::objective {

enum class Kind : uint8_t { Number, Scalar, Group, Sequence, Token, Vocabulary };
std::string_view name(Kind kind);
/// "a value per token", for messages.
std::string_view phrase(Kind kind);

/// How the value for a whole step comes from the values of its micro-batches.
enum class Combine : uint8_t {
  Exact, ///< the same in each
  Sum,   ///< their sum
  Max,   ///< their largest
  Min,   ///< their smallest
  Whole, ///< in no way: all sequences of the step have to be in one batch
};
std::string_view name(Combine combine);

enum class Op : uint8_t {
  Constant, ///< `value`, of any kind
  Input,    ///< inputs[index]
  Symbol,   ///< a count of the whole step, `index` is a Symbol
  // Elementwise, real -> real
  Neg,
  Exp,
  Log,
  Log1p,
  Expm1,
  Sqrt,
  Abs,
  Tanh,
  Sigmoid,
  LogSigmoid,
  Floor,
  StopGradient,
  Add,
  Sub,
  Mul,
  Div,
  Pow,
  Min,
  Max,
  // Elementwise, to boolean
  IsFinite,
  Less,
  LessEqual,
  Equal,
  Not,
  And,
  Or,
  Select, ///< boolean, then, else
  // Reductions. Vocabulary*: over the words of each token; AtToken: the value of the word that the token is.
  // Sequence*: over the loss tokens of each sequence; an empty one gives 0.
  // Group*: over the sequences with the same group id, given back to each. Batch*: over all sequences of the step.
  // Max and Min over nothing give -inf and inf in Batch*, 0 in Sequence*.
  VocabularySum,
  VocabularyMax,
  VocabularyMin,
  AtToken,
  SequenceSum,
  SequenceMax,
  SequenceMin,
  GroupSum,
  GroupMax,
  GroupMin,
  BatchSum,
  BatchMax,
  BatchMin,
};
std::string_view name(Op op);
bool isReduction(Op op);

/// Counts of the whole step, whatever micro-batch is being computed.
enum class Symbol : uint8_t {
  Tokens,    ///< loss tokens
  Sequences, ///< sequences with at least one loss token
  Rows,      ///< sequences
  Width,     ///< positions of a row of the batch, padding included
  Words,     ///< of the vocabulary
};
std::string_view name(Symbol symbol);
constexpr size_t symbolCount = 5;

using NodeId = uint32_t;

struct Node {
  Op op = Op::Constant;
  Kind kind = Kind::Number;
  bool boolean = false;
  Combine combine = Combine::Exact;
  bool wholeGroups = false; ///< depends on a reduction over groups: a micro-batch has to hold whole groups
  double value = 0;         ///< Constant; booleans are 0 or 1
  uint32_t index = 0;       ///< Input, Symbol
  std::array<NodeId, 3> operands = {};
  uint8_t operandCount = 0;
  Span span; ///< where in the text it was first built
};

/// Builds nodes: infers kind and combine rule, folds constants, shares equal nodes. A product with the constant 0 is 0,
/// so that a term with weight 0 disappears together with the inputs that only it needs.
class Graph {
public:
  NodeId constant(double value, Kind kind = Kind::Number, bool boolean = false);
  NodeId input(uint32_t index, Kind kind, Span span);
  NodeId symbol(Symbol symbol);
  NodeId make(Op op, std::initializer_list<NodeId> operands, Span span);

  const Node &operator[](NodeId id) const { return nodes_[id]; }
  size_t size() const { return nodes_.size(); }
  bool isConstant(NodeId id, double value) const { return nodes_[id].op == Op::Constant && nodes_[id].value == value; }
  /// Known at compile time: what `if` may depend on.
  bool isStatic(NodeId id) const { return nodes_[id].op == Op::Constant && nodes_[id].kind == Kind::Number; }
  /// For each node whether one of `roots` depends on it.
  std::vector<bool> reachable(const std::vector<NodeId> &roots) const;

private:
  NodeId intern(Node node);
  std::optional<NodeId> folded(const Node &node);
  NodeId promoted(NodeId id, Kind kind);

  using Key = std::tuple<Op, Kind, bool, uint64_t, uint32_t, std::array<NodeId, 3>>;
  std::vector<Node> nodes_;
  std::map<Key, NodeId> known_;
};

} // namespace graft::objective
