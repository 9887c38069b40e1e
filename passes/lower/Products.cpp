// The idea: an einsum's letters fall into four kinds by where they occur. Letters of a kind that follow each other in
// memory in every tensor that has them merge into one dimension; rows or columns that do not merge become batch
// dimensions (the other operand then repeats with stride 0); what is left over is mended by a copy in the order [batch,
// rows, columns].
#include "passes/lower/Products.h"

#include "dialects/nn/NNDialect.h"

using namespace mlir;

namespace graft {

namespace {

/// A dimension of the product with its stride in each of the three tensors (0 where it does not occur).
struct Dimension {
  int64_t size = 1;
  std::array<int64_t, 3> strides = {0, 0, 0}; ///< of lhs, rhs, result
};

/// One merged dimension, or nothing if neighbours are apart in one of the tensors. `dims` is major to minor.
std::optional<Dimension> merged(ArrayRef<Dimension> dims) {
  Dimension all;
  bool first = true;
  for (const Dimension &dim : dims) {
    if (dim.size == 1)
      continue;
    for (int t = 0; t < 3; ++t)
      if (!first && all.strides[t] != dim.strides[t] * dim.size)
        return std::nullopt;
    all = {all.size * dim.size, dim.strides};
    first = false;
  }
  return all;
}

class Product {
public:
  Product(EntryBuilder &entry, nn::ContractOp op) : entry_(entry), op_(op) {
    for (auto [part, text] : llvm::zip(labels_, op.getLabels()))
      part = text.str();
    for (auto [d, label] : llvm::enumerate(labels_[0]))
      sizes_[label] = nn::shapeOf(op.getLhs())[d];
    for (auto [d, label] : llvm::enumerate(labels_[1]))
      sizes_[label] = nn::shapeOf(op.getRhs())[d];
    access_[0] = entry.read(op.getLhs());
    access_[1] = entry.read(op.getRhs());
    const Place &place = entry.place(op.getResult());
    access_[2] = {place.buffer, place.offset, place.strides};
  }

  void emit(const ProductOptions &options);

private:
  Dimension dimension(char label) const {
    Dimension dim{sizes_.at(label), {0, 0, 0}};
    for (int t = 0; t < 3; ++t)
      if (auto at = labels_[t].find(label); at != std::string::npos)
        dim.strides[t] = access_[t].strides[at];
    return dim;
  }
  bool has(int tensor, char label) const { return labels_[tensor].find(label) != std::string::npos; }
  /// Letters by kind: batch, rows (lhs and result), columns (rhs and result), summed; each in the order of the result
  /// or of lhs.
  std::array<std::string, 4> kinds() const;
  bool tryLayOut();
  schema::ChunkSize chunkSizeOf(char rowLetter, bool swap) const;
  struct Detour {
    Access temporary, tensor;
    SmallVector<int64_t> shape;
  };
  Detour detour(int tensor);

