#include "frontends/recipe/DidYouMean.h"

#include <algorithm>
#include <array>
#include <cctype>

namespace graft {

namespace {
constexpr size_t longest = 64;

char normalised(char c) {
  return c == '-' ? '_' : static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
}

/// Optimal string alignment distance; both strings have at most `longest` bytes.
size_t editDistance(std::string_view a, std::string_view b) {
  std::array<std::array<size_t, longest + 1>, longest + 1> distance;
  for (size_t i = 0; i <= a.size(); ++i)
    for (size_t j = 0; j <= b.size(); ++j) {
      if (i == 0 || j == 0) {
        distance[i][j] = i + j;
        continue;
      }
      bool equal = normalised(a[i - 1]) == normalised(b[j - 1]);
      distance[i][j] =
          std::min({distance[i - 1][j] + 1, distance[i][j - 1] + 1, distance[i - 1][j - 1] + (equal ? 0 : 1)});
      bool swapped = i > 1 && j > 1 && normalised(a[i - 1]) == normalised(b[j - 2]) &&
                     normalised(a[i - 2]) == normalised(b[j - 1]);
      if (swapped)
        distance[i][j] = std::min(distance[i][j], distance[i - 2][j - 2] + 1);
    }
  return distance[a.size()][b.size()];
}
} // namespace

std::string_view closestName(std::string_view name, std::span<const std::string_view> candidates) {
  if (name.size() > longest)
    return {};
  size_t best = std::clamp<size_t>(name.size() / 3, 1, 4) + 1;
  std::string_view closest;
  for (std::string_view candidate : candidates) {
    if (candidate.size() > longest)
      continue;
    size_t distance = editDistance(name, candidate);
    if (distance < best) {
      best = distance;
      closest = candidate;
    }
  }
  return closest;
}

std::string didYouMean(std::string_view name, std::span<const std::string_view> candidates) {
  std::string_view closest = closestName(name, candidates);
  return closest.empty() ? std::string() : "did you mean '" + std::string(closest) + "'?";
}

} // namespace graft
