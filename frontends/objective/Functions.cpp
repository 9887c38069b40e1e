// Composite functions (means, deviations) are put together from primitive operations here and nowhere else: whatever
// emits or evaluates a graph knows only those.

#include "frontends/objective/Functions.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>

namespace graft::objective {

namespace {
constexpr double infinity = std::numeric_limits<double>::infinity();
using Value = std::optional<NodeId>;

/// Graph building with the call's place on every node.
struct Builder {
  Graph &graph;
  const Call &call;
  Diagnostics &diagnostics;

  NodeId operator()(Op op, std::initializer_list<NodeId> operands) { return graph.make(op, operands, call.span); }
  NodeId number(double value) { return graph.constant(value); }

  Value fail(size_t argument, const std::string &message, const std::string &hint = "") {
    diagnostics.error(call.spans[argument], message, hint);
    return std::nullopt;
  }
  bool real(size_t argument) {
    if (!graph[call.arguments[argument]].boolean)
      return true;
    fail(argument, "'" + std::string(call.function) + "' needs a number here, not a condition",
         "where(condition, 1, 0) makes one");
    return false;
  }
  bool allReal() {
    bool good = true;
    for (size_t i = 0; i < call.arguments.size(); ++i)
      good &= real(i);
    return good;
  }
  /// The argument as a number: a condition counts 1 where it holds.
  NodeId counted(NodeId id) { return graph[id].boolean ? (*this)(Op::Select, {id, number(1), number(0)}) : id; }
  NodeId less(NodeId a, NodeId b) { return (*this)(Op::Less, {a, b}); }
};

template <Op op> Value elementwise(Graph &graph, const Call &call, Diagnostics &diagnostics) {
  Builder build{graph, call, diagnostics};
  if (!build.allReal())
    return std::nullopt;
  return build(op, {call.arguments[0]});
}

/// min and max of two or more.
template <Op op> Value extremum(Graph &graph, const Call &call, Diagnostics &diagnostics) {
  Builder build{graph, call, diagnostics};
  if (!build.allReal())
    return std::nullopt;
  NodeId value = call.arguments[0];
  for (size_t i = 1; i < call.arguments.size(); ++i)
    value = build(op, {value, call.arguments[i]});
  return value;
}

Value clip(Graph &graph, const Call &call, Diagnostics &diagnostics) {
  Builder build{graph, call, diagnostics};
  if (!build.allReal())
    return std::nullopt;
  NodeId x = call.arguments[0], low = call.arguments[1], high = call.arguments[2];
  if (graph.isStatic(low) && graph.isStatic(high) && graph[low].value > graph[high].value)
    return build.fail(1, "the lower bound is above the upper one");
  NodeId above = build(Op::Select, {build.less(high, x), high, x});
  return build(Op::Select, {build.less(x, low), low, above});
}

Value sign(Graph &graph, const Call &call, Diagnostics &diagnostics) {
  Builder build{graph, call, diagnostics};
  if (!build.allReal())
    return std::nullopt;
  NodeId x = call.arguments[0], zero = build.number(0);
  NodeId negative = build(Op::Select, {build.less(x, zero), build.number(-1), zero});
  return build(Op::Select, {build.less(zero, x), build.number(1), negative});
}

Value where(Graph &graph, const Call &call, Diagnostics &diagnostics) {
  Builder build{graph, call, diagnostics};
  auto [condition, then, otherwise] = std::array{call.arguments[0], call.arguments[1], call.arguments[2]};
  if (!graph[condition].boolean)
    return build.fail(0, "the first argument of 'where' is a condition, like x > 0");
  if (graph[then].boolean != graph[otherwise].boolean)
    return build.fail(2, "both values of 'where' are numbers, or both are conditions");
  return build(Op::Select, {condition, then, otherwise});
}

/// What a family of reductions is made of.
struct Family {
  Kind over; ///< the largest kind an argument may have
  std::string_view per;
};
constexpr Family vocabularyFamily{Kind::Vocabulary, "vocab"}, sequenceFamily{Kind::Token, "seq"},
    tokenFamily{Kind::Token, "token"}, groupFamily{Kind::Sequence, "group"}, batchFamily{Kind::Sequence, "batch"};

/// Builds the reductions of one family over the argument, restricted to where the option `where` holds.
template <const Family &family> struct Reduce : Builder {
  bool prepare(NodeId &x) {
    for (size_t i = 0; i < call.arguments.size(); ++i)
      if (Kind kind = graph[call.arguments[i]].kind; kind > family.over) {
        bool words = kind == Kind::Vocabulary;
        fail(i,
             "'" + std::string(call.function) + "' reduces values per " +
                 (family.over == Kind::Token ? "token" : "sequence") + ", this is " + std::string(phrase(kind)),
             words ? "reduce it with a vocab_ function first, or take at_token(...)"
                   : "reduce it with a seq_ function first, or use token_" +
                         std::string(call.function.substr(call.function.find('_') + 1)));
        return false;
      }
    if (&family == &vocabularyFamily && !call.arguments.empty() && graph[call.arguments[0]].kind != Kind::Vocabulary) {
      fail(0, "'" + std::string(call.function) + "' reduces values per word, this is " +
                  std::string(phrase(graph[call.arguments[0]].kind)));
      return false;
    }
    x = call.arguments.empty() ? number(1) : counted(call.arguments[0]);
    auto option = call.options.find("where");
    if (option == call.options.end())
      return true;
    condition = option->second;
    if (!graph[*condition].boolean || graph[*condition].kind > family.over) {
      diagnostics.error(call.optionSpans.find("where")->second,
                        graph[*condition].boolean ? "the condition is " + std::string(phrase(graph[*condition].kind))
                                                  : "'where' is a condition, like x > 0");
      return false;
    }
    return true;
  }
  /// One with value 0 where the condition does not hold.
  NodeId kept(NodeId x, double otherwise = 0) {
    return condition ? (*this)(Op::Select, {*condition, x, number(otherwise)}) : x;
  }

  NodeId sum(NodeId x) {
    x = kept(x);
    if constexpr (&family == &vocabularyFamily)
      return (*this)(Op::VocabularySum, {x});
    else if constexpr (&family == &sequenceFamily)
      return (*this)(Op::SequenceSum, {x});
    else if constexpr (&family == &groupFamily)
      return (*this)(Op::GroupSum, {x});
    else if constexpr (&family == &batchFamily)
      return (*this)(Op::BatchSum, {x});
    else
      return (*this)(Op::BatchSum, {(*this)(Op::SequenceSum, {x})});
  }
  /// How many values there are. In the token_ and batch_ families without a condition it is that of the whole step.
  NodeId count() {
    if constexpr (&family == &vocabularyFamily)
      return condition ? sum(number(1)) : graph.symbol(Symbol::Words);
    else if constexpr (&family == &tokenFamily)
      return condition ? sum(number(1)) : graph.symbol(Symbol::Tokens);
    else if constexpr (&family == &batchFamily)
      return condition ? sum(number(1)) : graph.symbol(Symbol::Sequences);
    else
      return sum(number(1));
  }
  NodeId atLeastOne(NodeId count) { return (*this)(Op::Max, {count, number(1)}); }
  NodeId mean(NodeId x) { return (*this)(Op::Div, {sum(x), atLeastOne(count())}); }

  NodeId variance(NodeId x, NodeId ddof) {
    NodeId d = (*this)(Op::Sub, {x, mean(x)});
    return (*this)(Op::Div, {sum((*this)(Op::Mul, {d, d})), atLeastOne((*this)(Op::Sub, {count(), ddof}))});
  }
  /// The option, or 1 as in a sample's deviation.
  std::optional<NodeId> ddof() {
    auto option = call.options.find("ddof");
    if (option == call.options.end())
      return number(1);
    if (graph.isStatic(option->second) && !graph[option->second].boolean)
      return option->second;
    diagnostics.error(call.optionSpans.find("ddof")->second, "'ddof' is a number: 0 divides by n, 1 by n - 1");
    return std::nullopt;
  }
  template <bool largest> NodeId extremum(NodeId x) {
    constexpr Op vocabulary = largest ? Op::VocabularyMax : Op::VocabularyMin;
    constexpr Op sequence = largest ? Op::SequenceMax : Op::SequenceMin;
    constexpr Op group = largest ? Op::GroupMax : Op::GroupMin;
    constexpr Op batch = largest ? Op::BatchMax : Op::BatchMin;
    x = kept(x, largest ? -infinity : infinity);
    if constexpr (&family == &vocabularyFamily)
      return (*this)(vocabulary, {x});
    else if constexpr (&family == &sequenceFamily)
      return (*this)(sequence, {x});
    else if constexpr (&family == &groupFamily)
      return (*this)(group, {x});
    else if constexpr (&family == &batchFamily)
      return (*this)(batch, {x});
    else
      return (*this)(batch, {(*this)(sequence, {x})});
  }

  std::optional<NodeId> condition;
};

template <const Family &family> Value sumOf(Graph &graph, const Call &call, Diagnostics &diagnostics) {
  Reduce<family> reduce{{graph, call, diagnostics}, {}};
  NodeId x;
  return reduce.prepare(x) ? Value(reduce.sum(x)) : std::nullopt;
}
template <const Family &family> Value countOf(Graph &graph, const Call &call, Diagnostics &diagnostics) {
  Reduce<family> reduce{{graph, call, diagnostics}, {}};
  NodeId x;
  if (!call.arguments.empty() && !graph[call.arguments[0]].boolean)
    return reduce.fail(0, "'" + std::string(call.function) + "' counts where a condition holds, like x > 0");
  return reduce.prepare(x) ? Value(call.arguments.empty() ? reduce.count() : reduce.sum(x)) : std::nullopt;
}
template <const Family &family> Value meanOf(Graph &graph, const Call &call, Diagnostics &diagnostics) {
  Reduce<family> reduce{{graph, call, diagnostics}, {}};
  NodeId x;
  return reduce.prepare(x) ? Value(reduce.mean(x)) : std::nullopt;
}
template <const Family &family, bool root> Value varianceOf(Graph &graph, const Call &call, Diagnostics &diagnostics) {
  Reduce<family> reduce{{graph, call, diagnostics}, {}};
  NodeId x;
  if (!reduce.prepare(x))
    return std::nullopt;
  Value ddof = reduce.ddof();
  if (!ddof)
    return std::nullopt;
  NodeId variance = reduce.variance(x, *ddof), zero = reduce.number(0);
  if (!root)
    return variance;
  // The root of 0 has no gradient: where nothing varies, the deviation's is 0.
  NodeId varies = reduce.less(zero, variance);
  NodeId safe = reduce(Op::Select, {varies, variance, reduce.number(1)});
  return reduce(Op::Select, {varies, reduce(Op::Sqrt, {safe}), zero});
}
template <const Family &family, bool largest>
Value extremumOf(Graph &graph, const Call &call, Diagnostics &diagnostics) {
  Reduce<family> reduce{{graph, call, diagnostics}, {}};
  NodeId x;
  return reduce.prepare(x) && reduce.real(0) ? Value(reduce.template extremum<largest>(x)) : std::nullopt;
}

// ---- Distributions over the vocabulary

/// log sum exp(x) over the words of a token: x - max x never overflows, and max x is a constant to the gradient.
NodeId logSumExp(Builder &build, NodeId x) {
  NodeId largest = build(Op::StopGradient, {build(Op::VocabularyMax, {x})});
  NodeId sum = build(Op::VocabularySum, {build(Op::Exp, {build(Op::Sub, {x, largest})})});
  return build(Op::Add, {largest, build(Op::Log, {sum})});
}
NodeId logSoftmax(Builder &build, NodeId x) {
  return build(Op::Sub, {x, logSumExp(build, x)});
}
NodeId softmaxOf(Builder &build, NodeId x) {
  return build(Op::Exp, {logSoftmax(build, x)});
}
NodeId atToken(Builder &build, NodeId x) {
  return build(Op::AtToken, {x});
}

/// Whether the first argument is a number per word.
bool isOfWords(Builder &build) {
  const Node &x = build.graph[build.call.arguments[0]];
  if (x.kind != Kind::Vocabulary)
    build.fail(
        0, "'" + std::string(build.call.function) + "' needs a value per word, this is " + std::string(phrase(x.kind)),
        "like logits, an input of kind vocabulary");
  return x.kind == Kind::Vocabulary && build.real(0);
}

template <NodeId (*make)(Builder &, NodeId)> Value ofWords(Graph &graph, const Call &call, Diagnostics &diagnostics) {
  Builder build{graph, call, diagnostics};
  return isOfWords(build) ? Value(make(build, call.arguments[0])) : std::nullopt;
}

constexpr double mostLargest = 64;

/// The largest value, the largest below it, and so on: a sweep over the words for each.
Value kthLargest(Graph &graph, const Call &call, Diagnostics &diagnostics) {
  Builder build{graph, call, diagnostics};
  const Node k = graph[call.arguments[1]];
  if (!graph.isStatic(call.arguments[1]) || k.boolean || k.value != std::floor(k.value) || k.value < 1 ||
      k.value > mostLargest)
    return build.fail(1, "which value is a whole number from 1 to 64, known while compiling");
  if (!isOfWords(build))
    return std::nullopt;
  NodeId x = build(Op::StopGradient, {call.arguments[0]}), largest = build(Op::VocabularyMax, {x});
  for (double i = 1; i < k.value; ++i) {
    NodeId below = build(Op::Select, {build.less(x, largest), x, build.number(-infinity)});
    largest = build(Op::VocabularyMax, {below});
  }
  return largest;
}
} // namespace

const std::vector<Function> &functions() {
  static const std::vector<Function> table = {
      {"exp", "exp(x)", "e^x", 1, 1, "", elementwise<Op::Exp>},
      {"log", "log(x)", "natural logarithm", 1, 1, "", elementwise<Op::Log>},
      {"log1p", "log1p(x)", "log(1 + x)", 1, 1, "", elementwise<Op::Log1p>},
      {"expm1", "expm1(x)", "e^x - 1", 1, 1, "", elementwise<Op::Expm1>},
      {"sqrt", "sqrt(x)", "square root", 1, 1, "", elementwise<Op::Sqrt>},
      {"abs", "abs(x)", "absolute value; gradient 0 at 0", 1, 1, "", elementwise<Op::Abs>},
      {"sign", "sign(x)", "-1, 0 or 1; no gradient", 1, 1, "", sign},
      {"floor", "floor(x)", "largest integer not above x; no gradient", 1, 1, "", elementwise<Op::Floor>},
      {"tanh", "tanh(x)", "hyperbolic tangent", 1, 1, "", elementwise<Op::Tanh>},
      {"sigmoid", "sigmoid(x)", "1 / (1 + e^-x)", 1, 1, "", elementwise<Op::Sigmoid>},
      {"log_sigmoid", "log_sigmoid(x)", "log sigmoid(x) without overflow", 1, 1, "", elementwise<Op::LogSigmoid>},
      {"is_finite", "is_finite(x)", "condition: neither infinite nor NaN", 1, 1, "", elementwise<Op::IsFinite>},
      {"min", "min(x, y, ...)", "smallest; at a tie the first operand's gradient", 2, 64, "", extremum<Op::Min>},
      {"max", "max(x, y, ...)", "largest; at a tie the first operand's gradient", 2, 64, "", extremum<Op::Max>},
      {"clip", "clip(x, low, high)", "x kept inside the bounds; gradient 1 from low to high inclusive, 0 outside", 3, 3,
       "", clip},
      {"where", "where(condition, x, y)", "x where the condition holds, else y; the other's gradient is 0, even at NaN",
       3, 3, "", where},
      {"stop_gradient", "stop_gradient(x)", "x, as a constant to the gradient", 1, 1, "",
       elementwise<Op::StopGradient>},

      {"softmax", "softmax(x)", "probabilities of the words of each token", 1, 1, "", ofWords<softmaxOf>},
      {"log_softmax", "log_softmax(x)", "their logarithms, without overflow", 1, 1, "", ofWords<logSoftmax>},
      {"at_token", "at_token(x)", "the value of the word that the token is", 1, 1, "", ofWords<atToken>},
      {"vocab_logsumexp", "vocab_logsumexp(x)", "log of the sum of e^x over the words of a token, without overflow", 1,
       1, "", ofWords<logSumExp>},
      {"vocab_kth_largest", "vocab_kth_largest(x, k)",
       "the k-th largest of the words' different values, k from 1 to 64; -inf where there are fewer; no gradient", 2, 2,
       "", kthLargest},
      {"vocab_sum", "vocab_sum(x, where=)", "sum over the words of a token", 1, 1, "where", sumOf<vocabularyFamily>},
      {"vocab_mean", "vocab_mean(x, where=)", "mean over the words of a token", 1, 1, "where",
       meanOf<vocabularyFamily>},
      {"vocab_count", "vocab_count(condition)", "words of a token where a condition holds", 1, 1, "where",
       countOf<vocabularyFamily>},
      {"vocab_max", "vocab_max(x)", "largest over the words of a token; at a tie they share the gradient", 1, 1,
       "where", extremumOf<vocabularyFamily, true>},
      {"vocab_min", "vocab_min(x)", "smallest over the words of a token; at a tie they share the gradient", 1, 1,
       "where", extremumOf<vocabularyFamily, false>},

      {"seq_sum", "seq_sum(x, where=)", "sum over the loss tokens of a sequence", 1, 1, "where", sumOf<sequenceFamily>},
      {"seq_mean", "seq_mean(x, where=)", "mean over the loss tokens of a sequence; of none: 0", 1, 1, "where",
       meanOf<sequenceFamily>},
      {"seq_count", "seq_count(condition)", "loss tokens of a sequence (where a condition holds)", 0, 1, "where",
       countOf<sequenceFamily>},
      {"seq_std", "seq_std(x, ddof=1, where=)", "deviation over the loss tokens of a sequence", 1, 1, "where ddof",
       varianceOf<sequenceFamily, true>},
      {"seq_var", "seq_var(x, ddof=1, where=)", "variance over the loss tokens of a sequence", 1, 1, "where ddof",
       varianceOf<sequenceFamily, false>},
      {"seq_max", "seq_max(x)", "largest over the loss tokens of a sequence; of none: 0", 1, 1, "where",
       extremumOf<sequenceFamily, true>},
      {"seq_min", "seq_min(x)", "smallest over the loss tokens of a sequence; of none: 0", 1, 1, "where",
       extremumOf<sequenceFamily, false>},

      {"group_sum", "group_sum(x, where=)", "sum over the sequences of a group", 1, 1, "where", sumOf<groupFamily>},
      {"group_mean", "group_mean(x, where=)", "mean over the sequences of a group", 1, 1, "where", meanOf<groupFamily>},
      {"group_count", "group_count(condition)", "sequences of a group (where a condition holds)", 0, 1, "where",
       countOf<groupFamily>},
      {"group_std", "group_std(x, ddof=1, where=)",
       "deviation in a group; 0 in a group of one. Gradient 0 where it is 0", 1, 1, "where ddof",
       varianceOf<groupFamily, true>},
      {"group_var", "group_var(x, ddof=1, where=)", "variance in a group; 0 in a group of one", 1, 1, "where ddof",
       varianceOf<groupFamily, false>},
      {"group_max", "group_max(x)", "largest in a group", 1, 1, "where", extremumOf<groupFamily, true>},
      {"group_min", "group_min(x)", "smallest in a group", 1, 1, "where", extremumOf<groupFamily, false>},

      {"batch_sum", "batch_sum(x, where=)", "sum over the sequences of the step", 1, 1, "where", sumOf<batchFamily>},
      {"batch_mean", "batch_mean(x, where=)", "mean over the sequences of the step", 1, 1, "where",
       meanOf<batchFamily>},
      {"batch_count", "batch_count(condition)", "sequences of the step (where a condition holds)", 0, 1, "where",
       countOf<batchFamily>},
      {"batch_std", "batch_std(x, ddof=1, where=)", "deviation over the sequences of the step", 1, 1, "where ddof",
       varianceOf<batchFamily, true>},
      {"batch_var", "batch_var(x, ddof=1, where=)", "variance over the sequences of the step", 1, 1, "where ddof",
       varianceOf<batchFamily, false>},
      {"batch_max", "batch_max(x)", "largest over the sequences of the step", 1, 1, "where",
       extremumOf<batchFamily, true>},
      {"batch_min", "batch_min(x)", "smallest over the sequences of the step", 1, 1, "where",
       extremumOf<batchFamily, false>},

      {"token_sum", "token_sum(x, where=)", "sum over all loss tokens of the step", 1, 1, "where", sumOf<tokenFamily>},
      {"token_mean", "token_mean(x, where=)", "mean over all loss tokens of the step", 1, 1, "where",
       meanOf<tokenFamily>},
      {"token_count", "token_count(condition)", "loss tokens of the step (where a condition holds)", 0, 1, "where",
       countOf<tokenFamily>},
      {"token_std", "token_std(x, ddof=1, where=)", "deviation over all loss tokens of the step", 1, 1, "where ddof",
       varianceOf<tokenFamily, true>},
      {"token_var", "token_var(x, ddof=1, where=)", "variance over all loss tokens of the step", 1, 1, "where ddof",
       varianceOf<tokenFamily, false>},
      {"token_max", "token_max(x)", "largest over all loss tokens of the step", 1, 1, "where",
       extremumOf<tokenFamily, true>},
      {"token_min", "token_min(x)", "smallest over all loss tokens of the step", 1, 1, "where",
       extremumOf<tokenFamily, false>},
  };
  return table;
}

const Function *findFunction(std::string_view name) {
  const auto &table = functions();
  auto at = std::find_if(table.begin(), table.end(), [&](const Function &f) { return f.name == name; });
  return at == table.end() ? nullptr : &*at;
}

} // namespace graft::objective