  EntryBuilder &entry_;
  nn::ContractOp op_;
  std::map<char, int64_t> sizes_;
  std::array<std::string, 3> labels_;
  std::array<Access, 3> access_;
  SmallVector<Dimension> batch_;
  Dimension m_, n_, k_;
};

std::array<std::string, 4> Product::kinds() const {
  std::array<std::string, 4> kinds;
  for (char label : labels_[2])
    kinds[has(0, label) && has(1, label) ? 0 : has(0, label) ? 1 : 2] += label;
  for (char label : labels_[0])
    if (!has(2, label))
      kinds[3] += label;
  return kinds;
}

bool unitStride(const Dimension &a, const Dimension &b, int tensor) {
  return a.size == 1 || b.size == 1 || a.strides[tensor] == 1 || b.strides[tensor] == 1;
}

/// Fills batch, m, n, k from the current accesses; false if the summed letters do not merge or an operand has no
/// contiguous dimension.
bool Product::tryLayOut() {
  auto letters = kinds();
  auto dims = [&](const std::string &text) {
    SmallVector<Dimension> list;
    for (char label : text)
      list.push_back(dimension(label));
    return list;
  };
  batch_ = dims(letters[0]);
  // As many trailing rows (columns) as merge; leading ones that do not are batch dimensions.
  auto suffix = [&](const std::string &text) {
    SmallVector<Dimension> list = dims(text);
    ArrayRef<Dimension> all = list;
    for (size_t skip = 0;; ++skip)
      if (auto one = merged(all.drop_front(skip))) {
        llvm::append_range(batch_, all.take_front(skip));
        return *one;
      }
  };
  m_ = suffix(letters[1]);
  n_ = suffix(letters[2]);
  auto k = merged(dims(letters[3]));
  if (!k) {
    std::string other; // in the order of rhs instead
    for (char label : labels_[1])
      if (!has(2, label))
        other += label;
    k = merged(dims(other));
  }
  if (!k)
    return false;
  k_ = *k;
  llvm::erase_if(batch_, [](const Dimension &dim) { return dim.size == 1; });
  return unitStride(m_, k_, 0) && unitStride(k_, n_, 1);
}

/// The size of the product that the letter alone makes up.
schema::ChunkSize Product::chunkSizeOf(char rowLetter, bool swap) const {
  using schema::ChunkSize;
  auto letters = kinds();
  auto isOnly = [&](const std::string &kind) {
    return kind.find(rowLetter) != std::string::npos &&
           llvm::all_of(kind, [&](char letter) { return letter == rowLetter || sizes_.at(letter) == 1; });
  };
  if (rowLetter == 0)
    return ChunkSize::None;
  return isOnly(letters[1])   ? swap ? ChunkSize::N : ChunkSize::M
         : isOnly(letters[2]) ? swap ? ChunkSize::M : ChunkSize::N
         : isOnly(letters[3]) ? ChunkSize::K
                              : ChunkSize::None;
}

/// Replaces a tensor's access by a dense temporary in the order [batch, rows or columns, summed], or [batch, rows,
/// columns] for the result; returns how the copy goes: temporary, tensor, shape.
Product::Detour Product::detour(int tensor) {
  auto letters = kinds();
  std::string order = letters[0] + (tensor == 1 ? letters[2] : letters[1]) + (tensor == 2 ? letters[2] : letters[3]);
  Detour detour;
  detour.tensor = {access_[tensor].buffer, access_[tensor].offset, {}};
  for (char label : order) {
    detour.shape.push_back(sizes_.at(label));
    detour.tensor.strides.push_back(access_[tensor].strides[labels_[tensor].find(label)]);
  }
  Type element = nn::typeOf(tensor == 2 ? op_.getResult() : op_.getLhs()).getElementType();
  Place place = entry_.newBuffer(RankedTensorType::get(detour.shape, element), "operand", originOf(op_));
  access_[tensor] = detour.temporary = {place.buffer, 0, place.strides};
  labels_[tensor] = order;
  return detour;
}

void Product::emit(const ProductOptions &options) {
  std::string origin = originOf(op_);
  for (int tensor = 0; tensor < 2 && !tryLayOut(); ++tensor) {
    Detour in = detour(tensor);
    entry_.copy(in.temporary, in.tensor, in.shape, origin);
  }
  tryLayOut();
  std::optional<Detour> out;
  if (!unitStride(m_, n_, 2)) {
    out = detour(2);
    tryLayOut();
    if (options.accumulate || options.afterFirst)
      entry_.copy(out->temporary, out->tensor, out->shape, origin);
  }
  bool swap = !(n_.size == 1 || n_.strides[2] == 1); // the result has columns first: compute its transpose
  int a = swap ? 1 : 0, b = swap ? 0 : 1;
  const Dimension &rows = swap ? n_ : m_, &columns = swap ? m_ : n_;

  auto matrix = [&](int tensor, int64_t rowStride, int64_t columnStride) {
    auto operand = std::make_unique<schema::MatrixOperandT>();
    operand->buffer = static_cast<uint32_t>(access_[tensor].buffer);
    operand->byte_offset = access_[tensor].offset * entry_.elementBytes(access_[tensor].buffer);
    for (const Dimension &dim : batch_)
      operand->batch_strides.push_back(dim.strides[tensor]);
    operand->row_stride = rowStride;
    operand->column_stride = columnStride;
    return operand;
  };
  // A dimension of size 1 has any stride: say 1, or the pitch that makes the matrix dense.
  auto stride = [](const Dimension &dim, int tensor, const Dimension &other) {
    return dim.size == 1 ? (other.strides[tensor] == 1 ? other.size : 1) : dim.strides[tensor];
  };
  schema::GemmT gemm;
  int64_t batches = 1;
  for (const Dimension &dim : batch_) {
    gemm.batch.push_back(dim.size);
    batches *= dim.size;
  }
  gemm.m = rows.size;
  gemm.n = columns.size;
  gemm.k = k_.size;
  gemm.a = matrix(a, stride(rows, a, k_), stride(k_, a, rows));
  gemm.b = matrix(b, stride(k_, b, columns), stride(columns, b, k_));
  gemm.c = matrix(2, stride(rows, 2, columns), stride(columns, 2, rows));
  gemm.dtype = entry_.buffer(access_[0].buffer).dtype;
  gemm.accumulate = options.accumulate || (options.afterFirst && out); // then it was copied in
  gemm.after_first = options.afterFirst && !out;
  int64_t m = gemm.m, n = gemm.n, k = gemm.k;
  bool whole = options.placeLetter != 0 && !gemm.batch.empty(); // places not in use are filled matrix by matrix
  schema::ChunkSize chunkSize =
      whole ? schema::ChunkSize::None : chunkSizeOf(options.rowLetter ? options.rowLetter : options.placeLetter, swap);
  schema::InstructionT &instruction = entry_.append(std::move(gemm), origin, "gemm");
  instruction.flops = 2 * batches * m * n * k;
  int64_t width = entry_.elementBytes(access_[0].buffer);
  instruction.bytes = batches * (width * (m * k + k * n) + 4 * m * n);
  instruction.chunk_size = chunkSize;
  if (out)
    entry_.copy(out->tensor, out->temporary, out->shape, origin);
}

} // namespace

void emitProduct(EntryBuilder &entry, nn::ContractOp op, const ProductOptions &options) {
  Product(entry, op).emit(options);
}

} // namespace graft
