// rl.token_loop as a RowLoop: the chunk's rows are gathered, the region is lowered once as the body of the loop, rows
// of results are scattered, and products add up sums where they are stored.
#include "dialects/rt/RTOps.h"
#include "passes/lower/EntryLowering.h"
#include "passes/lower/Products.h"

using namespace mlir;

namespace graft {

namespace {

/// Rows of tensors [B, S, ...] with B and S as one dimension.
SmallVector<int64_t> asRows(ArrayRef<int64_t> shape) {
  SmallVector<int64_t> rows = {shape[0] * shape[1]};
  llvm::append_range(rows, shape.drop_front(2));
  return rows;
}

} // namespace

void EntryLowering::emitProductOf(nn::ContractOp op) {
  ProductOptions options;
  auto sum = loopSums_.find(op.getResult());
  if (sum != loopSums_.end()) {
    options.accumulate = sum->second;
    options.afterFirst = !sum->second;
  } else {
    options.accumulate = addsInto(op.getResult(), entry_.place(op.getResult()));
  }
  if (auto rows = op->getAttrOfType<StringAttr>(rl::rowsAttribute))
    options.rowLetter = rows.getValue().front();
  else if (op->getBlock() == &block())
    options.placeLetter = placeLetter(op);
  emitProduct(entry_, op, options);
}

/// Where a packed row's places are counted, in a function that takes one.
void EntryLowering::followPlaces() {
  int64_t places = 0;
  for (BlockArgument argument : block().getArguments())
    if (nameOf(argument).starts_with(rl::packedPrefix) && nn::typeOf(argument).getRank() == 2 &&
        nn::shapeOf(argument)[0] == 1) {
      places_.mark(argument, 1);
      places = nn::shapeOf(argument)[1];
    }
  if (places == 0)
    return;
  for (Operation &op : block())
    places_.follow(&op);
  int64_t &parts = entry_.entry().parts;
  for (parts = rl::chunkParts; places % parts != 0; --parts)
    ;
}

/// The letter of a product that counts places; 0: none.
char EntryLowering::placeLetter(nn::ContractOp op) const {
  auto [left, right] = op.getEquation().split(',');
  right = right.split('-').first;
  for (auto [operand, letters] : {std::pair(Value(op.getLhs()), left), std::pair(Value(op.getRhs()), right)})
    for (auto [d, letter] : llvm::enumerate(letters))
      if (places_.isMarked(operand, d) && nn::shapeOf(operand)[d] > 1)
        return letter;
  return 0;
}

/// Copies the chunk's rows of an array of all tokens, or back.
void EntryLowering::moveRows(const schema::Operand &indices, const Access &all, const Access &chunk,
                             RankedTensorType type, bool scatter) {
  auto rows = asRows(type.getShape());
  SmallVector<int64_t> chunkRows = rows;
  chunkRows[0] = static_cast<int64_t>(indices.extent() / 8);
  auto allMode = scatter ? schema::Access::ReadWrite : schema::Access::Read;
  auto chunkMode = scatter ? schema::Access::Read : schema::Access::Write;
  schema::Operand wide = entry_.operand({all.buffer, all.offset, denseStrides(rows)}, rows, allMode);
  schema::Operand narrow = entry_.operand({chunk.buffer, chunk.offset, denseStrides(chunkRows)}, chunkRows, chunkMode);
  schema::MoveRowsT move;
  move.indices = std::make_unique<schema::Operand>(indices.buffer(), schema::Access::Read, indices.byte_offset(),
                                                   indices.extent());
  move.from = std::make_unique<schema::Operand>(scatter ? narrow : wide);
  move.to = std::make_unique<schema::Operand>(scatter ? wide : narrow);
  move.count = chunkRows[0];
  move.rows = rows[0];
  move.width = type.getNumElements() / rows[0] * entry_.elementBytes(all.buffer);
  move.scatter = scatter;
  int64_t bytes = 2 * move.count * move.width;
  entry_.append(std::move(move), "rows of the loss", "gather").bytes = bytes;
}

/// Lets a part of a chunk do a part of the work: all of it, or, where a sum over rows cannot be shortened, none.
void EntryLowering::shareUnits(size_t begin) {
  auto &instructions = entry_.entry().instructions;
  schema::RowLoopT &loop = *instructions[begin]->operation.AsRowLoop();
  bool sound = true;
  for (size_t i = begin + 1; i < instructions.size(); ++i) {
    const schema::GemmT *gemm = instructions[i]->operation.AsGemm();
    bool sums = gemm && (gemm->after_first || gemm->accumulate);
    sound &= !sums || instructions[i]->chunk_size == schema::ChunkSize::K;
  }
  int64_t parts = 1;
  for (int64_t candidate = 2; sound && candidate <= rl::chunkParts; ++candidate)
    if (loop.chunk % candidate == 0)
      parts = candidate;
  loop.parts = parts;
  // Every kernel of the body runs over tokens. One whose units do not begin with them runs in full: on rows that nobody
  // reads.
  for (size_t i = begin + 1; i < instructions.size(); ++i)
    if (schema::KernelCallT *call = instructions[i]->operation.AsKernelCall()) {
      auto kernel = kernels_.lookupSymbol<rt::RowProgramOp>("k" + std::to_string(call->kernel));
      if (call->units % loop.chunk == 0 && kernel.getRows().front() % loop.chunk == 0)
        instructions[i]->chunk_size = schema::ChunkSize::Units;
    }
}

LogicalResult EntryLowering::emitLoop(rl::TokenLoopOp op) {
  auto chunk = static_cast<int64_t>(op.getChunk());
  Block &body = *op.getBlock();
  ValueRange arguments = body.getArguments();
  size_t tokens = op.getTokens().size(), perToken = op.getPerToken().size();

  // Outside: operands as arrays of rows, results that the loop writes row by row, sums.
  schema::Operand mask = denseOperand(op.getMask());
  SmallVector<Access> rows;
  for (Value value : op.getTokens())
    rows.push_back(entry_.readDense(value));
  for (auto [value, argument] : llvm::zip(op.getWhole(), arguments.drop_front(tokens))) {
    Access access = entry_.readDense(value);
    entry_.setPlace(argument, {access.buffer, access.offset, access.strides});
  }
  for (Value result : op.getPerToken())
    entry_.fillZero(entry_.place(result), nn::shapeOf(result), originOf(op));
  ValueRange yields = body.getTerminator()->getOperands();
  for (auto [result, value] : llvm::zip(op.getSums(), yields.drop_front(perToken))) {
    if (!value.getDefiningOp<nn::ContractOp>() || !value.hasOneUse())
      return op.emitError() << "a sum over tokens must be a product";
    const Place place = entry_.place(result);
    entry_.use(place.buffer); // the first pass writes it, all read it
    loopSums_[value] = addsInto(result, place);
    entry_.setPlace(value, place);
  }
  auto indexType = RankedTensorType::get({chunk}, IntegerType::get(op.getContext(), 64));
  Place indexPlace = entry_.newBuffer(indexType, "rows", originOf(op));
  schema::Operand indices = entry_.operand({indexPlace.buffer, 0, {1}}, {chunk}, schema::Access::Write);

  auto begin = static_cast<size_t>(entry_.time());
  schema::RowLoopT loop;
  loop.mask = std::make_unique<schema::Operand>(mask);
  loop.indices = std::make_unique<schema::Operand>(indices);
  loop.rows = nn::typeOf(op.getMask()).getNumElements();
  loop.chunk = chunk;
  entry_.append(std::move(loop), originOf(op), "gather");

  // Inside. Copies that are made here are gone when the next pass begins.
  auto scope = entry_.beginScope();
  for (auto [value, argument, access] : llvm::zip(op.getTokens(), arguments, rows)) {
    const Place &place = entry_.place(argument);
    moveRows(indices, access, {place.buffer, place.offset, place.strides}, nn::typeOf(value), false);
  }
  if (failed(emitBlock(body)))
    return failure();
  for (auto [result, value] : llvm::zip(op.getPerToken(), yields)) {
    const Place place = entry_.place(result);
    moveRows(indices, {place.buffer, place.offset, place.strides}, entry_.readDense(value), nn::typeOf(result), true);
  }
  entry_.endScope(std::move(scope), static_cast<int>(begin));
  entry_.entry().instructions[begin]->operation.AsRowLoop()->body = entry_.time() - static_cast<int64_t>(begin) - 1;
  shareUnits(begin);
  return success();
}

} // namespace graft
