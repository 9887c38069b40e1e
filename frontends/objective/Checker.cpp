// Definitions are equations: their order does not matter. Each is evaluated once, when first needed, into nodes of the
// graph; functions are evaluated anew for each call. All definitions are evaluated, also unused ones, so that every
// fault is found.

#include "frontends/objective/Checker.h"

#include <algorithm>
#include <cmath>

namespace graft::objective {

namespace {
constexpr uint32_t maxDepth = 1000;
constexpr size_t maxNodes = 100000;

/// What an expression is worth while checking: a node, a string (parameters only), or nothing after a fault.
struct Value {
  std::optional<NodeId> node;
  std::optional<std::string> text;
  bool failed() const { return !node && !text; }
};

struct Definition {
  const Statement *statement;
  enum class State { New, Active, Done } state = State::New;
  Value value;
  bool used = false;
};

using Scope = std::map<std::string, Value, std::less<>>;

class Checker {
public:
  Checker(const Program &program, const std::vector<Override> &overrides, Objective &objective,
          Diagnostics &diagnostics)
      : program_(program), overrides_(overrides), objective_(objective), graph_(objective.graph),
        diagnostics_(diagnostics) {}

  void run() {
    collect();
    applyDefaults();
    applyOverrides();
    for (const std::string &name : order_)
      if (definitions_.at(name).statement->form != Statement::Form::Function)
        global(name);
    result();
    metrics();
    warnUnused();
  }

private:
  bool fail(Span span, std::string message, std::string hint = "", Code code = Code::Usage) {
    diagnostics_.error(span, std::move(message), std::move(hint), code);
    return false;
  }

  // ---- declarations

  void collect() {
    const File &main = program_.files.back();
    objective_.name = main.name;
    objective_.description = main.description;
    objective_.role = main.role == File::Role::Advantages ? Role::Advantages : Role::Objective;
    for (const File &file : program_.files)
      for (const Statement &statement : file.statements)
        declare(statement);
  }

  void declare(const Statement &s) {
    switch (s.form) {
    case Statement::Form::Use:
    case Statement::Form::Default:
      return;
    case Statement::Form::Source:
      objective_.sources.push_back(s.name);
      return;
    case Statement::Form::Metric:
      if (std::any_of(metrics_.begin(), metrics_.end(), [&](const Statement *m) { return m->name == s.name; }))
        fail(s.span, "a second metric named '" + escaped(s.name) + "'");
      metrics_.push_back(&s);
      return;
    default:
      break;
    }
    if (findFunction(s.name) || symbols().count(s.name)) {
      fail(s.span, "'" + s.name + "' is built in", "choose another name");
      return;
    }
    if (s.name == "loss_mask" || s.name == "group_ids") {
      fail(s.span, "'" + s.name + "' is not an input of a formula",
           s.name == "loss_mask" ? "reductions see loss tokens only; seq_count() counts them"
                                 : "group_ functions use it");
      return;
    }
    auto [at, isNew] = definitions_.try_emplace(s.name, Definition{&s, Definition::State::New, {}, false});
    if (!isNew) {
      fail(s.span, "'" + s.name + "' is defined twice",
           "first at " + program_.sources.place(at->second.statement->span));
      return;
    }
    order_.push_back(s.name);
    if (s.form == Statement::Form::Input)
      declareInput(s);
    if (s.form == Statement::Form::Param)
      declareParameter(s);
  }

  void declareInput(const Statement &s) {
    static const std::map<std::string, Kind, std::less<>> kinds = {{"vocabulary", Kind::Vocabulary},
                                                                   {"token", Kind::Token},
                                                                   {"sequence", Kind::Sequence},
                                                                   {"scalar", Kind::Scalar}};
    auto kind = kinds.find(s.kind);
    if (kind == kinds.end())
      fail(s.kindSpan, "no kind of input is named '" + escaped(s.kind) + "'",
           didYouMean(s.kind, {"vocabulary", "token", "sequence", "scalar"}) +
               " an input has a value per word (vocabulary), per token, per sequence, or one (scalar)");
    objective_.inputs.push_back({s.name, kind == kinds.end() ? Kind::Token : kind->second, s.documentation});
  }

