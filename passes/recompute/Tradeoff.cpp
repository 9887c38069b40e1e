#include "passes/recompute/Tradeoff.h"

#include <boost/graph/boykov_kolmogorov_max_flow.hpp>
#include <boost/graph/compressed_sparse_row_graph.hpp>

#include <algorithm>
#include <cmath>
#include <map>
#include <numeric>
#include <utility>

namespace graft::recompute {

namespace {

//===-- Minimum cut -----------------------------------------------------------------------------------------------===//

using Graph = boost::compressed_sparse_row_graph<boost::directedS>;
using Edge = Graph::edge_descriptor;

constexpr int64_t unlimited = int64_t(1) << 61;

/// A flow network. Edges lie in arrays, in the order of their sources: a step has tens of thousands of them, and a
/// search for corners solves it many times.
class Network {
public:
  explicit Network(size_t nodes) : source_(nodes), sink_(nodes + 1) {}

  size_t source() const { return source_; }
  size_t sink() const { return sink_; }
  void edge(size_t from, size_t to, int64_t capacity) {
    arcs_.push_back({from, to, arcs_.size() + 1, capacity});
    arcs_.push_back({to, from, arcs_.size() - 1, 0});
  }

  void solve() {
    layOut();
    size_t nodes = boost::num_vertices(graph_);
    std::vector<boost::default_color_type> colors(nodes);
    std::vector<long> distances(nodes);
    std::vector<Edge> predecessors(nodes);
    auto byEdge = boost::get(boost::edge_index, graph_);
    auto byNode = boost::get(boost::vertex_index, graph_);
    auto map = [](auto &values, auto index) { return boost::make_iterator_property_map(values.begin(), index); };
    boost::boykov_kolmogorov_max_flow(graph_, map(capacities_, byEdge), map(residuals_, byEdge), map(backs_, byEdge),
                                      map(predecessors, byNode), map(colors, byNode), map(distances, byNode), byNode,
                                      source_, sink_);
  }
  /// Nodes that the source still reaches: the smallest source side of a minimum cut.
  std::vector<bool> reachedBySource() const {
    return reach(source_, [&](Edge edge) { return residual(edge) > 0; });
  }
  /// Nodes that still reach the sink: the others are the largest source side.
  std::vector<bool> reachingSink() const {
    return reach(sink_, [&](Edge edge) { return residual(backs_[edge.idx]) > 0; });
  }

private:
  struct Arc {
    size_t from, to, back; ///< its reverse is arcs_[back]
    int64_t capacity;
  };

  void layOut() {
    std::vector<size_t> order(arcs_.size()), place(arcs_.size());
    std::iota(order.begin(), order.end(), 0);
    std::ranges::stable_sort(order, {}, [&](size_t arc) { return arcs_[arc].from; });
    std::vector<std::pair<size_t, size_t>> ends;
    for (size_t arc : order) {
      place[arc] = ends.size();
      ends.emplace_back(arcs_[arc].from, arcs_[arc].to);
    }
    graph_ = Graph(boost::edges_are_sorted, ends.begin(), ends.end(), sink_ + 1);
    for (size_t arc : order) {
      capacities_.push_back(arcs_[arc].capacity);
      backs_.push_back(Edge(arcs_[arc].to, place[arcs_[arc].back]));
    }
    residuals_.resize(arcs_.size());
  }

  int64_t residual(Edge edge) const { return residuals_[edge.idx]; }

  template <typename Open> std::vector<bool> reach(size_t start, Open open) const {
    std::vector<bool> reached(boost::num_vertices(graph_));
    std::vector<size_t> stack = {start};
    reached[start] = true;
    while (!stack.empty()) {
      size_t node = stack.back();
      stack.pop_back();
      for (auto [it, end] = boost::out_edges(node, graph_); it != end; ++it)
        if (size_t next = boost::target(*it, graph_); !reached[next] && open(*it)) {
          reached[next] = true;
          stack.push_back(next);
        }
    }
    return reached;
  }

