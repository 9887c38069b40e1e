#include "frontends/weights/Checkpoint.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <filesystem>
#include <set>

namespace graft {

namespace {
namespace fs = std::filesystem;
constexpr const char *singleName = "model.safetensors";
constexpr const char *indexName = "model.safetensors.index.json";
constexpr size_t maxFaults = 20;

std::string placeOf(const CheckpointTensor &tensor) {
  return escaped(tensor.file->path(), 400) + ": tensor '" + escaped(tensor.info->name) + "'";
}

/// The folder that links of `folder` may lead to: the model's folder in a Hugging Face cache, otherwise none ("").
std::string linkRoot(const std::string &folder) {
  std::error_code error;
  fs::path snapshot = fs::canonical(folder, error);
  fs::path model = snapshot.parent_path().parent_path();
  bool isCache = !error && snapshot.parent_path().filename() == "snapshots" && fs::is_directory(model / "blobs", error);
  return isCache ? model.string() : "";
}

bool present(const std::string &folder, const char *name) {
  std::error_code ignored;
  return fs::symlink_status(fs::path(folder) / name, ignored).type() != fs::file_type::not_found;
}
} // namespace

/// Builds a Checkpoint step by step and collects the faults of all shards.
class CheckpointOpener {
public:
  explicit CheckpointOpener(const std::string &path) { checkpoint_.path_ = path; }

  Result<Checkpoint> open() {
    GRAFT_RETURN_IF_ERROR(openFiles());
    GRAFT_RETURN_IF_ERROR(collect());
    GRAFT_ASSIGN_OR_RETURN(checkpoint_.tied_, readTieWordEmbeddings(checkpoint_.folder_));
    return std::move(checkpoint_);
  }

private:
  Status openFiles();
  Status openSingle(Result<InputFile> file);
  Status openShards();
  Status collect();
  void fault(Code code, std::string message, std::string place, std::string hint = "") {
    if (status_.faults().size() < maxFaults)
      status_.merge(Status::error(code, std::move(message), std::move(place), std::move(hint)));
  }

