#include "runtime/program/UpdateVerifier.h"

#include "runtime/program/Instructions.h"
#include "runtime/program/Layout.h"
#include "runtime/program/VerifierSupport.h"

namespace graft {

UpdateVerifier::UpdateVerifier(const schema::Program &program, const schema::Entry &entry, Report report)
    : program_(program), mayUpdate_(updatesInBackward(program) && entry.name()->string_view() == updatingEntry),
      report_(std::move(report)) {
  for (unsigned i = 0; mayUpdate_ && i < sizeOf(entry.outputs()); ++i) {
    const schema::Binding &output = *entry.outputs()->Get(i);
    if (output.name()->string_view() == "loss" && output.buffer() < sizeOf(program.buffers()) &&
        program.buffers()->Get(output.buffer())->dtype() == schema::DType::F32 &&
        program.buffers()->Get(output.buffer())->size() == byteSize(schema::DType::F32))
      loss_ = output.buffer();
  }
  for (unsigned i = 0; mayUpdate_ && i < sizeOf(program.parameters()); ++i)
    if (const schema::Parameter &parameter = *program.parameters()->Get(i); storedElements(parameter) > 0) {
      byOffset_.emplace(parameter.offset(), i);
      if (parameter.working_offset() >= 0)
        byWorkingOffset_.emplace(parameter.working_offset(), i);
    }
}

std::string UpdateVerifier::nameOf(unsigned parameter) const {
  return "'" + escaped(program_.parameters()->Get(parameter)->name()->string_view()) + "'";
}

void UpdateVerifier::verify(const schema::Update &update, bool inLoop, const std::vector<bool> &written) {
  if (!mayUpdate_) // 1
    return report_("updates a parameter, as only the entry 'step' does when the optimizer works in the backward pass");
  if (inLoop)
    report_("updates a parameter in a loop");
  unsigned index = update.parameter();
  if (index >= sizeOf(program_.parameters()))
    return report_("updates parameter " + std::to_string(index) + " of " +
                   std::to_string(sizeOf(program_.parameters())));
  const schema::Parameter &parameter = *program_.parameters()->Get(index);
  if (!parameter.trained()) // 2
    return report_("updates " + nameOf(index) + ", which is not trained");
  if (!updated_.insert(index).second)
    report_("updates " + nameOf(index) + " a second time");
  verifyGradient(*update.gradient(), parameter);
  if (!loss_ || !written[*loss_]) // 5
    report_("updates " + nameOf(index) + " before there is a loss");
}

void UpdateVerifier::verifyGradient(const schema::Operand &gradient, const schema::Parameter &parameter) { // 3
  int64_t bytes = storedElements(parameter) * byteSize(schema::DType::F32);
  int64_t columns = sizeOf(parameter.shape()) ? parameter.shape()->Get(parameter.shape()->size() - 1) : 1;
  if (parameter.row_pitch() != columns)
    report_("updates '" + escaped(parameter.name()->string_view()) + "', whose rows have padding");
  bool inArena = gradient.buffer() >= sizeOf(program_.buffers()) || // the verifier of uses says so
                 program_.buffers()->Get(gradient.buffer())->storage() == schema::Storage::Arena;
  if (gradient.access() != schema::Access::Read || gradient.extent() != bytes ||
      gradient.byte_offset() % byteSize(schema::DType::F32) != 0 || !inArena)
    report_("gradient of '" + escaped(parameter.name()->string_view()) + "' is not one that is read in the arena, " +
            std::to_string(bytes) + " bytes");
}

void UpdateVerifier::verifyRead(const schema::Buffer &weights) { // 4
  const auto &owners = weights.storage() == schema::Storage::Working ? byWorkingOffset_ : byOffset_;
  auto after = owners.upper_bound(weights.offset());
  if (after != owners.begin() && weights.size() > 0 && updated_.contains(std::prev(after)->second))
    report_("reads '" + escaped(weights.name()->string_view()) + "' after the update of " +
            nameOf(std::prev(after)->second));
}

void UpdateVerifier::verifyWrite(unsigned buffer) { // 5
  if (!updated_.empty() && loss_ == buffer)
    report_("writes the loss after a parameter was updated by it");
}

void UpdateVerifier::verifyComplete() { // 2
  for (unsigned i = 0; mayUpdate_ && i < sizeOf(program_.parameters()); ++i)
    if (program_.parameters()->Get(i)->trained() && !updated_.contains(i))
      report_("never updates " + nameOf(i));
}

} // namespace graft
