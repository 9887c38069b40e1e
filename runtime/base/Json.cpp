#include "runtime/base/Json.h"

#include <charconv>
#include <cmath>

namespace graft {

namespace {
/// Number of bytes of the well-formed UTF-8 sequence (Unicode 15, table 3-7) at the start of `text`, 0 if there is
/// none.
size_t sequenceLength(std::string_view text) {
  auto byte = [&](size_t i) { return i < text.size() ? static_cast<unsigned char>(text[i]) : 0u; };
  auto tail = [&](size_t i, unsigned low = 0x80, unsigned high = 0xBF) { return byte(i) >= low && byte(i) <= high; };
  unsigned first = byte(0);
  if (first < 0x80)
    return text.empty() ? 0 : 1;
  if (first >= 0xC2 && first <= 0xDF)
    return tail(1) ? 2 : 0;
  if (first >= 0xE0 && first <= 0xEF)
    return tail(1, first == 0xE0 ? 0xA0 : 0x80, first == 0xED ? 0x9F : 0xBF) && tail(2) ? 3 : 0;
  if (first >= 0xF0 && first <= 0xF4)
    return tail(1, first == 0xF0 ? 0x90 : 0x80, first == 0xF4 ? 0x8F : 0xBF) && tail(2) && tail(3) ? 4 : 0;
  return 0;
}

void appendUtf8(std::string &out, unsigned code) {
  auto tail = [&](int shift) { out += static_cast<char>(0x80 | (code >> shift & 0x3F)); };
  if (code < 0x80) {
    out += static_cast<char>(code);
  } else if (code < 0x800) {
    out += static_cast<char>(0xC0 | code >> 6);
    tail(0);
  } else if (code < 0x10000) {
    out += static_cast<char>(0xE0 | code >> 12);
    tail(6), tail(0);
  } else {
    out += static_cast<char>(0xF0 | code >> 18);
    tail(12), tail(6), tail(0);
  }
}

bool isDigit(char c) {
  return c >= '0' && c <= '9';
}
} // namespace

std::string_view description(JsonKind kind) {
  constexpr std::string_view names[] = {"an object",     "a list", "a string", "a number",
                                        "true or false", "null",   "no value"};
  return names[static_cast<size_t>(kind)];
}

bool JsonReader::fail(std::string message, Code code) {
  if (!failed_)
    error_ = {code, at_, std::move(message)};
  failed_ = true;
  return false;
}

void JsonReader::skipSpace() {
  while (at_ < text_.size() && (text_[at_] == ' ' || text_[at_] == '\n' || text_[at_] == '\t' || text_[at_] == '\r'))
    ++at_;
}

JsonKind JsonReader::peek() {
  skipSpace();
  if (failed_ || at_ >= text_.size())
    return JsonKind::Invalid;
  switch (text_[at_]) {
  case '{':
    return JsonKind::Object;
  case '[':
    return JsonKind::Array;
  case '"':
    return JsonKind::String;
  case 't':
  case 'f':
    return JsonKind::Bool;
  case 'n':
    return JsonKind::Null;
  default:
    return text_[at_] == '-' || isDigit(text_[at_]) ? JsonKind::Number : JsonKind::Invalid;
  }
}

bool JsonReader::open() {
  if (first_.size() >= maxDepth_)
    return fail("nested deeper than " + std::to_string(maxDepth_) + " levels", Code::Limit);
  ++at_;
  first_.push_back(true);
  return true;
}

bool JsonReader::enterObject() {
  JsonKind kind = peek();
  return kind == JsonKind::Object ? open() : fail("an object is expected, found " + std::string(description(kind)));
}

bool JsonReader::enterArray() {
  JsonKind kind = peek();
  return kind == JsonKind::Array ? open() : fail("a list is expected, found " + std::string(description(kind)));
}

bool JsonReader::nextKey(std::string &key) {
  skipSpace();
  if (failed_)
    return false;
  if (at_ < text_.size() && text_[at_] == '}') {
    ++at_;
    first_.pop_back();
    return false;
  }
  if (!first_.back()) {
    if (at_ >= text_.size() || text_[at_] != ',')
      return fail("',' or '}' is expected after a value");
    ++at_;
  }
  first_.back() = false;
  if (peek() != JsonKind::String)
    return fail("a key in double quotes is expected");
  key.clear();
  if (!scanString(&key))
    return false;
  skipSpace();
  if (at_ >= text_.size() || text_[at_] != ':')
    return fail("':' is expected after a key");
  ++at_;
  return true;
}

bool JsonReader::nextElement() {
  skipSpace();
  if (failed_)
    return false;
  if (at_ < text_.size() && text_[at_] == ']') {
    ++at_;
    first_.pop_back();
    return false;
  }
  if (!first_.back()) {
    if (at_ >= text_.size() || text_[at_] != ',')
      return fail("',' or ']' is expected after a value");
    ++at_;
  }
  first_.back() = false;
  return true;
}

bool JsonReader::readString(std::string &value) {
  JsonKind kind = peek();
  value.clear();
  return kind == JsonKind::String ? scanString(&value)
                                  : fail("a string is expected, found " + std::string(description(kind)));
}

bool JsonReader::readBool(bool &value) {
  if (peek() != JsonKind::Bool)
    return fail("true or false is expected");
  value = text_[at_] == 't';
  return scanWord(value ? "true" : "false");
}

bool JsonReader::readNull() {
  return peek() == JsonKind::Null ? scanWord("null") : fail("null is expected");
}

bool JsonReader::readNumber(std::string_view &spelling) {
  JsonKind kind = peek();
  if (kind != JsonKind::Number)
    return fail("a number is expected, found " + std::string(description(kind)));
  size_t begin = at_;
  if (!scanNumber())
    return false;
  spelling = text_.substr(begin, at_ - begin);
  return true;
}

bool JsonReader::scanWord(std::string_view word) {
  if (!text_.substr(at_).starts_with(word))
    return fail("'" + std::string(word) + "' is expected");
  at_ += word.size();
  return true;
}

bool JsonReader::scanNumber() {
  auto digits = [&] {
    size_t begin = at_;
    while (at_ < text_.size() && isDigit(text_[at_]))
      ++at_;
    return at_ > begin;
  };
  auto at = [&](char c) { return at_ < text_.size() && text_[at_] == c; };
  if (at('-'))
    ++at_;
  if (at('0'))
    ++at_;
  else if (!digits())
    return fail("a number is expected");
  if (at('.')) {
    ++at_;
    if (!digits())
      return fail("a digit is expected after '.'");
  }
  if (at('e') || at('E')) {
    ++at_;
    if (at('+') || at('-'))
      ++at_;
    if (!digits())
      return fail("a digit is expected in the exponent");
  }
  return true;
}

bool JsonReader::scanHex(unsigned &value) {
  if (text_.size() - at_ < 4)
    return fail("four hexadecimal digits are expected after \\u");
  auto [end, error] = std::from_chars(text_.data() + at_, text_.data() + at_ + 4, value, 16);
  if (error != std::errc() || end != text_.data() + at_ + 4)
    return fail("four hexadecimal digits are expected after \\u");
  at_ += 4;
  return true;
}

/// Reads what follows a backslash.
bool JsonReader::scanEscape(std::string *value) {
  constexpr std::string_view letters = "\"\\/bfnrt", meanings = "\"\\/\b\f\n\r\t";
  char letter = at_ < text_.size() ? text_[at_] : '\0';
  unsigned code;
  if (size_t index = letters.find(letter); index != std::string_view::npos && letter != '\0') {
    code = static_cast<unsigned char>(meanings[index]);
    ++at_;
  } else if (letter == 'u') {
    ++at_;
    if (!scanHex(code))
      return false;
    if (code >= 0xDC00 && code <= 0xDFFF)
      return fail("a lone surrogate is no character");
    if (code >= 0xD800 && code <= 0xDBFF) {
      unsigned low = 0;
      if (!text_.substr(at_).starts_with("\\u"))
        return fail("a lone surrogate is no character");
      at_ += 2;
      if (!scanHex(low))
        return false;
      if (low < 0xDC00 || low > 0xDFFF)
        return fail("a lone surrogate is no character");
      code = 0x10000 + ((code - 0xD800) << 10) + (low - 0xDC00);
    }
  } else {
    return fail("unknown escape in a string");
  }
  if (value)
    appendUtf8(*value, code);
  return true;
}

bool JsonReader::scanString(std::string *value) {
  ++at_; // the quote
  while (at_ < text_.size()) {
    size_t begin = at_;
    while (at_ < text_.size() && static_cast<unsigned char>(text_[at_]) >= 0x20 &&
           static_cast<unsigned char>(text_[at_]) < 0x80 && text_[at_] != '"' && text_[at_] != '\\')
      ++at_;
    if (value)
      value->append(text_.substr(begin, at_ - begin));
    if (at_ >= text_.size())
      break;
    unsigned char c = static_cast<unsigned char>(text_[at_]);
    if (c == '"') {
      ++at_;
      return true;
    }
    if (c == '\\') {
      ++at_;
      if (!scanEscape(value))
        return false;
      continue;
    }
    if (c < 0x20)
      return fail("control character in a string");
    size_t length = sequenceLength(text_.substr(at_));
    if (length == 0)
      return fail("invalid UTF-8 in a string");
    if (value)
      value->append(text_.substr(at_, length));
    at_ += length;
  }
  return fail("a string does not end");
}

bool JsonReader::skip(std::string_view *raw) {
  skipSpace();
  size_t begin = at_, outside = first_.size();
  std::vector<bool> objects; // per bracket opened here: whether it is an object
  do {
    if (!objects.empty()) {
      bool more = objects.back() ? false : nextElement();
      if (objects.back()) {
        std::string key;
        more = nextKey(key);
      }
      if (failed_)
        return false;
      if (!more) {
        objects.pop_back();
        continue;
      }
    }
    std::string_view spelling;
    bool flag;
    JsonKind kind = peek();
    bool fine = kind == JsonKind::Object   ? enterObject()
                : kind == JsonKind::Array  ? enterArray()
                : kind == JsonKind::String ? scanString(nullptr)
                : kind == JsonKind::Number ? readNumber(spelling)
                : kind == JsonKind::Bool   ? readBool(flag)
                : kind == JsonKind::Null   ? readNull()
                                           : fail("a value is expected");
    if (!fine)
      return false;
    if (kind == JsonKind::Object || kind == JsonKind::Array)
      objects.push_back(kind == JsonKind::Object);
  } while (first_.size() > outside || !objects.empty());
  if (raw)
    *raw = text_.substr(begin, at_ - begin);
  return true;
}

bool JsonReader::finish() {
  skipSpace();
  return !failed_ && (at_ == text_.size() || fail("something follows the value"));
}

namespace {
template <typename T> std::optional<T> parseWhole(std::string_view spelling) {
  T value{};
  auto [end, error] = std::from_chars(spelling.data(), spelling.data() + spelling.size(), value);
  return error == std::errc() && end == spelling.data() + spelling.size() ? std::optional(value) : std::nullopt;
}
} // namespace

std::optional<int64_t> parseInteger(std::string_view spelling) {
  return parseWhole<int64_t>(spelling);
}
std::optional<uint64_t> parseUnsigned(std::string_view spelling) {
  return parseWhole<uint64_t>(spelling);
}

std::optional<double> parseReal(std::string_view spelling) {
  double value = 0;
  auto [end, error] = std::from_chars(spelling.data(), spelling.data() + spelling.size(), value);
  if (end != spelling.data() + spelling.size() || spelling.empty())
    return std::nullopt;
  if (error == std::errc::result_out_of_range) { // too large or too close to zero: the exponent's sign tells
    size_t exponent = spelling.find_first_of("eE");
    bool tiny = exponent != std::string_view::npos ? spelling[exponent + 1] == '-'
                                                   : spelling.starts_with("0.") || spelling.starts_with("-0.");
    return tiny ? std::optional(spelling[0] == '-' ? -0.0 : 0.0) : std::nullopt;
  }
  return error == std::errc() && std::isfinite(value) ? std::optional(value) : std::nullopt;
}

std::string jsonString(std::string_view text) {
  constexpr std::string_view hex = "0123456789abcdef";
  std::string out = "\"";
  for (size_t i = 0; i < text.size();) {
    unsigned char c = static_cast<unsigned char>(text[i]);
    size_t length = sequenceLength(text.substr(i));
    if (c == '"' || c == '\\')
      out += {'\\', static_cast<char>(c)};
    else if (c < 0x20)
      out += std::string("\\u00") + hex[c >> 4] + hex[c & 15];
    else
      out += length == 0 ? std::string_view("\xEF\xBF\xBD") : text.substr(i, length);
    i += length == 0 ? 1 : length;
  }
  return out + "\"";
}

std::string jsonNumber(double value) {
  if (!std::isfinite(value))
    return "null";
  char buffer[32];
  auto [end, error] = std::to_chars(buffer, buffer + sizeof buffer, value);
  return std::string(buffer, end);
}

} // namespace graft
