#include "runtime/program/Instructions.h"

#include <cmath>

namespace graft {

namespace {
using schema::Access;
using Visit = std::function<void(uint32_t buffer, Access access)>;

void visitOperands(const flatbuffers::Vector<const schema::Operand *> *operands, const Visit &visit) {
  if (operands)
    for (const schema::Operand *operand : *operands)
      visit(operand->buffer(), operand->access());
}
} // namespace

void visitBuffers(const schema::Instruction &instruction, const Visit &visit) {
  switch (instruction.operation_type()) {
  case schema::Operation::KernelCall:
    return visitOperands(instruction.operation_as_KernelCall()->operands(), visit);
  case schema::Operation::HostCall:
    return visitOperands(instruction.operation_as_HostCall()->operands(), visit);
  case schema::Operation::Gemm: {
    const schema::Gemm &gemm = *instruction.operation_as_Gemm();
    visit(gemm.a()->buffer(), Access::Read);
    visit(gemm.b()->buffer(), Access::Read);
    return visit(gemm.c()->buffer(), gemm.accumulate() || gemm.after_first() ? Access::ReadWrite : Access::Write);
  }
  case schema::Operation::Copy:
    visit(instruction.operation_as_Copy()->src()->buffer(), Access::Read);
    return visit(instruction.operation_as_Copy()->dst()->buffer(), Access::Write);
  case schema::Operation::Fill:
    return visit(instruction.operation_as_Fill()->dst()->buffer(), Access::Write);
  case schema::Operation::RowLoop:
    visit(instruction.operation_as_RowLoop()->mask()->buffer(), Access::Read);
    return visit(instruction.operation_as_RowLoop()->indices()->buffer(), Access::Write);
  case schema::Operation::MoveRows: {
    const schema::MoveRows &move = *instruction.operation_as_MoveRows();
    visit(move.indices()->buffer(), Access::Read);
    visit(move.from()->buffer(), Access::Read);
    return visit(move.to()->buffer(), move.to()->access());
  }
  case schema::Operation::Update: // the parameter is a number of the table of parameters
    return visit(instruction.operation_as_Update()->gradient()->buffer(), Access::Read);
  case schema::Operation::NONE:
    return;
  }
}

std::string_view kindOf(const schema::Instruction &instruction) {
  switch (instruction.operation_type()) {
  case schema::Operation::KernelCall:
    return "kernel";
  case schema::Operation::Gemm:
    return "gemm";
  case schema::Operation::Copy:
    return "copy";
  case schema::Operation::Fill:
    return "fill";
  case schema::Operation::HostCall:
    return instruction.operation_as_HostCall()->function()->string_view();
  case schema::Operation::RowLoop:
    return "loop";
  case schema::Operation::MoveRows:
    return "move-rows";
  case schema::Operation::Update:
    return "update";
  case schema::Operation::NONE:
    break;
  }
  return "nothing";
}

namespace {
void setPasses(std::vector<double> &passes, size_t loop, int64_t rows, int64_t chunk, int64_t body) {
  std::fill_n(passes.begin() + static_cast<std::ptrdiff_t>(loop) + 1, body,
              static_cast<double>(rows) / static_cast<double>(chunk));
}
} // namespace

std::vector<double> mostPasses(const schema::EntryT &entry) {
  std::vector<double> passes(entry.instructions.size(), 1);
  for (size_t i = 0; i < passes.size(); ++i)
    if (const schema::RowLoopT *loop = entry.instructions[i]->operation.AsRowLoop())
      setPasses(passes, i, loop->rows, loop->chunk, loop->body);
  return passes;
}

std::vector<double> mostPasses(const schema::Entry &entry) {
  std::vector<double> passes(entry.instructions() ? entry.instructions()->size() : 0, 1);
  for (size_t i = 0; i < passes.size(); ++i)
    if (const auto *loop = entry.instructions()->Get(static_cast<unsigned>(i))->operation_as_RowLoop())
      setPasses(passes, i, loop->rows(), loop->chunk(), loop->body());
  return passes;
}

int64_t mostFlops(const schema::EntryT &entry) {
  std::vector<double> passes = mostPasses(entry);
  int64_t flops = 0;
  for (size_t i = 0; i < passes.size(); ++i)
    flops += std::llround(passes[i] * static_cast<double>(entry.instructions[i]->flops));
  return flops;
}

} // namespace graft
