#include "runtime/observe/RunDirectory.h"

#include "runtime/base/File.h"
#include "runtime/base/Json.h"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <fcntl.h>
#include <filesystem>
#include <sys/file.h>
#include <unistd.h>

namespace graft {

namespace {
namespace fs = std::filesystem;

Status failed(const std::string &path, const std::string &what, const std::string &hint = "") {
  return Status::error(Code::Failed, what, escaped(path, 400), hint);
}

/// Removes temporary files and folders of AtomicFile and AtomicDirectory; the lock says that nobody is writing them.
void removeLeftovers(const fs::path &folder) {
  std::error_code ignored;
  std::vector<fs::path> leftovers;
  for (const fs::directory_entry &entry : fs::directory_iterator(folder, ignored))
    if (std::string name = entry.path().filename().string();
        name.starts_with(".") && name.find(".tmp-") != std::string::npos)
      leftovers.push_back(entry.path());
  for (const fs::path &path : leftovers)
    fs::remove_all(path, ignored);
}

/// N of "step-N", nothing for other names.
std::optional<int64_t> stepOf(const std::string &name) {
  std::optional<int64_t> step =
      name.starts_with("step-") ? parseInteger(std::string_view(name).substr(5)) : std::nullopt;
  return step && *step >= 0 && name == "step-" + std::to_string(*step) ? step : std::nullopt;
}
} // namespace

Result<RunDirectory> RunDirectory::open(const std::string &path, Mode mode) {
  std::error_code error;
  if (path.empty() || path.find('\0') != std::string::npos)
    return Status::error(Code::Usage, "is not a folder name", "'" + escaped(path) + "'");
  RunDirectory run;
  run.path_ = path;
  while (run.path_.size() > 1 && run.path_.back() == '/')
    run.path_.pop_back();
  if (mode == Mode::Resume && !fs::exists(run.recipePath(), error))
    return Status::error(Code::Usage, "holds no run to resume: recipe.toml is missing", escaped(path, 400));
  fs::create_directories(run.path_ + "/checkpoints", error);
  if (error)
    return failed(path, "cannot be created: " + error.message());
  run.lock_ = ::open((run.path_ + "/.lock").c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0666);
  if (run.lock_ < 0)
    return failed(path, std::string("cannot be locked: ") + std::strerror(errno));
  if (::flock(run.lock_, LOCK_EX | LOCK_NB) != 0)
    return failed(path, "is in use by another run", "wait for it, or choose another folder");
  bool used = fs::exists(run.recipePath(), error) || fs::exists(run.metricsPath(), error) || !run.checkpoints().empty();
  if (mode == Mode::Fresh && used)
    return Status::error(Code::Usage, "holds a run already", escaped(path, 400),
                         "go on with it by --resume, or choose another folder");
  removeLeftovers(run.path_);
  removeLeftovers(run.path_ + "/checkpoints");
  return run;
}

RunDirectory::RunDirectory(RunDirectory &&other) noexcept
    : path_(std::move(other.path_)), lock_(std::exchange(other.lock_, -1)) {}

RunDirectory::~RunDirectory() {
  if (lock_ >= 0)
    ::close(lock_);
}

Status RunDirectory::copyProgram(const std::string &from) const {
  GRAFT_ASSIGN_OR_RETURN(InputFile source, InputFile::open(from));
  GRAFT_ASSIGN_OR_RETURN(AtomicFile target, AtomicFile::create(programPath()));
  std::vector<std::byte> piece;
  for (uint64_t done = 0; done < source.size(); done += piece.size()) {
    piece.resize(std::min<uint64_t>(source.size() - done, 1u << 20));
    GRAFT_RETURN_IF_ERROR(source.read(done, piece));
    GRAFT_RETURN_IF_ERROR(target.write(piece));
  }
  return target.commit();
}

Result<AtomicDirectory> RunDirectory::beginCheckpoint(int64_t step) const {
  return AtomicDirectory::create(checkpointPath(step));
}

std::vector<int64_t> RunDirectory::checkpoints() const {
  std::vector<int64_t> steps;
  std::error_code ignored;
  for (const fs::directory_entry &entry : fs::directory_iterator(path_ + "/checkpoints", ignored))
    if (std::optional<int64_t> step = stepOf(entry.path().filename().string()); step && entry.is_directory(ignored))
      steps.push_back(*step);
  std::ranges::sort(steps);
  return steps;
}

std::optional<int64_t> RunDirectory::latestCheckpoint() const {
  std::vector<int64_t> steps = checkpoints();
  return steps.empty() ? std::nullopt : std::optional(steps.back());
}

} // namespace graft
