#include "runtime/program/Program.h"

#include "runtime/device/cpu/Target.h"
#include "runtime/program/Hash.h"
#include "runtime/program/ProgramFile.h"
#include "runtime/program/ProgramVerifier.h"

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

namespace graft {

namespace {
class File {
public:
  explicit File(const std::string &path) : descriptor_(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK)) {}
  ~File() {
    if (descriptor_ >= 0)
      ::close(descriptor_);
  }
  File(const File &) = delete;
  int descriptor() const { return descriptor_; }

private:
  int descriptor_;
};

/// Size of an opened regular file below 2 GiB + preamble.
Result<size_t> regularSize(int file) {
  struct stat info{};
  if (file < 0 || ::fstat(file, &info) != 0)
    return Status::error(Code::Io, std::strerror(errno));
  if (!S_ISREG(info.st_mode))
    return Status::error(Code::Io, "is not a regular file");
  if (info.st_size > (int64_t(1) << 31))
    return Status::error(Code::Limit,
                         "file of " + std::to_string(info.st_size) + " bytes: a program has at most 2 GiB");
  return static_cast<size_t>(info.st_size);
}

Status readAll(int file, uint8_t *bytes, size_t size) {
  for (size_t done = 0; done < size;) {
    ssize_t got = ::pread(file, bytes + done, size - done, static_cast<off_t>(done));
    if (got < 0 && errno == EINTR)
      continue;
    if (got < 0)
      return Status::error(Code::Io, std::strerror(errno));
    if (got == 0)
      return Status::error(Code::Io, "file became shorter while it was read");
    done += static_cast<size_t>(got);
  }
  return Status::ok();
}

uint8_t *allocate(size_t size) {
  return static_cast<uint8_t *>(std::aligned_alloc(64, (size + 64) / 64 * 64));
}
} // namespace

void Program::Free::operator()(uint8_t *bytes) const {
  std::free(bytes);
}

Result<Program> Program::open(const std::string &path) {
  File file(path);
  Result<size_t> size = regularSize(file.descriptor());
  if (!size.isOk())
    return size.takeStatus().at(escaped(path));
  std::unique_ptr<uint8_t[], Free> bytes(allocate(*size));
  if (!bytes)
    return Status::error(Code::DoesNotFit, "no memory for " + std::to_string(*size) + " bytes", escaped(path));
  if (Status status = readAll(file.descriptor(), bytes.get(), *size); !status.isOk())
    return std::move(status).at(escaped(path));
  Result<Program> program = fromOwned(std::move(bytes), *size);
  if (!program.isOk())
    return program.takeStatus().at(escaped(path));
  program->name_ = escaped(path);
  return program;
}

Result<Program> Program::fromBytes(std::span<const uint8_t> file) {
  std::unique_ptr<uint8_t[], Free> bytes(allocate(file.size()));
  if (!bytes)
    return Status::error(Code::DoesNotFit, "no memory for " + std::to_string(file.size()) + " bytes");
  if (!file.empty())
    std::memcpy(bytes.get(), file.data(), file.size());
  return fromOwned(std::move(bytes), file.size());
}

Result<Program> Program::fromOwned(std::unique_ptr<uint8_t[], Free> bytes, size_t size) {
  std::span<const uint8_t> file(bytes.get(), size);
  GRAFT_ASSIGN_OR_RETURN(std::span<const uint8_t> buffer, unwrapProgram(file));
  GRAFT_ASSIGN_OR_RETURN(const schema::Program *root, verifyProgram(buffer));
  Program program;
  program.root_ = root;
  program.fingerprint_ = hash64(file.data(), file.size());
  program.bytes_ = std::shared_ptr<const uint8_t[]>(bytes.release(), Free());
  return program;
}

int Program::findEntry(std::string_view name) const {
  const auto *entries = root_->entries();
  for (unsigned i = 0; entries && i < entries->size(); ++i)
    if (entries->Get(i)->name()->string_view() == name)
      return static_cast<int>(i);
  return -1;
}

int Program::findParameter(std::string_view name) const {
  const auto *parameters = root_->parameters();
  for (unsigned i = 0; parameters && i < parameters->size(); ++i) {
    const schema::Parameter *parameter = parameters->Get(i);
    if (parameter->name()->string_view() == name)
      return static_cast<int>(i);
    if (const auto *aliases = parameter->aliases())
      for (const auto *alias : *aliases)
        if (alias->string_view() == name)
          return static_cast<int>(i);
  }
  return -1;
}

const schema::Object *chooseObject(const schema::Program &program) {
  const schema::Object *best = nullptr;
  for (std::string_view target : knownTargets())
    for (unsigned i = 0; program.objects() && i < program.objects()->size(); ++i)
      if (program.objects()->Get(i)->target()->string_view() == target && isTargetAvailable(target))
        best = program.objects()->Get(i);
  return best;
}

const schema::Object *Program::object() const {
  return chooseObject(*root_);
}

} // namespace graft
