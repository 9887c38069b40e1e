// JSON lines that a run writes while it goes: metrics.jsonl (one line per step) and events.jsonl.
//
// A line is written with one system call and flushed to the operating system, so that `tail -f` and a crash both see
// whole lines. Keys stand in the order given. NaN and infinities, which JSON lacks, become null. One thread per writer.
#pragma once

#include "runtime/base/Status.h"

#include <cstdint>
#include <span>
#include <string>
#include <variant>
#include <vector>

namespace graft {

/// A JSON object of whole numbers: bytes by category.
using Counts = std::vector<std::pair<std::string, int64_t>>;

struct Field {
  std::string name;
  std::variant<int64_t, double, std::string, bool, Counts> value;
};

class JsonLinesWriter {
public:
  /// Appends to the file, which is made if it is not there. A symbolic link is a Path fault.
  static Result<JsonLinesWriter> open(const std::string &path);
  JsonLinesWriter(JsonLinesWriter &&other) noexcept;
  JsonLinesWriter &operator=(JsonLinesWriter &&other) noexcept;
  ~JsonLinesWriter();

  /// Failed fault if the disk refuses.
  Status write(std::span<const Field> fields);

private:
  JsonLinesWriter() = default;
  std::string path_;
  int descriptor_ = -1;
};

/// The numbers of one line of metrics.jsonl, in its order; `step` is one of them. Null becomes NaN; strings, lists and
/// objects are left out.
using MetricsRow = std::vector<std::pair<std::string, double>>;

/// Reads metrics.jsonl. A last line without its line feed (a run that was killed while it wrote) is left out. Format
/// fault for any other line that is none.
Result<std::vector<MetricsRow>> readMetrics(const std::string &path);

/// Cuts metrics.jsonl to the lines whose step is at most `step`: before a run goes on from that checkpoint. No file is
/// no fault.
Status truncateMetrics(const std::string &path, int64_t step);

} // namespace graft
