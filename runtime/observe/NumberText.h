// Numbers as people read them.
#pragma once

#include <string>
#include <string_view>

namespace graft {

/// About `digits` significant digits: "0.1234", "12,345", "1.5e-06"; "-" for NaN, "∞" for infinity.
std::string numberText(double value, int digits = 4);
/// "512 B", "1.5 MiB", "2.01 GiB".
std::string bytesText(double bytes);
/// "850 ms", "6.9 s", "3 min 20 s", "2 h 05 min".
std::string secondsText(double seconds);
/// &, <, >, quotes replaced: for text and attributes of HTML. Control characters and invalid UTF-8 are shown as
/// escaped() does.
std::string htmlText(std::string_view text);

} // namespace graft
