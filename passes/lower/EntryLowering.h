// The walk over a function that lowerEntry() makes; private to passes/lower.
#pragma once

#include "dialects/nn/DimensionFlow.h"
#include "dialects/nn/NNDialect.h"
#include "dialects/rl/Names.h"
#include "passes/lower/EntryBuilder.h"
#include "passes/schedule/Arena.h"
#include "runtime/program/Instructions.h"

namespace graft {

/// Of a parameter whose rows lie without gaps, as layOutParameters() lays them.
int64_t elementsOf(const schema::ParameterT &parameter);

class EntryLowering {
public:
  /// `adds`: gradients are added to what their buffers hold.
  EntryLowering(mlir::func::FuncOp function, schema::ProgramT &program, mlir::ModuleOp kernels, bool adds)
      : function_(function), program_(program), kernels_(kernels), adds_(adds),
        entry_(program, static_cast<int>(program.entries.size()), countKernels(kernels)) {}

  mlir::LogicalResult run();

private:
  static uint32_t countKernels(mlir::ModuleOp kernels) {
    return static_cast<uint32_t>(kernels.getBody()->getOperations().size());
  }
  mlir::Block &block() { return function_.getBody().front(); }
  mlir::Operation *terminator() { return block().getTerminator(); }
  llvm::StringRef nameOf(mlir::BlockArgument argument) { return argumentName(function_, argument.getArgNumber()); }

  struct Gradient {
    uint32_t parameter; ///< its number in the program's table
    mlir::Value value;
    Place place;
    bool placed; ///< written by its operator, or copied already
  };

  mlir::LogicalResult bindParameters();
  void bindInputs();
  mlir::LogicalResult bindGradients();
  Place gradientPlace(const schema::ParameterT &parameter, mlir::RankedTensorType type);
  void accumulateInto(mlir::Value value, const Place &place);
  void addToGradients();
  void placeConcatInputs(mlir::Block &body);
  mlir::LogicalResult emitBlock(mlir::Block &block);
  mlir::LogicalResult emit(mlir::Operation *op);
  schema::Phase phaseOf(mlir::Operation *op) const;
  mlir::Operation *makerOf(mlir::Value value) const;
  void findMakers();
  void finishResults(mlir::Operation *op);
  void copyToPlace(Gradient &gradient);
  void bindOutputs();
  LentMemory lentMemory();
  void planOffsets();

  // The optimizer's steps between the instructions (Updates.cpp).
  /// True if each parameter is updated as soon as nothing needs it or its gradient any more.
  bool updates() const { return updatesInBackward(program_) && !gradients_.empty(); }
  void insertUpdates();
  int updateTime(const Gradient &gradient);
  std::unique_ptr<schema::InstructionT> makeUpdate(const Gradient &gradient);

  // Library operators.
  void emitConcat(nn::ConcatOp op);
  void emitPad(nn::PadOp op);
  mlir::LogicalResult emitGather(nn::GatherOp op);
  mlir::LogicalResult emitScatter(nn::ScatterAddOp op);
  mlir::LogicalResult emitElements(mlir::Operation *op, llvm::StringRef function, mlir::Value wide, mlir::Value indices,
                                   mlir::Value narrow, int64_t axis, bool scatters);
  mlir::LogicalResult emitAttention(nn::AttentionOp op);
  mlir::LogicalResult emitAttention(nn::AttentionGradientOp op);
  void emitProductOf(nn::ContractOp op);
  void followPlaces();
  char placeLetter(nn::ContractOp op) const;
  void hostCall(mlir::Operation *op, llvm::StringRef function, std::initializer_list<schema::Operand> operands,
                std::vector<int64_t> ints);
  schema::Operand denseOperand(mlir::Value value);

  // Loops over chunks of tokens (TokenLoops.cpp).
  mlir::LogicalResult emitLoop(rl::TokenLoopOp op);
  void moveRows(const schema::Operand &indices, const Access &all, const Access &chunk, mlir::RankedTensorType type,
                bool scatter);
  void shareUnits(size_t begin);

  /// True if the place holds something to add to already; notes that it does from now on.
  bool addsInto(mlir::Value value, const Place &place) {
    return accumulated_.contains(value) && (!written_.insert(place.buffer).second || adds_);
  }

  mlir::func::FuncOp function_;
  schema::ProgramT &program_;
  mlir::ModuleOp kernels_;
  bool adds_;
  EntryBuilder entry_;
  Grouping grouping_;
  llvm::DenseSet<mlir::Value> accumulated_;  ///< products and scatters that add into a gradient
  llvm::DenseSet<mlir::Operation *> folded_; ///< additions that these make unnecessary
  nn::DimensionFlow places_;                 ///< dimensions that count places of a packed row
  llvm::DenseSet<int> written_;              ///< gradient buffers that hold something already
  llvm::SmallVector<Gradient> gradients_;
  llvm::DenseMap<uint32_t, llvm::SmallVector<int, 2>> weights_; ///< by parameter: the buffers that it is read from
  llvm::DenseMap<mlir::Operation *, llvm::SmallVector<unsigned, 1>> copiedAfter_; ///< gradients that are not placed
  mlir::Operation *lossMaker_ = nullptr;
  int lossTime_ = 0; ///< the time from which on the loss is there
  llvm::DenseMap<mlir::Value, bool>
      loopSums_; ///< products that add up over a loop: do they add in its first pass, too?
};

} // namespace graft
