#include "runtime/io/Rollouts.h"

#include "runtime/base/File.h"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <functional>
#include <glob.h>
#include <unistd.h>

namespace graft {

namespace {
/// Splits bytes that come piece by piece into lines. A line above the limit is dropped as it comes and reported as too
/// long.
class LineReader {
public:
  /// Fills the buffer with the next bytes and returns their number, 0 at the end.
  using Fill = std::function<Result<size_t>(std::span<std::byte>)>;

  LineReader(Fill fill, size_t limit) : fill_(std::move(fill)), limit_(limit), buffer_(1u << 20) {}

  struct Line {
    std::string text;
    size_t number = 0; ///< from 1
    bool tooLong = false;
  };
  /// The next line without its line feed; nothing at the end.
  Result<std::optional<Line>> next() {
    Line line{.text = {}, .number = ++number_};
    bool any = false;
    while (true) {
      if (begin_ == end_) {
        GRAFT_ASSIGN_OR_RETURN(end_, fill_(std::as_writable_bytes(std::span(buffer_))));
        begin_ = 0;
        if (end_ == 0)
          return any ? std::optional(std::move(line)) : std::nullopt;
      }
      any = true;
      const char *start = buffer_.data() + begin_;
      const char *feed = static_cast<const char *>(std::memchr(start, '\n', end_ - begin_));
      size_t length = feed ? static_cast<size_t>(feed - start) : end_ - begin_;
      if (line.tooLong || length > limit_ - line.text.size()) {
        line.tooLong = true;
        line.text = std::string();
      } else {
        line.text.append(start, length);
      }
      begin_ += length + (feed ? 1 : 0);
      if (feed)
        return std::optional(std::move(line));
    }
  }

private:
  Fill fill_;
  size_t limit_, begin_ = 0, end_ = 0, number_ = 0;
  std::vector<char> buffer_;
};

/// Reads a regular file from front to back; its size when it was opened counts.
LineReader::Fill fillFrom(InputFile input) {
  auto file = std::make_shared<InputFile>(std::move(input));
  return [file, offset = uint64_t{0}](std::span<std::byte> out) mutable -> Result<size_t> {
    size_t now = std::min<uint64_t>(out.size(), file->size() - offset);
    GRAFT_RETURN_IF_ERROR(file->read(offset, out.first(now)));
    offset += now;
    return now;
  };
}

Result<size_t> fillFromStandardInput(std::span<std::byte> out) {
  while (true) {
    ssize_t got = ::read(STDIN_FILENO, out.data(), out.size());
    if (got >= 0)
      return static_cast<size_t>(got);
    if (errno != EINTR)
      return Status::error(Code::Io, std::string("cannot be read: ") + std::strerror(errno), "standard input");
  }
}

/// The files that the patterns mean, in order; "-" stays.
Result<std::vector<std::string>> expand(const std::vector<std::string> &patterns) {
  std::vector<std::string> files;
  Status status;
  bool standardInput = false;
  for (const std::string &pattern : patterns) {
    std::error_code ignored;
    bool isGlob = pattern.find_first_of("*?[") != std::string::npos && !std::filesystem::exists(pattern, ignored);
    if (pattern == "-" && std::exchange(standardInput, true)) {
      status.merge(Status::error(Code::Usage, "is given twice", "standard input"));
    } else if (!isGlob) {
      files.push_back(pattern);
    } else {
      glob_t found = {};
      if (::glob(pattern.c_str(), 0, nullptr, &found) == 0)
        files.insert(files.end(), found.gl_pathv, found.gl_pathv + found.gl_pathc);
      else
        status.merge(Status::error(Code::Io, "matches no file", escaped(pattern, 400)));
      ::globfree(&found);
    }
  }
  if (files.empty() && status.isOk())
    status = Status::error(Code::Usage, "no rollouts are given");
  if (!status.isOk())
    return status;
  return files;
}

bool isBlank(std::string_view line) {
  return line.find_first_not_of(" \t\r") == std::string_view::npos;
}
} // namespace

struct RolloutStream::State {
  std::vector<std::string> files;
  RolloutOptions options;
  size_t nextFile = 0;
  std::optional<LineReader> reader;
  std::string place; ///< of the open file

  Status openNext() {
    const std::string &path = files[nextFile++];
    place = path == "-" ? "standard input" : escaped(path, 400);
    if (path == "-") {
      reader.emplace(fillFromStandardInput, options.lineBytes);
      return Status::ok();
    }
    GRAFT_ASSIGN_OR_RETURN(InputFile file, InputFile::open(path));
    reader.emplace(fillFrom(std::move(file)), options.lineBytes);
    return Status::ok();
  }

  Result<Rollout> parse(const LineReader::Line &line) {
    std::string where = place + ":" + std::to_string(line.number);
    if (line.tooLong)
      return Status::error(Code::Limit, "the line has more than " + std::to_string(options.lineBytes) + " bytes",
                           where);
    Result<Rollout> rollout = parseRollout(line.text, options);
    if (!rollout.isOk())
      return rollout.takeStatus().at(where);
    rollout->place = std::move(where);
    return rollout;
  }

