// Recursive descent over the tokens. Line ends mean nothing inside an expression; a statement begins at the first token
// of a line, which is also where parsing goes on after a fault.

#include "frontends/objective/Lexer.h"
#include "frontends/objective/Syntax.h"

#include <algorithm>
#include <array>
#include <cstdio>
#include <limits>

namespace graft::objective {

std::string print(const ParameterValue &value) {
  if (const bool *boolean = std::get_if<bool>(&value))
    return *boolean ? "true" : "false";
  if (const std::string *text = std::get_if<std::string>(&value))
    return "\"" + escaped(*text) + "\"";
  char digits[32];
  std::snprintf(digits, sizeof digits, "%.12g", std::get<double>(value));
  return digits;
}

namespace {
constexpr uint32_t maxDepth = 200;
constexpr size_t maxOperands = 256;
constexpr std::array<std::string_view, 9> reserved = {"if", "then", "else", "and", "or", "not", "true", "false", "inf"};

/// Binary operators, from the loosest; `not` stands between `and` and the comparisons, unary minus between * and ^.
constexpr std::array<std::array<std::string_view, 6>, 5> levels = {
    {{"or"}, {"and"}, {"<", "<=", ">", ">=", "==", "!="}, {"+", "-"}, {"*", "/"}}};
constexpr size_t comparisonLevel = 2;

class Parser {
public:
  Parser(const Sources &sources, uint32_t file, std::vector<Expr> &exprs, Diagnostics &diagnostics)
      : source_(tokenize(sources, file, diagnostics)), exprs_(exprs), diagnostics_(diagnostics) {}

  File run() {
    while (token().form != Token::Form::End) {
      size_t before = pos_;
      if (!statement())
        recover(before);
    }
    if (file_.role == File::Role::None)
      diagnostics_.error(token().span, "the text does not say what it is",
                         "begin with 'objective NAME', 'advantages NAME' or 'library NAME'");
    return std::move(file_);
  }

private:
  // ---- tokens

  const Token &token(size_t ahead = 0) const {
    return source_.tokens[std::min(pos_ + ahead, source_.tokens.size() - 1)];
  }
  bool is(std::string_view text, size_t ahead = 0) const {
    const Token &t = token(ahead);
    return (t.form == Token::Form::Symbol || t.form == Token::Form::Name) && t.text == text;
  }
  bool accept(std::string_view text) {
    if (!is(text))
      return false;
    ++pos_;
    return true;
  }
  std::string found() const {
    switch (token().form) {
    case Token::Form::End:
      return "the end of the text";
    case Token::Form::String:
      return "a string";
    default:
      return "'" + escaped(token().text) + "'";
    }
  }
  bool fail(const std::string &expected, std::string hint = "") {
    diagnostics_.error(token().span, "expected " + expected + ", found " + found(), std::move(hint));
    return false;
  }
  bool expect(std::string_view text, const std::string &where) {
    return accept(text) || fail("'" + std::string(text) + "' " + where);
  }
  bool name(std::string &into, Span &span, const std::string &what) {
    const Token &t = token();
    bool isReserved =
        t.form == Token::Form::Name && std::find(reserved.begin(), reserved.end(), t.text) != reserved.end();
    if (t.form != Token::Form::Name || isReserved)
      return fail(what, isReserved ? "this word is reserved" : "");
    into = t.text;
    span = t.span;
    ++pos_;
    return true;
  }
  /// After a fault: on to the next line that looks like a statement (its first token stands in column 1), at least one
  /// token.
  void recover(size_t before) {
    pos_ = std::max(pos_, before + 1);
    while (token().form != Token::Form::End &&
           !(token().first && token().form == Token::Form::Name && startsStatement()))
      ++pos_;
  }
  bool startsStatement() const {
    if (is("=", 1))
      return true;
    for (const auto &[word, _] : statements())
      if (is(word) && token(1).form != Token::Form::Symbol)
        return true;
    return false;
  }

  // ---- statements

  using Parse = bool (Parser::*)(Statement &);
  static const std::vector<std::pair<std::string_view, Parse>> &statements() {
    static const std::vector<std::pair<std::string_view, Parse>> table = {
        {"objective", &Parser::header}, {"advantages", &Parser::header}, {"library", &Parser::header},
        {"use", &Parser::use},          {"source", &Parser::source},     {"input", &Parser::input},
        {"param", &Parser::param},      {"default", &Parser::defaults},  {"def", &Parser::function},
        {"metric", &Parser::metric},
    };
    return table;
  }

