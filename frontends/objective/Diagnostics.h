// Where something stands in an objective's text, and the list of everything wrong with it.
//
// All faults of a text are collected and reported at once, each as
//   grpo.objective:12:19: unknown name 'ratios'
//       loss = token_mean(ratios)
//                         ^~~~~~ did you mean 'ratio'?
#pragma once

#include "runtime/base/Status.h"

#include <cstdint>
#include <set>
#include <string>
#include <string_view>
#include <vector>

namespace graft::objective {

/// A stretch of one source text, in bytes.
struct Span {
  uint32_t file = 0;
  uint32_t begin = 0;
  uint32_t length = 0;
};
/// From the start of `first` to the end of `last`, which stand in the same file.
Span join(Span first, Span last);

/// The texts that one compilation reads: the objective and the files it uses. Spans refer into it; it only grows.
class Sources {
public:
  uint32_t add(std::string name, std::string text);
  const std::string &name(uint32_t file) const { return files_[file].name; }
  std::string_view text(uint32_t file) const { return files_[file].text; }
  std::string_view text(Span span) const { return text(span.file).substr(span.begin, span.length); }
  /// "grpo.objective:12:19"; columns count characters, from 1.
  std::string place(Span span) const;
  /// The line `span` begins in, and below it a caret under its first character and tildes under the rest.
  /// Lines longer than a terminal's are cut around the caret.
  std::string excerpt(Span span) const;

private:
  struct File {
    std::string name;
    std::string text;
    std::vector<uint32_t> lines; ///< offset of each line's first byte
  };
  struct Location {
    size_t line;
    size_t begin;
  };
  Location locate(Span span) const;
  std::vector<File> files_;
};

/// Collects faults (and warnings) up to a limit; a place is reported once.
class Diagnostics {
public:
  explicit Diagnostics(const Sources &sources) : sources_(sources) {}
  void error(Span span, std::string message, std::string hint = "", Code code = Code::Usage);
  /// A fault that does not stand in a text: an overridden parameter.
  void errorAt(std::string place, std::string message, std::string hint = "");
  void warning(Span span, std::string message);

  bool failed() const { return !status_.isOk(); }
  /// Nothing more will be shown: no need to look for hints.
  bool full() const;
  Status takeStatus() { return std::move(status_); }
  const std::vector<std::string> &warnings() const { return warnings_; }

private:
  const Sources &sources_;
  std::set<std::pair<uint32_t, uint32_t>> seen_;
  Status status_;
  std::vector<std::string> warnings_;
};

/// "did you mean 'x'?" for the candidate nearest to `name` (edit distance at most a third of its length), or "".
std::string didYouMean(std::string_view name, const std::vector<std::string> &candidates);
/// "'a', 'b' or 'c'"
std::string quotedList(const std::vector<std::string> &names);

} // namespace graft::objective
