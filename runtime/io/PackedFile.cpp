#include "runtime/io/PackedFile.h"

#include <algorithm>

namespace graft::batch {

namespace {
/// Tokens [begin, begin + size) of the row.
struct Segment {
  int64_t begin = 0, size = 0;
};

std::string at(size_t place) {
  return "segment_ids[0, " + std::to_string(place) + "]";
}
} // namespace

PackedRow readSegments(std::span<const int64_t> segments, std::optional<int64_t> width, Faults &faults) {
  std::map<int64_t, Segment> found;
  for (size_t place = 0; place < segments.size(); ++place) {
    int64_t id = segments[place];
    auto begin = static_cast<int64_t>(place);
    if (id < 0)
      faults.add(Code::Range, "is " + std::to_string(id) + ", 0 or the number of a sequence is expected", at(place));
    if (id <= 0)
      continue;
    Segment &segment = found.try_emplace(id, Segment{begin, 0}).first->second;
    if (segment.begin + segment.size == begin)
      ++segment.size;
    else
      faults.add(Code::Graph, "is " + std::to_string(id) + " again: tokens of a sequence stand together", at(place));
  }
  PackedRow row;
  row.sequences = static_cast<int64_t>(found.size());
  int64_t longest = 0;
  for (const auto &[id, segment] : found)
    longest = std::max(longest, segment.size);
  row.tokens = width.value_or(longest);
  if (found.empty())
    return faults.add(Code::Range, "has no sequence", "segment_ids"), row;
  if (int64_t last = found.rbegin()->first; last != row.sequences)
    faults.add(Code::Graph,
               "goes up to " + std::to_string(last) + ", but has " + std::to_string(row.sequences) +
                   " sequences: they are numbered 1, 2, ... without gaps",
               "segment_ids");
  if (longest > row.tokens)
    faults.add(Code::Range,
               "has a sequence of " + std::to_string(longest) + " tokens, at most " + std::to_string(row.tokens) +
                   " are expected",
               "segment_ids");
  if (!faults.none())
    return row;
  row.places.assign(static_cast<size_t>(row.sequences * row.tokens), -1);
  for (const auto &[id, segment] : found)
    for (int64_t t = 0; t < segment.size; ++t)
      row.places[static_cast<size_t>((id - 1) * row.tokens + t)] = segment.begin + t;
  return row;
}

} // namespace graft::batch
