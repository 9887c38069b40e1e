// The protobuf wire format, one message at a time.
//
// A Cursor walks the fields of one message inside of a byte range and never reads outside of it. It does not descend by
// itself: a field that is a message is handed out as bytes. Unknown fields are passed over, groups (which ONNX does not
// use) too, without recursion. The first fault of a file is kept in Wire and ends every cursor; faults name the byte.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "runtime/base/Status.h"

namespace graft::onnx {

/// State of one parse: where the file begins (for positions in messages), what may still be allocated, the first fault.
class Wire {
public:
  Wire(std::string_view file, uint64_t budget) : file_(file), budget_(budget) {}

  bool failed() const { return !fault_.isOk(); }
  Status takeFault() { return std::move(fault_); }
  /// Records the first fault, at the byte that `at` points to.
  void fail(Code code, const char *at, std::string_view message, std::string text);
  /// Takes `bytes` of the budget; false and a fault of class Limit when it is used up.
  bool charge(uint64_t bytes, const char *at, std::string_view message);

private:
  std::string_view file_;
  uint64_t budget_;
  Status fault_;
};

class Cursor {
public:
  /// `message` is the type's name in onnx.proto, for faults.
  Cursor(Wire &wire, std::string_view bytes, std::string_view message)
      : wire_(&wire), at_(bytes.data()), end_(bytes.data() + bytes.size()), field_(at_), message_(message) {}

  /// Moves to the next field; false at the end of the message or after a fault.
  bool next();
  uint32_t number() const { return number_; }
  const char *position() const { return field_; }
  std::string_view message() const { return message_; }

  // Value of the current field; a fault (and zero or empty) if the file encodes it in another wire type.
  int64_t integer();
  float float32();
  std::string_view bytes();
  /// Repeated scalars, packed or one by one: encoded values as they stand in the file, complete and well-formed.
  std::string_view encoded(unsigned width);
  void append(std::vector<int64_t> &values);
  void append(std::vector<float> &values);

private:
  enum Type : uint32_t { Varint = 0, Fixed64 = 1, Bytes = 2, GroupStart = 3, GroupEnd = 4, Fixed32 = 5 };

  bool varint(uint64_t &value);
  bool tag(uint32_t &number, Type &type);
  bool payload(Type type);
  bool skipGroup(uint32_t number);
  bool expect(Type type);

  Wire *wire_;
  const char *at_, *end_, *field_;
  std::string_view message_;
  uint32_t number_ = 0;
  Type type_ = Varint;
  uint64_t value_ = 0;     // of Varint
  std::string_view bytes_; // the payload of every type, without a length
};

/// Number of values in encoded() bytes; width 0: varints.
uint64_t countValues(std::string_view encoded, unsigned width);
/// Takes one varint from the front of well-formed bytes.
uint64_t takeVarint(std::string_view &encoded);

} // namespace graft::onnx