  void declareParameter(const Statement &s) {
    Parameter p{s.name, *s.literal, *s.literal, s.choices, s.low, s.high, s.documentation};
    if ((s.low || s.high) && !std::holds_alternative<double>(*s.literal))
      fail(s.literalSpan, "bounds are for numbers");
    for (const ParameterValue &choice : s.choices)
      if (choice.index() != s.literal->index()) {
        fail(s.literalSpan, "the default and the allowed values are of different types");
        p.choices.clear();
        break;
      }
    if (std::string fault = misfit(p, *s.literal); !fault.empty())
      fail(s.literalSpan, "the default is not allowed: " + fault);
    objective_.parameters.push_back(std::move(p));
  }

  /// Why `value` is not one of `p`'s, or "".
  static std::string misfit(const Parameter &p, const ParameterValue &value) {
    constexpr std::string_view types[] = {"a number", "true or false", "a string"};
    if (value.index() != p.defaultValue.index())
      return "expected " + std::string(types[p.defaultValue.index()]) + ", found " + print(value);
    if (!p.choices.empty() && std::find(p.choices.begin(), p.choices.end(), value) == p.choices.end()) {
      std::string list;
      for (const ParameterValue &choice : p.choices)
        list += (list.empty() ? "" : ", ") + print(choice);
      return print(value) + " is not one of " + list;
    }
    if (const double *number = std::get_if<double>(&value)) {
      if (std::isnan(*number))
        return "it is not a number";
      if (p.low && *number < *p.low)
        return print(value) + " is below " + print(*p.low);
      if (p.high && *number > *p.high)
        return print(value) + " is above " + print(*p.high);
    }
    return "";
  }

  Parameter *parameter(std::string_view name) {
    for (Parameter &p : objective_.parameters)
      if (p.name == name)
        return &p;
    return nullptr;
  }
  std::vector<std::string> parameterNames() const {
    std::vector<std::string> names;
    for (const Parameter &p : objective_.parameters)
      names.push_back(p.name);
    return names;
  }

  /// `default` statements: those of a file that uses another come after, and so win.
  void applyDefaults() {
    for (const File &file : program_.files)
      for (const Statement &s : file.statements) {
        if (s.form != Statement::Form::Default)
          continue;
        Parameter *p = parameter(s.name);
        if (!p) {
          fail(s.span, "no parameter is named '" + escaped(s.name) + "'", didYouMean(s.name, parameterNames()));
        } else if (definitions_.at(s.name).statement->span.file == s.span.file) {
          fail(s.span, "'" + s.name + "' is a parameter of this text", "write the default where it is declared");
        } else if (std::string fault = misfit(*p, *s.literal); !fault.empty()) {
          fail(s.literalSpan, "'" + s.name + "': " + fault);
        } else {
          p->defaultValue = p->value = *s.literal;
        }
      }
  }

  void applyOverrides() {
    for (const Override &o : overrides_) {
      Parameter *p = parameter(o.name);
      if (!p) {
        std::string hint = didYouMean(o.name, parameterNames());
        diagnostics_.errorAt(o.place, "'" + objective_.name + "' has no parameter '" + escaped(o.name) + "'",
                             hint.empty() ? "its parameters are " + quotedList(parameterNames()) : hint);
      } else if (std::string fault = misfit(*p, o.value); !fault.empty()) {
        diagnostics_.errorAt(o.place, "parameter '" + escaped(o.name) + "': " + fault);
      } else {
        p->value = o.value;
      }
    }
  }

  // ---- values

  static const std::map<std::string, Symbol, std::less<>> &symbols() {
    static const std::map<std::string, Symbol, std::less<>> table = {{"tokens", Symbol::Tokens},
                                                                     {"sequences", Symbol::Sequences},
                                                                     {"rows", Symbol::Rows},
                                                                     {"width", Symbol::Width},
                                                                     {"words", Symbol::Words}};
    return table;
  }

  Value constantOf(const ParameterValue &value) {
    if (const std::string *text = std::get_if<std::string>(&value))
      return {std::nullopt, *text};
    if (const bool *boolean = std::get_if<bool>(&value))
      return {graph_.constant(*boolean, Kind::Number, true), std::nullopt};
    return {graph_.constant(std::get<double>(value)), std::nullopt};
  }

