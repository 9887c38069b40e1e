#include "runtime/base/File.h"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <fcntl.h>
#include <filesystem>
#include <linux/openat2.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

namespace graft {

namespace {
Status ioFault(const std::string &path, const std::string &what, int error) {
  return Status::error(Code::Io, what + ": " + std::strerror(error), escaped(path, 400));
}
Status pathFault(const std::string &place, const std::string &name, const std::string &message,
                 const std::string &hint = "") {
  return Status::error(Code::Path, "'" + escaped(name) + "' " + message, escaped(place, 400), hint);
}

/// Why a name from a file cannot be a path under its directory; empty if it can.
std::string nameFault(const std::string &name) {
  if (name.empty())
    return "is an empty file name";
  if (name.size() > 4096)
    return "is longer than 4096 bytes";
  if (std::ranges::any_of(name, [](unsigned char c) { return c < 0x20 || c == 0x7F; }))
    return "contains control characters";
  if (name.front() == '/' || name.find('\\') != std::string::npos)
    return "is not a relative path with '/' as separator";
  for (size_t begin = 0; begin <= name.size();) {
    size_t end = std::min(name.find('/', begin), name.size());
    if (std::string_view(name).substr(begin, end - begin) == "..")
      return "leaves its directory";
    begin = end + 1;
  }
  return "";
}

/// open(2) of `name` under the directory `base` with openat2's RESOLVE_* flags.
int openResolved(const std::string &base, const std::string &name, uint64_t resolve) {
  int directory = ::open(base.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC);
  if (directory < 0)
    return -1;
  open_how how = {};
  how.flags = O_RDONLY | O_NONBLOCK | O_CLOEXEC | O_NOCTTY;
  how.resolve = resolve;
  int descriptor = static_cast<int>(::syscall(SYS_openat2, directory, name.c_str(), &how, sizeof how));
  int error = errno;
  ::close(directory);
  errno = error;
  return descriptor;
}

/// The same without openat2 (Linux before 5.6, some sandboxes): component by component, no symbolic links at all.
int openComponents(const std::string &base, const std::string &name) {
  int directory = ::open(base.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  for (size_t begin = 0; directory >= 0 && begin <= name.size();) {
    size_t end = std::min(name.find('/', begin), name.size());
    std::string part = name.substr(begin, end - begin);
    bool last = end == name.size();
    begin = end + 1;
    if (part.empty() && !last)
      continue;
    int flags = O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC | O_NOCTTY | (last ? 0 : O_DIRECTORY);
    int next = ::openat(directory, part.empty() ? "." : part.c_str(), flags);
    int error = errno;
    ::close(directory);
    errno = error;
    directory = next;
  }
  return directory;
}

constexpr uint64_t noLinks = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS;
constexpr uint64_t linksInside = RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS;
} // namespace

InputFile::InputFile(InputFile &&other) noexcept {
  *this = std::move(other);
}

InputFile &InputFile::operator=(InputFile &&other) noexcept {
  std::swap(path_, other.path_);
  std::swap(descriptor_, other.descriptor_);
  std::swap(size_, other.size_);
  std::swap(device_, other.device_);
  std::swap(inode_, other.inode_);
  std::swap(links_, other.links_);
  return *this;
}

InputFile::~InputFile() {
  if (descriptor_ >= 0)
    ::close(descriptor_);
}

Result<InputFile> InputFile::adopt(int descriptor, std::string path) {
  InputFile file;
  file.path_ = std::move(path);
  file.descriptor_ = descriptor;
  struct stat info;
  if (::fstat(descriptor, &info) != 0)
    return ioFault(file.path_, "cannot be examined", errno);
  if (S_ISDIR(info.st_mode))
    return Status::error(Code::Io, "is a directory, a file is expected", escaped(file.path_, 400));
  if (!S_ISREG(info.st_mode))
    return Status::error(Code::Io, "is not a regular file", escaped(file.path_, 400),
                         "pipes, sockets and devices cannot be used here: write the data to a file first");
  file.size_ = static_cast<uint64_t>(info.st_size);
  file.device_ = info.st_dev;
  file.inode_ = info.st_ino;
  file.links_ = info.st_nlink;
  return file;
}

Result<InputFile> InputFile::open(const std::string &path) {
  if (path.empty() || path.find('\0') != std::string::npos)
    return Status::error(Code::Io, "is not a file name", "'" + escaped(path) + "'");
  int descriptor = ::open(path.c_str(), O_RDONLY | O_NONBLOCK | O_CLOEXEC | O_NOCTTY);
  if (descriptor < 0)
    return ioFault(path, "cannot be opened", errno);
  return adopt(descriptor, path);
}

Result<InputFile> InputFile::openBeneath(const std::string &directory, const std::string &name,
                                         const std::string &root) {
  if (std::string fault = nameFault(name); !fault.empty())
    return pathFault(directory, name, fault, "names inside a file may only point into the file's own directory");
  std::string base = directory.empty() ? "." : directory, relative = name;
  if (!root.empty()) {
    std::error_code error;
    std::string inside = std::filesystem::relative(base, root, error).string();
    if (error || inside.empty() || inside.starts_with(".."))
      return pathFault(root, directory, "does not lie under this root");
    base = root;
    relative = inside == "." ? name : inside + "/" + name;
  }
  int descriptor = openResolved(base, relative, root.empty() ? noLinks : linksInside);
  if (descriptor < 0 && (errno == ENOSYS || errno == EPERM))
    descriptor = openComponents(base, relative);
  if (descriptor < 0 && (errno == ELOOP || errno == EXDEV))
    return pathFault(directory, name,
                     root.empty() ? "is, or goes through, a symbolic link" : "leads out of " + escaped(root),
                     "copy the file into the directory, or name the root that it may use");
  std::string path = (std::filesystem::path(directory) / name).string();
  if (descriptor < 0)
    return ioFault(path, "cannot be opened", errno);
  GRAFT_ASSIGN_OR_RETURN(InputFile file, adopt(descriptor, path));
  if (root.empty() && file.links_ > 1)
    return pathFault(directory, name,
                     "has " + std::to_string(file.links_) + " hard links, so it may be a file of another directory",
                     "copy the file into the directory, or name the root that it may use");
  return file;
}

Status InputFile::read(uint64_t offset, std::span<std::byte> out) const {
  if (offset > size_ || out.size() > size_ - offset)
    return Status::error(Code::Range,
                         "bytes " + std::to_string(offset) + " to +" + std::to_string(out.size()) +
                             " lie outside of the file, which has " + std::to_string(size_) + " bytes",
                         escaped(path_, 400));
  for (size_t done = 0; done < out.size();) {
    ssize_t got = ::pread(descriptor_, out.data() + done, std::min<size_t>(out.size() - done, 1u << 30),
                          static_cast<off_t>(offset + done));
    if (got < 0 && errno == EINTR)
      continue;
    if (got < 0)
      return ioFault(path_, "cannot be read", errno);
    if (got == 0)
      return Status::error(Code::Io,
                           "has become shorter while it was read: it had " + std::to_string(size_) +
                               " bytes when it was opened",
                           escaped(path_, 400), "do not write to a file that is in use");
    done += static_cast<size_t>(got);
  }
  return Status::ok();
}

Result<MappedFile> MappedFile::open(const std::string &path, uint64_t limit) {
  GRAFT_ASSIGN_OR_RETURN(InputFile file, InputFile::open(path));
  return map(std::move(file), limit);
}

Result<MappedFile> MappedFile::map(InputFile input, uint64_t limit) {
  MappedFile file(std::move(input));
  uint64_t size = file.file_.size();
  if (size > limit)
    return Status::error(Code::Limit,
                         "has " + std::to_string(size) + " bytes, at most " + std::to_string(limit) + " are accepted",
                         escaped(file.path(), 400));
  if (size <= copyUpTo) {
    file.copy_.resize(size);
    GRAFT_RETURN_IF_ERROR(file.file_.read(0, file.copy_));
    file.data_ = file.copy_.data();
    return file;
  }
  void *address = ::mmap(nullptr, size, PROT_READ, MAP_PRIVATE, file.file_.descriptor(), 0);
  if (address == MAP_FAILED)
    return ioFault(file.path(), "cannot be mapped", errno);
  file.data_ = static_cast<const std::byte *>(address);
  file.mapped_ = true;
  return file;
}

MappedFile::MappedFile(MappedFile &&other) noexcept : file_(std::move(other.file_)) {
  std::swap(copy_, other.copy_);
  std::swap(data_, other.data_);
  std::swap(mapped_, other.mapped_);
}

MappedFile &MappedFile::operator=(MappedFile &&other) noexcept {
  std::swap(file_, other.file_);
  std::swap(copy_, other.copy_);
  std::swap(data_, other.data_);
  std::swap(mapped_, other.mapped_);
  return *this;
}

MappedFile::~MappedFile() {
  if (mapped_)
    ::munmap(const_cast<std::byte *>(data_), file_.size());
}

Status MappedFile::stillWhole() const {
  struct stat info;
  if (mapped_ && (::fstat(file_.descriptor(), &info) != 0 || static_cast<uint64_t>(info.st_size) < file_.size()))
    return Status::error(Code::Io, "has become shorter since it was opened", escaped(path(), 400));
  return Status::ok();
}

Result<std::string> readText(const std::string &path, uint64_t limit) {
  GRAFT_ASSIGN_OR_RETURN(InputFile file, InputFile::open(path));
  if (file.size() > limit)
    return Status::error(Code::Limit,
                         "has " + std::to_string(file.size()) + " bytes, at most " + std::to_string(limit) +
                             " are accepted",
                         escaped(path, 400));
  std::string text(file.size(), '\0');
  GRAFT_RETURN_IF_ERROR(file.read(0, std::as_writable_bytes(std::span(text))));
  return text;
}

} // namespace graft
