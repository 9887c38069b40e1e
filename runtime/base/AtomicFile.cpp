#include "runtime/base/AtomicFile.h"

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstring>
#include <fcntl.h>
#include <filesystem>
#include <sys/stat.h>
#include <unistd.h>

namespace graft {

namespace {
namespace fs = std::filesystem;

Status failed(const std::string &path, const std::string &what, int error) {
  return Status::error(Code::Failed, what + ": " + std::strerror(error), escaped(path, 400),
                       error == ENOSPC || error == EDQUOT ? "free some space on this disk" : "");
}
Status refused(const std::string &path, const std::string &what) {
  return Status::error(Code::Path, what + ", which is never replaced", escaped(path, 400),
                       "remove it or choose another path");
}

fs::path folderOf(const std::string &path) {
  fs::path folder = fs::path(path).parent_path();
  return folder.empty() ? fs::path(".") : folder;
}

/// A name beside `path` that no other object of this or another process uses.
std::string temporaryName(const std::string &path) {
  static std::atomic<uint64_t> counter = 0;
  std::string name =
      "." + fs::path(path).filename().string() + ".tmp-" + std::to_string(::getpid()) + "-" + std::to_string(counter++);
  return (folderOf(path) / name).string();
}

Status syncFolder(const std::string &folder) {
  int descriptor = ::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (descriptor < 0)
    return failed(folder, "cannot be opened", errno);
  // Some file systems have no fsync for folders; they say EINVAL.
  int error = ::fsync(descriptor) == 0 || errno == EINVAL ? 0 : errno;
  ::close(descriptor);
  return error ? failed(folder, "cannot be flushed to disk", error) : Status::ok();
}

Status checkDestination(const std::string &path) {
  struct stat info;
  if (path.empty() || path.find('\0') != std::string::npos || fs::path(path).filename().empty())
    return Status::error(Code::Path, "is not a file name", "'" + escaped(path) + "'");
  if (::lstat(path.c_str(), &info) != 0)
    return Status::ok();
  if (S_ISLNK(info.st_mode))
    return refused(path, "is a symbolic link");
  if (!S_ISREG(info.st_mode))
    return refused(path, "is not a regular file");
  if (info.st_nlink > 1)
    return refused(path, "is a hard link to a file that has other names");
  return Status::ok();
}
} // namespace

Result<AtomicFile> AtomicFile::create(const std::string &path) {
  GRAFT_RETURN_IF_ERROR(checkDestination(path));
  AtomicFile file;
  file.path_ = path;
  std::string temporary = temporaryName(path);
  file.descriptor_ = ::open(temporary.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0666);
  if (file.descriptor_ < 0)
    return failed(path, "cannot be created", errno);
  file.temporary_ = std::move(temporary);
  return file;
}

AtomicFile::AtomicFile(AtomicFile &&other) noexcept
    : path_(std::move(other.path_)), temporary_(std::exchange(other.temporary_, "")),
      descriptor_(std::exchange(other.descriptor_, -1)), written_(other.written_) {}

AtomicFile::~AtomicFile() {
  if (descriptor_ >= 0)
    ::close(descriptor_);
  if (!temporary_.empty())
    ::unlink(temporary_.c_str());
}

Status AtomicFile::write(std::span<const std::byte> bytes) {
  while (!bytes.empty()) {
    ssize_t done = ::write(descriptor_, bytes.data(), std::min<size_t>(bytes.size(), 1u << 30));
    if (done < 0 && errno == EINTR)
      continue;
    if (done < 0)
      return failed(path_, "cannot be written", errno);
    written_ += static_cast<uint64_t>(done);
    bytes = bytes.subspan(static_cast<size_t>(done));
  }
  return Status::ok();
}

Status AtomicFile::commit() {
  if (::fsync(descriptor_) != 0)
    return failed(path_, "cannot be flushed to disk", errno);
  if (::close(std::exchange(descriptor_, -1)) != 0)
    return failed(path_, "cannot be closed", errno);
  GRAFT_RETURN_IF_ERROR(checkDestination(path_));
  if (::rename(temporary_.c_str(), path_.c_str()) != 0)
    return failed(path_, "cannot be put in place", errno);
  temporary_.clear();
  return syncFolder(folderOf(path_).string());
}

Status writeFileAtomically(const std::string &path, std::string_view text) {
  GRAFT_ASSIGN_OR_RETURN(AtomicFile file, AtomicFile::create(path));
  GRAFT_RETURN_IF_ERROR(file.write(text));
  return file.commit();
}

Result<AtomicDirectory> AtomicDirectory::create(const std::string &given) {
  std::string path = given;
  while (path.size() > 1 && path.back() == '/')
    path.pop_back();
  struct stat info;
  std::error_code error;
  if (::lstat(path.c_str(), &info) == 0) {
    if (S_ISLNK(info.st_mode))
      return refused(path, "is a symbolic link");
    if (!S_ISDIR(info.st_mode) || !fs::is_empty(path, error) || error)
      return refused(path, "exists and is not an empty folder");
  }
  std::string temporary = temporaryName(path);
  if (::mkdir(temporary.c_str(), 0777) != 0)
    return failed(path, "cannot be created", errno);
  AtomicDirectory directory;
  directory.path_ = std::move(path);
  directory.temporary_ = std::move(temporary);
  return directory;
}

AtomicDirectory::AtomicDirectory(AtomicDirectory &&other) noexcept
    : path_(std::move(other.path_)), temporary_(std::exchange(other.temporary_, "")) {}

AtomicDirectory::~AtomicDirectory() {
  std::error_code ignored; // nothing can be done about it here, and the name says what it is
  if (!temporary_.empty())
    fs::remove_all(temporary_, ignored);
}

Status AtomicDirectory::commit() {
  GRAFT_RETURN_IF_ERROR(syncFolder(temporary_));
  if (::rename(temporary_.c_str(), path_.c_str()) != 0)
    return failed(path_, "cannot be put in place", errno);
  temporary_.clear();
  return syncFolder(folderOf(path_).string());
}

} // namespace graft
