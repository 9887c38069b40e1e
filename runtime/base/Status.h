// Status and Result: how everything outside of MLIR passes reports what went wrong.
//
// A Status is a list of faults, because a broken input is reported with *all* its faults at once. Each fault has a
// class (which decides the process's exit code), a place ("model.onnx: node 'MatMul_3': attribute 'axis'"), what was
// found and expected, and what to do. An empty list is success. Status owns its strings and is cheap to move.
#pragma once

#include <cassert>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace graft {

/// The class of a fault. The comment says when to use it; exitCode() maps it to the process's exit code.
enum class Code {
  Usage,       ///< wrong flags, wrong recipe, wrong objective text: exit 2
  Format,      ///< bytes are not what the format allows: exit 3
  Limit,       ///< legal, but larger or deeper than Graft accepts: exit 3
  Range,       ///< a size, index or offset outside of what it refers to: exit 3
  Path,        ///< a path that leaves the directory it may use: exit 3
  Type,        ///< wrong dtype or wrong kind of value: exit 3
  Graph,       ///< names or edges that do not fit together: exit 3
  Unsupported, ///< legal, but Graft cannot do it (yet): exit 3
  Verify,      ///< a checksum or a semantic check did not hold: exit 3
  Io,          ///< the operating system said no while reading an input: exit 3
  DoesNotFit,  ///< the memory plan exceeds its budget: exit 4
  Failed,      ///< a run failed: device, disk, non-finite numbers: exit 5
  Interrupted, ///< stopped, can be resumed: exit 6
  Internal,    ///< a defect of Graft itself: exit 70
};

/// "format", "limit", ...: as printed in front of messages and in `--json`.
std::string_view name(Code code);
int exitCode(Code code);

struct Fault {
  Code code = Code::Internal;
  std::string place;   ///< file and place in it, outermost first; may be empty
  std::string message; ///< what was found and what was expected, one sentence without a full stop
  std::string hint;    ///< what to do; may be empty
};

class [[nodiscard]] Status {
public:
  Status() = default;
  static Status ok() { return {}; }
  static Status error(Code code, std::string message, std::string place = "", std::string hint = "") {
    Status status;
    status.faults_.push_back({code, std::move(place), std::move(message), std::move(hint)});
    return status;
  }

  bool isOk() const { return faults_.empty(); }
  const std::vector<Fault> &faults() const { return faults_; }

  /// Adds the other's faults to this one's.
  void merge(Status other);
  /// Puts `place` in front of every fault's place ("place: old place"); used while an error travels outward.
  Status at(std::string_view place) &&;
  /// One line per fault: "error[range]: place: message" and, indented, the hint. Control characters are escaped.
  std::string text() const;
  /// Exit code of the first fault; 0 when there is none.
  int exitCode() const;

private:
  std::vector<Fault> faults_;
};

/// A value or the faults that prevented it.
template <typename T> class [[nodiscard]] Result {
public:
  Result(T value) : value_(std::move(value)) {}
  Result(Status status) : status_(std::move(status)) {
    assert(!status_.isOk() && "a Result without value needs a fault");
  }

  bool isOk() const { return value_.has_value(); }
  const Status &status() const { return status_; }
  Status takeStatus() { return std::move(status_); }
  T &operator*() { return *value_; }
  const T &operator*() const { return *value_; }
  T *operator->() { return &*value_; }
  const T *operator->() const { return &*value_; }

private:
  std::optional<T> value_;
  Status status_;
};

/// `text` with control characters, quotes and invalid UTF-8 written as \xNN, cut to `limit` bytes: for names from files
/// in messages.
std::string escaped(std::string_view text, size_t limit = 120);

} // namespace graft

#define GRAFT_CONCAT_(a, b) a##b
#define GRAFT_CONCAT(a, b) GRAFT_CONCAT_(a, b)

/// Returns from the function when the expression is an error.
#define GRAFT_RETURN_IF_ERROR(expression)                                                                              \
  do {                                                                                                                 \
    if (::graft::Status status_ = (expression); !status_.isOk())                                                       \
      return status_;                                                                                                  \
  } while (false)

/// GRAFT_ASSIGN_OR_RETURN(auto file, File::open(path)): declares the value or returns the error.
#define GRAFT_ASSIGN_OR_RETURN(declaration, expression)                                                                \
  auto GRAFT_CONCAT(result_, __LINE__) = (expression);                                                                 \
  if (!GRAFT_CONCAT(result_, __LINE__).isOk())                                                                         \
    return GRAFT_CONCAT(result_, __LINE__).takeStatus();                                                               \
  declaration = std::move(*GRAFT_CONCAT(result_, __LINE__))
