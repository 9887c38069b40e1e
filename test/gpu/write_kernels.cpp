// write_kernels ROWPROGRAMS.mlir P.graft: a program that calls each row program of a text once, for gpu_kernels.
#include "mlir/IR/MLIRContext.h"
#include "mlir/Parser/Parser.h"
#include "passes/codegen/Passes.h"
#include "passes/codegen/Ptxas.h"
#include "passes/lower/EntryBuilder.h"
#include "passes/lower/Lower.h"
#include "runtime/program/ProgramFile.h"

#include <cstdio>

using namespace graft;

namespace {

/// How the body uses the argument.
schema::Access modeOf(mlir::Value argument) {
  bool reads = false, writes = false;
  for (mlir::OpOperand &use : argument.getUses())
    (rt::isWrite(use) ? writes : reads) = true;
  return reads && writes ? schema::Access::ReadWrite : writes ? schema::Access::Write : schema::Access::Read;
}

/// A program of one entry; operands lie one behind the other, and those that are read are inputs.
class Writer {
public:
  Writer() {
    program.target = "cpu";
    program.graft_version = "0.1.0";
    entry_->name = "kernels";
  }

  void addCall(rt::RowProgramOp kernel) {
    schema::KernelCallT call;
    call.kernel = static_cast<uint32_t>(entry_->instructions.size());
    call.units = kernel.getUnitCount();
    int64_t bytes = 0;
    for (mlir::BlockArgument argument : kernel.getBody()->getArguments()) {
      call.operands.push_back(addOperand(kernel, argument));
      bytes += call.operands.back().extent() * (call.operands.back().access() == schema::Access::ReadWrite ? 2 : 1);
    }
    auto instruction = std::make_unique<schema::InstructionT>();
    instruction->origin = kernel.getSymName().str();
    instruction->category = "element-wise";
    instruction->bytes = bytes;
    instruction->operation.Set(std::move(call));
    entry_->instructions.push_back(std::move(instruction));
  }

  void finish() {
    entry_->arena_bytes = program.arena_bytes;
    program.entries.push_back(std::move(entry_));
  }

  schema::ProgramT program;

private:
  schema::Operand addOperand(rt::RowProgramOp kernel, mlir::BlockArgument argument) {
    auto access = mlir::cast<rt::AccessType>(argument.getType());
    int64_t elements = access.getExtent(kernel.getRows(), kernel.getColumns());
    schema::Access mode = modeOf(argument);
    auto number = static_cast<uint32_t>(program.buffers.size());
    auto time = static_cast<int32_t>(entry_->instructions.size());
    auto buffer = std::make_unique<schema::BufferT>();
    buffer->name = kernel.getSymName().str() + "." + std::to_string(argument.getArgNumber());
    buffer->entry = 0;
    buffer->offset = program.arena_bytes;
    buffer->size = elements * access.getElementBytes();
    buffer->dtype = dtypeOf(access.getElementType());
    buffer->shape = {elements};
    buffer->first = mode == schema::Access::Write ? time : -1;
    buffer->last = time;
    if (mode != schema::Access::Write) {
      entry_->inputs.push_back(std::make_unique<schema::BindingT>());
      entry_->inputs.back()->name = buffer->name;
      entry_->inputs.back()->buffer = number;
    }
    schema::Operand operand(number, mode, 0, buffer->size);
    program.arena_bytes += (buffer->size + 63) / 64 * 64;
    program.buffers.push_back(std::move(buffer));
    return operand;
  }

  std::unique_ptr<schema::EntryT> entry_ = std::make_unique<schema::EntryT>();
};

Status write(const char *input, const char *output) {
  mlir::DialectRegistry registry;
  registerCodegenDialects(registry);
  mlir::MLIRContext context(registry);
  auto module = mlir::parseSourceFile<mlir::ModuleOp>(input, &context);
  if (!module)
    return Status::error(Code::Format, "is not a text of row programs", input);
  Writer writer;
  for (auto kernel : module->getOps<rt::RowProgramOp>())
    writer.addCall(kernel);
  writer.finish();
  CodegenOptions options; // the lower level: the machine with the GPU may be another one
  for (std::string_view architecture : cudaArchitectures())
    options.cuda.emplace_back(architecture);
  GRAFT_RETURN_IF_ERROR(compileKernels(*module, writer.program, options));
  return writeProgram(writer.program, output);
}

} // namespace

int main(int argc, char **argv) {
  if (argc != 3) {
    std::fprintf(stderr, "usage: write_kernels ROWPROGRAMS.mlir P.graft\n");
    return 2;
  }
  Status status = write(argv[1], argv[2]);
  if (!status.isOk())
    std::fprintf(stderr, "%s", status.text().c_str());
  return status.exitCode();
}
