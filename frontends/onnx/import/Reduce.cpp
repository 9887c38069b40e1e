// Reductions, running sums and softmax. Axes are an attribute in older opsets, an operand in newer ones; either way
// they must be known.
#include "frontends/onnx/import/Table.h"

using namespace mlir;

namespace graft::onnx {

namespace {

struct Reduction {
  Value input;
  Sizes axes;        ///< sorted; empty: nothing to do
  Sizes kept;        ///< the result's shape
  int64_t count = 1; ///< elements that are combined into one
};

/// Operand, axes and result shape of any Reduce operator.
Reduction reduction(Call &c) {
  bool keep = c.flag("keepdims", true), noop = c.flag("noop_with_empty_axes", false);
  Reduction out{c.input(0), {}, {}, 1};
  int64_t rank = rankOf(out.input);
  std::optional<std::vector<int64_t>> axes = c.integers("axes");
  if (c.has(1))
    axes = c.constants(1);
  if (axes && !axes->empty())
    out.axes = c.axes(*axes, rank);
  else if (!noop)
    out.axes = llvm::to_vector(llvm::seq<int64_t>(0, rank));
  for (int64_t d = 0; d < rank; ++d) {
    int64_t size = shapeOf(out.input)[d];
    bool reduced = llvm::is_contained(out.axes, d);
    if (reduced)
      out.count *= size;
    if (!reduced || keep)
      out.kept.push_back(reduced ? 1 : size);
  }
  return out;
}

Value finish(Call &c, const Reduction &r, Value reduced) {
  return c.reshape(reduced, r.kept);
}

void requireNumbers(Call &c, Value value, bool floats) {
  if (isBoolean(value) || (floats && !isFloat(value)))
    c.fail(Code::Type,
           "input 0 is " + text(value.getType()) + ", expected " + (floats ? "floating-point numbers" : "numbers"));
}

template <nn::ReduceKind kind> void reduce(Call &c) {
  Reduction r = reduction(c);
  constexpr bool extreme = kind == nn::ReduceKind::Max || kind == nn::ReduceKind::Min;
  if (!extreme)
    requireNumbers(c, r.input, false);
  if (extreme && r.count == 0)
    c.fail(Code::Range, "the largest or smallest of no elements: input 0 has shape " + text(shapeOf(r.input)));
  c.result(finish(c, r, c.b.reduce(kind, r.input, r.axes)));
}

void reduceMean(Call &c) {
  Reduction r = reduction(c);
  requireNumbers(c, r.input, true);
  Value sum = finish(c, r, c.b.sum(r.input, r.axes));
  c.result(r.count == 1 ? sum : c.b.scale(sum, 1.0 / static_cast<double>(r.count)));
}

void reduceSumSquare(Call &c) {
  Reduction r = reduction(c);
  requireNumbers(c, r.input, false);
  c.result(finish(c, r, c.b.sum(c.b.mul(r.input, r.input), r.axes)));
}

void reduceL2(Call &c) {
  Reduction r = reduction(c);
  requireNumbers(c, r.input, true);
  c.result(c.b.sqrt(finish(c, r, c.b.sum(c.b.mul(r.input, r.input), r.axes))));
}

/// log sum exp(x - m) + m with m the largest, or 0 where that is not finite.
void reduceLogSumExp(Call &c) {
  Reduction r = reduction(c);
  requireNumbers(c, r.input, true);
  if (r.count == 0)
    c.fail(Code::Range, "the logarithm of an empty sum: input 0 has shape " + text(shapeOf(r.input)));
  Build &b = c.b;
  Value max = b.reduce(nn::ReduceKind::Max, r.input, r.axes);
  Value size = b.builder.createOrFold<math::AbsFOp>(b.loc, max);
  Value finite = b.compare(arith::CmpFPredicate::OLT, size, b.like(size, std::numeric_limits<double>::infinity()));
  Value shift = b.selectOrZero(finite, max);
  Value exps = b.exp(b.sub(r.input, b.broadcastAlong(shift, shapeOf(r.input), r.axes)));
  c.result(finish(c, r, b.add(b.log(b.sum(exps, r.axes)), shift)));
}

void softmax(Call &c) {
  Value x = c.real(0);
  int64_t axis = c.axis(c.integer("axis", -1), rankOf(x));
  c.result(nn::SoftmaxOp::create(c.b.builder, c.b.loc, x.getType(), x, Value(), axis));
}
void logSoftmax(Call &c) {
  Value x = c.real(0);
  int64_t axis = c.axis(c.integer("axis", -1), rankOf(x));
  c.result(nn::LogSoftmaxOp::create(c.b.builder, c.b.loc, x, axis));
}

void cumsum(Call &c) {
  bool exclusive = c.flag("exclusive", false), reverse = c.flag("reverse", false);
  Value x = c.numeric(0);
  int64_t axis = c.axis(c.constant(1), rankOf(x));
  c.result(nn::CumsumOp::create(c.b.builder, c.b.loc, x, axis, exclusive, reverse));
}

constexpr Translation translations[] = {
    {"ReduceSum", 13, reduce<nn::ReduceKind::Sum>},
    {"ReduceProd", 13, reduce<nn::ReduceKind::Prod>},
    {"ReduceMax", 13, reduce<nn::ReduceKind::Max>},
    {"ReduceMin", 13, reduce<nn::ReduceKind::Min>},
    {"ReduceMean", 13, reduceMean},
    {"ReduceSumSquare", 13, reduceSumSquare},
    {"ReduceL2", 13, reduceL2},
    {"ReduceLogSumExp", 13, reduceLogSumExp},
    {"Softmax", 13, softmax},
    {"LogSoftmax", 13, logSoftmax},
    {"CumSum", 11, cumsum},
};

} // namespace

std::span<const Translation> reduceTranslations() {
  return translations;
}

} // namespace graft::onnx