  bool statement() {
    if (!token().first)
      return fail("an operator or the end of the line", is("=") ? "'==' compares" : "");
    uint32_t line = token().line;
    Statement statement;
    Parse parse = nullptr;
    if (!is("=", 1))
      for (const auto &[word, function] : statements())
        if (is(word))
          parse = function;
    bool good = parse ? (this->*parse)(statement) : define(statement);
    if (!good)
      return false;
    if (!token().first && token().form != Token::Form::End)
      return fail("an operator or the end of the line", is("=") ? "'==' compares" : "");
    statement.documentation = documentation(line);
    if (parse != &Parser::header)
      file_.statements.push_back(std::move(statement));
    return true;
  }

  /// The comment lines directly above line `line`, then the comment behind it.
  std::string documentation(uint32_t line) const {
    const std::vector<Comment> &comments = source_.comments;
    auto behind = std::lower_bound(comments.begin(), comments.end(), line,
                                   [](const Comment &c, uint32_t l) { return c.line < l; });
    auto above = behind;
    uint32_t expected = line;
    while (above != comments.begin() && std::prev(above)->alone && std::prev(above)->line + 1 == expected)
      expected = (--above)->line;
    if (behind != comments.end() && behind->line == line)
      ++behind;
    std::string text;
    for (; above != behind; ++above)
      text += (text.empty() ? "" : "\n") + above->text;
    return text;
  }

  bool header(Statement &) {
    const Token &word = token();
    if (file_.role != File::Role::None) {
      diagnostics_.error(word.span, "a text has one header", "the first is '" + std::string(file_.name) + "'");
      return false;
    }
    if (!file_.statements.empty())
      diagnostics_.error(word.span, "the header is the first statement of a text");
    File::Role role = word.text == "objective"    ? File::Role::Objective
                      : word.text == "advantages" ? File::Role::Advantages
                                                  : File::Role::Library;
    std::string description = documentation(word.line);
    file_.role = role;
    ++pos_;
    Span part;
    if (!name(file_.name, file_.header, "the name of the " + word.text))
      return false;
    while (accept(".")) {
      std::string next;
      if (!name(next, part, "a name after '.'"))
        return false;
      file_.name += "." + next;
    }
    file_.description = std::move(description);
    return true;
  }

  bool use(Statement &s) {
    ++pos_;
    s.form = Statement::Form::Use;
    if (!name(s.name, s.span, "the name of a library"))
      return false;
    while (accept(".")) {
      std::string next;
      Span part;
      if (!name(next, part, "a name after '.'"))
        return false;
      s.name += "." + next;
      s.span = join(s.span, part);
    }
    return true;
  }

  bool source(Statement &s) {
    ++pos_;
    s.form = Statement::Form::Source;
    if (token().form != Token::Form::String)
      return fail("a string: framework, version, function");
    s.span = token().span;
    s.name = token().text;
    ++pos_;
    return true;
  }

  bool input(Statement &s) {
    ++pos_;
    s.form = Statement::Form::Input;
    return name(s.name, s.span, "the name of an input") &&
           expect(":", "and the kind of the input (token, sequence or scalar)") &&
           name(s.kind, s.kindSpan, "token, sequence or scalar");
  }

  bool literal(ParameterValue &value, Span &span) {
    Span begin = token().span;
    bool negative = accept("-");
    span = join(begin, token().span);
    if (token().form == Token::Form::Number || is("inf")) {
      double number = is("inf") ? std::numeric_limits<double>::infinity() : token().number;
      value = negative ? -number : number;
    } else if (!negative && (is("true") || is("false"))) {
      value = is("true");
    } else if (!negative && token().form == Token::Form::String) {
      value = token().text;
    } else {
      return fail("a number, true, false or a string",
                  "a parameter's value is written out; expressions are for definitions");
    }
    ++pos_;
    return true;
  }

  bool bound(std::optional<double> &into) {
    ParameterValue value;
    Span span;
    if (!literal(value, span))
      return false;
    if (!std::holds_alternative<double>(value)) {
      diagnostics_.error(span, "a bound is a number");
      return false;
    }
    into = std::get<double>(value);
    return true;
  }

  bool choices(std::vector<ParameterValue> &into) {
    if (!expect("[", "before the list of allowed values"))
      return false;
    do {
      ParameterValue value;
      Span span;
      if (!literal(value, span))
        return false;
      if (std::find(into.begin(), into.end(), value) != into.end())
        diagnostics_.error(span, print(value) + " is listed twice");
      into.push_back(std::move(value));
    } while (accept(","));
    return expect("]", "after the list of allowed values");
  }