  /// The value of a definition, parameter or input.
  Value global(const std::string &name) {
    Definition &d = definitions_.at(name);
    const Statement &s = *d.statement;
    if (d.state == Definition::State::Done)
      return d.value;
    if (d.state == Definition::State::Active) {
      auto from = std::find(active_.begin(), active_.end(), name);
      std::string cycle;
      for (; from != active_.end(); ++from)
        cycle += *from + " -> ";
      fail(s.span, "'" + name + "' is defined by itself: " + cycle + name);
      return {};
    }
    d.state = Definition::State::Active;
    active_.push_back(name);
    if (s.form == Statement::Form::Param) {
      d.value = constantOf(parameter(name)->value);
    } else if (s.form == Statement::Form::Input) {
      auto at = std::find_if(objective_.inputs.begin(), objective_.inputs.end(),
                             [&](const Input &i) { return i.name == name; });
      d.value.node = graph_.input(static_cast<uint32_t>(at - objective_.inputs.begin()), at->kind, s.span);
    } else {
      d.value = evaluate(s.value, nullptr);
    }
    active_.pop_back();
    d.state = Definition::State::Done;
    return d.value;
  }

  Value evaluate(ExprId id, const Scope *scope) {
    struct Level {
      uint32_t &depth;
      ~Level() { --depth; }
    } level{++depth_};
    const Expr &expr = program_.exprs[id];
    if (depth_ > maxDepth || graph_.size() > maxNodes) {
      if (!exhausted_)
        fail(expr.span,
             depth_ > maxDepth ? "definitions are nested more than 1000 levels deep"
                               : "the formula has more than 100000 operations",
             "", Code::Limit);
      exhausted_ = true;
    }
    if (exhausted_)
      return {};
    switch (expr.form) {
    case Expr::Form::Number:
      return {graph_.constant(expr.number), std::nullopt};
    case Expr::Form::Boolean:
      return {graph_.constant(expr.text == "true", Kind::Number, true), std::nullopt};
    case Expr::Form::String:
      return {std::nullopt, expr.text};
    case Expr::Form::Name:
      return named(expr, scope);
    case Expr::Form::Call:
      return called(expr, scope);
    case Expr::Form::Operator:
      return operated(expr, scope);
    case Expr::Form::If:
      return chosen(expr, scope);
    }
    return {};
  }

  Value named(const Expr &expr, const Scope *scope) {
    if (scope)
      if (auto local = scope->find(expr.text); local != scope->end())
        return local->second;
    if (auto symbol = symbols().find(expr.text); symbol != symbols().end())
      return {graph_.symbol(symbol->second), std::nullopt};
    auto at = definitions_.find(expr.text);
    if (at == definitions_.end()) {
      if (findFunction(expr.text))
        fail(expr.span, "'" + expr.text + "' is a function",
             "write " + std::string(findFunction(expr.text)->signature));
      else
        fail(expr.span, "unknown name '" + escaped(expr.text) + "'",
             expr.text == "loss_mask" ? "reductions see loss tokens only; seq_count() counts them"
                                      : didYouMean(expr.text, visibleNames(scope)));
      return {};
    }
    at->second.used = true;
    if (at->second.statement->form == Statement::Form::Function) {
      fail(expr.span, "'" + expr.text + "' is a function", "write " + expr.text + "(...)");
      return {};
    }
    return global(expr.text);
  }

  std::vector<std::string> visibleNames(const Scope *scope) const {
    std::vector<std::string> names;
    if (diagnostics_.full())
      return names;
    if (scope)
      for (const auto &[name, _] : *scope)
        names.push_back(name);
    for (const auto &[name, _] : definitions_)
      names.push_back(name);
    for (const auto &[name, _] : symbols())
      names.push_back(name);
    for (const Function &f : functions())
      names.emplace_back(f.name);
    return names;
  }

  /// The node of an operand that has to be a number or a condition.
  std::optional<NodeId> operand(ExprId id, const Scope *scope) {
    Value value = evaluate(id, scope);
    if (value.text)
      fail(program_.exprs[id].span, "a string can only be compared with == and !=");
    return value.node;
  }

