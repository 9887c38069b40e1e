// Between the two sources of batches and their canonical form: arrays as numbers of one width, and the rules on them.
#pragma once

#include "runtime/io/Batch.h"

namespace graft::batch {

enum class Role {
  Token,           ///< [B, S] or, if `shifts`, [B, S-1]
  TokenOrSequence, ///< the same or [B], which is broadcast
  Sequence,        ///< [B]
  Free             ///< unknown to the contract: any shape; [B, S-1] is shifted in
};

/// What the contract says about an array.
struct Contract {
  std::string_view name;
  Role role;
  bool integral;
  bool shifts;
};
/// The line of the contract for this name; role Free for others.
Contract contractOf(std::string_view name);

/// An array whose numbers have not been checked. Exactly one of the two vectors is in use.
struct RawArray {
  std::string name;
  std::vector<int64_t> shape;
  bool integral = false;
  std::vector<int64_t> integers;
  std::vector<double> reals;
};

struct RawBatch {
  int64_t sequences = 0, tokens = 0;
  std::map<std::string, RawArray> arrays;
};

/// Collects faults up to a limit and counts the rest.
class Faults {
public:
  explicit Faults(size_t limit) : limit_(limit) {}
  void add(Code code, std::string message, std::string place = "", std::string hint = "");
  bool none() const { return count_ == 0; }
  /// All faults; call once.
  Status take();

private:
  size_t limit_, count_ = 0;
  Status status_;
};

/// True for the arrays that every batch may have: ids, masks, positions.
bool isAlwaysUsed(std::string_view name);
/// True for those, and if the options use this name.
bool isUsed(const BatchOptions &options, std::string_view name);

/// Adds defaults, checks every value, and brings the arrays into canonical form.
Result<LoadedBatch> finish(RawBatch batch, const BatchOptions &options, Faults faults, std::vector<std::string> notes);

} // namespace graft::batch
