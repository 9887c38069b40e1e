#include "runtime/base/ByteSize.h"

#include <algorithm>
#include <charconv>
#include <cmath>

namespace graft {

namespace {
struct Unit {
  std::string_view name;
  double bytes;
};
constexpr Unit units[] = {{"B", 1},        {"KB", 1e3},     {"MB", 1e6},     {"GB", 1e9},    {"TB", 1e12},
                          {"KiB", 0x1p10}, {"MiB", 0x1p20}, {"GiB", 0x1p30}, {"TiB", 0x1p40}};
} // namespace

std::optional<int64_t> parseByteSize(std::string_view text) {
  double number = 0;
  auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number, std::chars_format::fixed);
  std::string_view unit = text.substr(static_cast<size_t>(end - text.data()));
  if (error != std::errc() || text.front() == '-')
    return std::nullopt;
  if (unit.starts_with(' '))
    unit.remove_prefix(1);
  const auto *known = std::ranges::find(units, unit, &Unit::name);
  if (known == std::end(units))
    return std::nullopt;
  double bytes = std::floor(number * known->bytes);
  if (!(bytes >= 1 && bytes < 0x1p62))
    return std::nullopt;
  return static_cast<int64_t>(bytes);
}

std::string byteSizeText(int64_t bytes) {
  constexpr std::string_view names[] = {"B", "KiB", "MiB", "GiB", "TiB"};
  size_t unit = 0;
  for (; unit + 1 < std::size(names) && bytes % 1024 == 0; ++unit)
    bytes /= 1024;
  return std::to_string(bytes) + std::string(names[unit]);
}

} // namespace graft