  std::vector<Arc> arcs_; ///< as they were added
  Graph graph_;
  std::vector<int64_t> capacities_, residuals_; ///< by edge
  std::vector<Edge> backs_;
  size_t source_, sink_;
};

int64_t priced(int64_t bytes, double price) {
  return std::llround(static_cast<double>(bytes) * price);
}

//===-- Between two corners ---------------------------------------------------------------------------------------===//

/// Sets of indices that grow together.
class UnionFind {
public:
  explicit UnionFind(size_t size) : parent_(size) { std::iota(parent_.begin(), parent_.end(), 0); }
  int find(int i) {
    while (parent_[i] != i)
      i = parent_[i] = parent_[parent_[i]];
    return i;
  }
  void join(int a, int b) { parent_[std::max(find(a), find(b))] = std::min(find(a), find(b)); }

private:
  std::vector<int> parent_;
};

/// Counts of each size whose sum is as large as possible but at most `most`. Sizes fall. Exact while the search is
/// small, the greedy choice first.
class SubsetSum {
public:
  SubsetSum(std::vector<std::pair<int64_t, int>> sizes, int64_t most) : sizes_(std::move(sizes)), most_(most) {
    left_.resize(sizes_.size() + 1);
    for (size_t i = sizes_.size(); i-- > 0;)
      left_[i] = left_[i + 1] + sizes_[i].first * sizes_[i].second;
    counts_.resize(sizes_.size());
    best_.resize(sizes_.size());
    search(0, 0);
  }
  const std::vector<int> &counts() const { return best_; }

private:
  void search(size_t i, int64_t sum) {
    if (sum > bestSum_) {
      bestSum_ = sum;
      best_ = counts_;
      std::fill(best_.begin() + static_cast<std::ptrdiff_t>(i), best_.end(), 0);
    }
    if (i == sizes_.size() || bestSum_ == most_ || sum + left_[i] <= bestSum_ || ++steps_ > maxSteps)
      return;
    auto [size, count] = sizes_[i];
    for (int64_t take = std::min<int64_t>(count, (most_ - sum) / size); take >= 0; --take) {
      counts_[i] = static_cast<int>(take);
      search(i + 1, sum + take * size);
    }
    counts_[i] = 0;
  }

