#include "frontends/onnx/Wire.h"

#include <cstring>
#include <protozero/exception.hpp>
#include <protozero/varint.hpp>

#include "frontends/onnx/Limits.h"

namespace graft::onnx {

void Wire::fail(Code code, const char *at, std::string_view message, std::string text) {
  if (failed())
    return;
  std::string place = "byte " + std::to_string(at - file_.data()) + ", " + std::string(message);
  fault_ = Status::error(code, std::move(text), std::move(place));
}

bool Wire::charge(uint64_t bytes, const char *at, std::string_view message) {
  if (bytes <= budget_) {
    budget_ -= bytes;
    return true;
  }
  fail(Code::Limit, at, message,
       "the model's structure needs more than " + std::to_string(maxModelStructureBytes >> 20) + " MiB");
  return false;
}

bool Cursor::varint(uint64_t &value) {
  try {
    value = protozero::decode_varint(&at_, end_);
    return true;
  } catch (const protozero::exception &) {
    wire_->fail(Code::Format, at_, message_, "a varint is cut off or longer than 10 bytes");
    return false;
  }
}

bool Cursor::tag(uint32_t &number, Type &type) {
  uint64_t tag;
  if (!varint(tag))
    return false;
  uint64_t field = tag >> 3;
  if (field == 0 || field > 0x1FFFFFFF || (tag & 7) > Fixed32) {
    wire_->fail(Code::Format, field_, message_,
                "no field of a protobuf message: number " + std::to_string(field) + ", wire type " +
                    std::to_string(tag & 7));
    return false;
  }
  number = static_cast<uint32_t>(field);
  type = static_cast<Type>(tag & 7);
  return true;
}

bool Cursor::payload(Type type) {
  uint64_t size = type == Fixed64 ? 8 : 4;
  const char *start = at_;
  if (type == Varint) {
    if (!varint(value_))
      return false;
    bytes_ = {start, static_cast<size_t>(at_ - start)};
    return true;
  }
  if (type == Bytes && !varint(size))
    return false;
  if (size > static_cast<uint64_t>(end_ - at_)) {
    wire_->fail(Code::Format, field_, message_,
                "a field of " + std::to_string(size) + " bytes where " + std::to_string(end_ - at_) + " are left");
    return false;
  }
  bytes_ = {at_, static_cast<size_t>(size)};
  at_ += size;
  return true;
}

bool Cursor::skipGroup(uint32_t number) {
  std::vector<uint32_t> open = {number};
  while (!open.empty()) {
    uint32_t inner;
    Type type;
    if (at_ == end_) {
      wire_->fail(Code::Format, field_, message_, "a group without an end");
      return false;
    }
    if (!tag(inner, type))
      return false;
    if (type == GroupStart && open.size() >= maxMessageDepth) {
      wire_->fail(Code::Limit, field_, message_, "groups nested deeper than " + std::to_string(maxMessageDepth));
      return false;
    }
    if (type == GroupStart) {
      open.push_back(inner);
    } else if (type != GroupEnd) {
      if (!payload(type))
        return false;
    } else if (open.back() != inner) {
      wire_->fail(Code::Format, field_, message_, "the end of another group");
      return false;
    } else {
      open.pop_back();
    }
  }
  return true;
}

bool Cursor::next() {
  while (at_ != end_ && !wire_->failed()) {
    field_ = at_;
    if (!tag(number_, type_))
      return false;
    if (type_ == GroupEnd) {
      wire_->fail(Code::Format, field_, message_, "the end of a group that was not begun");
      return false;
    }
    if (type_ != GroupStart)
      return payload(type_);
    if (!skipGroup(number_))
      return false;
  }
  return false;
}

bool Cursor::expect(Type type) {
  if (type_ == type)
    return true;
  wire_->fail(Code::Format, field_, message_,
              "field " + std::to_string(number_) + " has wire type " + std::to_string(type_) + ", expected " +
                  std::to_string(type));
  return false;
}

int64_t Cursor::integer() {
  return expect(Varint) ? static_cast<int64_t>(value_) : 0;
}

float Cursor::float32() {
  float value = 0;
  if (expect(Fixed32))
    std::memcpy(&value, bytes_.data(), sizeof value);
  return value;
}

std::string_view Cursor::bytes() {
  return expect(Bytes) ? bytes_ : std::string_view();
}

std::string_view Cursor::encoded(unsigned width) {
  Type single = width == 0 ? Varint : width == 4 ? Fixed32 : Fixed64;
  if (type_ != Bytes)
    return expect(single) ? bytes_ : std::string_view();
  if (width != 0 && bytes_.size() % width != 0) {
    wire_->fail(Code::Format, field_, message_,
                std::to_string(bytes_.size()) + " bytes of packed values of " + std::to_string(width) + " bytes");
    return {};
  }
  if (width == 0) {
    Cursor packed(*wire_, bytes_, message_);
    uint64_t value;
    while (packed.at_ != packed.end_)
      if (!packed.varint(value))
        return {};
  }
  return bytes_;
}

void Cursor::append(std::vector<int64_t> &values) {
  std::string_view rest = encoded(0);
  uint64_t count = countValues(rest, 0);
  if (!wire_->charge(count * sizeof(int64_t), field_, message_))
    return;
  if (values.empty())
    values.reserve(count);
  while (!rest.empty())
    values.push_back(static_cast<int64_t>(takeVarint(rest)));
}

void Cursor::append(std::vector<float> &values) {
  std::string_view rest = encoded(4);
  if (!wire_->charge(rest.size(), field_, message_))
    return;
  for (; !rest.empty(); rest.remove_prefix(4)) {
    float value;
    std::memcpy(&value, rest.data(), sizeof value);
    values.push_back(value);
  }
}

uint64_t countValues(std::string_view encoded, unsigned width) {
  if (width != 0)
    return encoded.size() / width;
  uint64_t count = 0;
  for (char c : encoded)
    count += (static_cast<unsigned char>(c) & 0x80) == 0;
  return count;
}

uint64_t takeVarint(std::string_view &encoded) {
  const char *at = encoded.data();
  uint64_t value = protozero::decode_varint(&at, encoded.data() + encoded.size());
  encoded.remove_prefix(static_cast<size_t>(at - encoded.data()));
  return value;
}

} // namespace graft::onnx
