#include "runtime/io/Rollouts.h"

#include "test/runtime/base/TemporaryDirectory.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

namespace graft {
namespace {

using test::TemporaryDirectory;
using testing::ElementsAre;
using testing::HasSubstr;

/// A line with these fields after the two lists of ids.
std::string line(const std::string &more = "", const std::string &completion = "[3,4]") {
  return R"({"prompt_ids":[1,2],"completion_ids":)" + completion + (more.empty() ? "" : "," + more) + "}";
}
RolloutOptions lenient() {
  RolloutOptions options;
  options.required = {};
  return options;
}

TEST(RolloutLine, ReadsEveryField) {
  auto rollout = parseRollout(
      line(R"("reward":0.5,"group_id":7,"prompt":"p\u0061","completion":"c","truncated":true,"advantage":-1,
    "sampler_logprobs":[-0.1,-2],"old_logprobs":[0,0],"ref_logprobs":[1,1],"values":[2,2],"returns":[3,3],"answer": {"x": [1, "y"]},"n":1e2)"));
  ASSERT_TRUE(rollout.isOk()) << rollout.status().text();
  EXPECT_THAT(rollout->promptIds, ElementsAre(1, 2));
  EXPECT_THAT(rollout->completionIds, ElementsAre(3, 4));
  EXPECT_EQ(rollout->reward, 0.5);
  EXPECT_EQ(rollout->advantage, -1);
  EXPECT_EQ(rollout->group, "7");
  EXPECT_EQ(rollout->prompt, "pa");
  EXPECT_TRUE(rollout->truncated);
  EXPECT_THAT(*rollout->tokens(TokenField::SamplerLogprobs), ElementsAre(-0.1f, -2.0f));
  EXPECT_FALSE(rollout->tokens(TokenField::Advantages));
  EXPECT_THAT(rollout->others, ElementsAre(std::pair<std::string, std::string>{"answer", R"({"x": [1, "y"]})"},
                                           std::pair<std::string, std::string>{"n", "1e2"}));
}

TEST(RolloutLine, AcceptsUnusualButLegalLines) {
  EXPECT_TRUE(parseRollout(line("", "[]"), lenient()).isOk()) << "an empty completion";
  EXPECT_FALSE(parseRollout(line(R"("reward":null)"), lenient())->reward) << "null is absent";
  EXPECT_EQ(parseRollout(line(R"("group_id":"a\u0062")"), lenient())->group, R"("ab")");
  EXPECT_EQ(parseRollout(line(R"("group_id":-3)"), lenient())->group, "-3");
  EXPECT_NE(parseRollout(line(R"("group_id":"1")"), lenient())->group,
            parseRollout(line(R"("group_id":1)"), lenient())->group);
  EXPECT_TRUE(parseRollout(line(R"("values":[1e-999,0])"), lenient()).isOk()) << "underflow";
  EXPECT_TRUE(parseRollout(line(R"("\u0072eward":1,"group_id":0)")).isOk());
}

struct BadLine {
  std::string line;
  Code code;
  std::string text;
};
class BadLines : public testing::TestWithParam<BadLine> {};

TEST_P(BadLines, IsReportedWithItsField) {
  auto rollout = parseRollout(GetParam().line, lenient());
  ASSERT_FALSE(rollout.isOk()) << GetParam().line;
  EXPECT_EQ(rollout.status().faults()[0].code, GetParam().code) << rollout.status().text();
  EXPECT_THAT(rollout.status().text(), HasSubstr(GetParam().text));
}

INSTANTIATE_TEST_SUITE_P(
    Rollouts, BadLines,
    testing::Values(BadLine{"", Code::Format, "an object is expected"},
                    BadLine{"[]", Code::Format, "an object is expected"}, BadLine{"{", Code::Format, "column 2"},
                    BadLine{line() + "x", Code::Format, "something follows"},
                    BadLine{R"({"prompt_ids":[1]})", Code::Graph, "completion_ids: is missing"},
                    BadLine{R"({"completion_ids":[1]})", Code::Graph, "prompt_ids: is missing"},
                    BadLine{R"({"prompt_ids":null,"completion_ids":[1]})", Code::Graph, "prompt_ids: is missing"},
                    BadLine{R"({"prompt_ids":[],"completion_ids":[1]})", Code::Range, "prompt_ids: is empty"},
                    BadLine{line("", "[-1]"), Code::Range, "completion_ids: element 0 is -1"},
                    BadLine{line("", "[1,1.0]"), Code::Type, "element 1 is 1.0"},
                    BadLine{line("", "[\"1\"]"), Code::Type, "element 0 is \"1\""},
                    BadLine{line("", "[null]"), Code::Type, "element 0 is null"},
                    BadLine{line("", "[2147483648]"), Code::Range, "element 0 is 2147483648"},
                    BadLine{line("", "[99999999999999999999]"), Code::Type, "element 0"},
                    BadLine{line("", "5"), Code::Type, "must be a list, found a number"},
                    BadLine{line(R"("reward":"1")"), Code::Type, "reward: must be a number, found a string"},
                    BadLine{line(R"("reward":true)"), Code::Type, "reward"},
                    BadLine{line(R"("reward":1e999)"), Code::Range, "reward: is 1e999"},
                    BadLine{line(R"("reward":NaN)"), Code::Format, "column"},
                    BadLine{line(R"("reward":1,"reward":1)"), Code::Format, "reward: occurs twice"},
                    BadLine{line(R"("x":1,"\u0078":1)"), Code::Format, "x: occurs twice"},
                    BadLine{line(R"("group_id":1.5)"), Code::Type, "group_id: must be an integer or a string"},
                    BadLine{line(R"("group_id":[1])"), Code::Type, "group_id"},
                    BadLine{line(R"("truncated":1)"), Code::Type, "truncated"},
                    BadLine{line(R"("prompt":1)"), Code::Type, "prompt: must be a string"},
                    BadLine{line(R"("old_logprobs":[1])"), Code::Range,
                            "old_logprobs: has 1 numbers, the completion has 2"},
                    BadLine{line(R"("old_logprobs":[1,2,3])"), Code::Range, "has 3 numbers"},
                    BadLine{line(R"("values":[1,1e39])"), Code::Range, "values: element 1 is 1e39"},
                    BadLine{line(R"("values":[1,null])"), Code::Type, "element 1 is null"},
                    BadLine{line(R"("advantages":[1,1],"advantage":1)"), Code::Graph, "only one of them"},
                    BadLine{line("\"x\":" + std::string(100'000, '[')), Code::Limit, "deeper"},
                    BadLine{line("\"x\":\"\xFF\""), Code::Format, "UTF-8"},
                    BadLine{line("\"x\":\"\\ud800\""), Code::Format, "surrogate"}));

TEST(RolloutLine, ReportsAllFaultsOfALine) {
  auto rollout = parseRollout(R"({"prompt_ids":[-1,-2],"completion_ids":["x"],"reward":"y","old_logprobs":[null]})");
  EXPECT_EQ(rollout.status().faults().size(), 5u) << rollout.status().text();
  EXPECT_THAT(rollout.status().text(), HasSubstr("group_id: is missing"));
}

TEST(RolloutLine, ChecksTheVocabularyAndRequiredFields) {
  RolloutOptions options = lenient();
  options.vocabulary = 4;
  EXPECT_THAT(parseRollout(line(), options).status().text(), HasSubstr("a token id from 0 to 3"));
  options = lenient();
  options.required = {"ref_logprobs", "answer"};
  EXPECT_EQ(parseRollout(line(), options).status().faults().size(), 2u);
  EXPECT_TRUE(parseRollout(line(R"("ref_logprobs":[1,2],"answer":0)"), options).isOk());
}

TEST(RolloutLine, EscapesFieldNames) {
  EXPECT_THAT(parseRollout(line(R"("\u001bx":1,"\u001bx":1)"), lenient()).status().text(),
              HasSubstr("\\x1Bx: occurs twice"));
}

TEST(RolloutFiles, ReadsRealRollouts) {
  auto rollouts = readRollouts({std::string(GRAFT_SOURCE_DIR) + "/test/data/rollouts/four.jsonl"});
  ASSERT_TRUE(rollouts.isOk()) << rollouts.status().text();
  ASSERT_EQ(rollouts->size(), 4u);
  for (const Rollout &rollout : *rollouts)
    EXPECT_EQ(rollout.tokens(TokenField::SamplerLogprobs)->size(), rollout.completionIds.size());
  EXPECT_THAT((*rollouts)[3].place, HasSubstr("four.jsonl:4"));
}

TEST(RolloutFiles, TakesSeveralFilesAndGlobsInOrder) {
  TemporaryDirectory folder;
  folder.write("b2", line(R"("reward":3,"group_id":0)"));
  folder.write("b1", "\n" + line(R"("reward":2,"group_id":0)") + "\r\n  \n");
  folder.write("a[1]", line(R"("reward":1,"group_id":0)") + "\n");
  auto rollouts = readRollouts({folder.path("a[1]"), folder.path("b*")});
  ASSERT_TRUE(rollouts.isOk()) << rollouts.status().text();
  ASSERT_EQ(rollouts->size(), 3u);
  for (int i = 0; i < 3; ++i)
    EXPECT_EQ((*rollouts)[static_cast<size_t>(i)].reward, i + 1);
  EXPECT_THAT((*rollouts)[1].place, HasSubstr("b1:2"));
}

TEST(RolloutFiles, RefusesPatternsThatMeanNothing) {
  TemporaryDirectory folder;
  auto code = [](const std::vector<std::string> &patterns) {
    return RolloutStream::open(patterns).status().faults().at(0).code;
  };
  EXPECT_EQ(code({}), Code::Usage);
  EXPECT_EQ(code({folder.path("x*")}), Code::Io);
  EXPECT_EQ(code({folder.path("absent")}), Code::Io);
  EXPECT_EQ(code({folder.path()}), Code::Io) << "a folder";
  EXPECT_EQ(code({"-", "-"}), Code::Usage);
  ASSERT_EQ(::mkfifo(folder.path("fifo").c_str(), 0600), 0);
  EXPECT_EQ(code({folder.path("fifo")}), Code::Io);
}

TEST(RolloutFiles, ReportsAllFaultsOfAllFilesUpToALimit) {
  TemporaryDirectory folder;
  std::string good = line(R"("reward":1,"group_id":0)") + "\n", bad = "{}\n";
  std::string many;
  for (int i = 0; i < 30; ++i)
    many += i % 2 ? good : "nonsense\n";
  folder.write("one", good + bad + good);
  folder.write("two", many);
  RolloutOptions options;
  options.faults = 10;
  auto rollouts = readRollouts({folder.path("one"), folder.path("two")}, options);
  std::string text = rollouts.status().text();
  EXPECT_EQ(rollouts.status().faults().size(), 4u + 10u + 1u) << text;
  EXPECT_THAT(text, HasSubstr("one:2: prompt_ids: is missing"));
  EXPECT_THAT(text, HasSubstr("two:1: column 1"));
  EXPECT_THAT(text, HasSubstr("and 5 more faults"));
  EXPECT_FALSE(checkRollouts({folder.path("two")}).isOk());
}

TEST(RolloutFiles, LimitsTheLengthOfALine) {
  TemporaryDirectory folder;
  std::string good = line() + "\n", long_ = line("\"x\":\"" + std::string(5 << 20, 'x') + "\"") + "\n";
  RolloutOptions options = lenient();
  options.lineBytes = 1000;
  auto rollouts = readRollouts({folder.write("f", good + long_ + good)}, options);
  ASSERT_EQ(rollouts.status().faults().size(), 1u) << rollouts.status().text();
  EXPECT_EQ(rollouts.status().faults()[0].code, Code::Limit);
  EXPECT_THAT(rollouts.status().faults()[0].place, HasSubstr("f:2"));
  options.lineBytes = 16u << 20;
  EXPECT_EQ(readRollouts({folder.path("f")}, options)->size(), 3u);
}

TEST(RolloutFiles, EndsWithAnEmptyFile) {
  TemporaryDirectory folder;
  EXPECT_TRUE(readRollouts({folder.write("f", "")})->empty());
}

TEST(RolloutStream, GivesTheNextOnesAndEndsAfterAFault) {
  TemporaryDirectory folder;
  folder.write("a", line() + "\n" + line() + "\n" + line());
  folder.write("b", line() + "\nx\n" + line());
  auto stream = RolloutStream::open({folder.path("a"), folder.path("b")}, lenient());
  ASSERT_TRUE(stream->skip(1).isOk());
  EXPECT_THAT(stream->next(1)->at(0).place, HasSubstr("a:2"));
  EXPECT_EQ(stream->next(2)->size(), 2u) << "across files";
  EXPECT_FALSE(stream->next(2).isOk());
  EXPECT_TRUE(stream->next(2)->empty());
  EXPECT_EQ(RolloutStream::open({folder.path("a")}, lenient())->skip(4).faults()[0].code, Code::Range);
}

TEST(RolloutStream, ReadsStandardInput) {
  TemporaryDirectory folder;
  folder.write("in", line() + "\n" + line());
  int saved = ::dup(STDIN_FILENO);
  ASSERT_NE(::freopen(folder.path("in").c_str(), "r", stdin), nullptr);
  auto rollouts = readRollouts({"-"}, lenient());
  ::dup2(saved, STDIN_FILENO);
  ::close(saved);
  ASSERT_TRUE(rollouts.isOk()) << rollouts.status().text();
  EXPECT_EQ(rollouts->size(), 2u);
  EXPECT_EQ((*rollouts)[1].place, "standard input:2");
}

} // namespace
} // namespace graft
