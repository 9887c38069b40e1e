#include "runtime/base/Status.h"

#include <array>
#include <cstdio>

namespace graft {

namespace {
struct CodeInfo {
  std::string_view name;
  int exit;
};
// In the order of the enumeration.
constexpr std::array<CodeInfo, 14> codes = {{{"usage", 2},
                                             {"format", 3},
                                             {"limit", 3},
                                             {"range", 3},
                                             {"path", 3},
                                             {"type", 3},
                                             {"graph", 3},
                                             {"unsupported", 3},
                                             {"verify", 3},
                                             {"io", 3},
                                             {"does-not-fit", 4},
                                             {"failed", 5},
                                             {"interrupted", 6},
                                             {"internal", 70}}};

/// Number of bytes of the well-formed UTF-8 sequence at the start of `text`, 0 if there is none.
size_t utf8Length(std::string_view text) {
  auto byte = [&](size_t i) { return i < text.size() ? static_cast<unsigned char>(text[i]) : 0u; };
  unsigned first = byte(0);
  size_t length = first < 0x80                    ? 1
                  : first >= 0xC2 && first < 0xE0 ? 2
                  : first >= 0xE0 && first < 0xF0 ? 3
                  : first >= 0xF0 && first < 0xF5 ? 4
                                                  : 0;
  for (size_t i = 1; i < length; ++i)
    if ((byte(i) & 0xC0) != 0x80)
      return 0;
  bool overlong = (first == 0xE0 && byte(1) < 0xA0) || (first == 0xF0 && byte(1) < 0x90);
  bool outside = (first == 0xED && byte(1) >= 0xA0) || (first == 0xF4 && byte(1) >= 0x90);
  return overlong || outside ? 0 : length;
}
} // namespace

std::string_view name(Code code) {
  return codes[static_cast<size_t>(code)].name;
}
int exitCode(Code code) {
  return codes[static_cast<size_t>(code)].exit;
}

void Status::merge(Status other) {
  for (Fault &fault : other.faults_)
    faults_.push_back(std::move(fault));
}

Status Status::at(std::string_view place) && {
  for (Fault &fault : faults_)
    fault.place = fault.place.empty() ? std::string(place) : std::string(place) + ": " + fault.place;
  return std::move(*this);
}

std::string Status::text() const {
  std::string text;
  for (const Fault &fault : faults_) {
    text += "error[" + std::string(name(fault.code)) + "]: ";
    if (!fault.place.empty())
      text += fault.place + ": ";
    text += fault.message + "\n";
    if (!fault.hint.empty())
      text += "  " + fault.hint + "\n";
  }
  return text;
}

int Status::exitCode() const {
  return faults_.empty() ? 0 : graft::exitCode(faults_.front().code);
}

std::string escaped(std::string_view text, size_t limit) {
  std::string out;
  size_t shown = 0;
  while (shown < text.size() && out.size() < limit) {
    std::string_view rest = text.substr(shown);
    size_t length = utf8Length(rest);
    unsigned char c = rest[0];
    // U+202A..U+202E and U+2066..U+2069 reorder what a terminal shows.
    bool reorders = length == 3 && c == 0xE2 &&
                    ((static_cast<unsigned char>(rest[1]) == 0x80 && static_cast<unsigned char>(rest[2]) >= 0xAA &&
                      static_cast<unsigned char>(rest[2]) <= 0xAE) ||
                     (static_cast<unsigned char>(rest[1]) == 0x81 && static_cast<unsigned char>(rest[2]) >= 0xA6 &&
                      static_cast<unsigned char>(rest[2]) <= 0xA9));
    if (length == 0 || c < 0x20 || c == 0x7F || reorders) {
      char code[5];
      std::snprintf(code, sizeof code, "\\x%02X", c);
      out += code;
      shown += 1;
    } else {
      out += rest.substr(0, length);
      shown += length;
    }
  }
  if (shown < text.size())
    out += "...";
  return out;
}

} // namespace graft
