// Splits the text of an objective into names, numbers, strings and symbols; comments are kept aside as documentation.
#pragma once

#include "frontends/objective/Diagnostics.h"

namespace graft::objective {

struct Token {
  enum class Form { Name, Number, String, Symbol, End };
  Form form = Form::End;
  Span span;
  std::string text; ///< a string's without its quotes
  double number = 0;
  uint32_t line = 0;
  bool first = false; ///< first on its line
};

struct Comment {
  uint32_t line = 0;
  bool alone = false; ///< nothing else on its line
  std::string text;   ///< without # and surrounding blanks
};

struct Tokens {
  std::vector<Token> tokens; ///< ends with an End token
  std::vector<Comment> comments;
};

/// Bytes that begin no token are reported and skipped.
Tokens tokenize(const Sources &sources, uint32_t file, Diagnostics &diagnostics);

} // namespace graft::objective
