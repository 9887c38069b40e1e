#include "passes/report/ProgramReport.h"

#include "passes/schedule/Arena.h"

#include <algorithm>

namespace graft::report {

namespace {

int64_t aligned(int64_t bytes) {
  return (bytes + arenaAlignment - 1) / arenaAlignment * arenaAlignment;
}

} // namespace

std::vector<PeakMemory> peakMemory(const schema::Program &program) {
  std::vector<PeakMemory> out;
  unsigned entries = program.entries() ? program.entries()->size() : 0;
  for (unsigned e = 0; e < entries; ++e) {
    const schema::Entry &entry = *program.entries()->Get(e);
    PeakMemory peak;
    peak.entry = static_cast<int>(e);
    peak.planned = entry.arena_bytes();
    // Times run from -1 to the number of instructions; change[t + 1] is what begins at t less what ended at t - 1.
    size_t times = (entry.instructions() ? entry.instructions()->size() : 0) + 2;
    std::vector<int64_t> change(times + 1);
    for (uint32_t i = 0; program.buffers() && i < program.buffers()->size(); ++i) {
      const schema::Buffer &buffer = *program.buffers()->Get(i);
      if (buffer.storage() != schema::Storage::Arena || buffer.entry() != peak.entry)
        continue;
      peak.live.push_back(i);
      change[static_cast<size_t>(buffer.first()) + 1] += aligned(buffer.size()); // -1 becomes 0
      change[static_cast<size_t>(buffer.last()) + 2] -= aligned(buffer.size());
    }
    int64_t bytes = 0;
    for (size_t t = 0; t < times; ++t)
      if (bytes += change[t]; bytes > peak.lowerBound) {
        peak.lowerBound = bytes;
        peak.time = static_cast<int>(t) - 1;
      }
    std::erase_if(peak.live, [&](uint32_t i) {
      const schema::Buffer &buffer = *program.buffers()->Get(i);
      return buffer.first() > peak.time || buffer.last() < peak.time;
    });
    std::sort(peak.live.begin(), peak.live.end(), [&](uint32_t a, uint32_t b) {
      return std::pair(-program.buffers()->Get(a)->size(), a) < std::pair(-program.buffers()->Get(b)->size(), b);
    });
    out.push_back(std::move(peak));
  }
  return out;
}

std::vector<std::vector<BufferUse>> bufferUses(const schema::Program &program) {
  std::vector<std::vector<BufferUse>> uses(program.buffers() ? program.buffers()->size() : 0);
  for (unsigned e = 0; program.entries() && e < program.entries()->size(); ++e) {
    const auto *instructions = program.entries()->Get(e)->instructions();
    for (unsigned i = 0; instructions && i < instructions->size(); ++i)
      visitBuffers(*instructions->Get(i), [&](uint32_t buffer, schema::Access access) {
        uses[buffer].push_back({static_cast<int>(e), static_cast<int>(i), access});
      });
  }
  return uses;
}

std::vector<uint32_t> buffersOf(const schema::Program &program, const schema::Parameter &parameter) {
  std::vector<uint32_t> out;
  for (uint32_t i = 0; program.buffers() && i < program.buffers()->size(); ++i) {
    const schema::Buffer &buffer = *program.buffers()->Get(i);
    if ((buffer.storage() == schema::Storage::Parameter && buffer.offset() == parameter.offset()) ||
        (buffer.storage() == schema::Storage::Gradient && buffer.offset() == parameter.gradient_offset()))
      out.push_back(i);
  }
  return out;
}

} // namespace graft::report
