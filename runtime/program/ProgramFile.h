// The bytes of a program file: a 64-byte preamble and a FlatBuffer (Program.fbs).
//
// The preamble is what a FlatBuffer cannot say about itself: that the file is whole, and unchanged. All integers are
// little endian. The FlatBuffer starts at byte 64, so that blobs aligned to 64 bytes within it are aligned in a mapped
// file too.
#pragma once

#include "runtime/base/Status.h"

#include <cstdint>
#include <span>
#include <string>
#include <vector>

namespace graft {

namespace schema {
struct ProgramT;
}

/// Raised whenever an older runtime would misread a newer file, or the other way round. The runtime accepts only its
/// own.
constexpr uint32_t schemaVersion = 5;

struct ProgramPreamble {
  char magic[8];          ///< "GRAFTPRG"
  uint32_t formatVersion; ///< of this preamble: 1
  uint32_t reserved;      ///< 0
  uint64_t size;          ///< bytes after the preamble: exactly the rest of the file
  uint64_t checksum;      ///< hash64 of these bytes
  uint8_t padding[32];    ///< zeros
};
static_assert(sizeof(ProgramPreamble) == 64);

/// The file's bytes for `program`; sets its schema_version. Same program, same bytes. Limit: 2 GiB - 1 (FlatBuffers).
Result<std::vector<uint8_t>> serializeProgram(schema::ProgramT &program);

/// Serializes and writes to a temporary file beside `path`, then renames, so that readers never see half a program.
Status writeProgram(schema::ProgramT &program, const std::string &path);

/// The FlatBuffer within a file's bytes after checking the preamble, size and checksum (not yet the FlatBuffer itself).
Result<std::span<const uint8_t>> unwrapProgram(std::span<const uint8_t> file);

} // namespace graft