  static constexpr int maxSteps = 100000;
  std::vector<std::pair<int64_t, int>> sizes_; ///< size, how many there are
  int64_t most_, bestSum_ = -1;
  std::vector<int64_t> left_;
  std::vector<int> counts_, best_;
  int steps_ = 0;
};

} // namespace

//===-- Plans -----------------------------------------------------------------------------------------------------===//

Plan Tradeoff::planOf(std::vector<bool> replayed) const {
  Plan plan;
  plan.kept.resize(problem_.values.size());
  std::vector<bool> read(problem_.values.size());
  for (size_t v = 0; v < read.size(); ++v)
    read[v] = problem_.values[v].needed;
  for (size_t i = problem_.operators.size(); i-- > 0;) {
    const Operator &op = problem_.operators[i];
    auto isRead = [&](int v) { return read[v]; };
    bool view = std::ranges::any_of(op.results, [&](int v) { return problem_.values[v].view; });
    if (view)
      replayed[i] = std::ranges::any_of(op.results, isRead);
    if (replayed[i]) {
      plan.cost += op.cost;
      for (int v : op.inputs)
        read[v] = true;
      continue;
    }
    for (int v : op.results)
      if (read[v]) {
        plan.kept[v] = true;
        plan.bytes += problem_.values[v].bytes;
        plan.cost += problem_.values[v].cost;
      }
  }
  plan.replayed = std::move(replayed);
  return plan;
}

int64_t Tradeoff::objective(const Plan &plan, double price) const {
  int64_t sum = plan.cost;
  for (size_t v = 0; v < plan.kept.size(); ++v)
    if (plan.kept[v])
      sum += priced(problem_.values[v].bytes, price);
  return sum;
}

/// Two nodes are on the source side when they are true: "value v must be there in the backward pass" and "operator i
/// runs again". A value that must be there although its operator does not run again is kept, and paid for; an operator
/// that runs again is paid for and must find its inputs.
Tradeoff::Cut Tradeoff::cut(double price) const {
  size_t values = problem_.values.size();
  Network network(values + problem_.operators.size());
  for (size_t v = 0; v < values; ++v)
    if (problem_.values[v].needed)
      network.edge(network.source(), v, unlimited);
  for (size_t i = 0; i < problem_.operators.size(); ++i) {
    const Operator &op = problem_.operators[i];
    size_t node = values + i;
    network.edge(node, network.sink(), op.replayable ? op.cost : unlimited);
    for (int v : op.results)
      network.edge(v, node,
                   problem_.values[v].view ? unlimited
                                           : problem_.values[v].cost + priced(problem_.values[v].bytes, price));
    for (int v : op.inputs)
      network.edge(node, v, unlimited);
  }
  network.solve();
  std::vector<bool> fromSource = network.reachedBySource(), toSink = network.reachingSink();
  auto first = static_cast<std::ptrdiff_t>(values),
       last = first + static_cast<std::ptrdiff_t>(problem_.operators.size());
  std::vector<bool> fewest(fromSource.begin() + first, fromSource.begin() + last);
  std::vector<bool> most(toSink.begin() + first, toSink.begin() + last);
  most.flip();
  Cut cut{planOf(std::move(fewest)), planOf(std::move(most)), 0};
  cut.objective = objective(cut.least, price);
  return cut;
}

/// Appends the corners after `from`, up to and with `to` (Eisner and Severance 1976: the lower envelope of lines by
/// asking at their intersections).
void Tradeoff::findCorners(const Plan &from, const Plan &to) const {
  if (to.bytes >= from.bytes)
    return;
  double price = static_cast<double>(to.cost - from.cost) / static_cast<double>(from.bytes - to.bytes);
  Cut between = cut(price);
  if (between.objective < std::min(objective(from, price), objective(to, price))) {
    findCorners(from, between.least);
    findCorners(Plan(corners_.back()), to);
    return;
  }
  corners_.push_back(to);
}

Tradeoff::Tradeoff(Problem problem) : problem_(std::move(problem)) {
  Cut fastest = cut(0);
  corners_.push_back(fastest.least.bytes <= fastest.most.bytes ? fastest.least : fastest.most);
}

const std::vector<Plan> &Tradeoff::corners() const {
  if (std::exchange(all_, true))
    return corners_;
  int64_t all = 1;
  for (const Value &value : problem_.values)
    all += value.view ? 0 : value.bytes;
  // So dear that a byte is worth any computation, but not so dear that sums overflow.
  constexpr double sums = static_cast<double>(int64_t(1) << 59);
  findCorners(Plan(corners_.front()), cut(sums / static_cast<double>(all)).least);
  return corners_;
}

Plan Tradeoff::within(int64_t bytes) const {
  const std::vector<Plan> &all = corners();
  auto fits = std::ranges::find_if(all, [&](const Plan &plan) { return plan.bytes <= bytes; });
  if (fits == all.end() || fits == all.begin() || fits->bytes == bytes)
    return fits == all.end() ? all.back() : *fits;
  const Plan &small = *fits, &large = *std::prev(fits);

  // Operators on which the two differ, joined where neither can change without the other: a value that only they ask
  // for.
  size_t operators = problem_.operators.size();
  auto differs = [&](int i) { return small.replayed[i] != large.replayed[i]; };
  std::vector<int> producer(problem_.values.size(), -1);
  std::vector<std::vector<int>> readers(problem_.values.size());
  for (size_t i = 0; i < operators; ++i) {
    for (int v : problem_.operators[i].results)
      producer[v] = static_cast<int>(i);
    for (int v : problem_.operators[i].inputs)
      readers[v].push_back(static_cast<int>(i));
  }
  UnionFind parts(operators);
  for (size_t v = 0; v < producer.size(); ++v) {
    auto always = [&](int reader) { return small.replayed[reader] && large.replayed[reader]; };
    if (problem_.values[v].needed || std::ranges::any_of(readers[v], always))
      continue;
    int last = producer[v] >= 0 && differs(producer[v]) ? producer[v] : -1;
    for (int reader : readers[v])
      if (differs(reader)) {
        if (last >= 0)
          parts.join(last, reader);
        last = reader;
      }
  }
  // What each part saves when it changes from the small plan to the large one, by size, the last in the program first.
  std::map<int, std::vector<int>> members;
  for (size_t i = 0; i < operators; ++i)
    if (differs(static_cast<int>(i)))
      members[parts.find(static_cast<int>(i))].push_back(static_cast<int>(i));
  auto change = [&](std::vector<bool> replayed, const std::vector<int> &part) {
    for (int i : part)
      replayed[i] = large.replayed[i];
    return replayed;
  };
  std::map<int64_t, std::vector<const std::vector<int> *>, std::greater<>> bySize;
  for (auto it = members.rbegin(); it != members.rend(); ++it)
    if (int64_t size = planOf(change(small.replayed, it->second)).bytes - small.bytes; size > 0)
      bySize[size].push_back(&it->second);
  std::vector<std::pair<int64_t, int>> sizes;
  for (const auto &[size, some] : bySize)
    sizes.push_back({size, static_cast<int>(some.size())});
  SubsetSum chosen(sizes, bytes - small.bytes);
  std::vector<bool> replayed = small.replayed;
  size_t kind = 0;
  for (const auto &[size, some] : bySize) {
    for (int n = 0; n < chosen.counts()[kind]; ++n)
      replayed = change(std::move(replayed), *some[n]);
    ++kind;
  }
  Plan plan = planOf(std::move(replayed));
  return plan.bytes <= bytes ? plan : small;
}

} // namespace graft::recompute
