// The way: one walk over the calls. What a row program reads and writes with one access, in this order, may be one
// memory (rt::RowProgramOp::runsInPlace); whether it can be here is a matter of lifetimes.
#include "passes/lower/InPlace.h"

#include "llvm/ADT/STLExtras.h"
#include "llvm/ADT/SmallSet.h"

#include <limits>

using namespace mlir;

namespace graft {

namespace {

class InPlaceFinder {
public:
  InPlaceFinder(const schema::EntryT &entry, const schema::ProgramT &program, ModuleOp kernels)
      : entry_(entry), program_(program) {
    for (auto kernel : kernels.getOps<rt::RowProgramOp>())
      kernels_.push_back(kernel);
  }

  llvm::DenseMap<uint32_t, InPlace> run() {
    int loop = -1, end = 0; // of the loop around the instruction: its time, and one past its body
    for (int time = 0; time < static_cast<int>(entry_.instructions.size()); ++time) {
      const schema::OperationUnion &operation = entry_.instructions[static_cast<size_t>(time)]->operation;
      if (const schema::RowLoopT *rows = operation.AsRowLoop()) {
        loop = time;
        end = time + 1 + static_cast<int>(rows->body);
      }
      if (const schema::KernelCallT *call = operation.AsKernelCall())
        visit(*call, time, time < end ? loop : std::numeric_limits<int>::min());
    }
    return std::move(found_);
  }

private:
  /// `loop`: what lives before it is read again by its next pass.
  void visit(const schema::KernelCallT &call, int time, int loop) {
    llvm::SmallDenseSet<uint32_t> taken;
    for (auto [read, written] : kernels_[call.kernel].getInPlacePairs()) {
      uint32_t from = call.operands[read].buffer(), to = call.operands[written].buffer();
      const schema::BufferT &old = *program_.buffers[from], &made = *program_.buffers[to];
      bool fits = isAlone(call, read) && isAlone(call, written) && old.size == made.size;
      if (fits && old.last == time && made.first == time && old.first > loop && !found_.contains(to) &&
          taken.insert(from).second)
        found_.try_emplace(to, InPlace{from, kernels_[call.kernel], read, written});
    }
  }

  /// Does the operand begin where an arena buffer begins, which no other operand names?
  bool isAlone(const schema::KernelCallT &call, unsigned index) const {
    const schema::Operand &operand = call.operands[index];
    const schema::BufferT &buffer = *program_.buffers[operand.buffer()];
    return buffer.storage == schema::Storage::Arena && operand.byte_offset() == 0 &&
           llvm::count_if(call.operands,
                          [&](const schema::Operand &other) { return other.buffer() == operand.buffer(); }) == 1;
  }

  const schema::EntryT &entry_;
  const schema::ProgramT &program_;
  std::vector<rt::RowProgramOp> kernels_;
  llvm::DenseMap<uint32_t, InPlace> found_;
};

} // namespace

llvm::DenseMap<uint32_t, InPlace> findInPlace(const schema::EntryT &entry, const schema::ProgramT &program,
                                              ModuleOp kernels) {
  return InPlaceFinder(entry, program, kernels).run();
}

} // namespace graft