  bool assigned(Statement &s) {
    ParameterValue value;
    if (!expect("=", "and a default value") || !literal(value, s.literalSpan))
      return false;
    s.literal = std::move(value);
    return true;
  }

  bool param(Statement &s) {
    ++pos_;
    s.form = Statement::Form::Param;
    if (!name(s.name, s.span, "the name of a parameter") || !assigned(s))
      return false;
    if (accept("in"))
      return choices(s.choices);
    if (accept("from") && !bound(s.low))
      return false;
    return !accept("to") || bound(s.high);
  }

  bool defaults(Statement &s) {
    ++pos_;
    s.form = Statement::Form::Default;
    return name(s.name, s.span, "the name of a parameter") && assigned(s);
  }

  bool function(Statement &s) {
    ++pos_;
    s.form = Statement::Form::Function;
    if (!name(s.name, s.span, "the name of a function") || !expect("(", "and the function's arguments"))
      return false;
    while (!is(")")) {
      std::string parameter;
      Span span;
      if (!name(parameter, span, "the name of an argument"))
        return false;
      if (std::find(s.parameters.begin(), s.parameters.end(), parameter) != s.parameters.end())
        diagnostics_.error(span, "two arguments are named '" + escaped(parameter) + "'");
      s.parameters.push_back(std::move(parameter));
      if (!accept(","))
        break;
    }
    return expect(")", "after the function's arguments") && expect("=", "and the function's value") &&
           expression(s.value);
  }

  bool metric(Statement &s) {
    ++pos_;
    s.form = Statement::Form::Metric;
    if (!name(s.name, s.span, "the name of a metric") || !expect("=", "and the metric's value") || !expression(s.value))
      return false;
    ExprId condition = 0;
    if (!accept("when"))
      return true;
    if (!expression(condition))
      return false;
    s.when = condition;
    return true;
  }

  bool define(Statement &s) {
    s.form = Statement::Form::Define;
    std::vector<std::string> words;
    for (const auto &[word, _] : statements())
      words.emplace_back(word);
    if (token().form == Token::Form::Name && !is("=", 1) && !is("(", 1)) {
      std::string hint = didYouMean(token().text, words);
      return fail(
          "a statement: 'NAME = EXPRESSION' or one that begins with input, param, default, def, metric, use or source",
          hint);
    }
    if (is("(", 1) && token().form == Token::Form::Name)
      return fail("a statement", "a function is defined by 'def NAME(ARGUMENTS) = EXPRESSION'");
    return name(s.name, s.span, "a statement") && expect("=", "and a value") && expression(s.value);
  }

  // ---- expressions

  bool add(Expr expr, ExprId &id) {
    for (ExprId operand : expr.operands)
      expr.depth = std::max(expr.depth, exprs_[operand].depth + 1);
    if (expr.depth > maxDepth)
      return tooDeep(expr.span);
    id = static_cast<ExprId>(exprs_.size());
    exprs_.push_back(std::move(expr));
    return true;
  }
  bool tooDeep(Span span) {
    diagnostics_.error(span, "the expression is more than " + std::to_string(maxDepth) + " levels deep",
                       "name parts of it", Code::Limit);
    return false;
  }

  bool expression(ExprId &id) {
    struct Level {
      uint32_t &depth;
      ~Level() { --depth; }
    } level{++open_};
    if (open_ > maxDepth)
      return tooDeep(token().span);
    return is("if") ? conditional(id) : binary(0, id);
  }

  bool conditional(ExprId &id) {
    Expr expr{Expr::Form::If, token().span, 0, "if", {0, 0, 0}, {}};
    ++pos_;
    bool good = expression(expr.operands[0]) && expect("then", "after the condition of 'if'") &&
                expression(expr.operands[1]) && expect("else", "and a value for when the condition does not hold") &&
                expression(expr.operands[2]);
    if (!good)
      return false;
    expr.span = join(expr.span, exprs_[expr.operands[2]].span);
    return add(std::move(expr), id);
  }

  bool atOperator(size_t level) const {
    const auto &symbols = levels[level];
    return token().form != Token::Form::String && !token().text.empty() &&
           std::any_of(symbols.begin(), symbols.end(), [&](std::string_view s) { return !s.empty() && is(s); });
  }

