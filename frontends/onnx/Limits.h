// What the ONNX reader accepts at most. Each limit is far above what exporters write; anything beyond it is a fault of
// class Limit, found before memory is allocated for it.
#pragma once

#include <cstddef>
#include <cstdint>

namespace graft::onnx {

/// Size of a model file; protobuf itself ends here.
inline constexpr uint64_t maxModelBytes = (uint64_t{1} << 31) - 1;
/// Files up to this size are read into memory, larger ones are mapped.
inline constexpr uint64_t maxCopiedBytes = uint64_t{64} << 20;
/// Messages inside of messages (protobuf's own limit); a graph in an attribute costs three levels.
inline constexpr unsigned maxMessageDepth = 100;
/// Memory of the structures in Model.h, without the file itself.
inline constexpr uint64_t maxModelStructureBytes = uint64_t{512} << 20;
/// Elements of a tensor that is written in typed fields instead of raw bytes.
inline constexpr uint64_t maxTypedElements = uint64_t{1} << 26;

inline constexpr size_t maxNodes = 2'000'000; ///< also after inlining
inline constexpr size_t maxFunctions = 10'000;
inline constexpr size_t maxCallDepth = 100; ///< functions that call functions
inline constexpr size_t maxRank = 64;
inline constexpr size_t maxExternalKeys = 64;
inline constexpr size_t maxLocationBytes = 4096;
inline constexpr size_t maxOpTypeBytes = 256;
/// Faults that one reading reports; the rest is counted.
inline constexpr size_t maxFaults = 100;
/// Files of external data that are open at a time.
inline constexpr size_t maxOpenFiles = 8;
/// Symbolic links followed on the way to one file, where links are allowed at all.
inline constexpr size_t maxLinks = 16;

inline constexpr int64_t minIrVersion = 3, maxIrVersion = 13;
inline constexpr int64_t minOpset = 13, maxOpset = 23;

} // namespace graft::onnx
