// The optimizer's step of each parameter, as soon as nothing needs the parameter or its gradient any more and the loss
// is there.
//
// When the last instruction is there, so are the times of all uses: an update goes behind the last of them. Lifetimes
// are times, too, and move with the instructions.
#include "passes/lower/EntryLowering.h"
#include "runtime/program/Layout.h"

namespace graft {

/// The time of the instruction that the update of a gradient's parameter goes before.
int EntryLowering::updateTime(const Gradient &gradient) {
  int last = std::max(entry_.buffer(gradient.place.buffer).last, lossTime_ - 1);
  for (int weights : weights_[gradient.parameter])
    if (auto uses = entry_.usesOutside(weights))
      last = std::max(last, uses->last);
  return last + 1;
}

std::unique_ptr<schema::InstructionT> EntryLowering::makeUpdate(const Gradient &gradient) {
  const schema::ParameterT &parameter = *program_.parameters[gradient.parameter];
  int64_t elements = elementsOf(parameter);
  schema::UpdateT update;
  update.parameter = gradient.parameter;
  update.gradient = std::make_unique<schema::Operand>(static_cast<uint32_t>(gradient.place.buffer),
                                                      schema::Access::Read, 0, elements * byteSize(schema::DType::F32));
  auto instruction = std::make_unique<schema::InstructionT>();
  instruction->operation.Set(std::move(update));
  instruction->origin = parameter.name;
  instruction->category = "optimizer";
  instruction->phase = schema::Phase::Backward;
  // Reads the gradient, reads and writes weights and both moments, writes a working copy.
  instruction->bytes = elements * (byteSize(schema::DType::F32) + 2 * byteSize(parameter.dtype) +
                                   (parameter.working_offset < 0 ? 0 : byteSize(schema::DType::BF16))) +
                       4 * *momentBytes(program_.optimizer->state, elements);
  return instruction;
}

void EntryLowering::insertUpdates() {
  auto &old = entry_.entry().instructions;
  std::vector<llvm::SmallVector<const Gradient *, 1>> before(old.size() + 1); // by time
  for (const Gradient &gradient : gradients_)
    before[static_cast<size_t>(updateTime(gradient))].push_back(&gradient);
  std::vector<std::unique_ptr<schema::InstructionT>> all;
  std::vector<int> moved;           // by old time, also that of the outputs
  llvm::DenseMap<int, int> updated; // gradient buffers: time of the update
  for (size_t time = 0; time <= old.size(); ++time) {
    for (const Gradient *gradient : before[time]) {
      updated[gradient->place.buffer] = static_cast<int>(all.size());
      all.push_back(makeUpdate(*gradient));
    }
    moved.push_back(static_cast<int>(all.size()));
    if (time < old.size())
      all.push_back(std::move(old[time]));
  }
  old = std::move(all);
  for (auto &buffer : program_.buffers)
    if (buffer->storage == schema::Storage::Arena && buffer->entry == entry_.entryIndex())
      for (int *time : {&buffer->first, &buffer->last})
        *time = *time < 0 ? *time : moved[static_cast<size_t>(*time)];
  for (auto [buffer, time] : updated)
    entry_.buffer(buffer).last = time;
}

} // namespace graft
