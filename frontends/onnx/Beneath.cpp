#include "frontends/onnx/Beneath.h"

#include <cerrno>
#include <cstring>
#include <deque>
#include <fcntl.h>
#include <filesystem>
#include <limits.h>
#include <sys/stat.h>
#include <unistd.h>
#include <vector>

#include "frontends/onnx/Limits.h"

namespace graft::onnx {

Descriptor &Descriptor::operator=(Descriptor &&other) noexcept {
  std::swap(number_, other.number_);
  return *this;
}

Descriptor::~Descriptor() {
  if (number_ >= 0)
    ::close(number_);
}

namespace {
constexpr int readFlags = O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY;

Status systemFault(std::string_view what) {
  return Status::error(Code::Io, std::string(what) + ": " + std::strerror(errno));
}

Result<OpenedFile> regular(Descriptor descriptor, bool oneName) {
  struct stat info;
  if (::fstat(descriptor.number(), &info) != 0)
    return systemFault("cannot read the file's size");
  if (!S_ISREG(info.st_mode))
    return Status::error(Code::Io, S_ISDIR(info.st_mode) ? "a directory, expected a file" : "not a regular file");
  if (oneName && info.st_nlink != 1)
    return Status::error(Code::Path,
                         "the file has " + std::to_string(info.st_nlink) + " hard links, so it may lie outside", "",
                         "copy the file, or name a directory that links may point into");
  FileIdentity identity = {static_cast<uint64_t>(info.st_dev), static_cast<uint64_t>(info.st_ino),
                           static_cast<uint64_t>(info.st_size), info.st_mtim.tv_sec, info.st_mtim.tv_nsec};
  return OpenedFile{std::move(descriptor), identity};
}

/// Path components in order, without "" and ".".
std::deque<std::string> componentsOf(std::string_view path) {
  std::deque<std::string> components;
  while (!path.empty()) {
    size_t slash = path.find('/');
    std::string_view component = path.substr(0, slash);
    if (!component.empty() && component != ".")
      components.emplace_back(component);
    path = slash == std::string_view::npos ? std::string_view() : path.substr(slash + 1);
  }
  return components;
}

/// The walk from `root` along `rest`; `held` are the directories from the root to where it stands.
class Walk {
public:
  Walk(Descriptor root, std::deque<std::string> rest, bool followLinks) : rest_(std::move(rest)), follow_(followLinks) {
    held_.push_back(std::move(root));
  }

  Result<OpenedFile> run() {
    if (rest_.empty())
      return Status::error(Code::Path, "names no file");
    while (true) {
      std::string name = std::move(rest_.front());
      rest_.pop_front();
      if (name == "..") {
        if (held_.size() == 1)
          return Status::error(Code::Path, "leads out of the directory it may use");
        held_.pop_back();
      } else if (Result<bool> link = linkAt(name); !link.isOk()) {
        return link.takeStatus();
      } else if (*link) {
        GRAFT_RETURN_IF_ERROR(follow(name));
      } else if (rest_.empty()) {
        return file(name);
      } else {
        GRAFT_RETURN_IF_ERROR(enter(name));
      }
      if (rest_.empty())
        return Status::error(Code::Io, "a directory, expected a file");
    }
  }

private:
  int here() const { return held_.back().number(); }

  Result<bool> linkAt(const std::string &name) {
    struct stat info;
    if (::fstatat(here(), name.c_str(), &info, AT_SYMLINK_NOFOLLOW) != 0)
      return systemFault("cannot open '" + escaped(name) + "'");
    return S_ISLNK(info.st_mode);
  }

  Status follow(const std::string &name) {
    if (!follow_)
      return Status::error(Code::Path, "'" + escaped(name) + "' is a symbolic link", "",
                           "replace it by the file, or name a directory that links may point into");
    char target[PATH_MAX];
    ssize_t length = ::readlinkat(here(), name.c_str(), target, sizeof target);
    if (length < 0)
      return systemFault("cannot read the link '" + escaped(name) + "'");
    if (++links_ > maxLinks || length == sizeof target || length == 0 || target[0] == '/')
      return Status::error(Code::Path, "the symbolic link '" + escaped(name) + "' is absolute, endless or too long");
    std::deque<std::string> components = componentsOf({target, static_cast<size_t>(length)});
    rest_.insert(rest_.begin(), components.begin(), components.end());
    return Status::ok();
  }

  // O_NOFOLLOW below holds even if a link appeared after linkAt(): then opening fails.
  Status enter(const std::string &name) {
    Descriptor next(::openat(here(), name.c_str(), O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
    if (!next)
      return systemFault("cannot enter '" + escaped(name) + "'");
    held_.push_back(std::move(next));
    return Status::ok();
  }

  Result<OpenedFile> file(const std::string &name) {
    Descriptor descriptor(::openat(here(), name.c_str(), readFlags | O_NOFOLLOW));
    if (!descriptor)
      return errno == ELOOP ? Status::error(Code::Path, "'" + escaped(name) + "' became a symbolic link")
                            : systemFault("cannot open '" + escaped(name) + "'");
    return regular(std::move(descriptor), !follow_);
  }

  std::vector<Descriptor> held_;
  std::deque<std::string> rest_;
  bool follow_;
  size_t links_ = 0;
};
} // namespace

Result<OpenedFile> openRegularFile(const std::string &path) {
  Descriptor descriptor(::open(path.c_str(), readFlags));
  if (!descriptor)
    return systemFault("cannot open the file");
  return regular(std::move(descriptor), false);
}

Status checkLocation(std::string_view location) {
  auto refuse = [&](std::string why) {
    return Status::error(Code::Path, "the location '" + escaped(location) + "' " + why, "",
                         "external data must lie beside the model or in a folder beneath it");
  };
  if (location.empty())
    return refuse("is empty");
  if (location.size() > maxLocationBytes)
    return refuse("is longer than " + std::to_string(maxLocationBytes) + " bytes");
  if (location.find('\0') != std::string_view::npos || escaped(location, 8 * maxLocationBytes) != location)
    return refuse("has control characters or is not UTF-8");
  if (location.front() == '/')
    return refuse("is absolute");
  if (location.find('\\') != std::string_view::npos || location.find("://") != std::string_view::npos ||
      (location.size() > 1 && location[1] == ':'))
    return refuse("is a Windows path or a URL");
  if (location.starts_with("*/"))
    return refuse("is a marker that only has a meaning inside of another program");
  std::deque<std::string> components = componentsOf(location);
  for (const std::string &component : components)
    if (component == "..")
      return refuse("leads to a parent directory");
  if (components.empty() || location.back() == '/')
    return refuse("names a directory");
  return Status::ok();
}

Result<OpenedFile> openBeneath(const std::string &directory, std::string_view location, const std::string &root) {
  GRAFT_RETURN_IF_ERROR(checkLocation(location));
  std::string start = root.empty() ? directory : root;
  std::deque<std::string> components = componentsOf(location);
  if (!root.empty()) {
    std::error_code error;
    std::filesystem::path below = std::filesystem::relative(directory, root, error);
    if (error || below.empty() || *below.begin() == "..")
      return Status::error(Code::Path, "the model's directory is not beneath '" + escaped(root) + "'");
    std::deque<std::string> prefix = componentsOf(below.string());
    components.insert(components.begin(), prefix.begin(), prefix.end());
  }
  Descriptor from(::open(start.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
  if (!from)
    return systemFault("cannot open the directory '" + escaped(start) + "'");
  return Walk(std::move(from), std::move(components), !root.empty()).run();
}

} // namespace graft::onnx
