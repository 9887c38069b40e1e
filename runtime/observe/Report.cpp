#include "runtime/observe/Report.h"

#include "runtime/base/AtomicFile.h"
#include "runtime/observe/Chart.h"
#include "runtime/observe/NumberText.h"
#include "runtime/observe/ReportStyle.h"

#include <algorithm>
#include <array>
#include <cmath>

namespace graft {

namespace {
struct ChartKind {
  std::string_view metric, title, about, low, high;
};
// What gets a curve, in this order, with what a reader should know about it. Other metrics follow under their own
// names.
constexpr std::array<ChartKind, 12> chartKinds = {
    {{"loss", "Loss",
      "The objective of the step's batch. With a policy gradient it does not fall steadily: its gradient is what "
      "counts.",
      "", ""},
     {"mean_logprob", "Mean log-prob", "Of the step's completion tokens, before the update.", "", ""},
     {"grad_norm", "Gradient norm", "L2 norm over all trained parameters, before clipping.", "", ""},
     {"entropy", "Entropy",
      "Of the next-token distribution, in nats. A fall to zero means that the policy has stopped exploring.", "", ""},
     {"approx_kl", "KL from the old policy", "Mean of e^-d + d - 1 with d = log-prob minus old log-prob.", "", ""},
     {"mean_ratio", "Probability ratio",
      "New over old probability per token: mean, and the range from the smallest to the largest.", "min_ratio",
      "max_ratio"},
     {"clip_fraction", "Clip fraction", "Share of tokens whose gradient the clip removed.", "", ""},
     {"reward", "Reward", "Mean over the step's completions.", "", ""},
     {"lr", "Learning rate", "", "", ""},
     {"tokens", "Tokens", "In the step's loss.", "", ""},
     {"tokens_per_second", "Speed", "Tokens of the loss per second.", "", ""},
     {"seconds", "Time per step", "In seconds.", "", ""}}};

double valueOf(const MetricsRow &row, std::string_view name) {
  auto found = std::ranges::find(row, name, &std::pair<std::string, double>::first);
  return found == row.end() ? std::nan("") : found->second;
}

Series column(const std::vector<MetricsRow> &rows, std::string_view name) {
  Series series{std::string(name), {}};
  for (const MetricsRow &row : rows)
    series.values.push_back(valueOf(row, name));
  return series;
}

/// All names in order of first appearance.
std::vector<std::string> namesOf(const std::vector<MetricsRow> &rows) {
  std::vector<std::string> names;
  for (const MetricsRow &row : rows)
    for (const auto &[name, value] : row)
      if (std::ranges::find(names, name) == names.end())
        names.push_back(name);
  return names;
}

std::string tag(const std::string &name, const std::string &content, const std::string &attributes = "") {
  return "<" + name + (attributes.empty() ? "" : " " + attributes) + ">" + content + "</" + name + ">";
}

std::string factList(const std::vector<std::pair<std::string, std::string>> &facts) {
  std::string items;
  for (const auto &[name, value] : facts)
    items += tag("div", tag("dt", htmlText(name)) + tag("dd", htmlText(value)));
  return facts.empty() ? "" : tag("dl", items, "class=\"facts\"");
}

std::string tile(const std::string &value, const std::string &name) {
  return tag("div", tag("b", value) + tag("span", name), "class=\"tile\"");
}

/// The run in a few numbers.
std::string tiles(const ReportInput &input) {
  const std::vector<MetricsRow> &rows = input.metrics;
  if (rows.empty())
    return "";
  double tokens = 0, seconds = 0, memory = 0;
  for (const MetricsRow &row : rows) {
    auto add = [&](double &sum, double value) { sum += std::isfinite(value) ? value : 0; };
    add(tokens, valueOf(row, "tokens"));
    add(seconds, valueOf(row, "seconds"));
    memory = std::fmax(memory, valueOf(row, "memory"));
  }
  std::string html = tile(numberText(static_cast<double>(rows.size()), 9), rows.size() == 1 ? "step" : "steps");
  if (tokens > 0)
    html += tile(numberText(tokens, 9), "tokens in the loss");
  if (seconds > 0)
    html += tile(secondsText(seconds), "in steps") +
            tile(secondsText(seconds / static_cast<double>(rows.size())), "per step");
  if (seconds > 0 && tokens > 0)
    html += tile(numberText(tokens / seconds, 3), "tokens per second");
  if (memory > 0)
    html += tile(bytesText(memory), "peak memory");
  return tag("div", html, "class=\"tiles\"");
}

/// Two dots and a line between them: before (hollow) and after (full), on the axis from `low` to `high`.
std::string dumbbell(const EffectGroup &group, double low, double high) {
  auto x = [&](double value) { return std::to_string(std::lround(30 + (value - low) / (high - low) * 340)); };
  std::string svg = "<svg viewBox=\"0 0 400 58\" role=\"img\" aria-label=\"before and after\">";
  svg += "<line class=\"grid\" x1=\"20\" x2=\"380\" y1=\"30\" y2=\"30\"/><line class=\"move\" x1=\"" + x(group.before) +
         "\" x2=\"" + x(group.after) + "\" y1=\"30\" y2=\"30\"/>";
  svg += "<circle class=\"before\" cx=\"" + x(group.before) + "\" cy=\"30\" r=\"5\"/><circle class=\"after\" cx=\"" +
         x(group.after) + "\" cy=\"30\" r=\"6\"/>";
  svg += "<text class=\"label\" text-anchor=\"middle\" x=\"" + x(group.before) + "\" y=\"52\">" +
         numberText(group.before) + " before</text>";
  svg += "<text class=\"label\" text-anchor=\"middle\" x=\"" + x(group.after) + "\" y=\"15\">" +
         numberText(group.after) + " after</text>";
  return svg + "</svg>";
}

std::string effectCard(const EffectGroup &group, bool positive, double low, double high) {
  double change = group.after - group.before;
  bool wanted = positive ? change > 0 : change < 0;
  std::string html = tag("h3", positive ? "Better than their group (advantage above 0)"
                                        : "Worse than their group (advantage below 0)");
  html += tag("p",
              numberText(static_cast<double>(group.completions), 9) +
                  (group.completions == 1 ? " completion" : " completions") + "; their log-prob should " +
                  (positive ? "rise" : "fall") + ".",
              "class=\"about\"");
  html += tag("div",
              (change > 0 ? "+" : "") + numberText(change) +
                  " <span class=\"soft\" style=\"font-size:14px;font-weight:400\">nats per token, × " +
                  numberText(std::exp(change), 3) + " in probability</span>",
              std::string("class=\"change ") + (wanted ? "up" : "down") + "\"");
  if (std::isfinite(low) && std::isfinite(high))
    html += tag("div", dumbbell(group, low, high), wanted ? "class=\"up\"" : "class=\"down\"");
  return tag("div", html, "class=\"card\"");
}

/// What the training did to the log-probs of completions, by the sign of their advantage.
std::string effect(const ReportInput &input) {
  if (!input.positive && !input.negative)
    return "";
  double low = std::nan(""), high = std::nan("");
  bool finite = true;
  for (const auto &group : {input.positive, input.negative})
    if (group) {
      finite = finite && std::isfinite(group->before) && std::isfinite(group->after);
      low = std::fmin(low, std::fmin(group->before, group->after));
      high = std::fmax(high, std::fmax(group->before, group->after));
    }
  double margin = std::max(0.15 * (high - low), 1e-6);
  low = finite ? low - margin : std::nan("");
  high = finite ? high + margin : std::nan("");
  std::string cards;
  if (input.positive)
    cards += effectCard(*input.positive, true, low, high);
  if (input.negative)
    cards += effectCard(*input.negative, false, low, high);
  return tag("h2", "What the training did") +
         tag("p", "Mean log-prob per token of the rollouts' completions, before the first step and after the last.",
             "class=\"soft\"") +
         tag("div", cards, "class=\"effect\"");
}

std::string chartCard(const ReportInput &input, const std::vector<double> &steps, const ChartKind &kind) {
  Chart chart{steps, column(input.metrics, kind.metric), {}, {}};
  if (!kind.low.empty()) {
    chart.low = column(input.metrics, kind.low);
    chart.high = column(input.metrics, kind.high);
  }
  std::string html = tag("header", tag("h3", htmlText(kind.title)) + tag("span", numberText(chart.line.values.back()),
                                                                         "class=\"now\" title=\"last step\""));
  html += tag("p", std::string(kind.about), "class=\"about\"") + svgChart(chart);
  return tag("section", html, "class=\"card\"");
}

std::string charts(const ReportInput &input) {
  if (input.metrics.empty())
    return tag("h2", "Curves") + tag("p", "This run has not finished a step yet.", "class=\"soft\"");
  std::vector<double> steps;
  for (size_t i = 0; i < input.metrics.size(); ++i) {
    double step = valueOf(input.metrics[i], "step");
    steps.push_back(std::isfinite(step) ? step : static_cast<double>(i + 1));
  }
  std::vector<std::string> names = namesOf(input.metrics);
  std::string cards;
  auto take = [&](std::string_view name) { return std::erase(names, name) > 0; };
  take("step");
  take("memory");
  for (const ChartKind &kind : chartKinds) {
    bool present = take(kind.metric);
    if (present && !kind.low.empty())
      take(kind.low), take(kind.high);
    if (present)
      cards += chartCard(input, steps, kind);
  }
  for (const std::string &name : names)
    cards += chartCard(input, steps, {name, name, "", "", ""});
  return tag("h2", "Curves") + tag("div", cards, "class=\"charts\"");
}

/// A stacked bar and its table, largest share first.
std::string breakdown(const std::string &title, std::vector<std::pair<std::string, double>> shares,
                      std::string (*text)(double)) {
  std::erase_if(shares, [](const auto &share) { return !(share.second > 0) || !std::isfinite(share.second); });
  if (shares.empty())
    return "";
  std::ranges::sort(shares, [](const auto &a, const auto &b) {
    return std::pair(-a.second, a.first) < std::pair(-b.second, b.first);
  });
  double total = 0;
  for (const auto &share : shares)
    total += share.second;
  std::string bar, rows;
  for (size_t i = 0; i < shares.size(); ++i) {
    std::string colour = "background:var(--s" + std::to_string(i % 8) + ")",
                percent = numberText(100 * shares[i].second / total, 3) + " %";
    std::string name = htmlText(shares[i].first), amount = text(shares[i].second);
    bar += "<i style=\"" + colour + ";flex:" + numberText(shares[i].second / total, 5) + "\" title=\"" + name + ": " +
           amount + "\"></i>";
    rows += tag("tr", tag("td", "<span class=\"key\" style=\"" + colour + "\"></span>" + name) + tag("td", amount) +
                          tag("td", percent, "class=\"soft\""));
  }
  std::string table =
      tag("tbody", rows) + tag("tfoot", tag("tr", tag("td", "Total") + tag("td", text(total)) + tag("td", "")));
  return tag("section",
             tag("h3", title) + tag("div", bar, "class=\"bar\" role=\"img\" aria-label=\"" + title + "\"") +
                 tag("table", table),
             "class=\"card\"");
}

std::string valuesTable(const ReportInput &input) {
  if (input.metrics.empty())
    return "";
  constexpr size_t maxRows = 2000;
  std::vector<std::string> names = namesOf(input.metrics);
  if (auto step = std::ranges::find(names, "step"); step != names.end())
    std::rotate(names.begin(), step, step + 1);
  std::string head, body;
  for (const std::string &name : names)
    head += tag("th", htmlText(name));
  size_t count = input.metrics.size(), every = (count + maxRows - 1) / maxRows;
  for (size_t i = 0; i < count; ++i) {
    if (i % every != 0 && i + 1 != count)
      continue;
    std::string cells;
    for (const std::string &name : names)
      cells += tag("td", name == "memory" ? bytesText(valueOf(input.metrics[i], name))
                                          : numberText(valueOf(input.metrics[i], name),
                                                       name == "step" || name == "tokens" ? 12 : 6));
    body += tag("tr", cells) + "\n";
  }
  std::string note =
      every > 1 ? tag("p", "Every " + std::to_string(every) + "th step; metrics.jsonl has all.", "class=\"soft\"") : "";
  return tag("h2", "Values") + note +
         tag("div", tag("table", tag("thead", tag("tr", head)) + tag("tbody", body)), "class=\"card scroll\"");
}

std::string noteList(const std::vector<std::string> &notes) {
  std::string items;
  for (const std::string &note : notes)
    items += tag("li", htmlText(note));
  return notes.empty() ? "" : tag("h2", "Notes") + tag("ul", items);
}
} // namespace

std::string renderReport(const ReportInput &input) {
  std::string shares = breakdown("Memory", input.memory, bytesText) + breakdown("Time", input.time, secondsText);
  std::string body =
      tag("h1", htmlText(input.title)) + factList(input.facts) + tiles(input) + effect(input) + charts(input);
  if (!shares.empty())
    body += tag("h2", "Where memory and time go") + tag("div", shares, "class=\"two\"");
  body += valuesTable(input) + noteList(input.notes) +
          tag("footer", "Written by Graft from metrics.jsonl. This page needs no network.");
  return "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" "
         "content=\"width=device-width,initial-scale=1\">" +
         tag("title", htmlText(input.title)) + tag("style", reportStyle) + "</head>\n" +
         tag("body", tag("main", body)) + "</html>\n";
}

Status writeReport(const std::string &path, const ReportInput &input) {
  return writeFileAtomically(path, renderReport(input));
}

} // namespace graft
