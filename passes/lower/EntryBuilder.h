// One entry point of a program while it is being lowered: where each value lives, and the instructions so far.
//
// A value lives at a Place: a buffer, an offset, and strides per dimension of the value. Most are dense buffers of
// their own; the inputs of a concatenation live inside its result, gradients inside the gradient block. Views have no
// place: they are read through their source (Indexing.h), or copied once where that is impossible.
#pragma once

#include "passes/lower/Groups.h"
#include "runtime/program/Program_generated.h"

#include <map>
#include <optional>
#include <string>

namespace graft {

struct Place {
  int buffer = -1;
  int64_t offset = 0;                 ///< elements
  llvm::SmallVector<int64_t> strides; ///< elements, one per dimension of the value
};

/// Strided access to a buffer, as an instruction makes it: strides per coordinate of some iteration space, in elements.
struct Access {
  int buffer = -1;
  int64_t offset = 0;
  llvm::SmallVector<int64_t> strides;
};

class EntryBuilder {
public:
  /// `program` gets the buffers and constants; `entry` is the index that its buffers name; there are `kernels` row
  /// programs already.
  EntryBuilder(schema::ProgramT &program, int entry, uint32_t kernels);

  //===-- Places --------------------------------------------------------------------------------------------------===//

  /// A new dense arena buffer of the type, for a value or a temporary.
  Place newBuffer(mlir::RankedTensorType type, const std::string &name, const std::string &origin);
  /// Fixes where a value will be written, before it is.
  void setPlace(mlir::Value value, Place place) { places_[value] = std::move(place); }
  bool hasPlace(mlir::Value value) const { return places_.contains(value); }
  /// Where the value lives; makes an arena buffer on first use: dense, or with rows, along the last dimension, that
  /// begin `pitch` elements apart.
  const Place &place(mlir::Value value, std::optional<int64_t> pitch = std::nullopt);
  /// A buffer outside of the arena.
  int addBuffer(schema::Storage storage, int64_t offset, mlir::RankedTensorType type, const std::string &name);
  /// The constant's bytes, appended to the program's once per distinct content.
  Place constant(mlir::DenseElementsAttr elements);

  //===-- Reading values ------------------------------------------------------------------------------------------===//

  /// How the element of `value` at `index` is reached in memory; copies a view first where its source can't be reached
  /// with strides.
  Access read(mlir::Value value, const Index &index, llvm::ArrayRef<int64_t> space);
  /// The same over the value's own coordinates.
  Access read(mlir::Value value);
  /// A dense copy of the value in its own order (cached), as an access over its coordinates.
  Access denseCopy(mlir::Value value);
  /// The value as it is if dense, else a dense copy.
  Access readDense(mlir::Value value);
  bool isCopied(mlir::Value value) const { return copies_.contains(value); }

  //===-- Loops ---------------------------------------------------------------------------------------------------===//

  /// Copies of views that are made within a scope are unknown outside of it.
  struct Scope {
    llvm::DenseMap<mlir::Value, Place> copies;
  };
  Scope beginScope() { return {copies_}; }
  /// Ends the body of the loop whose instruction is at `loop`: what was there before it and is used by it or in it
  /// lives to the end of its last pass.
  void endScope(Scope scope, int loop);

  //===-- Instructions --------------------------------------------------------------------------------------------===//

  /// Operand that reaches space-many elements of the access; `elementBytes` is that of the buffer.
  schema::Operand operand(const Access &access, llvm::ArrayRef<int64_t> space, schema::Access mode);
  void copy(const Access &to, const Access &from, llvm::ArrayRef<int64_t> shape, const std::string &origin);
  void fillZero(const Place &place, llvm::ArrayRef<int64_t> shape, const std::string &origin);
  /// Appends; the buffers that the instruction reads and writes live until then.
  template <typename T>
  schema::InstructionT &append(T operation, const std::string &origin, const std::string &category);
  /// Marks a use of the buffer at the time of the next instruction.
  void use(int buffer);
  /// When instructions of this entry use a buffer outside of the arena, first and last. A loop's next pass finds what
  /// this one wrote, and reads what this one read, so what is used in a loop is used all through it.
  struct Uses {
    int first, last;
  };
  /// Absent: none does.
  std::optional<Uses> usesOutside(int buffer) const {
    auto it = outside_.find(buffer);
    return it == outside_.end() ? std::nullopt : std::optional(it->second);
  }

  schema::EntryT &entry() { return entry_t_; }
  schema::BufferT &buffer(int index) { return *program_.buffers[index]; }
  int64_t elementBytes(int buffer) const;
  int time() const { return static_cast<int>(entry_t_.instructions.size()); }
  int entryIndex() const { return entry_; }
  /// The number of the next row program.
  uint32_t takeKernelIndex() { return kernels_++; }

private:
  void useOperands(const std::vector<schema::Operand> &operands) {
    for (const schema::Operand &operand : operands)
      use(static_cast<int>(operand.buffer()));
  }
  void useOperands(const schema::KernelCallT &call) { useOperands(call.operands); }
  void useOperands(const schema::HostCallT &call) { useOperands(call.operands); }
  void useOperands(const schema::CopyT &copy) { useOperands({*copy.dst, *copy.src}); }
  void useOperands(const schema::FillT &fill) { useOperands({*fill.dst}); }
  void useOperands(const schema::RowLoopT &loop) { useOperands({*loop.mask, *loop.indices}); }
  void useOperands(const schema::MoveRowsT &move) { useOperands({*move.indices, *move.from, *move.to}); }
  void useOperands(const schema::GemmT &gemm) {
    for (const auto *matrix : {&gemm.a, &gemm.b, &gemm.c})
      use(static_cast<int>((*matrix)->buffer));
  }
  Access strided(const Place &place, const Index &index, size_t spaceRank) const;

  schema::ProgramT &program_;
  int entry_;
  uint32_t kernels_;
  schema::EntryT entry_t_;
  std::map<std::pair<schema::Storage, std::string>, int> shared_; ///< buffers outside of the arena
  llvm::DenseMap<mlir::Value, Place> places_;
  llvm::DenseMap<mlir::Value, Place> copies_;
  int temporaries_ = 0;
  llvm::DenseMap<int, Uses> outside_; ///< by buffer
};

template <typename T>
schema::InstructionT &EntryBuilder::append(T operation, const std::string &origin, const std::string &category) {
  auto instruction = std::make_unique<schema::InstructionT>();
  useOperands(operation);
  instruction->operation.Set(std::move(operation));
  instruction->origin = origin;
  instruction->category = category;
  entry_t_.instructions.push_back(std::move(instruction));
  return *entry_t_.instructions.back();
}

/// "model.layers.0.mlp / node_MatMul_3": the module path and node of an operator, for reports.
std::string originOf(mlir::Operation *op);
schema::DType dtypeOf(mlir::Type elementType);

} // namespace graft
