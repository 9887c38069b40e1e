#include "frontends/objective/Lexer.h"

#include <array>
#include <charconv>
#include <cmath>

namespace graft::objective {

namespace {
constexpr size_t maxBytes = size_t{1} << 20;
constexpr size_t maxName = 100;

bool isDigit(char c) {
  return c >= '0' && c <= '9';
}
bool isLetter(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_';
}
bool isBlank(char c) {
  return c == ' ' || c == '\t' || c == '\r';
}

class Lexer {
public:
  Lexer(const Sources &sources, uint32_t file, Diagnostics &diagnostics)
      : text_(sources.text(file)), file_(file), diagnostics_(diagnostics) {}

  Tokens run() {
    if (text_.size() > maxBytes)
      diagnostics_.error({file_, 0, 0},
                         "the text has " + std::to_string(text_.size()) + " bytes, at most 1 MiB is read", "",
                         Code::Limit);
    else
      while (next()) {
      }
    push(Token::Form::End, text_.size(), 0);
    return std::move(out_);
  }

private:
  char at(size_t i) const { return i < text_.size() ? text_[i] : '\0'; }
  Span span(size_t begin, size_t length) const {
    return {file_, static_cast<uint32_t>(begin), static_cast<uint32_t>(length)};
  }

  Token &push(Token::Form form, size_t begin, size_t length) {
    bool first = out_.tokens.empty() || out_.tokens.back().line != line_;
    out_.tokens.push_back({form, span(begin, length), std::string(text_.substr(begin, length)), 0, line_, first});
    return out_.tokens.back();
  }

  bool next() {
    while (isBlank(at(pos_)) || at(pos_) == '\n' || (pos_ == 0 && text_.starts_with("\xEF\xBB\xBF"))) {
      line_ += at(pos_) == '\n';
      pos_ += isBlank(at(pos_)) || at(pos_) == '\n' ? 1 : 3;
    }
    if (pos_ >= text_.size())
      return false;
    char c = text_[pos_];
    if (c == '#')
      comment();
    else if (isLetter(c))
      word();
    else if (isDigit(c) || (c == '.' && isDigit(at(pos_ + 1))))
      number();
    else if (c == '"')
      string();
    else
      symbol();
    return true;
  }

  void comment() {
    size_t end = std::min(text_.find('\n', pos_), text_.size());
    std::string_view body = text_.substr(pos_, end - pos_);
    size_t from = body.find_first_not_of("# \t\r");
    body = from == std::string_view::npos ? std::string_view()
                                          : body.substr(from, body.find_last_not_of(" \t\r") + 1 - from);
    bool alone = out_.tokens.empty() || out_.tokens.back().line != line_;
    out_.comments.push_back({line_, alone, std::string(body)});
    pos_ = end;
  }

  void word() {
    size_t end = pos_;
    while (isLetter(at(end)) || isDigit(at(end)))
      ++end;
    if (end - pos_ > maxName)
      diagnostics_.error(span(pos_, maxName), "a name has at most " + std::to_string(maxName) + " characters", "",
                         Code::Limit);
    push(Token::Form::Name, pos_, end - pos_);
    pos_ = end;
  }

  void number() {
    const char *begin = text_.data() + pos_;
    double value = 0;
    auto [end, fault] = std::from_chars(begin, text_.data() + text_.size(), value);
    size_t length = end - begin;
    while (isLetter(at(pos_ + length)) || isDigit(at(pos_ + length)) || at(pos_ + length) == '.') {
      fault = std::errc::invalid_argument;
      ++length;
    }
    if (fault == std::errc::result_out_of_range)
      diagnostics_.error(span(pos_, length), "the number does not fit into a float64");
    else if (fault != std::errc())
      diagnostics_.error(span(pos_, length), "not a number; numbers look like 2, 0.2 or 1e-6");
    push(Token::Form::Number, pos_, length).number = value;
    pos_ += length;
  }

  void string() {
    size_t end = text_.find_first_of("\"\n", pos_ + 1);
    bool closed = end != std::string_view::npos && text_[end] == '"';
    if (!closed) {
      end = std::min(end, text_.size());
      diagnostics_.error(span(pos_, end - pos_), "the string is not closed on its line", "write \"...\"");
    }
    Token &token = push(Token::Form::String, pos_, end - pos_ + closed);
    token.text = text_.substr(pos_ + 1, end - pos_ - 1);
    pos_ = end + closed;
  }

  void symbol() {
    constexpr std::array<std::string_view, 4> pairs = {"<=", ">=", "==", "!="};
    for (std::string_view pair : pairs)
      if (text_.substr(pos_).starts_with(pair)) {
        push(Token::Form::Symbol, pos_, 2);
        pos_ += 2;
        return;
      }
    if (std::string_view("+-*/^<>=()[],:.").find(text_[pos_]) != std::string_view::npos) {
      push(Token::Form::Symbol, pos_++, 1);
      return;
    }
    size_t end = pos_ + 1;
    while (end < text_.size() && (static_cast<unsigned char>(text_[end]) & 0xC0) == 0x80)
      ++end;
    std::string hint = text_[pos_] == '&'   ? "write 'and'"
                       : text_[pos_] == '|' ? "write 'or'"
                       : text_[pos_] == '!' ? "write 'not'"
                                            : "";
    diagnostics_.error(span(pos_, end - pos_), "unexpected character '" + escaped(text_.substr(pos_, end - pos_)) + "'",
                       hint);
    pos_ = end;
  }

  std::string_view text_;
  uint32_t file_;
  Diagnostics &diagnostics_;
  size_t pos_ = 0;
  uint32_t line_ = 1;
  Tokens out_;
};
} // namespace

Tokens tokenize(const Sources &sources, uint32_t file, Diagnostics &diagnostics) {
  return Lexer(sources, file, diagnostics).run();
}

} // namespace graft::objective
