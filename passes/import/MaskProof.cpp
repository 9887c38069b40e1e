#include "passes/import/MaskProof.h"

#include "passes/import/Match.h"
#include "passes/lower/Indexing.h"

using namespace mlir;

namespace graft {

using nn::shapeOf;

namespace {

/// A part of a mask: the mask is true where all its factors are. `views`, outermost first, lead from the mask to the
/// value.
struct Factor {
  Value value;
  SmallVector<Operation *> views;
};

/// cond of select(cond, 0, very negative): an additive mask made of a boolean one.
Value selectedMask(Operation *op) {
  auto select = dyn_cast_if_present<arith::SelectOp>(op);
  if (!select || !isa<FloatType>(nn::typeOf(select.getResult()).getElementType()))
    return {};
  auto allowed = splatNumber(select.getTrueValue()), masked = splatNumber(select.getFalseValue());
  return allowed == 0.0 && masked && *masked <= maskedBelow ? select.getCondition() : Value();
}

constexpr size_t maxFactors = 64;

/// Takes a mask apart; what is beyond maxFactors stays in one piece.
void collectFactors(Value value, SmallVector<Operation *> views, SmallVectorImpl<Factor> &factors) {
  Operation *op = value.getDefiningOp();
  if (factors.size() >= maxFactors) {
    factors.push_back({value, views});
  } else if (op && isView(op)) {
    views.push_back(op);
    collectFactors(op->getOperand(0), views, factors);
  } else if (Value condition = selectedMask(op)) {
    collectFactors(condition, views, factors);
  } else if (isa_and_present<arith::AndIOp, arith::AddFOp>(op)) {
    for (Value operand : op->getOperands())
      collectFactors(operand, views, factors);
  } else {
    factors.push_back({value, views});
  }
}

/// What is known of the mask at (row, column) of a table.
enum Entry : uint8_t { Masked, Allowed, AllowedByKey };

/// Row-major entries over S x T, and the argument that holds the keys.
struct Table {
  int64_t rows, columns;
  std::vector<uint8_t> entries;
  std::optional<unsigned> argument;
};

/// Reads one factor into a table that is valid for every sequence and head; returns the reason if that is impossible.
class FactorReader {
public:
  FactorReader(PointEvaluation &points, const Factor &factor, ArrayRef<int64_t> shape, ArrayRef<int64_t> arguments)
      : points_(points), factor_(factor), shape_(shape), argumentSizes_(arguments) {}

  std::string read(Table &table);

private:
  std::string readChunk(const std::vector<int64_t> &chunk, std::vector<uint8_t> &seen, Table &table);
  std::string entryAt(const PointValues &values, int64_t k, int64_t point, Table &table, uint8_t &entry) const;

