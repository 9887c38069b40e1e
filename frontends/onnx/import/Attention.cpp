// Attention of opset 23. Without a mask it is nn.attention; with one, whose meaning only the mask tells, it is written
// out as products around a masked softmax, grouped query heads being letters of the equations.
#include "frontends/onnx/import/Table.h"

#include <array>
#include <cmath>
#include <limits>

using namespace mlir;

namespace graft::onnx {

namespace {

struct Operands {
  Value query, key, value;            ///< [B, Hq, S, D], [B, Hkv, T, D], [B, Hkv, T, E]
  int64_t batch, heads, groups, S, T; ///< `groups` query heads share a key head
  int64_t past = 0;                   ///< keys before the first query
  bool packed = false;                ///< the operands were [B, S, H D]
};

struct Settings {
  double scale, softcap;
  bool causal;
  mlir::Type precision; ///< of the softmax; null: that of the operands
  int64_t
      scoresMode; ///< what the fourth output shows: 0 scores, 1 after the soft-cap, 2 after the mask, 3 after softmax
};

/// [B, S, H D] to [B, H, S, D].
Value unpackHeads(Call &c, Value x, int64_t heads, std::string_view attribute) {
  ArrayRef<int64_t> shape = shapeOf(x);
  if (heads <= 0 || shape[2] % heads != 0)
    c.fail(Code::Range, "attribute '" + std::string(attribute) + "' is " + std::to_string(heads) + " for " +
                            std::to_string(shape[2]) + " elements per token");
  return c.b.transpose(c.reshape(x, {shape[0], shape[1], heads, shape[2] / heads}), {0, 2, 1, 3});
}

Operands operandsOf(Call &c) {
  Operands o{c.real(0), c.real(1), c.real(2), 0, 0, 0, 0, 0};
  int64_t queryHeads = c.integer("q_num_heads", 0), keyHeads = c.integer("kv_num_heads", 0);
  for (Value x : {o.key, o.value})
    if (rankOf(x) != rankOf(o.query))
      c.fail(Code::Range, "queries of shape " + text(shapeOf(o.query)) + ", keys or values of " + text(shapeOf(x)));
  c.sameTypes(o.query, o.key);
  c.sameTypes(o.query, o.value);
  o.packed = rankOf(o.query) == 3;
  if (o.packed) {
    o.query = unpackHeads(c, o.query, queryHeads, "q_num_heads");
    o.key = unpackHeads(c, o.key, keyHeads, "kv_num_heads");
    o.value = unpackHeads(c, o.value, keyHeads, "kv_num_heads");
  } else if (rankOf(o.query) != 4) {
    c.fail(Code::Range, "queries of shape " + text(shapeOf(o.query)) + ", expected three or four dimensions");
  }
  if (c.has(4) != c.has(5))
    c.fail(Code::Graph, "past_key and past_value come together");
  if (c.has(4)) {
    Value pastKey = c.real(4), pastValue = c.real(5);
    for (Value x : {pastKey, pastValue})
      if (rankOf(x) != 4)
        c.fail(Code::Range, "a past of shape " + text(shapeOf(x)) + ", expected four dimensions");
    o.past = shapeOf(pastKey)[2];
    o.key = concat(c, {pastKey, o.key}, 2);
    o.value = concat(c, {pastValue, o.value}, 2);
  }
  ArrayRef<int64_t> q = shapeOf(o.query), k = shapeOf(o.key), v = shapeOf(o.value);
  if (q[0] != k[0] || q[0] != v[0] || k[1] != v[1] || k[2] != v[2] || q[3] != k[3])
    c.fail(Code::Range, "queries " + text(q) + ", keys " + text(k) + " and values " + text(v) + " do not fit together");
  if (k[1] == 0 || q[1] == 0 || q[1] % k[1] != 0)
    c.fail(Code::Range, std::to_string(q[1]) + " query heads for " + std::to_string(k[1]) + " key heads");
  o.batch = q[0];
  o.heads = q[1];
  o.groups = q[1] / k[1];
  o.S = q[2];
  o.T = k[2];
  return o;
}

/// The mask repeated to [B, Hq, S, T]; a shorter last dimension leaves the other keys out.
Value fullMask(Call &c, const Operands &o, Value mask) {
  int64_t last = rankOf(mask) - 1;
  if (last < 0)
    c.fail(Code::Range, "a mask of shape []");
  if (int64_t given = shapeOf(mask)[last]; given < o.T && given != 1) {
    Sizes missing(shapeOf(mask));
    missing[last] = o.T - given;
    double absent = isBoolean(mask) ? 0 : -std::numeric_limits<double>::infinity();
    mask = concat(c, {mask, c.splat(missing, typeOf(mask).getElementType(), absent)}, last);
  }
  return c.broadcastTo(mask, {o.batch, o.heads, o.S, o.T});
}

struct Written {
  Value result, scores; ///< [B, Hq, S, E], [B, Hq, S, T]
};

/// Products around a softmax. Query heads are split into key heads and groups: [B, Hkv, G, S, D].
Written writtenOut(Call &c, const Operands &o, const Settings &s, Value mask) {
  Build &b = c.b;
  bool grouped = o.groups > 1;
  int64_t keyHeads = o.heads / o.groups;
  auto split = [&](Value x) -> Value {
    ArrayRef<int64_t> shape = shapeOf(x);
    return grouped ? c.reshape(x, {shape[0], keyHeads, o.groups, shape[2], shape[3]}) : x;
  };
  Value scores = grouped ? contract(c, {split(o.query), "bhgsd"}, {o.key, "bhtd"}, "bhgst")
                         : contract(c, {o.query, "bhsd"}, {o.key, "bhtd"}, "bhst");
  if (s.scale != 1)
    scores = b.scale(scores, s.scale);
  std::array<Value, 4> stages{scores};
  if (s.softcap > 0)
    scores = b.scale(b.tanh(b.scale(scores, 1 / s.softcap)), s.softcap);
  stages[1] = scores;

  Value allowed;
  if (mask && isBoolean(mask)) {
    allowed = split(fullMask(c, o, mask));
  } else if (mask) {
    c.sameTypes(mask, scores);
    Value bias = split(fullMask(c, o, mask));
    scores = b.add(scores, bias);
    // A row of nothing but -inf gives 0, not NaN.
    allowed = b.compare(arith::CmpFPredicate::UGT, bias, b.like(bias, -std::numeric_limits<double>::infinity()));
  }
  if (s.causal) {
    Value lower = b.broadcastTo(triangle(c, o.S, o.T, o.past, false), shapeOf(scores));
    allowed = allowed ? b.logicalAnd(allowed, lower) : lower;
  }
  stages[2] = allowed ? b.select(allowed, scores, b.like(scores, -std::numeric_limits<double>::infinity())) : scores;
  mlir::Type own = typeOf(scores).getElementType();
  if (s.precision)
    scores = b.cast(scores, s.precision);
  Value weights = nn::SoftmaxOp::create(b.builder, b.loc, scores.getType(), scores, allowed, rankOf(scores) - 1);
  stages[3] = weights = b.cast(weights, own);
  Value out = grouped ? contract(c, {weights, "bhgst"}, {o.value, "bhte"}, "bhgse")
                      : contract(c, {weights, "bhst"}, {o.value, "bhte"}, "bhse");
  return {c.reshape(out, {o.batch, o.heads, o.S, shapeOf(o.value)[3]}),
          c.reshape(stages[s.scoresMode], {o.batch, o.heads, o.S, o.T})};
}

void attention(Call &c) {
  Settings s;
  s.scoresMode = c.integer("qk_matmul_output_mode", 0);
  if (s.scoresMode < 0 || s.scoresMode > 3)
    c.fail(Code::Range, "attribute 'qk_matmul_output_mode' is " + std::to_string(s.scoresMode) + ", expected 0 to 3");
  s.causal = c.flag("is_causal", false);
  s.softcap = c.number("softcap", 0);
  if (s.softcap < 0)
    c.fail(Code::Range, "attribute 'softcap' is negative");
  if (int64_t precision = c.integer("softmax_precision", 0))
    s.precision = c.elementType(precision);
  if (s.precision && !isa<FloatType>(s.precision))
    c.fail(Code::Range, "attribute 'softmax_precision' is no floating-point type");
  Value mask = c.optional(3);
  if (mask && isInteger(mask))
    c.fail(Code::Type, "a mask of integers, expected booleans or floating-point numbers");
  Operands o = operandsOf(c);
  int64_t size = shapeOf(o.query)[3];
  s.scale = c.number("scale", size > 0 ? 1 / std::sqrt(static_cast<double>(size)) : 1);

  Value out, scores;
  bool wantsScores = c.node.outputs.size() > 3;
  // nn.attention aligns the last query with the last key, ONNX the first with the first after the past.
  bool aligned = !s.causal || o.past == o.T - o.S;
  if (!mask && aligned && !s.precision && !wantsScores) {
    out = nn::AttentionOp::create(c.b.builder, c.b.loc,
                                  typeOf(o.query).clone({o.batch, o.heads, o.S, shapeOf(o.value)[3]}),
                                  nn::rowType(o.query.getType()), o.query, o.key, o.value, Value(), Value(), Value(),
                                  llvm::APFloat(s.scale), s.causal, 0, llvm::APFloat(s.softcap))
              .getResult();
  } else {
    Written written = writtenOut(c, o, s, mask);
    out = written.result;
    scores = written.scores;
  }
  if (o.packed)
    out = c.reshape(c.b.transpose(out, {0, 2, 1, 3}), {o.batch, o.S, o.heads * shapeOf(o.value)[3]});
  c.result(out);
  c.result(o.key);
  c.result(o.value);
  if (wantsScores)
    c.result(scores);
}

constexpr Translation translations[] = {{"Attention", 23, attention}};

} // namespace

std::span<const Translation> attentionTranslations() {
  return translations;
}

} // namespace graft::onnx
