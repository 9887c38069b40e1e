// What the backward pass keeps and what it computes again: the trade of bytes for time, on a graph without IR.
//
//   Tradeoff tradeoff(problem);
//   tradeoff.corners();      // from the fastest plan to the smallest, each the fastest for its bytes
//   tradeoff.within(bytes);  // the fastest plan known that keeps at most so many
//
// The choice is a minimum cut. With a price on every kept byte, one cut gives the plan that is best for that price,
// chains of operators whose inputs are not kept either included; the prices at which the plan changes are few and are
// all found. Between two such corners lie parts that are equally good per byte (the same product of thirty layers): of
// these, as many are kept as fit.
#pragma once

#include <cstdint>
#include <vector>

namespace graft::recompute {

/// An operator of the forward pass. Indices are into Problem::values.
struct Operator {
  std::vector<int> inputs, results;
  int64_t cost = 0;       ///< of running it again; picoseconds on the target, or any unit
  bool replayable = true; ///< false: never run again (discrete choices, collectives)
};

/// A value of the forward pass. What is there anyway, parameters, inputs of the program and constants, is not a value
/// of the problem.
struct Value {
  int64_t bytes = 0;   ///< of keeping it from the forward pass to its last use
  int64_t cost = 0;    ///< of keeping it: writing it, where it would not be written anyway, and reading it
  bool view = false;   ///< moves no data: it is never kept, its operator always runs again, for nothing
  bool needed = false; ///< read by an operator of the backward pass
};

struct Problem {
  std::vector<Value> values;
  std::vector<Operator> operators; ///< in an order in which they can run
};

struct Plan {
  std::vector<bool> replayed; ///< one per operator
  std::vector<bool> kept;     ///< one per value
  int64_t bytes = 0;          ///< of what is kept
  int64_t cost = 0;           ///< of what is kept and of what is computed again

  bool operator==(const Plan &) const = default;
};

/// Requires costs that sum up to less than 2^50 and a positive cost of every replayable operator that is no view.
class Tradeoff {
public:
  explicit Tradeoff(Problem problem);

  const Problem &problem() const { return problem_; }
  /// The first corner: what costs least, with the fewest bytes.
  const Plan &fastest() const { return corners_.front(); }
  /// All, the fastest first. Bytes fall strictly, costs rise strictly. Found on first use.
  const std::vector<Plan> &corners() const;
  /// The last corner where nothing keeps so little. Of equal parts, those that run last in the forward pass are kept:
  /// the backward pass needs them first, when most is alive.
  Plan within(int64_t bytes) const;

  /// The plan that runs exactly these operators again (and views).
  Plan planOf(std::vector<bool> replayed) const;

private:
  struct Cut {
    Plan least, most; ///< of all best plans for a price: the one that replays fewest, and the one that replays most
    int64_t objective;
  };
  Cut cut(double price) const;
  int64_t objective(const Plan &plan, double price) const;
  void findCorners(const Plan &from, const Plan &to) const;

  Problem problem_;
  mutable std::vector<Plan> corners_;
  mutable bool all_ = false; ///< are they all found?
};

} // namespace graft::recompute
