// A checkpoint: named tensors in one safetensors file, or in the shards of a Hugging Face folder.
//
// open() takes a .safetensors file, a folder with model.safetensors, a folder with model.safetensors.index.json and its
// shards, or that index itself. Headers are read and checked, values are not. All faults of all shards are reported at
// once. Shard names come from a file, so they may not leave the folder, also not through a link; in a snapshot of the
// Hugging Face cache (models--X/snapshots/REVISION, files linked to ../../blobs) links may go as far as models--X.
// Immutable after open(); may be read from several threads.
#pragma once

#include "runtime/io/Safetensors.h"

#include <functional>
#include <memory>
#include <optional>

namespace graft {

struct CheckpointTensor {
  const TensorInfo *info = nullptr;
  const SafetensorsFile *file = nullptr;
};

class Checkpoint {
public:
  struct Shard {
    std::string name; ///< relative to folder(); "" if the checkpoint is one file
    std::unique_ptr<SafetensorsFile> file;
  };

  static Result<Checkpoint> open(const std::string &path);

  /// As the user named it.
  const std::string &path() const { return path_; }
  /// The folder that holds the weights: config.json and the tokenizer lie there.
  const std::string &folder() const { return folder_; }
  /// A file of folder(), under the same rules for links as a shard.
  Result<InputFile> openBeside(const std::string &name) const;
  bool isSharded() const { return sharded_; }
  const std::vector<Shard> &shards() const { return shards_; }

  /// All names, sorted.
  const std::vector<std::string> &names() const { return names_; }
  std::optional<CheckpointTensor> find(std::string_view name) const;
  /// The tensor whose bytes lie at exactly this range of the shard, or of the single file, called `fileName` (last
  /// component).
  std::optional<CheckpointTensor> findByBytes(std::string_view fileName, uint64_t offset, uint64_t bytes) const;

  /// A whole tensor in float32. Graph fault for an unknown name.
  Status read(std::string_view name, std::span<float> out) const;

  /// tie_word_embeddings of the config.json in folder(), if it is there and says so.
  std::optional<bool> tieWordEmbeddings() const { return tied_; }
  /// Groups of two or more names that are one parameter: matrices of the same dtype and shape with the same bytes that
  /// are not all equal numbers, unless config.json says that embeddings are not tied. Each group sorted, groups in
  /// order of their first name. Reads the data of candidates only.
  Result<std::vector<std::vector<std::string>>> tiedNames() const;

private:
  friend class CheckpointOpener;
  Checkpoint() = default;
  std::string path_, folder_;
  bool sharded_ = false;
  std::vector<Shard> shards_;
  std::vector<std::string> names_;
  std::unordered_map<std::string, CheckpointTensor> tensors_;
  std::optional<bool> tied_;
};

/// Reads tie_word_embeddings (top level, or in text_config) of FOLDER/config.json: nothing if there is no such file or
/// key.
Result<std::optional<bool>> readTieWordEmbeddings(const std::string &folder);

/// The weight_map of an index file: tensor name -> shard name, as written there.
Result<std::map<std::string, std::string>> parseCheckpointIndex(std::string_view text);

/// A 64-bit fingerprint of a tensor's values, to recognise a weight whose name an exporter changed. The values are
/// rounded to float32; the hash is the sum over flat index i of mix(i, bits of value i), so it depends on positions but
/// can be computed in any order: in one pass also for the transposed matrix. Equal tensors have equal hashes; the
/// reverse must be confirmed by comparing.
struct ContentHash {
  uint64_t rowMajor = 0;
  uint64_t transposed = 0; ///< rank 2: rowMajor of the transposed matrix; other ranks: 0
  bool operator==(const ContentHash &) const = default;
};
ContentHash contentHash(std::span<const float> values, std::span<const int64_t> shape);
/// The same, read in pieces of 1 MiB.
Result<ContentHash> contentHash(const CheckpointTensor &tensor);

/// Trained values of a tensor, by its name in the checkpoint; nothing if it was not trained (it is copied then). The
/// span must stay valid until the next call.
using TrainedValues = std::function<std::optional<std::span<const float>>(const std::string &name)>;

/// Writes the checkpoint with trained values into `folder` (which exists): same names, dtypes and shards as the source
/// (a single file becomes model.safetensors), index rewritten, each file atomic, the index last. Values are rounded to
/// nearest even. All names of a tied group get the trained values of one of them. config.json, the tokenizer's files
/// and generation settings are copied along, so that transformers loads the folder. Memory: 2 MiB.
Status saveCheckpoint(const Checkpoint &source, const std::string &folder, const TrainedValues &trained);

} // namespace graft
