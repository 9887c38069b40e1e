// The text of an objective as a tree: what Lexer and Parser produce, before any name is looked up.
//
// Expressions live in one vector and refer to each other by index, so that neither building nor destroying them
// recurses; each knows its depth, which the parser limits.
#pragma once

#include "frontends/objective/Diagnostics.h"

#include <optional>
#include <string>
#include <variant>
#include <vector>

namespace graft::objective {

/// The value of a parameter.
using ParameterValue = std::variant<double, bool, std::string>;
/// As it is written in a text: 0.2, true, "k3".
std::string print(const ParameterValue &value);

using ExprId = uint32_t;

struct Expr {
  enum class Form {
    Number,   ///< 0.2, inf
    Boolean,  ///< true, false
    String,   ///< "k3"
    Name,     ///< ratio
    Call,     ///< text(operands...); names[i] is set where operand i is written `name = expression`
    Operator, ///< text is -, not (one operand), + - * / ^ < <= > >= == != and or (two)
    If,       ///< if, then, else
  };
  Form form;
  Span span;
  double number = 0;
  std::string text;
  std::vector<ExprId> operands;
  std::vector<std::string> names;
  uint32_t depth = 1;
};

struct Statement {
  enum class Form {
    Use,      ///< use NAME
    Source,   ///< source "framework version: function"
    Input,    ///< input NAME : KIND
    Param,    ///< param NAME = LITERAL [in [..]] [from LOW] [to HIGH]
    Default,  ///< default NAME = LITERAL
    Define,   ///< NAME = EXPRESSION
    Function, ///< def NAME(PARAMETERS) = EXPRESSION
    Metric,   ///< metric NAME = EXPRESSION [when EXPRESSION]
  };
  Form form;
  Span span; ///< the name's
  std::string name;
  std::string documentation; ///< comment lines directly above and the comment behind it
  std::string kind;          ///< Input
  Span kindSpan;
  std::optional<ParameterValue> literal; ///< Param, Default
  Span literalSpan;
  std::vector<ParameterValue> choices; ///< Param: allowed values; empty: any
  std::optional<double> low, high;     ///< Param: inclusive bounds
  std::vector<std::string> parameters; ///< Function
  ExprId value = 0;                    ///< Define, Function, Metric
  std::optional<ExprId> when;          ///< Metric
};

struct File {
  enum class Role { None, Objective, Advantages, Library };
  Role role = Role::None;
  std::string name;
  std::string description; ///< the comment above the header
  Span header;
  std::vector<Statement> statements;
};

/// Parses file `file` of `sources`; appends expressions to `exprs` and faults to `diagnostics`. Statements with a fault
/// are left out. Limits: 1 MiB of text, expressions 200 levels deep.
File parse(const Sources &sources, uint32_t file, std::vector<Expr> &exprs, Diagnostics &diagnostics);

} // namespace graft::objective