  PointEvaluation &points_;
  const Factor &factor_;
  ArrayRef<int64_t> shape_;
  ArrayRef<int64_t> argumentSizes_;
  llvm::SmallBitVector varying_;
};

constexpr int64_t chunkSize = 1 << 16;
constexpr int64_t maxPoints = int64_t{1} << 28;
constexpr uint8_t unseen = 255;

/// Is an element of a mask "may read"? Nothing if an added number is neither 0 nor very negative.
std::optional<bool> isAllowed(const Tensor &values, int64_t k) {
  if (!values.isFloat())
    return values.i()[k] != 0;
  double added = values.f()[k];
  if (added == 0)
    return true;
  return added <= maskedBelow ? std::optional(false) : std::nullopt;
}

std::string FactorReader::entryAt(const PointValues &values, int64_t k, int64_t point, Table &table,
                                  uint8_t &entry) const {
  auto zero = isAllowed(values.zero, k), one = isAllowed(values.one, k);
  int64_t from = values.sourceOf(k);
  if (!zero || !one)
    return "it adds numbers that are neither 0 nor very negative";
  if (from == source::many)
    return "an element depends on several elements of the arguments";
  if (*zero == *one) {
    entry = *one ? Allowed : Masked;
    return "";
  }
  if (*zero)
    return "a key is valid where its argument is 0";
  int64_t column = point % table.columns, sequence = point / denseStrides(shape_)[0];
  bool oneForAll = (shape_[0] > 1 && !varying_[0]) || (table.columns > 1 && !varying_[shape_.size() - 1]);
  if (oneForAll || source::element(from) != sequence * table.columns + column ||
      argumentSizes_[source::argument(from)] != shape_[0] * table.columns)
    return "an element depends on an argument at another place than its sequence and column";
  if (table.argument.value_or(source::argument(from)) != source::argument(from))
    return "it depends on several arguments";
  table.argument = source::argument(from);
  entry = AllowedByKey;
  return "";
}

std::string FactorReader::readChunk(const std::vector<int64_t> &chunk, std::vector<uint8_t> &seen, Table &table) {
  std::vector<int64_t> inner = chunk;
  for (Operation *view : factor_.views)
    inner = pointsThroughView(view, inner);
  auto values = points_.evaluate(factor_.value, inner);
  if (!values)
    return points_.reason();
  for (auto [k, point] : llvm::enumerate(chunk)) {
    uint8_t entry = Masked, &known = seen[point % (table.rows * table.columns)];
    if (std::string why = entryAt(*values, static_cast<int64_t>(k), point, table, entry); !why.empty())
      return why;
    if (known != unseen && known != entry)
      return "rows and columns are treated differently in different sequences or heads";
    known = entry;
  }
  return "";
}

std::string FactorReader::read(Table &table) {
  varying_ = points_.varying(factor_.value);
  for (Operation *view : llvm::reverse(factor_.views))
    varying_ = varyingThroughView(view, varying_);
  // Every point of the dimensions that matter; 0 in the others.
  Tensor::Shape sizes;
  int64_t count = 1;
  for (auto [d, size] : llvm::enumerate(shape_)) {
    sizes.push_back(varying_[d] ? size : 1);
    count *= sizes.back();
  }
  if (count > maxPoints)
    return "it has too many elements to be checked";
  std::vector<uint8_t> seen(table.entries.size(), unseen);
  SmallVector<int64_t> dense = denseStrides(shape_);
  std::vector<int64_t> chunk;
  for (Walk walk(sizes, {Tensor::Shape(dense.begin(), dense.end())}); !walk.done(); walk.next()) {
    chunk.push_back(walk.offset(0));
    if (static_cast<int64_t>(chunk.size()) < std::min(chunkSize, count))
      continue;
    if (std::string why = readChunk(chunk, seen, table); !why.empty())
      return why;
    count -= static_cast<int64_t>(chunk.size());
    chunk.clear();
  }
  // The factor's entry, repeated along dimensions that do not matter, and the table's.
  bool byRow = varying_[shape_.size() - 2], byColumn = varying_[shape_.size() - 1];
  for (int64_t i = 0, k = 0; i < table.rows; ++i)
    for (int64_t j = 0; j < table.columns; ++j, ++k) {
      uint8_t entry = seen[(byRow ? i : 0) * table.columns + (byColumn ? j : 0)], &own = table.entries[k];
      own = entry == Masked || own == Masked ? Masked : std::max(entry, own);
    }
  return "";
}

/// nn.attention's rule, without keys.
bool allows(const MaskMeaning &meaning, int64_t i, int64_t j, int64_t offset) {
  int64_t distance = i + offset - j;
  if (meaning.causal)
    return distance >= 0 && (meaning.window == 0 || distance < meaning.window);
  return meaning.window == 0 || std::abs(distance) < meaning.window;
}

/// The kind that has exactly the entries of the table. Few candidates are tried, and every entry is compared.
std::optional<MaskMeaning> fitKind(const Table &table) {
  int64_t offset = table.columns - table.rows, last = table.rows - 1;
  auto allowed = [&](int64_t i, int64_t j) { return table.entries[i * table.columns + j] != Masked; };
  // Rows differ in what they miss on the left: the last row misses most.
  int64_t missing = 0;
  while (missing < table.columns && !allowed(last, missing))
    ++missing;
  int64_t window = missing > 0 ? last + offset - missing + 1 : 0;
  for (bool causal : {true, false}) {
    MaskMeaning meaning{causal, window, {}};
    bool fits = window >= 0 && llvm::all_of(llvm::seq<int64_t>(0, table.rows), [&](int64_t i) {
                  return llvm::all_of(llvm::seq<int64_t>(0, table.columns),
                                      [&](int64_t j) { return allows(meaning, i, j, offset) == allowed(i, j); });
                });
    if (fits)
      return meaning;
  }
  return std::nullopt;
}

} // namespace

std::string MaskMeaning::text() const {
  std::string out = causal ? "causal" : "";
  auto append = [&](const std::string &part) { out += (out.empty() ? "" : ", ") + part; };
  if (window > 0)
    append("window " + std::to_string(window));
  if (keys)
    append("valid keys");
  return out.empty() ? "everything" : out;
}

std::optional<MaskMeaning> intersection(const MaskMeaning &a, const MaskMeaning &b) {
  if (a.keys && b.keys && a.keys != b.keys)
    return std::nullopt;
  int64_t window = a.window == 0 || b.window == 0 ? std::max(a.window, b.window) : std::min(a.window, b.window);
  return MaskMeaning{a.causal || b.causal, window, a.keys ? a.keys : b.keys};
}

std::optional<MaskMeaning> MaskProver::prove(Value mask) {
  auto [it, isNew] = known_.try_emplace(mask);
  if (isNew) {
    reason_.clear();
    auto meaning = proveNew(mask);
    it->second = {meaning, reason_};
  }
  reason_ = it->second.second;
  return it->second.first;
}

std::optional<MaskMeaning> MaskProver::proveNew(Value mask) {
  auto fail = [&](std::string why) {
    reason_ = std::move(why);
    return std::nullopt;
  };
  ArrayRef<int64_t> shape = shapeOf(mask);
  if (shape.size() < 3 || llvm::is_contained(shape, 0))
    return fail("it has not the dimensions of a batch, rows and columns");
  if (!canBeMask(mask))
    return fail("it is not computed from masks and constants alone");
  points_.startQuestion();

  SmallVector<Factor> factors;
  collectFactors(mask, {}, factors);
  Block *entry = &mask.getParentRegion()->front();
  SmallVector<int64_t> argumentSizes;
  for (BlockArgument argument : entry->getArguments())
    argumentSizes.push_back(nn::typeOf(argument).getNumElements());
  int64_t rows = shape[shape.size() - 2], columns = shape.back();
  Table table{rows, columns, std::vector<uint8_t>(rows * columns, Allowed), {}};
  for (const Factor &factor : factors)
    if (std::string why = FactorReader(points_, factor, shape, argumentSizes).read(table); !why.empty())
      return fail(std::move(why));

  if (llvm::is_contained(table.entries, Allowed) && llvm::is_contained(table.entries, AllowedByKey))
    return fail("some elements depend on valid keys and others do not");
  auto meaning = fitKind(table);
  if (!meaning)
    return fail("its rows and columns are of no known kind");
  if (table.argument && llvm::is_contained(table.entries, AllowedByKey)) {
    meaning->keys = entry->getArgument(*table.argument);
    if (shapeOf(meaning->keys) != ArrayRef<int64_t>({shape[0], columns}))
      return fail("the argument of valid keys has not the shape [batch, keys]");
  }
  return meaning;
}

//===-- The definition of a meaning -------------------------------------------------------------------------------===//

Value buildValidKeys(OpBuilder &builder, Location loc, const MaskMeaning &meaning) {
  return meaning.keys ? nn::Build(builder, loc).cast(meaning.keys, builder.getI1Type()) : Value();
}

Value buildMask(OpBuilder &builder, Location loc, const MaskMeaning &meaning, ArrayRef<int64_t> shape) {
  nn::Build build(builder, loc);
  auto rank = static_cast<int64_t>(shape.size());
  int64_t rows = shape[rank - 2], columns = shape[rank - 1];
  Value base, keys;
  auto require = [&](arith::CmpIPredicate predicate, Value a, Value b) {
    Value holds = build.compare(predicate, a, b);
    base = base ? build.logicalAnd(base, holds) : holds;
  };
  if (meaning.causal || meaning.window > 0) {
    Value column = build.iota({rows, columns}, 1, builder.getI64Type());
    Value row = build.iota({rows, columns}, 0, builder.getI64Type());
    if (columns != rows)
      row = build.add(row, build.like(row, static_cast<double>(columns - rows)));
    auto window = static_cast<double>(meaning.window);
    if (meaning.causal)
      require(arith::CmpIPredicate::sle, column, row);
    else
      require(arith::CmpIPredicate::slt, column, build.add(row, build.like(row, window)));
    if (meaning.window > 0)
      require(arith::CmpIPredicate::sgt, column, build.sub(row, build.like(row, window)));
    base = build.broadcast(base, shape, {rank - 2, rank - 1});
  }
  if (meaning.keys)
    keys = build.broadcast(buildValidKeys(builder, loc, meaning), shape, {0, rank - 1});
  return base && keys ? build.logicalAnd(base, keys) : base ? base : keys;
}

} // namespace graft
