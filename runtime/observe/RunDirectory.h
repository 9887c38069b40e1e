// The folder of a run: what is where, and that two runs never share it.
//
//   recipe.toml  program.graft  metrics.jsonl  events.jsonl  report.html  checkpoints/step-N/
//
// Held by a lock for the lifetime of the object; the lock goes with the process, however it ends. Everything in it but
// the two .jsonl files is written atomically, so at any moment the folder is one that can be resumed from.
#pragma once

#include "runtime/base/AtomicFile.h"
#include "runtime/observe/Metrics.h"

#include <optional>

namespace graft {

class RunDirectory {
public:
  enum class Mode {
    Fresh, ///< Usage fault if the folder holds a run already
    Resume ///< Usage fault if it holds none
  };

  /// Makes the folder (and those above it) if needed, takes the lock, removes what an interrupted run left
  /// half-written. Failed fault if another process holds the lock or the disk refuses.
  static Result<RunDirectory> open(const std::string &path, Mode mode);
  RunDirectory(RunDirectory &&other) noexcept;
  RunDirectory &operator=(RunDirectory &&) = delete;
  ~RunDirectory();

  const std::string &path() const { return path_; }
  std::string recipePath() const { return path_ + "/recipe.toml"; }
  std::string programPath() const { return path_ + "/program.graft"; }
  std::string metricsPath() const { return path_ + "/metrics.jsonl"; }
  std::string eventsPath() const { return path_ + "/events.jsonl"; }
  std::string reportPath() const { return path_ + "/report.html"; }
  std::string checkpointPath(int64_t step) const { return path_ + "/checkpoints/step-" + std::to_string(step); }

  Status writeRecipe(std::string_view text) const { return writeFileAtomically(recipePath(), text); }
  /// Copies a program file.
  Status copyProgram(const std::string &from) const;
  Result<JsonLinesWriter> openMetrics() const { return JsonLinesWriter::open(metricsPath()); }
  Result<JsonLinesWriter> openEvents() const { return JsonLinesWriter::open(eventsPath()); }

  /// A folder to fill and commit() as checkpoints/step-N. Path fault if that step is there already.
  Result<AtomicDirectory> beginCheckpoint(int64_t step) const;
  /// Steps of the checkpoints that are complete, ascending.
  std::vector<int64_t> checkpoints() const;
  std::optional<int64_t> latestCheckpoint() const;

private:
  RunDirectory() = default;
  std::string path_;
  int lock_ = -1;
};

} // namespace graft
