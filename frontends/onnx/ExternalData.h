// Tensor contents that lie in files beside the model.
//
// Every file is opened through openBeneath(), so a model reads nothing outside of its directory. Contents are read,
// never mapped: a file that shrinks is an Io fault instead of a signal. A file that changes between two uses is
// noticed. At most maxOpenFiles are open at a time. Not thread-safe.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <vector>

#include "frontends/onnx/Beneath.h"
#include "frontends/onnx/Model.h"
#include "frontends/onnx/Tensor.h"

namespace graft::onnx {

class ExternalData {
public:
  /// `directory` is the model's; empty: the model came from memory and has none. `root`, if not empty, is a directory
  /// around it that symbolic and hard links may point into (the Hugging Face cache keeps its files so).
  explicit ExternalData(std::string directory, std::string root = "")
      : directory_(std::move(directory)), root_(std::move(root)) {}

  /// Equal regions are equal bytes: how tied weights show. `file` numbers the files in the order of first use.
  struct Region {
    uint32_t file = 0;
    uint64_t offset = 0, length = 0;
    bool operator==(const Region &) const = default;
    auto operator<=>(const Region &) const = default;
  };

  /// Where a checked tensor's contents lie: opens the file, compares its size and its checksum if the tensor has one.
  /// Faults: Path, Io, Range, Verify, and those of externalReference().
  Result<Region> locate(const Tensor &tensor);
  /// Fills `out` with the bytes from `region.offset + skip`. Faults: Range (beyond the region), Io.
  Status read(const Region &region, uint64_t skip, std::span<std::byte> out);
  /// The file's name as the model writes it.
  const std::string &location(uint32_t file) const { return files_[file].location; }
  size_t openFiles() const { return open_; }

private:
  struct File {
    std::string location;
    FileIdentity identity;
    Descriptor descriptor;
    std::string checksum; // of the whole file, once computed
    uint64_t lastUse = 0;
  };

  Result<uint32_t> fileAt(std::string_view location);
  Status open(File &file, bool first);
  Status readAt(File &file, uint64_t offset, std::span<std::byte> out);
  Status verify(File &file, std::string_view checksum);

  std::string directory_, root_;
  std::vector<File> files_;
  std::map<std::string, uint32_t, std::less<>> byLocation_;
  std::map<std::pair<uint64_t, uint64_t>, uint32_t> byIdentity_; // device and inode: two spellings of one file
  size_t open_ = 0;
  uint64_t clock_ = 0;
};

/// Locates the external data of every tensor of the model, wherever it hides (attributes, branches, functions). All
/// faults.
Status checkExternalData(const Model &model, ExternalData &external);

} // namespace graft::onnx
