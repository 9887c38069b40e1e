// Matrix products as equations. A transposed, repeated or broadcast operand is read as it lies: the equation says how.
#include "frontends/onnx/import/Table.h"

#include <algorithm>
#include <map>

using namespace mlir;

namespace graft::onnx {

namespace {

/// Replaces nn.transpose and nn.broadcast by what they read: letters are permuted, or left out where the other operand
/// and the result have them.
void readThroughViews(Factor &factor, const Factor &other, std::string_view out) {
  while (Operation *op = factor.value.getDefiningOp()) {
    std::string letters;
    if (auto transpose = dyn_cast<nn::TransposeOp>(op)) {
      letters.resize(factor.letters.size());
      for (auto [to, from] : llvm::enumerate(transpose.getPermutation()))
        letters[from] = factor.letters[to];
    } else if (auto broadcast = dyn_cast<nn::BroadcastOp>(op)) {
      for (int64_t d : broadcast.getDimensions())
        letters += factor.letters[d];
      for (char letter : factor.letters)
        if (letters.find(letter) == std::string::npos &&
            (other.letters.find(letter) == std::string::npos || out.find(letter) == std::string_view::npos))
          return;
    } else {
      return;
    }
    factor = {op->getOperand(0), letters};
  }
}

/// Sums over letters that neither the other operand nor the result has.
void sumOwnLetters(Call &c, Factor &factor, const Factor &other, std::string_view out) {
  SmallVector<int64_t> axes;
  std::string kept;
  for (auto [d, letter] : llvm::enumerate(factor.letters))
    if (other.letters.find(letter) == std::string::npos && out.find(letter) == std::string_view::npos)
      axes.push_back(static_cast<int64_t>(d));
    else
      kept += letter;
  factor = {c.b.sum(factor.value, axes), kept};
}

/// Drops dimensions of size 1 where the other operand has the letter with another size.
void dropStretched(Call &c, Factor &factor, const Factor &other) {
  std::string letters;
  Sizes shape;
  for (auto [d, letter] : llvm::enumerate(factor.letters)) {
    size_t found = other.letters.find(letter);
    int64_t size = shapeOf(factor.value)[d],
            otherSize = found == std::string::npos ? size : shapeOf(other.value)[found];
    if (size == 1 && otherSize != 1)
      continue;
    if (size != otherSize && otherSize != 1)
      c.fail(Code::Range, "sizes " + std::to_string(size) + " and " + std::to_string(otherSize) +
                              " of operands of shapes " + text(shapeOf(factor.value)) + " and " +
                              text(shapeOf(other.value)) + " do not fit together");
    letters += letter;
    shape.push_back(size);
  }
  factor = {c.reshape(factor.value, shape), letters};
}

} // namespace

Value contract(Call &c, Factor lhs, Factor rhs, std::string out) {
  Factor left = lhs, right = rhs;
  dropStretched(c, left, rhs);
  dropStretched(c, right, lhs);
  sumOwnLetters(c, left, right, out);
  sumOwnLetters(c, right, left, out);
  readThroughViews(left, right, out);
  readThroughViews(right, left, out);
  Sizes shape;
  for (char letter : out) {
    size_t d = left.letters.find(letter);
    shape.push_back(d != std::string::npos ? shapeOf(left.value)[d] : shapeOf(right.value)[right.letters.find(letter)]);
  }
  c.elements(shape);
  return c.b.contract(left.letters + "," + right.letters + "->" + out, left.value, right.value);
}

namespace {

/// "a", "b", ...: letters for the batch dimensions of a product, the last `count` of them.
std::string batchLetters(Call &c, int64_t count, int64_t common) {
  constexpr std::string_view letters = "abcdefghijlopqrstuvwxyzABCDEFGHIJLOPQRSTUVWXYZ"; // all but k, m, n
  if (common > static_cast<int64_t>(letters.size()))
    c.fail(Code::Limit, "more than " + std::to_string(letters.size()) + " batch dimensions");
  return std::string(letters.substr(static_cast<size_t>(common - count), static_cast<size_t>(count)));
}

void requireSameSize(Call &c, Value x, Value y, int64_t inX, int64_t inY) {
  if (inX != inY)
    c.fail(Code::Range, "a product of shapes " + text(shapeOf(x)) + " and " + text(shapeOf(y)) + ": inner sizes " +
                            std::to_string(inX) + " and " + std::to_string(inY));
}

void matmul(Call &c) {
  Value x = c.real(0), y = c.real(1);
  c.sameTypes(x, y);
  int64_t rankX = rankOf(x), rankY = rankOf(y);
  if (rankX == 0 || rankY == 0)
    c.fail(Code::Range, "a product of shapes " + text(shapeOf(x)) + " and " + text(shapeOf(y)));
  requireSameSize(c, x, y, shapeOf(x)[rankX - 1], shapeOf(y)[std::max<int64_t>(rankY - 2, 0)]);
  int64_t batchX = std::max<int64_t>(rankX - 2, 0), batchY = std::max<int64_t>(rankY - 2, 0);
  int64_t common = std::max(batchX, batchY);
  std::string own = rankX > 1 ? "m" : "", other = rankY > 1 ? "n" : "";
  c.result(contract(c, {x, batchLetters(c, batchX, common) + own + "k"},
                    {y, batchLetters(c, batchY, common) + "k" + other}, batchLetters(c, common, common) + own + other));
}

void gemm(Call &c) {
  double alpha = c.number("alpha", 1), beta = c.number("beta", 1);
  bool transposeX = c.flag("transA", false), transposeY = c.flag("transB", false);
  Value x = c.real(0), y = c.real(1), bias = c.optional(2);
  c.sameTypes(x, y);
  if (rankOf(x) != 2 || rankOf(y) != 2)
    c.fail(Code::Range,
           "a product of shapes " + text(shapeOf(x)) + " and " + text(shapeOf(y)) + ", expected two dimensions");
  requireSameSize(c, x, y, shapeOf(x)[transposeX ? 0 : 1], shapeOf(y)[transposeY ? 1 : 0]);
  Value out = contract(c, {x, transposeX ? "km" : "mk"}, {y, transposeY ? "nk" : "kn"}, "mn");
  if (alpha != 1)
    out = c.b.scale(out, alpha);
  if (bias && beta != 0) {
    c.sameTypes(x, bias);
    if (beta != 1)
      bias = c.b.scale(bias, beta);
    out = c.b.add(out, c.broadcastTo(bias, shapeOf(out)));
  }
  c.result(out);
}

//===-- Einsum ----------------------------------------------------------------------------------------------------===//

/// One term of an equation: letters before and after an ellipsis.
struct Term {
  std::string before, after;
  bool ellipsis = false;
};

constexpr size_t maxEquation = 256;

Term parseTerm(Call &c, std::string_view text) {
  Term term;
  for (size_t i = 0; i < text.size(); ++i) {
    if (text.substr(i).starts_with("...")) {
      if (term.ellipsis)
        c.fail(Code::Format, "two ellipses in a term of the equation");
      term.ellipsis = true;
      i += 2;
    } else if (!isalpha(static_cast<unsigned char>(text[i]))) {
      c.fail(Code::Format, "the character '" + escaped(text.substr(i, 1)) + "' in the equation");
    } else {
      (term.ellipsis ? term.after : term.before) += text[i];
    }
  }
  return term;
}

/// Letters of a term; those of the ellipsis are the last `count` of `rest`.
std::string lettersOf(const Term &term, std::string_view rest, size_t count) {
  return term.before + std::string(term.ellipsis ? rest.substr(rest.size() - count) : "") + term.after;
}

void rejectRepeats(Call &c, std::string letters) {
  std::sort(letters.begin(), letters.end());
  if (std::adjacent_find(letters.begin(), letters.end()) != letters.end())
    c.fail(Code::Unsupported, "a letter occurs twice in a term of the equation");
}

struct Equation {
  std::vector<std::string> operands;
  std::string result;
};

Equation parseEquation(Call &c, std::string_view text, ArrayRef<Value> operands) {
  if (text.size() > maxEquation)
    c.fail(Code::Format,
           "an equation of " + std::to_string(text.size()) + " characters, at most " + std::to_string(maxEquation));
  std::string plain;
  llvm::copy_if(text, std::back_inserter(plain), [](char ch) { return ch != ' '; });
  size_t arrow = plain.find("->");
  std::string left = plain.substr(0, arrow);
  std::vector<Term> terms;
  for (size_t start = 0; start <= left.size();) {
    size_t end = std::min(left.find(',', start), left.size());
    terms.push_back(parseTerm(c, std::string_view(left).substr(start, end - start)));
    start = end + 1;
  }
  if (terms.size() != operands.size())
    c.fail(Code::Format, std::to_string(terms.size()) + " terms for " + std::to_string(operands.size()) + " operands");
  std::vector<size_t> counts;
  for (auto [term, operand] : llvm::zip(terms, operands)) {
    size_t named = term.before.size() + term.after.size(), rank = static_cast<size_t>(rankOf(operand));
    if (named > rank || (!term.ellipsis && named != rank))
      c.fail(Code::Range, "a term of " + std::to_string(named) + " letters for shape " + onnx::text(shapeOf(operand)));
    counts.push_back(rank - named);
  }
  size_t most = *std::max_element(counts.begin(), counts.end());
  std::string rest; // letters for the ellipsis that the equation does not use
  for (char letter = 'a'; letter <= 'z' && rest.size() < most; ++letter)
    if (plain.find(letter) == std::string::npos)
      rest += letter;
  if (rest.size() < most)
    c.fail(Code::Limit, "too many dimensions under the ellipsis");
  Equation out;
  std::map<char, int> uses;
  for (size_t i = 0; i < terms.size(); ++i) {
    out.operands.push_back(lettersOf(terms[i], rest, counts[i]));
    rejectRepeats(c, out.operands.back());
    for (char letter : terms[i].before + terms[i].after)
      ++uses[letter];
  }
  if (arrow != std::string::npos) {
    out.result = lettersOf(parseTerm(c, std::string_view(plain).substr(arrow + 2)), rest, most);
  } else { // the ellipsis, then letters that occur once, in alphabetical order
    out.result = most > 0 ? rest : "";
    for (auto [letter, count] : uses)
      if (count == 1)
        out.result += letter;
  }
  std::string sorted = out.result;
  rejectRepeats(c, sorted);
  for (char letter : out.result)
    if (llvm::none_of(out.operands, [&](const std::string &term) { return term.find(letter) != std::string::npos; }))
      c.fail(Code::Format, "the result's letter '" + std::string(1, letter) + "' occurs in no operand");
  return out;
}

void einsum(Call &c) {
  std::string_view text = c.text("equation", "");
  SmallVector<Value> operands;
  for (size_t i = 0; i < c.inputs(); ++i)
    operands.push_back(c.real(i));
  if (operands.empty() || operands.size() > 2)
    c.fail(Code::Unsupported, "Einsum of " + std::to_string(operands.size()) + " operands, one or two are supported",
           "write it as a chain of products of two");
  Equation equation = parseEquation(c, text, operands);
  if (operands.size() == 2) {
    c.sameTypes(operands[0], operands[1]);
    return c.result(
        contract(c, {operands[0], equation.operands[0]}, {operands[1], equation.operands[1]}, equation.result));
  }
  Factor factor{operands[0], equation.operands[0]};
  sumOwnLetters(c, factor, {{}, ""}, equation.result);
  SmallVector<int64_t> permutation;
  for (char letter : equation.result)
    permutation.push_back(static_cast<int64_t>(factor.letters.find(letter)));
  c.result(c.b.transpose(factor.value, permutation));
}

constexpr Translation translations[] = {
    {"MatMul", 9, matmul},
    {"Gemm", 11, gemm},
    {"Einsum", 12, einsum},
};

} // namespace

std::span<const Translation> productTranslations() {
  return translations;
}

} // namespace graft::onnx
