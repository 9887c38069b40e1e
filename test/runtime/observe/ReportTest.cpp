#include "runtime/observe/Report.h"

#include "runtime/observe/Chart.h"
#include "runtime/observe/NumberText.h"
#include "test/runtime/base/TemporaryDirectory.h"

#include <cmath>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace graft {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::Not;

ReportInput sample() {
  ReportInput input;
  input.title = "A <b>run</b>";
  input.facts = {{"Model", "x & y"}};
  for (int step = 1; step <= 8; ++step)
    input.metrics.push_back({{"step", step},
                             {"loss", 1.0 / step},
                             {"mean_ratio", 1},
                             {"min_ratio", 0.9},
                             {"max_ratio", 1.2},
                             {"tokens", 400},
                             {"seconds", 6.5},
                             {"my_metric", step == 3 ? std::nan("") : 2.0 * step},
                             {"memory", 2147483648.0}});
  input.memory = {{"small", 1024}, {"parameters", 538e6}, {"nothing", 0}};
  input.time = {{"forward", 2}, {"backward", 4}};
  input.positive = EffectGroup{60, -0.5, -0.4};
  input.negative = EffectGroup{54, -0.6, -0.9};
  input.notes = {"a note"};
  return input;
}

/// Checks that tags are balanced: every one that opens closes in order.
void expectWellFormed(const std::string &html) {
  std::vector<std::string> open;
  for (size_t at = html.find('<'); at != std::string::npos; at = html.find('<', at + 1)) {
    size_t end = html.find('>', at);
    ASSERT_NE(end, std::string::npos);
    std::string inside = html.substr(at + 1, end - at - 1), name = inside.substr(0, inside.find_first_of(" \n"));
    if (name[0] == '!' || name == "meta" || inside.back() == '/')
      continue;
    if (name[0] != '/') {
      open.push_back(name);
      continue;
    }
    ASSERT_FALSE(open.empty()) << inside;
    ASSERT_EQ("/" + open.back(), name) << html.substr(at, 80);
    open.pop_back();
  }
  EXPECT_TRUE(open.empty());
}

TEST(Report, IsOnePageThatNeedsNothingElse) {
  std::string html = renderReport(sample());
  expectWellFormed(html);
  for (const char *outside : {"http:", "https:", "<script", "<link", "@import", "url(", "src="})
    EXPECT_THAT(html, Not(HasSubstr(outside)));
  EXPECT_THAT(html, HasSubstr("prefers-color-scheme:dark"));
}

TEST(Report, ShowsEverythingItWasGiven) {
  std::string html = renderReport(sample());
  for (const char *text :
       {"x &amp; y", "Probability ratio", "class=\"band\"", "my_metric", "What the training did", "+0.1 ", "-0.3 ",
        "60 completions", "parameters", "513 MiB", "backward", "a note", "2 GiB", "3,200", "step 8: 0.125"})
    EXPECT_THAT(html, HasSubstr(text));
  EXPECT_THAT(html, Not(HasSubstr("nothing"))) << "empty categories are left out";
  EXPECT_LT(html.find("parameters</td>"), html.find("small</td>")) << "largest first";
}

TEST(Report, EscapesWhatComesFromFiles) {
  ReportInput input = sample();
  input.metrics[0].push_back({"<img onerror=1>\x1b", 1});
  std::string html = renderReport(input);
  EXPECT_THAT(html, HasSubstr("A &lt;b&gt;run&lt;/b&gt;"));
  EXPECT_THAT(html, Not(HasSubstr("<img")));
  EXPECT_THAT(html, HasSubstr("\\x1B"));
  expectWellFormed(html);
}

TEST(Report, CanBeMadeOfAlmostNothing) {
  expectWellFormed(renderReport({}));
  ReportInput one;
  one.metrics = {{{"loss", std::nan("")}}};
  one.positive = EffectGroup{1, std::nan(""), 0};
  std::string html = renderReport(one);
  expectWellFormed(html);
  EXPECT_THAT(html, HasSubstr("no finite values"));
  EXPECT_THAT(html, Not(HasSubstr("nan")));
}

TEST(Report, StaysSmallForLongRuns) {
  ReportInput input;
  for (int step = 1; step <= 100'000; ++step)
    input.metrics.push_back(
        {{"step", step}, {"loss", std::sin(step * 0.001)}, {"mean_ratio", 1}, {"min_ratio", 0.5}, {"max_ratio", 2}});
  std::string html = renderReport(input);
  EXPECT_LT(html.size(), 1u << 20);
  EXPECT_THAT(html, HasSubstr("Every 50th step"));
  EXPECT_THAT(html, HasSubstr("<td>100,000</td>")) << "the last step is always there";
}

TEST(Report, IsWrittenAtomically) {
  test::TemporaryDirectory folder;
  ASSERT_TRUE(writeReport(folder.path("report.html"), sample()).isOk());
  EXPECT_EQ(folder.read("report.html"), renderReport(sample()));
  EXPECT_EQ(folder.entries(), 1u);
}

TEST(Chart, CoversTheRangeWithRoundTicks) {
  EXPECT_THAT(axisTicks(0, 1, 4), ElementsAre(0, 0.25, 0.5, 0.75, 1));
  EXPECT_THAT(axisTicks(1, 8, 6), ElementsAre(0, 2, 4, 6, 8));
  EXPECT_THAT(axisTicks(5, 5, 4), ElementsAre(5));
  for (double scale : {1e-12, 1e-3, 1.0, 1e9}) {
    auto ticks = axisTicks(-0.37 * scale, 2.2 * scale, 4);
    EXPECT_LE(ticks.front(), -0.37 * scale);
    EXPECT_GE(ticks.back(), 2.2 * scale * (1 - 1e-9));
    EXPECT_LE(ticks.size(), 8u);
  }
}

TEST(Chart, DrawsFlatLinesAndSinglePoints) {
  EXPECT_THAT(svgChart({{1}, {"x", {0}}, {}, {}}), HasSubstr("class=\"dot\""));
  EXPECT_THAT(svgChart({{1, 2}, {"x", {3, 3}}, {}, {}}), HasSubstr("M58.0"));
  std::string gap = svgChart({{1, 2, 3}, {"x", {1, std::nan(""), 2}}, {}, {}});
  EXPECT_THAT(gap, Not(HasSubstr("nan")));
  EXPECT_EQ(gap.find('L', gap.find("class=\"line\"")), std::string::npos) << "no line across the gap";
}

TEST(NumberText, ReadsAsPeopleWrite) {
  EXPECT_EQ(numberText(0), "0");
  EXPECT_EQ(numberText(-0.0123456), "-0.01235");
  EXPECT_EQ(numberText(1234567, 9), "1,234,567");
  EXPECT_EQ(numberText(-1234.5, 6), "-1,234.5");
  EXPECT_EQ(numberText(100), "100");
  EXPECT_EQ(numberText(1e-6), "1e-06");
  EXPECT_EQ(numberText(std::nan("")), "-");
  EXPECT_EQ(bytesText(512), "512 B");
  EXPECT_EQ(bytesText(1.5 * 1024 * 1024), "1.5 MiB");
  EXPECT_EQ(secondsText(0.0123), "12.3 ms");
  EXPECT_EQ(secondsText(6.91), "6.91 s");
  EXPECT_EQ(secondsText(200), "3 min 20 s");
  EXPECT_EQ(secondsText(7500), "2 h 05 min");
  EXPECT_EQ(htmlText("<a href='x'>&\"\n"), "&lt;a href=&#39;x&#39;&gt;&amp;&quot;\\x0A");
}

} // namespace
} // namespace graft
