#include "runtime/observe/NumberText.h"

#include "runtime/base/Status.h"

#include <cmath>
#include <cstdio>

namespace graft {

namespace {
std::string print(const char *format, int digits, double value) {
  char buffer[64];
  std::snprintf(buffer, sizeof buffer, format, digits, value);
  return buffer;
}

std::string withoutTrailingZeros(std::string text) {
  if (text.find('.') == std::string::npos || text.find('e') != std::string::npos)
    return text;
  text.erase(text.find_last_not_of('0') + 1);
  if (text.back() == '.')
    text.pop_back();
  return text;
}

std::string withThousands(std::string text) {
  size_t end = std::min(text.find('.'), text.size()), begin = text[0] == '-' ? 1 : 0;
  for (size_t i = end; i > begin + 3; i -= 3)
    text.insert(i - 3, ",");
  return text;
}
} // namespace

std::string numberText(double value, int digits) {
  if (std::isnan(value))
    return "-";
  if (std::isinf(value))
    return value < 0 ? "-∞" : "∞";
  double size = std::fabs(value);
  if (value == 0)
    return "0";
  if (size >= 1e9 || size < 1e-4)
    return print("%.*g", digits, value);
  int decimals = std::max(0, digits - 1 - static_cast<int>(std::floor(std::log10(size))));
  std::string text = withThousands(withoutTrailingZeros(print("%.*f", decimals, value)));
  return text == "-0" ? "0" : text;
}

std::string bytesText(double bytes) {
  const char *units[] = {"B", "KiB", "MiB", "GiB", "TiB"};
  size_t unit = 0;
  for (; std::fabs(bytes) >= 1024 && unit < 4; ++unit)
    bytes /= 1024;
  return numberText(bytes, unit == 0 ? 4 : 3) + " " + units[unit];
}

std::string secondsText(double seconds) {
  if (!std::isfinite(seconds))
    return numberText(seconds);
  if (seconds < 1)
    return numberText(seconds * 1000, 3) + " ms";
  if (seconds < 60)
    return numberText(seconds, 3) + " s";
  long whole = std::lround(seconds);
  if (whole < 3600)
    return std::to_string(whole / 60) + " min " + std::to_string(whole % 60) + " s";
  return std::to_string(whole / 3600) + " h " + (whole % 3600 / 60 < 10 ? "0" : "") +
         std::to_string(whole % 3600 / 60) + " min";
}

std::string htmlText(std::string_view text) {
  std::string out;
  for (char c : escaped(text, 4000)) {
    switch (c) {
    case '&':
      out += "&amp;";
      break;
    case '<':
      out += "&lt;";
      break;
    case '>':
      out += "&gt;";
      break;
    case '"':
      out += "&quot;";
      break;
    case '\'':
      out += "&#39;";
      break;
    default:
      out += c;
    }
  }
  return out;
}

} // namespace graft
