// A strict JSON reader over text in memory, and the few functions that write JSON.
//
// Headers of checkpoints and lines of rollouts come from strangers: this reader follows RFC 8259 to the letter (UTF-8
// checked, lone surrogates, NaN, comments, trailing commas and NUL bytes refused), needs no stack for nesting it skips,
// tells integers from other numbers as they are spelled, and can hand out the raw text of a value. Parsers that build a
// tree do none of that, and take 10 times the memory of the text.
//
//   JsonReader json(text);
//   if (json.enterObject())
//     for (std::string key; json.nextKey(key);)
//       key == "dtype" ? json.readString(dtype) : json.skip();
//   json.finish();
//   if (json.failed()) ... json.error()
//
// After the first error every call returns false. `text` must outlive the reader.
#pragma once

#include "runtime/base/Status.h"

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace graft {

enum class JsonKind { Object, Array, String, Number, Bool, Null, Invalid };
/// "an object", "a number", ...: for messages.
std::string_view description(JsonKind kind);

class JsonReader {
public:
  explicit JsonReader(std::string_view text, size_t maxDepth = 64) : text_(text), maxDepth_(maxDepth) {}

  /// The kind of the value that comes next; consumes white space only. Invalid at the end of the text or before
  /// anything that begins no value.
  JsonKind peek();
  /// Offset of the next unread byte.
  size_t offset() const { return at_; }

  /// Steps into an object or array. Fails if something else comes.
  bool enterObject();
  bool enterArray();
  /// Reads the next key and its colon; false at the closing brace (then left) or on an error. Each value must be
  /// consumed.
  bool nextKey(std::string &key);
  /// True if another element follows; false at the closing bracket (then left) or on an error.
  bool nextElement();

  bool readString(std::string &value);
  bool readBool(bool &value);
  bool readNull();
  /// The spelling of a number, checked against the grammar: parseInteger and parseReal turn it into a value.
  bool readNumber(std::string_view &spelling);
  /// Consumes any value, checking it; `raw` is its text.
  bool skip(std::string_view *raw = nullptr);
  /// True if only white space is left.
  bool finish();

  bool failed() const { return failed_; }
  struct Error {
    Code code = Code::Format; ///< Limit if nested too deep
    size_t offset = 0;
    std::string message;
  };
  const Error &error() const { return error_; }

private:
  bool fail(std::string message, Code code = Code::Format);
  void skipSpace();
  bool open();
  bool scanString(std::string *value);
  bool scanEscape(std::string *value);
  bool scanHex(unsigned &value);
  bool scanNumber();
  bool scanWord(std::string_view word);

  std::string_view text_;
  size_t at_ = 0, maxDepth_;
  std::vector<char> first_; ///< per open bracket: whether no element was read yet
  bool failed_ = false;
  Error error_;
};

/// An integer as spelled (digits with an optional minus): nothing for "1.0", "1e3", "-0" is 0, and for values outside
/// of the type.
std::optional<int64_t> parseInteger(std::string_view spelling);
std::optional<uint64_t> parseUnsigned(std::string_view spelling);
/// The nearest double; nothing if it is not finite ("1e999").
std::optional<double> parseReal(std::string_view spelling);

/// `text` as a JSON string with its quotes. Invalid UTF-8 becomes U+FFFD.
std::string jsonString(std::string_view text);
/// The shortest spelling that reads back as the same double; null for NaN and infinities, which JSON lacks.
std::string jsonNumber(double value);

} // namespace graft
