// What is said about faulty texts.
#include "test/frontends/objective/Texts.h"

namespace graft::objective {
namespace {
using testing::AllOf;
using testing::HasSubstr;

struct FaultCase {
  const char *name;
  std::string body; ///< stands from line 4 on
  std::vector<std::string> expected;
};
std::ostream &operator<<(std::ostream &out, const FaultCase &c) {
  return out << c.name;
}

class Faults : public testing::TestWithParam<FaultCase> {};
TEST_P(Faults, AreReported) {
  std::string text = faults(policy(GetParam().body));
  for (const std::string &expected : GetParam().expected)
    EXPECT_THAT(text, HasSubstr(expected));
}

const char good[] = "loss = token_mean(logprobs)\n";
const FaultCase cases[] = {
    {"UnknownName",
     "loss = token_mean(logprob)",
     {"t.objective:4:19: unknown name 'logprob'", "did you mean 'logprobs'?", "\n                        ^~~~~~~ did"}},
    {"UnknownFunction",
     "loss = tokn_mean(logprobs)",
     {"4:8: unknown function 'tokn_mean'", "did you mean 'token_mean'?"}},
    {"FunctionAsName", "loss = token_mean", {"'token_mean' is a function", "token_mean(x, where=)"}},
    {"NameAsFunction", "loss = token_mean(logprobs(1))", {"'logprobs' is not a function"}},
    {"Arguments", "loss = token_mean(clip(logprobs, 1))", {"'clip' takes 3 arguments, found 2", "clip(x, low, high)"}},
    {"TooManyArguments", "loss = token_mean(logprobs, logprobs)", {"'token_mean' takes 1 argument, found 2"}},
    {"Option", "loss = token_mean(logprobs, when = true)", {"'token_mean' has no option 'when'"}},
    {"OptionTwice", "loss = token_mean(logprobs, where = true, where = true)", {"'where' is given twice"}},
    {"OptionFirst", "loss = token_mean(where = true, logprobs)", {"arguments without a name come first"}},
    {"LossPerToken",
     "loss = logprobs",
     {"4:8: 'loss' is a value per token, but has to be one value for the step", "token_mean(...)"}},
    {"LossPerSequence", "loss = seq_sum(logprobs)", {"'loss' is a value per sequence", "batch_mean(...)"}},
    {"LossMissing", "x = 1", {"1:11: nothing defines 'loss'"}},
    {"LossIsInput", "input loss : token", {"nothing defines 'loss'"}},
    {"LossConstant", "loss = 3", {"'loss' is the constant 3: it depends on no input"}},
    {"LossCondition", "loss = 1 < 2", {"'loss' is not a number"}},
    {"LossString", "param p = \"a\"\nloss = p", {"'loss' is not a number"}},
    {"MetricPerToken", std::string(good) + "metric m = logprobs", {"metric 'm' is a value per token"}},
    {"MetricCondition", std::string(good) + "metric m = token_mean(logprobs) > 1", {"metric 'm' is a condition"}},
    {"MetricTwice", std::string(good) + "metric m = tokens\nmetric m = tokens", {"a second metric named 'm'"}},
    {"MetricWhen", std::string(good) + "metric m = tokens when tokens > 3", {"'when' depends on parameters only"}},
    {"BatchOfTokens",
     "loss = batch_mean(logprobs)",
     {"'batch_mean' reduces values per sequence, this is a value per token", "token_mean"}},
    {"TokensOfWords",
     "input logits : vocabulary\nloss = token_mean(logits)",
     {"'token_mean' reduces values per token, this is a value per word", "vocab_ function"}},
    {"WordsOfTokens",
     "loss = token_mean(vocab_sum(logprobs))",
     {"'vocab_sum' reduces values per word, this is a value per token"}},
    {"SoftmaxOfTokens", "loss = token_mean(softmax(logprobs))", {"'softmax' needs a value per word", "like logits"}},
    {"KthOfWhich",
     "input logits : vocabulary\nloss = token_mean(vocab_kth_largest(logits, 65))",
     {"which value is a whole number from 1 to 64"}},
    {"KthOfTokens", "loss = token_mean(vocab_kth_largest(logprobs, 2))", {"needs a value per word"}},
    {"LossOfWords",
     "input logits : vocabulary\nloss = softmax(logits)",
     {"'loss' is a value per word, but has to be one value for the step", "at_token(...)"}},
    {"WhereOfWords",
     "input logits : vocabulary\nloss = token_sum(logprobs, where = logits > 0)",
     {"the condition is a value per word"}},
    {"GroupOfTokens", "loss = token_mean(group_mean(logprobs))", {"'group_mean' reduces values per sequence"}},
    {"WhereNumber", "loss = token_mean(where(logprobs, 1, 2))", {"the first argument of 'where' is a condition"}},
    {"WhereMixed", "loss = token_mean(where(logprobs > 1, 1, 2 > 1))", {"both values of 'where'"}},
    {"ReductionWhere", "loss = token_mean(logprobs, where = 1)", {"'where' is a condition, like x > 0"}},
    {"CountNumber",
     "loss = token_mean(logprobs) + token_count(logprobs)",
     {"'token_count' counts where a condition holds"}},
    {"Ddof", "loss = token_mean(logprobs) * token_std(logprobs, ddof = tokens)", {"'ddof' is a number"}},
    {"AddCondition", "loss = token_mean(logprobs + (logprobs > 1))", {"'+' needs a number, this is a condition"}},
    {"AndNumber", "loss = token_mean(where(logprobs and true, 1, 0))", {"'and' combines conditions, this is a number"}},
    {"ExpCondition", "loss = token_mean(exp(logprobs > 1))", {"'exp' needs a number here, not a condition"}},
    {"ClipBounds", "loss = token_mean(clip(logprobs, 2, 1))", {"4:34: the lower bound is above the upper one"}},
    {"DivisionByZero", "loss = token_mean(logprobs) / 0", {"4:31: division by zero"}},
    {"CompareTypes",
     "param p = \"a\"\nloss = token_mean(logprobs) * (if p == 1 then 1 else 2)",
     {"'==' compares values of different types"}},
    {"StringArithmetic", "loss = token_mean(logprobs + \"a\")", {"a string can only be compared"}},
    {"NeverThatString",
     "param p = \"aa\" in [\"aa\", \"bbb\"]\nloss = token_mean(logprobs) * (if p == \"bb\" then 1 else 2)",
     {"'p' is never \"bb\"", "did you mean 'bbb'?"}},
    {"IfPerToken",
     "loss = token_mean(if logprobs > 1 then 1 else logprobs)",
     {"'if' chooses by parameters, but this is a value per token", "where(condition, x, y)"}},
    {"IfNumber", "loss = token_mean(if 1 then 1 else logprobs)", {"the condition of 'if' is a number"}},
    {"IfWithoutElse", "loss = token_mean(if true then logprobs)", {"expected 'else'"}},
    {"IfInside", "loss = 1 + if true then token_mean(logprobs) else 2", {"put parentheses around 'if'"}},
    {"Cycle", "loss = token_mean(a)\na = b + logprobs\nb = a", {"is defined by itself", "a -> b -> a"}},
    {"SelfCycle", "loss = token_mean(logprobs) + loss", {"'loss' is defined by itself: loss -> loss"}},
    {"Recursion", "def f(x) = f(x) + 1\nloss = token_mean(f(logprobs))", {"'f' calls itself"}},
    {"MutualRecursion", "def f(x) = g(x)\ndef g(x) = f(x)\nloss = token_mean(f(logprobs))", {"'f' calls itself"}},
    {"DefinedTwice",
     std::string(good) + "loss = token_sum(logprobs)",
     {"5:1: 'loss' is defined twice", "first at t.objective:4:1"}},
    {"InputAndDefinition", std::string(good) + "logprobs = 3", {"'logprobs' is defined twice"}},
    {"BuiltInFunction", std::string(good) + "exp = 3", {"'exp' is built in"}},
    {"BuiltInSymbol", std::string(good) + "param tokens = 3", {"'tokens' is built in"}},
    {"LossMask",
     "loss = token_mean(loss_mask * logprobs)",
     {"unknown name 'loss_mask'", "reductions see loss tokens only"}},
    {"LossMaskInput", std::string(good) + "input loss_mask : token", {"'loss_mask' is not an input of a formula"}},
    {"FunctionArguments", "def f(x, y) = x + y\nloss = token_mean(f(logprobs))", {"'f' takes 2 arguments, found 1"}},
    {"FunctionByName", "def f(x) = x\nloss = token_mean(f(x = logprobs))", {"given by position"}},
    {"FunctionArgumentTwice", "def f(x, x) = x\nloss = token_mean(f(logprobs, 1))", {"two arguments are named 'x'"}},
    {"InputKind",
     std::string(good) + "input y : tokens",
     {"no kind of input is named 'tokens'", "did you mean 'token'?"}},
    {"InputWithoutKind", std::string(good) + "input y\nx = 1", {"expected ':'"}},
    {"ParamExpression",
     std::string(good) + "param p = 1 + 2",
     {"expected an operator or the end of the line, found '+'"}},
    {"ParamName", std::string(good) + "param p = logprobs", {"expected a number, true, false or a string"}},
    {"ParamRange", std::string(good) + "param p = 3 from 0 to 1", {"the default is not allowed: 3 is above 1"}},
    {"ParamChoice", std::string(good) + "param p = \"c\" in [\"a\", \"b\"]", {"\"c\" is not one of \"a\", \"b\""}},
    {"ParamChoiceTypes", std::string(good) + "param p = 1 in [\"a\", \"b\"]", {"of different types"}},
    {"ParamChoiceTwice", std::string(good) + "param p = 1 in [1, 1]", {"1 is listed twice"}},
    {"ParamBoundOfString", std::string(good) + "param p = \"a\" from 0", {"bounds are for numbers"}},
    {"ParamBoundString", std::string(good) + "param p = 1 from \"a\"", {"a bound is a number"}},
    {"DefaultUnknown", std::string(good) + "default p = 3", {"no parameter is named 'p'"}},
    {"DefaultOwn", std::string(good) + "param p = 1\ndefault p = 3", {"'p' is a parameter of this text"}},
    {"DefaultMisfit",
     std::string(good) + "use aggregation\ndefault aggregation = \"token_men\"",
     {"\"token_men\" is not one of"}},
    {"UseUnknown",
     std::string(good) + "use agregation",
     {"no library or preset is named 'agregation'", "did you mean 'aggregation'?"}},
    {"Unclosed", "loss = token_mean(logprobs", {"or ',' after an argument, found the end of the text"}},
    {"UnclosedString", "loss = token_mean(logprobs)\nsource \"abc", {"the string is not closed on its line"}},
    {"MissingOperator", "loss = 2 token_mean(logprobs)", {"4:10: expected an operator or the end of the line"}},
    {"Assignment", "loss = token_mean(where(logprobs = 1, 1, 2))", {"'where' has no option 'logprobs'"}},
    {"Chain", "loss = token_mean(where(0 < logprobs < 1, 1, 2))", {"write 'a < b and b < c'"}},
    {"Character", "loss = token_mean(logprobs & 1)", {"unexpected character '&'", "write 'and'"}},
    {"ControlCharacter", "loss = token_mean(logprobs)\x01", {"unexpected character '\\x01'"}},
    {"InvalidUtf8", "loss = token_mean(logprobs)\xFF", {"unexpected character '\\xFF'"}},
    {"Number", "loss = token_mean(logprobs * 1.2.3)", {"not a number"}},
    {"NumberAndLetters", "loss = token_mean(logprobs * 3x)", {"not a number"}},
    {"NumberTooLarge", "loss = token_mean(logprobs * 1e999)", {"does not fit into a float64"}},
    {"NotAStatement", std::string(good) + "inpt y : token", {"expected a statement", "did you mean 'input'?"}},
    {"CallAsDefinition", std::string(good) + "f(x) = x", {"def NAME(ARGUMENTS)"}},
    {"Reserved", std::string(good) + "then = 2", {"this word is reserved"}},
    {"Header", std::string(good) + "objective u", {"a text has one header"}},
    {"EmptyExpression", "loss = ", {"expected an expression, found the end of the text"}},
    {"EmptyParentheses", "loss = ()", {"expected an expression, found ')'"}},
    {"TrailingOperator", "loss = token_mean(logprobs) *\nx = 3", {"expected an operator or the end of the line"}},
    {"NestedTooDeep", "loss = " + std::string(100000, '('), {"[limit]", "levels deep"}},
    {"MinusTooDeep", "loss = " + std::string(100000, '-') + "1", {"[limit]", "levels deep"}},
    {"NotTooDeep",
     "loss = token_mean(where(" +
         [] {
           std::string s;
           for (int i = 0; i < 10000; ++i)
             s += "not ";
           return s;
         }() +
         "true, 1, 2))",
     {"levels deep"}},
};
INSTANTIATE_TEST_SUITE_P(Texts, Faults, testing::ValuesIn(cases),
                         [](const auto &info) { return std::string(info.param.name); });

// Tests that every fault of a text is reported, in one go, with the line it stands in.
TEST(FaultsTogether, AllAtOnce) {
  std::string text = faults(
      policy("param p = 3 from 0 to 1\na = logprob + 1\nb = exp(logprobs, 2)\n)\nloss = token_mean(rewards * c)\n"),
      {{"q", 1.0, "recipe.toml:3:1"}});
  EXPECT_THAT(text, AllOf(HasSubstr("4:11:"), HasSubstr("5:5:"), HasSubstr("6:5:"), HasSubstr("7:1:"),
                          HasSubstr("8:29:"), HasSubstr("recipe.toml:3:1: 't' has no parameter 'q'")));
}

// Tests that the caret stands under the fault, also behind tabs and letters of several bytes.
TEST(FaultsTogether, Caret) {
  std::string text = faults("objective t\ninput logprobs : token\nloss\t= token_mean(logprobs) + \xC3\xA9"
                            "1\n");
  EXPECT_THAT(text, HasSubstr("t.objective:3:31: unexpected character '\xC3\xA9'\n"
                              "      loss = token_mean(logprobs) + \xC3\xA9"
                              "1\n"
                              "                                    ^"));
}

// Tests that long lines are cut around the fault.
TEST(FaultsTogether, LongLine) {
  std::string text =
      faults(policy("loss = token_mean(logprobs" + std::string(5000, ' ') + "* x" + std::string(5000, ' ') + ")"));
  EXPECT_THAT(text, HasSubstr("4:5029: unknown name 'x'"));
  EXPECT_LT(text.size(), 500u);
}

// Tests that a text full of faults stays readable.
TEST(FaultsTogether, Limit) {
  std::string body;
  for (int i = 0; i < 1000; ++i)
    body += "a" + std::to_string(i) + " = unknown\n";
  EXPECT_THAT(faults(policy(body)), HasSubstr("further faults are not shown"));
}

// Tests that functions that call each other twice do not blow up.
TEST(FaultsTogether, Doubling) {
  std::string body = "def f0(x) = exp(x) + 1\n";
  for (int i = 1; i < 60; ++i)
    body += "def f" + std::to_string(i) + "(x) = f" + std::to_string(i - 1) + "(x + 1) * f" + std::to_string(i - 1) +
            "(x + 2)\n";
  EXPECT_THAT(faults(policy(body + "loss = token_mean(f59(logprobs))")), HasSubstr("[limit]"));
}

// Tests that definitions that refer forward through a very long chain are refused, not run into the stack's end.
TEST(FaultsTogether, LongChain) {
  std::string body = "loss = token_mean(a0)\n";
  for (int i = 0; i < 20000; ++i)
    body += "a" + std::to_string(i) + " = a" + std::to_string(i + 1) + " + 1\n";
  EXPECT_THAT(faults(policy(body + "a20000 = logprobs")), HasSubstr("more than 1000 levels deep"));
}

TEST(FaultsTogether, Overrides) {
  std::string source = policy(
      "param a = 0.5 from 0 to 1\nparam b = \"x\" in [\"x\", \"y\"]\nparam c = true\nloss = token_mean(logprobs)");
  EXPECT_THAT(faults(source, {{"a", 2.0, "r:1:1"}}), HasSubstr("r:1:1: parameter 'a': 2 is above 1"));
  EXPECT_THAT(faults(source, {{"a", "x", "r:1:1"}}), HasSubstr("expected a number, found \"x\""));
  EXPECT_THAT(faults(source, {{"a", NAN, "r:1:1"}}), HasSubstr("it is not a number"));
  EXPECT_THAT(faults(source, {{"b", "z", "r:1:1"}}), HasSubstr("\"z\" is not one of \"x\", \"y\""));
  EXPECT_THAT(faults(source, {{"c", 1.0, "r:1:1"}}), HasSubstr("expected true or false"));
  EXPECT_THAT(faults(source, {{"aa", 1.0, "r:1:1"}}), HasSubstr("did you mean 'a'?"));
  EXPECT_EQ(compile("t", source, {{"aa", 1.0, ""}}).status().exitCode(), 2);
}

TEST(FaultsTogether, WholeText) {
  EXPECT_THAT(faults(""), HasSubstr("does not say what it is"));
  EXPECT_THAT(faults("\n\n# only a comment"), HasSubstr("does not say what it is"));
  EXPECT_THAT(faults("library x\nparam a = 1\n"), HasSubstr("a library computes nothing by itself"));
  EXPECT_THAT(faults("input x : token\nobjective t\nloss = token_mean(x)\n"),
              HasSubstr("the header is the first statement"));
  EXPECT_THAT(faults("objective\n"), HasSubstr("expected the name of the objective"));
  EXPECT_THAT(faults("advantages t\ninput r : sequence\nadvantages = batch_mean(r)\n"),
              HasSubstr("has to be a value per sequence or per token"));
  EXPECT_THAT(faults(std::string((1 << 20) + 1, ' ')), HasSubstr("at most 1 MiB"));
  EXPECT_THAT(faults(std::string("objective t\0x", 13)), HasSubstr("unexpected character '\\x00'"));
}

// Tests that a fault inside a library names the library.
TEST(FaultsTogether, InALibrary) {
  EXPECT_THAT(faults("objective t\nuse policy\nratio = exp(log_ratio)\nloss = aggregate(ratio)\n"),
              HasSubstr("policy.objective:23:35: unknown name 'clipped'"));
}

} // namespace
} // namespace graft::objective