  Value called(const Expr &expr, const Scope *scope) {
    const Function *function = findFunction(expr.text);
    auto own = definitions_.find(expr.text);
    if (!function && own != definitions_.end() && own->second.statement->form == Statement::Form::Function) {
      own->second.used = true;
      return calledOwn(expr, *own->second.statement, scope);
    }
    Call call{expr.text, expr.span, {}, {}, {}, {}};
    bool good = true;
    for (size_t i = 0; i < expr.operands.size(); ++i) {
      auto node = operand(expr.operands[i], scope);
      Span span = program_.exprs[expr.operands[i]].span;
      good &= node.has_value();
      if (!expr.names[i].empty() && function && !hasOption(*function, expr.names[i])) {
        good = fail(span, "'" + expr.text + "' has no option '" + escaped(expr.names[i]) + "'",
                    std::string(function->signature) + "; '==' compares");
      } else if (expr.names[i].empty()) {
        if (!call.options.empty())
          good = fail(span, "arguments without a name come first");
        call.arguments.push_back(node.value_or(0));
        call.spans.push_back(span);
      } else if (!call.options.emplace(expr.names[i], node.value_or(0)).second) {
        good = fail(span, "'" + escaped(expr.names[i]) + "' is given twice");
      } else {
        call.optionSpans.emplace(expr.names[i], span);
      }
    }
    if (!function) {
      bool known = own != definitions_.end();
      fail(expr.span, known ? "'" + expr.text + "' is not a function" : "unknown function '" + escaped(expr.text) + "'",
           known ? "" : didYouMean(expr.text, functionNames()));
      return {};
    }
    return good && fits(*function, call) ? Value{function->build(graph_, call, diagnostics_), std::nullopt} : Value{};
  }

  std::vector<std::string> functionNames() const {
    std::vector<std::string> names;
    if (diagnostics_.full())
      return names;
    for (const auto &[name, d] : definitions_)
      if (d.statement->form == Statement::Form::Function)
        names.push_back(name);
    for (const Function &f : functions())
      names.emplace_back(f.name);
    return names;
  }

  bool fits(const Function &function, const Call &call) {
    size_t given = call.arguments.size();
    if (given < function.least || given > function.most)
      return fail(call.span,
                  "'" + std::string(function.name) + "' takes " +
                      (function.least == function.most ? ""
                       : given < function.least        ? "at least "
                                                       : "at most ") +
                      std::to_string(given < function.least ? function.least : function.most) + " argument" +
                      ((given < function.least ? function.least : function.most) == 1 ? "" : "s") + ", found " +
                      std::to_string(given),
                  std::string(function.signature));
    return true;
  }
  static bool hasOption(const Function &function, const std::string &name) {
    return (" " + std::string(function.options) + " ").find(" " + name + " ") != std::string::npos;
  }

  Value calledOwn(const Expr &expr, const Statement &function, const Scope *scope) {
    Scope inner;
    bool good = true;
    for (size_t i = 0; i < expr.operands.size(); ++i) {
      Value value = evaluate(expr.operands[i], scope);
      good &= !value.failed();
      if (!expr.names[i].empty())
        good = fail(program_.exprs[expr.operands[i]].span,
                    "the arguments of '" + function.name + "' are given by position");
      if (i < function.parameters.size())
        inner[function.parameters[i]] = std::move(value);
    }
    if (expr.operands.size() != function.parameters.size())
      good = fail(expr.span, "'" + function.name + "' takes " + std::to_string(function.parameters.size()) +
                                 " arguments, found " + std::to_string(expr.operands.size()));
    if (std::find(calling_.begin(), calling_.end(), &function) != calling_.end())
      good = fail(expr.span, "'" + function.name + "' calls itself");
    if (!good)
      return {};
    calling_.push_back(&function);
    Value value = evaluate(function.value, &inner);
    calling_.pop_back();
    return value;
  }

