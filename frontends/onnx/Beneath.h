// Opening files that a model names, and nothing else.
//
// A model comes from strangers; the names in it must not reach outside of the model's directory. The path is walked one
// component at a time from an open directory, each opened without following links and held while the next one is
// opened: there is no moment between a check and a use, so renaming files or links during the walk cannot lead it
// outside.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "runtime/base/Status.h"

namespace graft::onnx {

/// An open file that closes itself.
class Descriptor {
public:
  Descriptor() = default;
  explicit Descriptor(int number) : number_(number) {}
  Descriptor(Descriptor &&other) noexcept : number_(other.number_) { other.number_ = -1; }
  Descriptor &operator=(Descriptor &&other) noexcept;
  ~Descriptor();
  int number() const { return number_; }
  explicit operator bool() const { return number_ >= 0; }

private:
  int number_ = -1;
};

/// What tells one file from another, and from itself after a change.
struct FileIdentity {
  uint64_t device = 0, inode = 0, size = 0;
  int64_t modifiedSeconds = 0, modifiedNanoseconds = 0;
  bool operator==(const FileIdentity &) const = default;
};

struct OpenedFile {
  Descriptor descriptor;
  FileIdentity identity;
};

/// Opens any regular file for reading, by whatever path the user gave. Io otherwise: missing, unreadable, a directory,
/// a device, a pipe (which is not waited for).
Result<OpenedFile> openRegularFile(const std::string &path);

/// Whether `location` may be the name of a file beneath a directory, by its text alone: relative, no "..", no scheme,
/// no backslash, no control characters. Fault: Path.
Status checkLocation(std::string_view location);

/// Opens the regular file `location` beneath `directory`. Without `root`, no component may be a symbolic link and the
/// file may have one name only (a second hard link could lie outside). With `root`, a directory that contains
/// `directory`, links are followed as long as they stay beneath it. Faults: Path, Io.
Result<OpenedFile> openBeneath(const std::string &directory, std::string_view location, const std::string &root = "");

} // namespace graft::onnx
