// Reading files that nobody vouches for.
//
// InputFile reads with pread: whatever happens to the file after it was opened (truncated, replaced), a read either
// gives all bytes or an Io fault; there is no SIGBUS, and the pages of a large checkpoint never count as this process's
// memory. MappedFile is for formats that are parsed in place: files up to `copyUpTo` bytes are copied into memory
// (nothing can happen to them any more), larger ones are mapped and must be re-checked with stillWhole() before large
// reads: truncation of a *mapped* file inside that window raises SIGBUS, which no check can exclude; bulk data is
// therefore read through read(), which uses pread.
//
// Only regular files are opened: a directory, FIFO, socket or device is an Io fault at once, without blocking.
// Objects own their descriptor, are movable, and may be read from several threads.
#pragma once

#include "runtime/base/Status.h"

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

namespace graft {

class InputFile {
public:
  /// Opens a path that the user named: symbolic links are followed. The path is the place of all faults.
  static Result<InputFile> open(const std::string &path);

  /// Opens a name that comes from a file (external data, a shard of an index) under `directory`. Never leaves it:
  /// absolute names,
  /// "..", backslashes, control characters, symbolic links at any component and files with several hard links are Path
  /// faults. With a `root` that contains `directory` (Hugging Face's cache: snapshots link to ../../blobs), links are
  /// allowed as long as everything stays under `root`. The check and the opening are one system call: swapping the file
  /// for a link in between does not help.
  static Result<InputFile> openBeneath(const std::string &directory, const std::string &name,
                                       const std::string &root = "");

  InputFile(InputFile &&other) noexcept;
  InputFile &operator=(InputFile &&other) noexcept;
  ~InputFile();

  const std::string &path() const { return path_; }
  /// Size in bytes when it was opened.
  uint64_t size() const { return size_; }
  /// Fills `out` from `offset`; Range if that lies outside of size(), Io if the file has become shorter or cannot be
  /// read.
  Status read(uint64_t offset, std::span<std::byte> out) const;
  int descriptor() const { return descriptor_; }
  /// True if both are the same file on disk.
  bool sameFile(const InputFile &other) const { return device_ == other.device_ && inode_ == other.inode_; }

private:
  InputFile() = default;
  static Result<InputFile> adopt(int descriptor, std::string path);

  std::string path_;
  int descriptor_ = -1;
  uint64_t size_ = 0, device_ = 0, inode_ = 0, links_ = 0;
};

/// The bytes of a whole file, in memory or mapped.
class MappedFile {
public:
  static constexpr uint64_t copyUpTo = 64u << 20;

  static Result<MappedFile> open(const std::string &path, uint64_t limit = UINT64_MAX);
  /// Takes a file that is open already. A size above `limit` is a Limit fault, before anything is read.
  static Result<MappedFile> map(InputFile file, uint64_t limit = UINT64_MAX);

  MappedFile(MappedFile &&other) noexcept;
  MappedFile &operator=(MappedFile &&other) noexcept;
  ~MappedFile();

  const std::string &path() const { return file_.path(); }
  std::span<const std::byte> bytes() const { return {data_, static_cast<size_t>(file_.size())}; }
  /// Io fault if the file on disk is now shorter than when it was mapped.
  Status stillWhole() const;
  /// As InputFile::read.
  Status read(uint64_t offset, std::span<std::byte> out) const { return file_.read(offset, out); }
  const InputFile &file() const { return file_; }

private:
  explicit MappedFile(InputFile file) : file_(std::move(file)) {}

  InputFile file_;
  std::vector<std::byte> copy_;
  const std::byte *data_ = nullptr;
  bool mapped_ = false;
};

/// The whole text of a small file that the user named (recipes, config.json); Limit above `limit` bytes.
Result<std::string> readText(const std::string &path, uint64_t limit);

} // namespace graft
