// What can be said of an instruction without knowing its kind.
#pragma once

#include "runtime/program/Program_generated.h"

#include <functional>
#include <string_view>
#include <vector>

namespace graft {

/// Whether instructions update parameters, instead of `apply`; only this entry may have such instructions.
inline bool updatesInBackward(const schema::Program &program) {
  return program.optimizer() && program.optimizer()->in_backward();
}
inline bool updatesInBackward(const schema::ProgramT &program) {
  return program.optimizer && program.optimizer->in_backward;
}
constexpr std::string_view updatingEntry = "step";

/// Calls `visit` for every buffer that the instruction reads or writes; one that it uses twice, twice.
void visitBuffers(const schema::Instruction &instruction,
                  const std::function<void(uint32_t buffer, schema::Access access)> &visit);

/// "kernel", "gemm", ...; the name of the function for a host call.
std::string_view kindOf(const schema::Instruction &instruction);

/// How often each instruction of the entry runs when every row is in the loss: the passes of the loop around it, of
/// which the last counts by its rows; else 1.
std::vector<double> mostPasses(const schema::EntryT &entry);
std::vector<double> mostPasses(const schema::Entry &entry);

/// Operations of one run in which every row is in the loss.
int64_t mostFlops(const schema::EntryT &entry);

} // namespace graft
