// Sizes of memory as people write them: "6GiB", "512 MB", "1.5TiB".
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace graft {

/// A positive decimal number, perhaps a space, and a unit: B; KB, MB, GB, TB (powers of 1000); KiB, MiB, GiB, TiB (of
/// 1024). Fractions of a byte are dropped. Absent: anything else, a number without a unit, 0, or 2^62 and more.
std::optional<int64_t> parseByteSize(std::string_view text);

/// The shortest text that parseByteSize() reads as exactly `bytes`, with the largest binary unit that divides it.
std::string byteSizeText(int64_t bytes);

} // namespace graft
