// "did you mean": the nearest of the known names to one that is not known.
#pragma once

#include <span>
#include <string>
#include <string_view>

namespace graft {

/// The candidate with the fewest single-character edits (insert, delete, replace, swap of neighbours) from `name`, the
/// first of equals; empty if none is within a third of the name's length (at least 1 edit, at most 4), or if `name` is
/// longer than 64 bytes. Upper and lower case, '-' and '_' count as equal. At most 64 x 64 operations per candidate.
std::string_view closestName(std::string_view name, std::span<const std::string_view> candidates);

/// "did you mean 'lr'?", or an empty string when nothing is near.
std::string didYouMean(std::string_view name, std::span<const std::string_view> candidates);

} // namespace graft
