// Writing so that a reader sees the old state or the new one, never something in between, also after a power cut.
//
// A file (or a folder) is written under a temporary name beside its destination, flushed to disk, renamed over the
// destination, and the folder that holds it is flushed. Until commit() the destination is untouched; an object
// destroyed before removes what it wrote. A destination that is a symbolic link, a hard link to another name, or not a
// regular file is refused with a Path fault: replacing it would surprise whoever owns the other name. Faults of the
// disk are Code::Failed. One thread per object.
#pragma once

#include "runtime/base/Status.h"

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

namespace graft {

class AtomicFile {
public:
  static Result<AtomicFile> create(const std::string &path);
  AtomicFile(AtomicFile &&other) noexcept;
  AtomicFile &operator=(AtomicFile &&) = delete;
  ~AtomicFile();

  Status write(std::span<const std::byte> bytes);
  Status write(std::string_view text) { return write(std::as_bytes(std::span(text))); }
  uint64_t written() const { return written_; }
  /// Makes the contents durable under the destination's name. Call once.
  Status commit();

private:
  AtomicFile() = default;
  std::string path_, temporary_;
  int descriptor_ = -1;
  uint64_t written_ = 0;
};

/// A whole file in one call.
Status writeFileAtomically(const std::string &path, std::string_view text);

/// A folder that appears as a whole. The destination must not exist, or be an empty folder.
class AtomicDirectory {
public:
  static Result<AtomicDirectory> create(const std::string &path);
  AtomicDirectory(AtomicDirectory &&other) noexcept;
  AtomicDirectory &operator=(AtomicDirectory &&) = delete;
  ~AtomicDirectory();

  /// Where to write files until commit().
  const std::string &temporaryPath() const { return temporary_; }
  /// Precondition: every file inside is closed and durable (AtomicFile's are).
  Status commit();

private:
  AtomicDirectory() = default;
  std::string path_, temporary_;
};

} // namespace graft
