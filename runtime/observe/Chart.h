// A line chart as inline SVG, styled by the page's CSS classes, readable without scripts: hover shows values through
// <title>.
#pragma once

#include <string>
#include <vector>

namespace graft {

struct Series {
  std::string name;
  std::vector<double> values; ///< one per step; NaN leaves a gap
};

struct Chart {
  std::vector<double> steps; ///< ascending
  Series line;
  Series low, high; ///< if both have values: a band behind the line
};

/// The <svg> element, 380 x 190 units, scaling with its container. Long runs are thinned to about 500 points: each is
/// the mean of the steps it stands for, and the band the extremes. Fewer than one finite value: a text that says so.
std::string svgChart(const Chart &chart);

/// Round numbers that cover [low, high] in about `count` steps, ascending: the ticks of an axis.
std::vector<double> axisTicks(double low, double high, int count);

} // namespace graft