  Value operated(const Expr &expr, const Scope *scope) {
    const std::string &op = expr.text;
    if (op == "==" || op == "!=")
      return equal(expr, scope);
    auto a = operand(expr.operands[0], scope);
    auto b = expr.operands.size() > 1 ? operand(expr.operands[1], scope) : a;
    if (!a || !b)
      return {};
    bool logical = op == "and" || op == "or" || op == "not";
    for (size_t i = 0; i < expr.operands.size(); ++i)
      if (graph_[i == 0 ? *a : *b].boolean != logical) {
        fail(program_.exprs[expr.operands[i]].span,
             logical ? "'" + op + "' combines conditions, this is a number"
                     : "'" + op + "' needs a number, this is a condition",
             logical ? "compare it: x > 0" : "where(condition, 1, 0) makes a number");
        return {};
      }
    if (op == "/" && graph_.isConstant(*b, 0)) {
      fail(program_.exprs[expr.operands[1]].span, "division by zero");
      return {};
    }
    if (expr.operands.size() == 1)
      return {graph_.make(op == "-" ? Op::Neg : Op::Not, {*a}, expr.span), std::nullopt};
    if (op == ">" || op == ">=")
      return {graph_.make(op == ">" ? Op::Less : Op::LessEqual, {*b, *a}, expr.span), std::nullopt};
    static const std::map<std::string_view, Op> table = {{"+", Op::Add},        {"-", Op::Sub},   {"*", Op::Mul},
                                                         {"/", Op::Div},        {"^", Op::Pow},   {"<", Op::Less},
                                                         {"<=", Op::LessEqual}, {"and", Op::And}, {"or", Op::Or}};
    if (op == "^" && graph_.isConstant(*b, 2)) // the square as a product, so that its gradient needs no logarithm
      return {graph_.make(Op::Mul, {*a, *a}, expr.span), std::nullopt};
    return {graph_.make(table.at(op), {*a, *b}, expr.span), std::nullopt};
  }

  Value equal(const Expr &expr, const Scope *scope) {
    Value a = evaluate(expr.operands[0], scope), b = evaluate(expr.operands[1], scope);
    if (a.failed() || b.failed())
      return {};
    bool negated = expr.text == "!=";
    if (a.text && b.text) {
      unlisted(expr.operands[0], *b.text, program_.exprs[expr.operands[1]].span);
      unlisted(expr.operands[1], *a.text, program_.exprs[expr.operands[0]].span);
      return {graph_.constant((*a.text == *b.text) != negated, Kind::Number, true), std::nullopt};
    }
    if (a.text || b.text || graph_[*a.node].boolean != graph_[*b.node].boolean) {
      fail(expr.span, "'" + expr.text + "' compares values of different types");
      return {};
    }
    NodeId same = graph_.make(Op::Equal, {*a.node, *b.node}, expr.span);
    return {negated ? graph_.make(Op::Not, {same}, expr.span) : same, std::nullopt};
  }

  /// A comparison of a parameter with a string that it can never have is a misspelling.
  void unlisted(ExprId id, const std::string &text, Span at) {
    const Expr &expr = program_.exprs[id];
    Parameter *p = expr.form == Expr::Form::Name ? parameter(expr.text) : nullptr;
    if (!p || p->choices.empty() ||
        std::find(p->choices.begin(), p->choices.end(), ParameterValue(text)) != p->choices.end())
      return;
    std::vector<std::string> names;
    for (const ParameterValue &choice : p->choices)
      names.push_back(std::get<std::string>(choice));
    std::string hint = didYouMean(text, names);
    fail(at, "'" + expr.text + "' is never \"" + escaped(text) + "\"",
         hint.empty() ? "it is " + quotedList(names) : hint);
  }

  /// Both branches are checked, one is taken.
  Value chosen(const Expr &expr, const Scope *scope) {
    auto condition = operand(expr.operands[0], scope);
    Value then = evaluate(expr.operands[1], scope), otherwise = evaluate(expr.operands[2], scope);
    if (!condition || then.failed() || otherwise.failed())
      return {};
    if (!graph_.isStatic(*condition) || !graph_[*condition].boolean) {
      bool boolean = graph_[*condition].boolean;
      fail(program_.exprs[expr.operands[0]].span,
           boolean ? "'if' chooses by parameters, but this is " + std::string(phrase(graph_[*condition].kind))
                   : "the condition of 'if' is a number",
           boolean ? "where(condition, x, y) chooses value by value" : "compare it: x > 0");
      return {};
    }
    return graph_[*condition].value != 0 ? then : otherwise;
  }

