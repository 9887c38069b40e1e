#include "passes/report/ProgramReport.h"

#include "passes/schedule/Arena.h"
#include "runtime/program/Layout.h"

#include <algorithm>
#include <functional>
#include <map>
#include <set>
#include <tuple>

namespace graft::report {

namespace {

int64_t aligned(int64_t bytes) {
  return (bytes + arenaAlignment - 1) / arenaAlignment * arenaAlignment;
}

/// When buffers are the only ones at their bytes: to their last use, or to the one before a kernel that writes another
/// buffer in their place.
class OwnedUntil {
public:
  explicit OwnedUntil(const schema::Program &program) {
    for (uint32_t i = 0; program.buffers() && i < program.buffers()->size(); ++i)
      if (const schema::Buffer &buffer = *program.buffers()->Get(i); isTransient(buffer.storage()))
        begins_.insert({buffer.entry(), buffer.storage(), buffer.offset(), buffer.first()});
  }
  int operator()(const schema::Buffer &buffer) const {
    bool takenOver = buffer.first() < buffer.last() && buffer.size() > 0 &&
                     begins_.contains({buffer.entry(), buffer.storage(), buffer.offset(), buffer.last()});
    return takenOver ? buffer.last() - 1 : buffer.last();
  }

private:
  std::set<std::tuple<int, schema::Storage, int64_t, int>> begins_;
};

} // namespace

std::vector<PeakMemory> peakMemory(const schema::Program &program) {
  std::vector<PeakMemory> out;
  OwnedUntil ownedUntil(program);
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
      change[static_cast<size_t>(ownedUntil(buffer)) + 2] -= aligned(buffer.size());
    }
    int64_t bytes = 0;
    for (size_t t = 0; t < times; ++t)
      if (bytes += change[t]; bytes > peak.lowerBound) {
        peak.lowerBound = bytes;
        peak.time = static_cast<int>(t) - 1;
      }
    auto isLive = [&](uint32_t i) {
      const schema::Buffer &buffer = *program.buffers()->Get(i);
      return buffer.first() <= peak.time && ownedUntil(buffer) >= peak.time;
    };
    for (uint32_t i = 0; program.buffers() && i < program.buffers()->size(); ++i)
      if (const schema::Buffer &buffer = *program.buffers()->Get(i);
          buffer.storage() == schema::Storage::Lent && buffer.entry() == peak.entry && isLive(i))
        peak.lent += aligned(buffer.size());
    std::erase_if(peak.live, [&](uint32_t i) { return !isLive(i); });
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

namespace {

/// Gradients in the arena by which the parameter is updated.
void addUpdates(const schema::Program &program, const schema::Parameter &parameter, std::vector<uint32_t> &out) {
  for (unsigned e = 0; program.entries() && e < program.entries()->size(); ++e) {
    const auto *instructions = program.entries()->Get(e)->instructions();
    for (unsigned i = 0; instructions && i < instructions->size(); ++i)
      if (const schema::Update *update = instructions->Get(i)->operation_as_Update();
          update && program.parameters()->Get(update->parameter()) == &parameter)
        out.push_back(update->gradient()->buffer());
  }
}

} // namespace

std::vector<uint32_t> buffersOf(const schema::Program &program, const schema::Parameter &parameter) {
  std::vector<uint32_t> out;
  for (uint32_t i = 0; program.buffers() && i < program.buffers()->size(); ++i) {
    const schema::Buffer &buffer = *program.buffers()->Get(i);
    if ((buffer.storage() == schema::Storage::Parameter && buffer.offset() == parameter.offset()) ||
        (buffer.storage() == schema::Storage::Gradient && buffer.offset() == parameter.gradient_offset()) ||
        (buffer.storage() == schema::Storage::Working && buffer.offset() == parameter.working_offset()))
      out.push_back(i);
  }
  addUpdates(program, parameter, out);
  return out;
}

namespace {

const schema::Instruction &instructionOf(const schema::Program &program, const BufferUse &use) {
  return *program.entries()
              ->Get(static_cast<unsigned>(use.entry))
              ->instructions()
              ->Get(static_cast<unsigned>(use.instruction));
}

/// "node_linear_3 @ model.layers.7.mlp" -> "model.layers.N.mlp"; a node without a path keeps its name.
std::string familyName(const flatbuffers::String *origin) {
  std::string text = origin ? origin->str() : "", name;
  if (size_t path = text.rfind(" @ "); path != std::string::npos)
    text = text.substr(path + 3);
  for (char c : text) {
    bool digit = c >= '0' && c <= '9';
    if (!digit)
      name += c;
    else if (name.empty() || name.back() != 'N')
      name += 'N';
  }
  return name;
}

void addTo(std::map<std::string, Family> &families, const flatbuffers::String *origin, int64_t bytes, int64_t flops) {
  std::string name = familyName(origin);
  Family &family = families[name];
  family.name = name;
  family.count += 1;
  family.bytes += bytes;
  family.flops += flops;
}

std::vector<Family> sorted(const std::map<std::string, Family> &families) {
  std::vector<Family> all;
  for (const auto &[name, family] : families)
    all.push_back(family);
  std::ranges::stable_sort(all, std::greater<>(),
                           [](const Family &family) { return std::pair(family.flops, family.bytes); });
  return all;
}

} // namespace

Fate fateOf(const schema::Program &program, const std::vector<BufferUse> &uses) {
  bool written = false, kept = false;
  for (const BufferUse &use : uses) {
    if (instructionOf(program, use).operation_type() == schema::Operation::Update)
      return Fate::Temporary; // a gradient, though a head's is begun by the loop that is part of the forward pass, too
    schema::Phase phase = instructionOf(program, use).phase();
    bool writes = use.access != schema::Access::Read;
    if (writes && phase == schema::Phase::Recompute)
      return Fate::MadeAgain;
    written |= writes && phase == schema::Phase::Forward;
    kept |= written && use.access != schema::Access::Write && phase != schema::Phase::Forward;
  }
  return kept ? Fate::Kept : Fate::Temporary;
}

Retention retention(const schema::Program &program, int entry) {
  std::map<std::string, Family> kept, again;
  std::vector<std::vector<BufferUse>> uses = bufferUses(program);
  for (uint32_t i = 0; i < uses.size(); ++i) {
    const schema::Buffer &buffer = *program.buffers()->Get(i);
    if (isTransient(buffer.storage()) && buffer.entry() == entry && fateOf(program, uses[i]) == Fate::Kept)
      addTo(kept, buffer.origin(), buffer.size(), 0);
  }
  const auto *instructions = program.entries()->Get(static_cast<unsigned>(entry))->instructions();
  for (unsigned i = 0; instructions && i < instructions->size(); ++i)
    if (const schema::Instruction &instruction = *instructions->Get(i); instruction.phase() == schema::Phase::Recompute)
      addTo(again, instruction.origin(), instruction.bytes(), instruction.flops());
  return {sorted(kept), sorted(again)};
}

} // namespace graft::report