  bool binary(size_t level, ExprId &id) {
    if (level == levels.size())
      return unary(id);
    if (!(level == comparisonLevel ? negation(id) : binary(level + 1, id)))
      return false;
    bool compared = false;
    while (atOperator(level)) {
      if (level == comparisonLevel && compared)
        return fail("no second comparison", "write 'a < b and b < c'");
      compared = true;
      Expr expr{Expr::Form::Operator, {}, 0, token().text, {id, 0}, {}};
      ++pos_;
      if (!binary(level + 1, expr.operands[1]))
        return false;
      expr.span = join(exprs_[id].span, exprs_[expr.operands[1]].span);
      if (!add(std::move(expr), id))
        return false;
    }
    return true;
  }

  /// `not` binds looser than comparisons: its operand is a whole comparison.
  bool negation(ExprId &id) {
    if (!is("not"))
      return binary(comparisonLevel + 1, id);
    Expr expr{Expr::Form::Operator, token().span, 0, "not", {0}, {}};
    return prefix(std::move(expr), id, [&](ExprId &operand) { return binary(comparisonLevel, operand); });
  }

  bool unary(ExprId &id) {
    if (!is("-"))
      return power(id);
    Expr expr{Expr::Form::Operator, token().span, 0, "-", {0}, {}};
    return prefix(std::move(expr), id, [&](ExprId &operand) { return unary(operand); });
  }

  /// Skips the operator and parses `expr`'s last operand with `operand`.
  template <typename Operand> bool prefix(Expr expr, ExprId &id, Operand operand) {
    struct Level {
      uint32_t &depth;
      ~Level() { --depth; }
    } level{++open_};
    if (open_ > maxDepth)
      return tooDeep(token().span);
    ++pos_;
    if (!operand(expr.operands.back()))
      return false;
    expr.span = join(expr.span, exprs_[expr.operands.back()].span);
    return add(std::move(expr), id);
  }

  bool power(ExprId &id) {
    if (!primary(id))
      return false;
    if (!is("^"))
      return true;
    Expr expr{Expr::Form::Operator, exprs_[id].span, 0, "^", {id, 0}, {}};
    return prefix(std::move(expr), id, [&](ExprId &operand) { return unary(operand); });
  }

  bool primary(ExprId &id) {
    const Token t = token();
    if (accept("(")) {
      if (!expression(id))
        return false;
      return expect(")", "to close '('");
    }
    if (t.form == Token::Form::Name && !is("(", 1) &&
        std::find(reserved.begin(), reserved.end(), t.text) == reserved.end()) {
      ++pos_;
      return add({Expr::Form::Name, t.span, 0, t.text, {}, {}}, id);
    }
    if (t.form == Token::Form::Number || is("inf") || is("true") || is("false") || t.form == Token::Form::String) {
      ++pos_;
      Expr::Form form = t.form == Token::Form::String                      ? Expr::Form::String
                        : t.form == Token::Form::Number || t.text == "inf" ? Expr::Form::Number
                                                                           : Expr::Form::Boolean;
      return add({form, t.span, t.text == "inf" ? std::numeric_limits<double>::infinity() : t.number, t.text, {}, {}},
                 id);
    }
    if (t.form == Token::Form::Name && is("(", 1) &&
        std::find(reserved.begin(), reserved.end(), t.text) == reserved.end())
      return call(id);
    return fail("an expression", is("=") ? "'==' compares" : is("if") ? "put parentheses around 'if'" : "");
  }

  bool call(ExprId &id) {
    Expr expr{Expr::Form::Call, token().span, 0, token().text, {}, {}};
    pos_ += 2;
    while (!is(")")) {
      std::string named;
      if (token().form == Token::Form::Name && is("=", 1)) {
        named = token().text;
        pos_ += 2;
      }
      ExprId operand = 0;
      if (!expression(operand))
        return false;
      if (expr.operands.size() == maxOperands)
        return fail("at most " + std::to_string(maxOperands) + " arguments");
      expr.operands.push_back(operand);
      expr.names.push_back(std::move(named));
      if (!accept(","))
        break;
    }
    Span end = token().span;
    if (!expect(")", "or ',' after an argument"))
      return false;
    expr.span = join(expr.span, end);
    return add(std::move(expr), id);
  }

  Tokens source_;
  std::vector<Expr> &exprs_;
  Diagnostics &diagnostics_;
  File file_;
  size_t pos_ = 0;
  uint32_t open_ = 0;
};
} // namespace

File parse(const Sources &sources, uint32_t file, std::vector<Expr> &exprs, Diagnostics &diagnostics) {
  return Parser(sources, file, exprs, diagnostics).run();
}

} // namespace graft::objective