  // ---- results

  void result() {
    bool advantages = objective_.role == Role::Advantages;
    std::string wanted = advantages ? "advantages" : "loss";
    auto at = definitions_.find(wanted);
    Span header = program_.files.back().header;
    if (at == definitions_.end() || at->second.statement->form != Statement::Form::Define) {
      fail(at == definitions_.end() ? header : at->second.statement->span, "nothing defines '" + wanted + "'",
           "write '" + wanted + " = ...'");
      return;
    }
    at->second.used = true;
    Span span = program_.exprs[at->second.statement->value].span;
    const Value &value = at->second.value;
    if (value.failed())
      return;
    if (!value.node || graph_[*value.node].boolean) {
      fail(span, "'" + wanted + "' is not a number");
      return;
    }
    objective_.result = *value.node;
    Kind kind = graph_[*value.node].kind;
    if (advantages ? kind < Kind::Group || kind > Kind::Token : kind > Kind::Scalar)
      fail(span,
           "'" + wanted + "' is " + std::string(phrase(kind)) + ", but has to be " +
               (advantages ? "a value per sequence or per token" : "one value for the step"),
           kind == Kind::Vocabulary ? "reduce it with a vocab_ function first, or at_token(...)"
           : advantages             ? ""
           : kind == Kind::Token    ? "average it: token_mean(...), or use aggregation and aggregate(...)"
                                    : "average it: batch_mean(...)");
    else if (graph_[*value.node].op == Op::Constant)
      fail(span, "'" + wanted + "' is the constant " + print(graph_[*value.node].value) + ": it depends on no input");
    if (!advantages && graph_[*value.node].combine == Combine::Whole)
      diagnostics_.warning(span, "this loss is not a sum over sequences: a step cannot be split into micro-batches");
  }

  void metrics() {
    for (const Statement *s : metrics_) {
      Span span = program_.exprs[s->value].span;
      bool wanted = true;
      if (s->when) {
        auto condition = operand(*s->when, nullptr);
        if (condition && !(graph_.isStatic(*condition) && graph_[*condition].boolean))
          fail(program_.exprs[*s->when].span, "'when' depends on parameters only");
        wanted = condition && graph_[*condition].value != 0;
      }
      auto value = operand(s->value, nullptr);
      if (!value)
        continue;
      const Node &node = graph_[*value];
      if (node.boolean || node.kind > Kind::Scalar)
        fail(span,
             "metric '" + s->name + "' is " + (node.boolean ? "a condition" : std::string(phrase(node.kind))) +
                 ", but has to be one value for the step",
             node.boolean                    ? ""
             : node.kind == Kind::Vocabulary ? "token_mean(vocab_sum(...))"
             : node.kind == Kind::Token      ? "token_mean(...)"
                                             : "batch_mean(...)");
      else if (wanted)
        objective_.metrics.push_back({s->name, *value, node.combine, s->documentation});
    }
  }

  void warnUnused() {
    uint32_t main = static_cast<uint32_t>(program_.files.back().header.file);
    for (const std::string &name : order_) {
      const Definition &d = definitions_.at(name);
      if (!d.used && d.statement->span.file == main)
        diagnostics_.warning(d.statement->span, "'" + name + "' is not used");
    }
  }

  const Program &program_;
  const std::vector<Override> &overrides_;
  Objective &objective_;
  Graph &graph_;
  Diagnostics &diagnostics_;
  std::map<std::string, Definition, std::less<>> definitions_;
  std::vector<std::string> order_;
  std::vector<const Statement *> metrics_;
  std::vector<std::string> active_;
  std::vector<const Statement *> calling_;
  uint32_t depth_ = 0;
  bool exhausted_ = false;
};
} // namespace

void check(const Program &program, const std::vector<Override> &overrides, Objective &objective,
           Diagnostics &diagnostics) {
  Checker(program, overrides, objective, diagnostics).run();
}

} // namespace graft::objective
