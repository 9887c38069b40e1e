#include "frontends/onnx/ModelFile.h"

#include <cerrno>
#include <cstring>
#include <sys/mman.h>
#include <unistd.h>

#include "frontends/onnx/Inline.h"
#include "frontends/onnx/Parse.h"

namespace graft::onnx {

namespace {
std::string directoryOf(const std::string &path) {
  size_t slash = path.rfind('/');
  return slash == std::string::npos ? "." : slash == 0 ? "/" : path.substr(0, slash);
}

struct Signature {
  size_t offset;
  std::string_view bytes, name, hint;
};
constexpr Signature signatures[] = {
    {0, "version https://git-lfs", "a Git LFS pointer", "fetch the file itself with `git lfs pull`"},
    {0, "\x1f\x8b", "a gzip archive", "unpack it first"},
    {0, "PK\x03\x04", "a zip archive", "unpack it first"},
    {257, "ustar", "a tar archive", "unpack it first"},
    {0, "%PDF", "a PDF document", ""},
    {0, "<", "an HTML or XML document", "the download may have failed: look into the file"},
    {0, "ML\xEFR", "MLIR bytecode", "name it with the ending .mlirbc"},
};

/// Says what a file is that cannot be ONNX.
Status checkSignature(std::string_view bytes) {
  if (bytes.empty())
    return Status::error(Code::Format, "the file is empty");
  for (const Signature &signature : signatures)
    if (bytes.size() > signature.offset && bytes.substr(signature.offset).starts_with(signature.bytes))
      return Status::error(Code::Format, "the file is " + std::string(signature.name) + ", not an ONNX model", "",
                           std::string(signature.hint));
  return Status::ok();
}
} // namespace

ModelFile::~ModelFile() {
  if (mapped_)
    ::munmap(mapped_, mappedBytes_);
}

Status ModelFile::load() {
  GRAFT_ASSIGN_OR_RETURN(OpenedFile file, openRegularFile(path_));
  uint64_t size = file.identity.size;
  if (size > maxModelBytes)
    return Status::error(Code::Limit, std::to_string(size) + " bytes, a protobuf file has less than 2 GiB", "",
                         "keep the weights in external data");
  if (size > maxCopiedBytes) {
    void *address = ::mmap(nullptr, size, PROT_READ, MAP_PRIVATE, file.descriptor.number(), 0);
    if (address == MAP_FAILED)
      return Status::error(Code::Io, std::string("cannot map the file: ") + std::strerror(errno));
    mapped_ = address;
    mappedBytes_ = size;
    return Status::ok();
  }
  copied_.resize(size);
  for (size_t done = 0; done < size;) {
    ssize_t got = ::pread(file.descriptor.number(), copied_.data() + done, size - done, static_cast<off_t>(done));
    if (got < 0 && errno == EINTR)
      continue;
    if (got <= 0)
      return Status::error(Code::Io, got == 0 ? "the file became shorter while it was read"
                                              : std::string("cannot read: ") + std::strerror(errno));
    done += static_cast<size_t>(got);
  }
  return Status::ok();
}

Status ModelFile::interpret(const ReadOptions &options) {
  std::string_view bytes = mapped_ ? std::string_view(static_cast<const char *>(mapped_), mappedBytes_) : copied_;
  GRAFT_RETURN_IF_ERROR(checkSignature(bytes));
  GRAFT_ASSIGN_OR_RETURN(model_, parseModel(bytes));
  GRAFT_RETURN_IF_ERROR(checkModel(model_, options.check));
  if (options.externalData)
    GRAFT_RETURN_IF_ERROR(checkExternalData(model_, external_));
  return inlineFunctions(model_);
}

Result<std::unique_ptr<ModelFile>> ModelFile::read(const std::string &path, const ReadOptions &options) {
  std::unique_ptr<ModelFile> file(new ModelFile(path, directoryOf(path), options.linkRoot));
  Status status = file->load();
  if (status.isOk())
    status = file->interpret(options);
  if (!status.isOk())
    return std::move(status).at(escaped(path, 4096));
  return file;
}

Result<std::unique_ptr<ModelFile>> ModelFile::readBytes(std::string bytes, const std::string &name,
                                                        const ReadOptions &options) {
  std::unique_ptr<ModelFile> file(new ModelFile(name, "", ""));
  file->copied_ = std::move(bytes);
  if (Status status = file->interpret(options); !status.isOk())
    return std::move(status).at(escaped(name, 4096));
  return file;
}

} // namespace graft::onnx