  Checkpoint checkpoint_;
  std::map<std::string, std::string> weightMap_;
  Status status_;
};

Status CheckpointOpener::openFiles() {
  fs::path path = checkpoint_.path_;
  std::error_code error;
  bool isFolder = fs::is_directory(path, error);
  bool isIndex = !isFolder && path.filename().string().ends_with(".index.json");
  checkpoint_.folder_ = isFolder ? path.string() : path.parent_path().empty() ? "." : path.parent_path().string();
  if (isIndex)
    return openShards();
  if (!isFolder)
    return openSingle(InputFile::open(checkpoint_.path_));
  const std::string &folder = checkpoint_.folder_;
  if (present(folder, singleName))
    return openSingle(InputFile::openBeneath(folder, singleName, linkRoot(folder)));
  if (present(folder, indexName))
    return openShards();
  if (present(folder, "pytorch_model.bin") || present(folder, "pytorch_model.bin.index.json"))
    return Status::error(Code::Unsupported, "holds only pytorch_model.bin, a Python pickle, which is never run",
                         escaped(folder, 400),
                         "convert it to safetensors where you trust it (transformers: save_pretrained)");
  return Status::error(Code::Io, std::string("holds neither ") + singleName + " nor " + indexName, escaped(folder, 400),
                       "name a safetensors file, or a folder as on the Hugging Face hub");
}

Status CheckpointOpener::openSingle(Result<InputFile> input) {
  if (!input.isOk())
    return input.takeStatus();
  GRAFT_ASSIGN_OR_RETURN(SafetensorsFile file, SafetensorsFile::open(std::move(*input)));
  checkpoint_.shards_.push_back({"", std::make_unique<SafetensorsFile>(std::move(file))});
  return Status::ok();
}

Status CheckpointOpener::openShards() {
  checkpoint_.sharded_ = true;
  const std::string &folder = checkpoint_.folder_;
  fs::path given = checkpoint_.path_;
  std::string name = given.filename().string().ends_with(".index.json") ? given.filename().string() : indexName;
  std::string root = linkRoot(folder), place = escaped((fs::path(folder) / name).string(), 400);
  GRAFT_ASSIGN_OR_RETURN(InputFile index, InputFile::openBeneath(folder, name, root));
  GRAFT_ASSIGN_OR_RETURN(MappedFile bytes, MappedFile::map(std::move(index), 256u << 20));
  auto map = parseCheckpointIndex({reinterpret_cast<const char *>(bytes.bytes().data()), bytes.bytes().size()});
  if (!map.isOk())
    return map.takeStatus().at(place);
  weightMap_ = std::move(*map);
  std::set<std::string> shards;
  for (const auto &[tensor, shard] : weightMap_)
    shards.insert(shard);
  for (const std::string &shard : shards) {
    Result<InputFile> input = InputFile::openBeneath(folder, shard, root);
    Result<SafetensorsFile> file =
        input.isOk() ? SafetensorsFile::open(std::move(*input)) : Result<SafetensorsFile>(input.takeStatus());
    if (file.isOk())
      checkpoint_.shards_.push_back({shard, std::make_unique<SafetensorsFile>(std::move(*file))});
    else if (status_.faults().size() < maxFaults)
      status_.merge(file.takeStatus().at(place));
  }
  return Status::ok();
}

/// Enters every shard's tensors under their names, and compares them with the index.
Status CheckpointOpener::collect() {
  bool allOpen = status_.isOk();
  for (const Checkpoint::Shard &shard : checkpoint_.shards_)
    for (const TensorInfo &tensor : shard.file->tensors()) {
      CheckpointTensor entry{&tensor, shard.file.get()};
      auto [existing, isNew] = checkpoint_.tensors_.emplace(tensor.name, entry);
      if (!isNew)
        fault(Code::Graph, "also stands in " + escaped(existing->second.file->path(), 400), placeOf(entry),
              "every tensor must be in exactly one shard");
    }
  for (const auto &[name, shard] : weightMap_) {
    std::string place = escaped(checkpoint_.folder_, 400) + ": tensor '" + escaped(name) + "'";
    auto found = checkpoint_.tensors_.find(name);
    auto file = std::ranges::find(checkpoint_.shards_, shard, &Checkpoint::Shard::name);
    if (file == checkpoint_.shards_.end())
      continue; // reported when it was opened
    if (!file->file->find(name))
      fault(Code::Graph,
            "the index places it in '" + escaped(shard) + "', which lacks it" +
                (found != checkpoint_.tensors_.end() && allOpen
                     ? "; it stands in " + escaped(found->second.file->path(), 400)
                     : ""),
            place);
  }
  for (const auto &[name, entry] : checkpoint_.tensors_)
    checkpoint_.names_.push_back(name);
  std::ranges::sort(checkpoint_.names_);
  return std::move(status_);
}

Result<Checkpoint> Checkpoint::open(const std::string &path) {
  return CheckpointOpener(path).open();
}

Result<InputFile> Checkpoint::openBeside(const std::string &name) const {
  return InputFile::openBeneath(folder_, name, linkRoot(folder_));
}

std::optional<CheckpointTensor> Checkpoint::find(std::string_view name) const {
  auto found = tensors_.find(std::string(name));
  return found == tensors_.end() ? std::nullopt : std::optional(found->second);
}

std::optional<CheckpointTensor> Checkpoint::findByBytes(std::string_view fileName, uint64_t offset,
                                                        uint64_t bytes) const {
  std::string last = fs::path(fileName).filename().string();
  for (const Shard &shard : shards_) {
    if (fs::path(shard.file->path()).filename() != last)
      continue;
    const auto &tensors = shard.file->tensors();
    auto first = std::ranges::lower_bound(tensors, offset, {}, &TensorInfo::begin);
    for (; first != tensors.end() && first->begin == offset; ++first)
      if (first->bytes == bytes)
        return CheckpointTensor{&*first, shard.file.get()};
  }
  return std::nullopt;
}

Status Checkpoint::read(std::string_view name, std::span<float> out) const {
  std::optional<CheckpointTensor> tensor = find(name);
  if (!tensor)
    return Status::error(Code::Graph, "holds no tensor '" + escaped(name) + "'", escaped(path_, 400));
  if (out.size() != tensor->info->elements)
    return Status::error(Code::Internal,
                         std::to_string(out.size()) + " elements are wanted of " +
                             std::to_string(tensor->info->elements),
                         placeOf(*tensor));
  return tensor->file->read(*tensor->info, 0, out);
}

namespace {
enum class Comparison { Different, Equal, EqualAndConstant };

/// Compares the bytes of two tensors of the same dtype and shape; stops at the first difference.
Result<Comparison> compare(const CheckpointTensor &a, const CheckpointTensor &b) {
  constexpr uint64_t firstPiece = 4096, piece = 1u << 20;
  std::vector<std::byte> left, right, beginning;
  bool constant = true;
  size_t width = std::max(byteWidth(a.info->dtype), 1u);
  for (uint64_t done = 0; done < a.info->bytes;) {
    uint64_t now = std::min(a.info->bytes - done, done == 0 ? firstPiece : piece);
    left.resize(now), right.resize(now);
    GRAFT_RETURN_IF_ERROR(a.file->file().read(a.info->begin + done, left));
    GRAFT_RETURN_IF_ERROR(b.file->file().read(b.info->begin + done, right));
    if (left != right)
      return Comparison::Different;
    if (done == 0)
      beginning.assign(left.begin(), left.begin() + static_cast<ptrdiff_t>(std::min<uint64_t>(width, now)));
    for (size_t i = 0; constant && i + width <= left.size(); i += width)
      constant = std::equal(beginning.begin(), beginning.end(), left.begin() + static_cast<ptrdiff_t>(i));
    done += now;
  }
  return constant ? Comparison::EqualAndConstant : Comparison::Equal;
}
} // namespace

Result<std::vector<std::vector<std::string>>> Checkpoint::tiedNames() const {
  std::vector<std::vector<std::string>> groups;
  if (tied_ == false)
    return groups;
  std::map<std::pair<DType, std::vector<int64_t>>, std::vector<std::string>> alike;
  for (const std::string &name : names_) {
    const TensorInfo &info = *tensors_.at(name).info;
    if (info.shape.size() == 2 && info.bytes > 0)
      alike[{info.dtype, info.shape}].push_back(name);
  }
  for (auto &[key, names] : alike)
    while (names.size() > 1) {
      std::vector<std::string> group = {names.front()}, rest;
      for (size_t i = 1; i < names.size(); ++i) {
        GRAFT_ASSIGN_OR_RETURN(Comparison result, compare(tensors_.at(names[0]), tensors_.at(names[i])));
        (result == Comparison::Equal ? group : rest).push_back(names[i]);
      }
      if (group.size() > 1)
        groups.push_back(std::move(group));
      names = std::move(rest);
    }
  std::ranges::sort(groups);
  return groups;
}

namespace {
uint64_t mix(uint64_t index, float value) { // splitmix64's finaliser
  uint64_t x =
      (index + 1) * 0x9E3779B97F4A7C15u ^ static_cast<uint64_t>(std::bit_cast<uint32_t>(value)) * 0xD6E8FEB86659FD93u;
  x = (x ^ x >> 30) * 0xBF58476D1CE4E5B9u;
  x = (x ^ x >> 27) * 0x94D049BB133111EBu;
  return x ^ x >> 31;
}

/// Adds values that begin at flat index `first`. Precondition: shape has no zero dimension if there are values.
void addValues(ContentHash &hash, std::span<const float> values, uint64_t first, std::span<const int64_t> shape) {
  for (size_t i = 0; i < values.size(); ++i)
    hash.rowMajor += mix(first + i, values[i]);
  if (shape.size() != 2 || values.empty())
    return;
  uint64_t rows = static_cast<uint64_t>(shape[0]), columns = static_cast<uint64_t>(shape[1]);
  uint64_t row = first / columns, column = first % columns;
  for (float value : values) {
    hash.transposed += mix(column * rows + row, value);
    if (++column == columns)
      column = 0, ++row;
  }
}
} // namespace

ContentHash contentHash(std::span<const float> values, std::span<const int64_t> shape) {
  ContentHash hash;
  addValues(hash, values, 0, shape);
  return hash;
}

Result<ContentHash> contentHash(const CheckpointTensor &tensor) {
  constexpr uint64_t piece = 256 * 1024;
  ContentHash hash;
  std::vector<float> values;
  for (uint64_t done = 0; done < tensor.info->elements; done += values.size()) {
    values.resize(std::min(tensor.info->elements - done, piece));
    GRAFT_RETURN_IF_ERROR(tensor.file->read(*tensor.info, done, std::span<float>(values)));
    addValues(hash, values, done, tensor.info->shape);
  }
  return hash;
}

} // namespace graft
