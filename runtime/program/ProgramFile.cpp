#include "runtime/program/ProgramFile.h"

#include "runtime/program/Hash.h"
#include "runtime/program/Program_generated.h"

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <fcntl.h>
#include <unistd.h>

namespace graft {

namespace {
constexpr char magic[8] = {'G', 'R', 'A', 'F', 'T', 'P', 'R', 'G'};
constexpr uint32_t formatVersion = 1;

/// A lower bound of the serialized size: the blobs that can make it large. FlatBuffers only asserts on its 2 GiB limit.
uint64_t blobBytes(const schema::ProgramT &program) {
  uint64_t bytes = program.constants.size();
  for (const auto &object : program.objects)
    bytes += object->bytes.size();
  return bytes;
}

Status ioError(const char *what) {
  return Status::error(Code::Failed, std::string(what) + ": " + std::strerror(errno));
}

Status writeAll(int file, std::span<const uint8_t> bytes) {
  while (!bytes.empty()) {
    ssize_t written = ::write(file, bytes.data(), bytes.size());
    if (written < 0 && errno == EINTR)
      continue;
    if (written < 0)
      return ioError("write failed");
    bytes = bytes.subspan(static_cast<size_t>(written));
  }
  return ::fsync(file) == 0 ? Status::ok() : ioError("fsync failed");
}
} // namespace

Result<std::vector<uint8_t>> serializeProgram(schema::ProgramT &program) {
  constexpr uint64_t limit = (uint64_t(1) << 31) - (uint64_t(64) << 20); // 64 MiB for everything that is not a blob
  if (uint64_t blobs = blobBytes(program); blobs > limit)
    return Status::error(Code::Limit, "constants and object code take " + std::to_string(blobs) +
                                          " bytes, a program file holds at most " + std::to_string(limit));
  program.schema_version = schemaVersion;
  flatbuffers::FlatBufferBuilder builder(1 << 20);
  builder.Finish(schema::Program::Pack(builder, &program), schema::ProgramIdentifier());

  ProgramPreamble preamble{};
  std::memcpy(preamble.magic, magic, sizeof magic);
  preamble.formatVersion = formatVersion;
  preamble.size = builder.GetSize();
  preamble.checksum = hash64(builder.GetBufferPointer(), builder.GetSize());
  std::vector<uint8_t> file(sizeof preamble + builder.GetSize());
  std::memcpy(file.data(), &preamble, sizeof preamble);
  std::memcpy(file.data() + sizeof preamble, builder.GetBufferPointer(), builder.GetSize());
  return file;
}

Status writeProgram(schema::ProgramT &program, const std::string &path) {
  GRAFT_ASSIGN_OR_RETURN(std::vector<uint8_t> bytes, serializeProgram(program));
  std::string temporary = path + ".tmp";
  int file = ::open(temporary.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
  if (file < 0)
    return ioError("cannot create").at(escaped(temporary));
  Status status = writeAll(file, bytes);
  if (::close(file) != 0 && status.isOk())
    status = ioError("close failed");
  if (status.isOk() && ::rename(temporary.c_str(), path.c_str()) != 0)
    status = ioError("rename failed");
  if (!status.isOk())
    ::unlink(temporary.c_str());
  return std::move(status).at(escaped(path));
}

Result<std::span<const uint8_t>> unwrapProgram(std::span<const uint8_t> file) {
  ProgramPreamble preamble;
  if (file.size() < sizeof preamble)
    return Status::error(Code::Format, "file of " + std::to_string(file.size()) + " bytes is too short for a program");
  std::memcpy(&preamble, file.data(), sizeof preamble);
  if (std::memcmp(preamble.magic, magic, sizeof magic) != 0)
    return Status::error(Code::Format, "does not begin with GRAFTPRG", "", "programs are written by `graft compile`");
  if (preamble.formatVersion != formatVersion)
    return Status::error(Code::Unsupported,
                         "format version " + std::to_string(preamble.formatVersion) + ", this runtime reads " +
                             std::to_string(formatVersion),
                         "", "compile the recipe again");
  std::span<const uint8_t> rest = file.subspan(sizeof preamble);
  if (preamble.size != rest.size())
    return Status::error(Code::Format, "the preamble announces " + std::to_string(preamble.size) +
                                           " bytes, the file has " + std::to_string(rest.size()) + " after it");
  static constexpr uint8_t zeros[sizeof preamble.padding] = {};
  if (preamble.reserved != 0 || std::memcmp(preamble.padding, zeros, sizeof zeros) != 0)
    return Status::error(Code::Format, "reserved bytes of the preamble are not zero");
  if (rest.size() >= (uint64_t(1) << 31))
    return Status::error(Code::Limit, "a program of 2 GiB or more cannot be read");
  if (uint64_t found = hash64(rest.data(), rest.size()); found != preamble.checksum)
    return Status::error(Code::Verify, "checksum does not match: the file was changed or damaged", "",
                         "compile the recipe again");
  return rest;
}

} // namespace graft
