// What texts mean: kinds, precedence, parameters, folding, and how results of micro-batches combine.
#include "test/frontends/objective/Texts.h"

#include <cmath>

namespace graft::objective {
namespace {
using testing::ElementsAre;
using testing::IsEmpty;

Kind kindOf(const std::string &expression) {
  Objective o = compiled(policy("metric probe = " + expression + "\nloss = token_mean(logprobs)"));
  return o.metrics.empty() ? Kind::Number : o.graph[o.metrics[0].value].kind;
}

/// The value of an expression of numbers.
double number(const std::string &expression) {
  Objective o = compiled(policy("metric probe = " + expression + "\nloss = token_mean(logprobs)"));
  if (o.metrics.empty())
    return NAN;
  const Node &node = o.graph[o.metrics[0].value];
  EXPECT_EQ(node.op, Op::Constant) << expression;
  return node.value;
}

// Tests that operators bind as in mathematics.
TEST(Language, Precedence) {
  EXPECT_EQ(number("1 + 2 * 3"), 7);
  EXPECT_EQ(number("10 - 4 - 3"), 3);
  EXPECT_EQ(number("12 / 2 / 3"), 2);
  EXPECT_EQ(number("-2 ^ 2"), -4);
  EXPECT_EQ(number("2 ^ 3 ^ 2"), 512);
  EXPECT_EQ(number("2 ^ -1"), 0.5);
  EXPECT_EQ(number("(1 + 2) * 3"), 9);
  EXPECT_EQ(number("2 * -3"), -6);
  EXPECT_EQ(number("where(not 1 > 2 and 2 < 3 or false, 1, 0)"), 1);
  EXPECT_EQ(number("where(1 < 2 and not (2 < 3), 1, 0)"), 0);
  EXPECT_EQ(number("if 1 + 1 == 2 then 5 else 6"), 5);
  EXPECT_EQ(number("if false then 5 else if true then 6 else 7"), 6);
}

// Tests that functions of numbers are computed while compiling.
TEST(Language, FunctionsOfNumbers) {
  EXPECT_DOUBLE_EQ(number("exp(1)"), std::exp(1));
  EXPECT_DOUBLE_EQ(number("log1p(0.5)"), std::log1p(0.5));
  EXPECT_DOUBLE_EQ(number("log_sigmoid(-800)"), -800);
  EXPECT_DOUBLE_EQ(number("sigmoid(0)"), 0.5);
  EXPECT_EQ(number("clip(5, 0, 1)"), 1);
  EXPECT_EQ(number("clip(-5, 0, 1)"), 0);
  EXPECT_EQ(number("min(3, 1, 2)"), 1);
  EXPECT_EQ(number("max(3, 1, 2)"), 3);
  EXPECT_EQ(number("sign(-3)"), -1);
  EXPECT_EQ(number("sign(0)"), 0);
  EXPECT_EQ(number("abs(-3)"), 3);
  EXPECT_EQ(number("floor(-0.5)"), -1);
  EXPECT_EQ(number("where(is_finite(inf), 1, 2)"), 2);
}

// Tests that reductions give the kind their name says, whatever smaller kind they are given.
TEST(Language, Kinds) {
  EXPECT_EQ(kindOf("token_mean(logprobs)"), Kind::Scalar);
  EXPECT_EQ(kindOf("token_mean(seq_sum(logprobs))"), Kind::Scalar);
  EXPECT_EQ(kindOf("batch_sum(seq_sum(logprobs * rewards))"), Kind::Scalar);
  EXPECT_EQ(kindOf("batch_mean(group_std(rewards))"), Kind::Scalar);
  EXPECT_EQ(kindOf("tokens / rows"), Kind::Scalar);
  Objective o = compiled("advantages t\ninput rewards : sequence\ninput logprobs : token\n"
                         "advantages = rewards * logprobs");
  EXPECT_EQ(o.graph[o.result].kind, Kind::Token);
  o = compiled("advantages t\ninput rewards : sequence\nadvantages = rewards - group_mean(rewards)");
  EXPECT_EQ(o.graph[o.result].kind, Kind::Sequence);
}

// Tests that the order of definitions does not matter, and that functions see their arguments first.
TEST(Language, DefinitionsAreEquations) {
  Objective o = compiled(policy("loss = token_mean(f(a))\na = b + 1\nb = logprobs\ndef f(b) = b * 2"));
  EXPECT_EQ(print(ParameterValue(1.0)), "1");
  EXPECT_THAT(o.warnings, ElementsAre("t.objective:3:7: 'rewards' is not used"));
}

// Tests that line ends mean nothing inside an expression.
TEST(Language, Lines) {
  Objective o =
      compiled("# what it is\nobjective t.x\r\ninput logprobs : token # how likely\nloss =\n  token_mean(\n    "
               "logprobs,\n  )\n  + token_mean(logprobs\n  )\n  - 1 * token_sum(logprobs)\n");
  EXPECT_EQ(o.name, "t.x");
  EXPECT_EQ(o.description, "what it is");
  EXPECT_EQ(o.inputs[0].documentation, "how likely");
}

// Tests that a parameter's branch decides what is computed and which inputs are needed.
TEST(Language, OnlyWhatIsUsedIsRequired) {
  std::string source = policy("input ref : token\nparam kl = \"none\" in [\"none\", \"k1\"]\nparam w = 0.5\n"
                              "loss = token_mean(-logprobs + w * (if kl == \"none\" then 0 else logprobs - ref))");
  EXPECT_THAT(names(compiled(source).requiredInputs()), ElementsAre("logprobs"));
  EXPECT_THAT(names(compiled(source, {{"kl", "k1", ""}}).requiredInputs()), ElementsAre("logprobs", "ref"));
  EXPECT_THAT(names(compiled(source, {{"kl", "k1", ""}, {"w", 0.0, ""}}).requiredInputs()), ElementsAre("logprobs"));
}

// Tests that metrics never make an input required.
TEST(Language, MetricInputs) {
  Objective o = compiled(policy("input entropy : token\nloss = token_mean(logprobs)\n"
                                "metric entropy = token_mean(entropy)\nmetric l = token_mean(logprobs)\n"
                                "metric hidden = token_mean(rewards) when 1 > 2"));
  EXPECT_THAT(names(o.requiredInputs()), ElementsAre("logprobs"));
  EXPECT_THAT(names(o.metricInputs()), ElementsAre("entropy"));
  ASSERT_EQ(o.metrics.size(), 2u);
  EXPECT_FALSE(o.usesGroups());
}

struct CombineCase {
  const char *expression;
  Combine combine;
};
class Combines : public testing::TestWithParam<CombineCase> {};
// Tests how the values of micro-batches become that of the step.
TEST_P(Combines, OfAMetric) {
  Objective o = compiled(policy(std::string("loss = token_mean(logprobs)\nmetric m = ") + GetParam().expression));
  ASSERT_EQ(o.metrics.size(), 1u);
  EXPECT_EQ(o.metrics[0].combine, GetParam().combine) << name(o.metrics[0].combine);
}
INSTANTIATE_TEST_SUITE_P(Metrics, Combines,
                         testing::Values(CombineCase{"token_mean(logprobs)", Combine::Sum},
                                         CombineCase{"token_mean(logprobs) + 2 * batch_mean(rewards)", Combine::Sum},
                                         CombineCase{"-token_max(logprobs)", Combine::Min},
                                         CombineCase{"max(token_max(logprobs), 0)", Combine::Max},
                                         CombineCase{"token_min(logprobs)", Combine::Min},
                                         CombineCase{"tokens / sequences", Combine::Exact},
                                         CombineCase{"token_mean(logprobs) + 1", Combine::Whole},
                                         CombineCase{"token_mean(logprobs) ^ 2", Combine::Whole},
                                         CombineCase{"exp(token_mean(logprobs))", Combine::Whole},
                                         CombineCase{"token_std(logprobs)", Combine::Whole},
                                         CombineCase{"token_mean(logprobs - token_mean(logprobs))", Combine::Whole},
                                         CombineCase{"batch_mean(group_std(rewards))", Combine::Sum}));

// Tests that a loss says whether a step, and whether groups, may be split.
TEST(Language, Splits) {
  EXPECT_TRUE(compiled(policy("loss = token_mean(logprobs)")).splitsGroups());
  Objective groups = compiled(policy("loss = token_mean(logprobs * (rewards - group_mean(rewards)))"));
  EXPECT_TRUE(groups.splits());
  EXPECT_FALSE(groups.splitsGroups());
  EXPECT_TRUE(groups.usesGroups());
  Objective whole = compiled(policy("loss = token_mean(logprobs * (rewards - batch_mean(rewards)))"));
  EXPECT_FALSE(whole.splits());
  EXPECT_THAT(whole.warnings, ElementsAre(testing::HasSubstr("cannot be split into micro-batches")));
}

// Tests that the same text gives the same graph, and that equal parts are computed once.
TEST(Language, EqualPartsAreShared) {
  std::string once = policy("loss = token_mean(exp(logprobs))");
  std::string twice = policy("loss = token_mean(exp(logprobs) + 0 * rewards)\nmetric m = token_mean(exp(logprobs))");
  Objective a = compiled(once), b = compiled(twice);
  EXPECT_EQ(b.result, b.metrics[0].value);
  EXPECT_EQ(a.graph[a.result].op, b.graph[b.result].op);
}

// Tests that infinite bounds cost nothing.
TEST(Language, InfiniteBoundsDisappear) {
  Objective o = compiled(policy("loss = token_mean(clip(min(logprobs, inf), -inf, inf))"));
  Objective plain = compiled(policy("loss = token_mean(logprobs)"));
  auto count = [](const Objective &objective) {
    size_t operations = 0;
    for (bool reached : objective.graph.reachable({objective.result}))
      operations += reached;
    return operations;
  };
  EXPECT_EQ(count(o), count(plain));
}

// Tests that a text that looks odd but is well formed is accepted.
TEST(Language, LegalOddities) {
  compiled("\xEF\xBB\xBFobjective t\ninput x : token\nloss = token_mean(x)"); // byte order mark, no line end
  compiled(policy("source = 1\nuse = 2\ninput = 3\nloss = token_mean(logprobs * source * use * input)"));
  compiled(policy("# \xC3\xA9\xE2\x86\x92 \xF0\x9F\x98\x80\nloss = token_mean(logprobs)"));
  compiled(policy("loss = ((((((((((token_mean(logprobs)))))))))))"));
  compiled(policy("param p = -inf\nparam q = 1e-300 from 0 to inf\nloss = token_mean(max(logprobs, p) * q)"));
  std::string chain = "a0 = logprobs\n";
  for (int i = 1; i < 3000; ++i)
    chain += "a" + std::to_string(i) + " = a" + std::to_string(i - 1) + " + 1\n";
  compiled(policy(chain + "loss = token_mean(a2999)"));
  std::string sum = "logprobs";
  for (int i = 0; i < 150; ++i)
    sum += " + logprobs";
  compiled(policy("loss = token_mean(" + sum + ")"));
}

} // namespace
} // namespace graft::objective