  /// All faults of the open file from here on, after those of one line.
  Status restOfFaults(Status status) {
    size_t left = 0;
    while (true) {
      Result<std::optional<LineReader::Line>> line = reader->next();
      if (!line.isOk())
        return line.takeStatus();
      if (!*line)
        break;
      if (isBlank((*line)->text) && !(*line)->tooLong)
        continue;
      Result<Rollout> rollout = parse(**line);
      if (rollout.isOk())
        continue;
      if (status.faults().size() < options.faults)
        status.merge(rollout.takeStatus());
      else
        left += rollout.status().faults().size();
    }
    if (left > 0)
      status.merge(Status::error(Code::Format, "and " + std::to_string(left) + " more faults", place));
    return status;
  }

  /// The next rollout, nothing at the end of all files.
  Result<std::optional<Rollout>> next() {
    while (true) {
      if (!reader && nextFile == files.size())
        return std::optional<Rollout>();
      if (!reader)
        GRAFT_RETURN_IF_ERROR(openNext());
      GRAFT_ASSIGN_OR_RETURN(auto line, reader->next());
      if (!line) {
        reader.reset();
        continue;
      }
      if (isBlank(line->text) && !line->tooLong)
        continue;
      Result<Rollout> rollout = parse(*line);
      if (rollout.isOk())
        return std::optional(std::move(*rollout));
      Status status = restOfFaults(rollout.takeStatus());
      reader.reset();
      return status;
    }
  }
};

RolloutStream::RolloutStream(std::unique_ptr<State> state) : state_(std::move(state)) {}
RolloutStream::RolloutStream(RolloutStream &&) noexcept = default;
RolloutStream &RolloutStream::operator=(RolloutStream &&) noexcept = default;
RolloutStream::~RolloutStream() = default;

Result<RolloutStream> RolloutStream::open(const std::vector<std::string> &patterns, const RolloutOptions &options) {
  auto state = std::make_unique<State>();
  GRAFT_ASSIGN_OR_RETURN(state->files, expand(patterns));
  state->options = options;
  Status status;
  for (const std::string &file : state->files)
    if (file != "-")
      if (Result<InputFile> input = InputFile::open(file); !input.isOk())
        status.merge(input.takeStatus());
  if (!status.isOk())
    return status;
  return RolloutStream(std::move(state));
}

Result<std::vector<Rollout>> RolloutStream::next(size_t count) {
  std::vector<Rollout> rollouts;
  while (rollouts.size() < count) {
    Result<std::optional<Rollout>> rollout = state_->next();
    if (!rollout.isOk()) {
      state_->nextFile = state_->files.size();
      state_->reader.reset();
      return rollout.takeStatus();
    }
    if (!*rollout)
      break;
    rollouts.push_back(std::move(**rollout));
  }
  return rollouts;
}

Status RolloutStream::skip(size_t count) {
  for (size_t i = 0; i < count; ++i) {
    GRAFT_ASSIGN_OR_RETURN(auto rollout, state_->next());
    if (!rollout)
      return Status::error(Code::Range, "there are only " + std::to_string(i) + " rollouts where " +
                                            std::to_string(count) + " are to be skipped");
  }
  return Status::ok();
}

namespace {
/// Calls `use` with every rollout of every file, each file on its own so that the faults of all are collected.
Status forEachRollout(const std::vector<std::string> &files, const RolloutOptions &options,
                      const std::function<void(Rollout)> &use) {
  Status status;
  for (const std::string &file : files) {
    GRAFT_ASSIGN_OR_RETURN(RolloutStream stream, RolloutStream::open({file}, options));
    while (true) {
      Result<std::vector<Rollout>> rollouts = stream.next(1);
      if (!rollouts.isOk())
        status.merge(rollouts.takeStatus());
      if (!rollouts.isOk() || rollouts->empty())
        break;
      if (status.isOk())
        use(std::move(rollouts->front()));
    }
  }
  return status;
}
} // namespace

Result<std::vector<Rollout>> readRollouts(const std::vector<std::string> &patterns, const RolloutOptions &options) {
  GRAFT_ASSIGN_OR_RETURN(std::vector<std::string> files, expand(patterns));
  std::vector<Rollout> rollouts;
  GRAFT_RETURN_IF_ERROR(
      forEachRollout(files, options, [&](Rollout rollout) { rollouts.push_back(std::move(rollout)); }));
  return rollouts;
}

Result<size_t> checkRollouts(const std::vector<std::string> &patterns, const RolloutOptions &options) {
  GRAFT_ASSIGN_OR_RETURN(std::vector<std::string> files, expand(patterns));
  std::erase(files, "-");
  size_t count = 0;
  GRAFT_RETURN_IF_ERROR(forEachRollout(files, options, [&](Rollout) { ++count; }));
  return count;
}

} // namespace graft
