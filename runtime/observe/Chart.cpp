#include "runtime/observe/Chart.h"

#include "runtime/observe/NumberText.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <limits>

namespace graft {

namespace {
constexpr double width = 380, height = 190, left = 58, right = 12, top = 10, bottom = 26;
constexpr size_t maxPoints = 500, maxDots = 80;

std::string coordinate(double value) {
  char buffer[32];
  std::snprintf(buffer, sizeof buffer, "%.1f", value);
  return buffer;
}

/// Steps joined into buckets of equal count.
Chart thinned(const Chart &chart) {
  size_t count = chart.steps.size();
  if (count <= maxPoints)
    return chart;
  Chart out{{}, {chart.line.name, {}}, {chart.low.name, {}}, {chart.high.name, {}}};
  bool band = !chart.low.values.empty() && !chart.high.values.empty();
  for (size_t bucket = 0; bucket < maxPoints; ++bucket) {
    size_t begin = bucket * count / maxPoints, end = (bucket + 1) * count / maxPoints;
    double sum = 0, number = 0, low = std::nan(""), high = std::nan("");
    for (size_t i = begin; i < end; ++i) {
      double value = chart.line.values[i];
      if (std::isfinite(value))
        sum += value, number += 1;
      if (band)
        low = std::fmin(low, chart.low.values[i]), high = std::fmax(high, chart.high.values[i]);
    }
    out.steps.push_back(chart.steps[end - 1]);
    out.line.values.push_back(sum / number);
    if (band)
      out.low.values.push_back(low), out.high.values.push_back(high);
  }
  return out;
}

struct Axes {
  double firstStep, lastStep, low, high;
  double x(double step) const {
    double span = lastStep - firstStep;
    return left + (span > 0 ? (step - firstStep) / span : 0.5) * (width - left - right);
  }
  double y(double value) const { return top + (high - value) / (high - low) * (height - top - bottom); }
};

/// Lines and labels of both axes.
std::string grid(const Axes &axes, const std::vector<double> &ticks) {
  std::string svg;
  for (double tick : ticks) {
    std::string y = coordinate(axes.y(tick));
    svg += "<line class=\"grid\" x1=\"" + coordinate(left) + "\" x2=\"" + coordinate(width - right) + "\" y1=\"" + y +
           "\" y2=\"" + y + "\"/>";
    svg += "<text class=\"tick\" text-anchor=\"end\" x=\"" + coordinate(left - 7) + "\" y=\"" +
           coordinate(axes.y(tick) + 3.5) + "\">" + numberText(tick, 3) + "</text>";
  }
  for (double step : axisTicks(axes.firstStep, axes.lastStep, 6))
    if (step == std::round(step) && step >= axes.firstStep && step <= axes.lastStep)
      svg += "<text class=\"tick\" text-anchor=\"middle\" x=\"" + coordinate(axes.x(step)) + "\" y=\"" +
             coordinate(height - 8) + "\">" + numberText(step, 9) + "</text>";
  return svg;
}

/// The band from low to high, over the steps where both are finite.
std::string band(const Chart &chart, const Axes &axes) {
  if (chart.low.values.empty() || chart.high.values.empty())
    return "";
  std::string forth, back;
  for (size_t i = 0; i < chart.steps.size(); ++i) {
    if (!std::isfinite(chart.low.values[i]) || !std::isfinite(chart.high.values[i]))
      continue;
    std::string x = coordinate(axes.x(chart.steps[i]));
    forth += x + "," + coordinate(axes.y(chart.high.values[i])) + " ";
    back = x + "," + coordinate(axes.y(chart.low.values[i])) + " " + back;
  }
  return forth.empty() ? "" : "<polygon class=\"band\" points=\"" + forth + back + "\"/>";
}

std::string line(const Chart &chart, const Axes &axes) {
  std::string path, dots;
  bool pen = false;
  for (size_t i = 0; i < chart.steps.size(); ++i) {
    double value = chart.line.values[i];
    bool finite = std::isfinite(value);
    if (finite) {
      std::string x = coordinate(axes.x(chart.steps[i])), y = coordinate(axes.y(value));
      path += (pen ? "L" : "M") + x + " " + y;
      std::string title = "<title>step " + numberText(chart.steps[i], 9) + ": " + numberText(value, 6) + "</title>";
      if (chart.steps.size() <= maxDots)
        dots += "<g class=\"point\"><circle class=\"hit\" cx=\"" + x + "\" cy=\"" + y +
                "\" r=\"9\"/><circle class=\"dot\" cx=\"" + x + "\" cy=\"" + y + "\" r=\"2.6\"/>" + title + "</g>";
    }
    pen = finite;
  }
  return "<path class=\"line\" d=\"" + path + "\"/>" + dots;
}
} // namespace

std::vector<double> axisTicks(double low, double high, int count) {
  double span = high - low;
  if (!(span > 0) || !std::isfinite(span))
    return {low};
  double rough = span / count, power = std::pow(10, std::floor(std::log10(rough)));
  double step = 10 * power;
  for (double factor : {5.0, 2.5, 2.0, 1.0})
    if (factor * power >= rough)
      step = factor * power;
  std::vector<double> ticks;
  for (double tick = std::floor(low / step); ticks.size() < 20; ++tick) {
    ticks.push_back(tick * step);
    if (tick * step >= high)
      break;
  }
  return ticks;
}

std::string svgChart(const Chart &full) {
  Chart chart = thinned(full);
  double low = std::numeric_limits<double>::infinity(), high = -low;
  for (const Series *series : {&chart.line, &chart.low, &chart.high})
    for (double value : series->values)
      if (std::isfinite(value))
        low = std::min(low, value), high = std::max(high, value);
  std::string open =
      "<svg viewBox=\"0 0 380 190\" role=\"img\" aria-label=\"" + htmlText(chart.line.name) + " per step\">";
  if (!(low <= high))
    return open + "<text class=\"tick\" text-anchor=\"middle\" x=\"190\" y=\"95\">no finite values</text></svg>";
  if (low == high) { // a flat line in the middle
    double margin = low == 0 ? 1 : std::fabs(low) * 0.1;
    low -= margin, high += margin;
  }
  std::vector<double> ticks = axisTicks(low, high, 4);
  Axes axes{chart.steps.front(), chart.steps.back(), std::min(low, ticks.front()), std::max(high, ticks.back())};
  return open + grid(axes, ticks) + band(chart, axes) + line(chart, axes) + "</svg>";
}

} // namespace graft
