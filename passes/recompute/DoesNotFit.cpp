#include "passes/recompute/DoesNotFit.h"

#include "passes/report/ProgramReport.h"
#include "runtime/base/ByteSize.h"
#include "runtime/observe/NumberText.h"

#include <algorithm>

namespace graft {

namespace {

std::string bytes(int64_t count) {
  return bytesText(static_cast<double>(count));
}

/// "nn.contract [4, 16, 96] (25 %, model.layers.1.mlp), ...": the largest tensors that are alive at the arena's peak.
std::string largestTensors(const schema::ProgramT &table) {
  flatbuffers::FlatBufferBuilder builder;
  builder.Finish(schema::Program::Pack(builder, &table));
  const auto &program = *flatbuffers::GetRoot<schema::Program>(builder.GetBufferPointer());
  std::vector<report::PeakMemory> peaks = report::peakMemory(program);
  auto largest = std::ranges::max_element(peaks, {}, &report::PeakMemory::planned);
  std::string text;
  constexpr size_t shown = 3;
  for (size_t i = 0; largest != peaks.end() && i < std::min(shown, largest->live.size()); ++i) {
    const schema::BufferT &buffer = *table.buffers[largest->live[i]];
    std::string shape;
    for (int64_t size : buffer.shape)
      shape += (shape.empty() ? "" : ", ") + std::to_string(size);
    text += (i ? "; " : "") + bytes(buffer.size) + " for " + escaped(buffer.name, 100) + " [" + shape + "]" +
            (buffer.origin.empty() ? "" : " of " + escaped(buffer.origin, 100));
  }
  return text;
}

} // namespace

Status doesNotFit(const recompute::Measured &smallest, const schema::ProgramT &program, int64_t budget) {
  // A little more than needed, in whole MiB where that is little.
  int64_t unit = smallest.peak >= (int64_t(64) << 20) ? int64_t(1) << 20 : 1024;
  std::string enough = byteSizeText((smallest.peak + unit - 1) / unit * unit);
  Status status = Status::error(
      Code::DoesNotFit,
      "the step does not fit into " + byteSizeText(budget) + ": it needs " + byteSizeText(smallest.peak) + " (" +
          bytes(smallest.peak) + ") when all that can be is computed again: parameters " +
          bytes(program.parameter_bytes) + ", gradients " + bytes(program.gradient_bytes) + ", optimizer state " +
          bytes(2 * program.state_bytes) + ", working copies " + bytes(program.working_bytes) + ", arena " +
          bytes(program.arena_bytes) + "; the largest tensors at the arena's peak: " + largestTensors(program),
      "",
      "set memory.budget = \"" + enough +
          "\" or more; or lower batch.tokens or batch.sequences, or set batch.micro_batches = \"auto\"");
  return status;
}

} // namespace graft
