// Batches from safetensors files: which arrays, which shapes, which types. Their values are BatchArrays.cpp's business.
#include "runtime/io/Batch.h"

#include "runtime/base/Convert.h"
#include "runtime/io/BatchArrays.h"
#include "runtime/io/PackedFile.h"

#include <algorithm>

namespace graft {

std::span<const std::byte> BatchArray::bytes() const {
  return std::visit([](const auto &all) { return std::as_bytes(std::span(all)); }, values);
}

const BatchArray *Batch::find(std::string_view name) const {
  auto found = std::ranges::lower_bound(arrays, name, {}, &BatchArray::name);
  return found != arrays.end() && found->name == name ? &*found : nullptr;
}

namespace {
using namespace batch;

/// Larger batches than this are somebody's mistake; as int64 one array has half a gigabyte.
constexpr int64_t maxTokens = int64_t{1} << 26;

std::string shapeText(std::span<const int64_t> shape) {
  std::string text = "[";
  for (int64_t dim : shape)
    text += (text.size() > 1 ? ", " : "") + std::to_string(dim);
  return text + "]";
}

class Loader {
public:
  Loader(const SafetensorsFile &file, const BatchOptions &options)
      : file_(file), options_(options), faults_(options.faults) {}

  Result<LoadedBatch> load() {
    sortOut();
    if (!findSize())
      return faults_.take();
    GRAFT_RETURN_IF_ERROR(unpack());
    if (isPacked_ && !faults_.none())
      return faults_.take();
    for (const TensorInfo *tensor : used_)
      GRAFT_RETURN_IF_ERROR(loadArray(*tensor));
    Result<LoadedBatch> loaded = finish(std::move(batch_), options_, std::move(faults_), std::move(notes_));
    if (loaded.isOk() && isPacked_)
      loaded->packed = {columns_, std::move(packed_.places)};
    return loaded;
  }

private:
  void sortOut();
  bool findSize();
  Status unpack();
  Status loadArray(const TensorInfo &tensor);
  bool checkShape(const TensorInfo &tensor, Role role, bool shifts);
  template <typename T> void arrange(std::vector<T> &values, RawArray &array, Role role, bool shifts);

  const SafetensorsFile &file_;
  const BatchOptions &options_;
  Faults faults_;
  std::vector<std::string> notes_;
  std::vector<const TensorInfo *> used_;
  RawBatch batch_;
  int64_t rows_ = 0, columns_ = 0; ///< of the file's token arrays: B and S, or 1 and T
  bool isPacked_ = false;
  PackedRow packed_;
};

/// Which arrays are used, ignored, missing.
void Loader::sortOut() {
  for (const TensorInfo &tensor : file_.tensors()) {
    if (isUsed(options_, tensor.name))
      used_.push_back(&tensor);
    else if (tensor.name == "segment_ids")
      isPacked_ = true;
    else
      notes_.push_back("array '" + escaped(tensor.name) +
                       "' is used neither by the graph nor by the objective: ignored");
  }
  std::ranges::sort(used_, {}, &TensorInfo::name);
  std::ranges::sort(notes_);
  for (const std::string &name : options_.required)
    if (!file_.find(name))
      faults_.add(Code::Graph, "is missing", escaped(name));
}

/// B and S; false if the arrays do not tell.
bool Loader::findSize() {
  const TensorInfo *widest = file_.find("input_ids");
  if (!widest || !isUsed(options_, "input_ids"))
    for (const TensorInfo *tensor : used_) {
      Role role = contractOf(tensor->name).role;
      bool rows = (role == Role::Token || role == Role::TokenOrSequence) && tensor->shape.size() == 2;
      if (rows && (!widest || tensor->shape[1] > widest->shape[1]))
        widest = tensor;
    }
  if (!widest) {
    faults_.add(Code::Graph, "no array of shape [sequences, tokens] tells the size of the batch");
    return false;
  }
  if (widest->shape.size() != 2) {
    faults_.add(Code::Range, "has shape " + shapeText(widest->shape) + ", [sequences, tokens] is expected",
                escaped(widest->name));
    return false;
  }
  batch_.sequences = rows_ = widest->shape[0];
  batch_.tokens = columns_ = widest->shape[1];
  if (widest->elements == 0)
    faults_.add(Code::Range, "has shape " + shapeText(widest->shape) + ": there are no tokens", escaped(widest->name));
  else if (widest->elements > static_cast<uint64_t>(maxTokens))
    faults_.add(Code::Limit,
                "has " + std::to_string(widest->elements) + " tokens, at most " + std::to_string(maxTokens) +
                    " are accepted",
                escaped(widest->name));
  else
    return true;
  return false;
}

/// The sequences of a packed row.
Status Loader::unpack() {
  if (!isPacked_)
    return Status::ok();
  const TensorInfo &segments = *file_.find("segment_ids");
  if (rows_ != 1)
    faults_.add(Code::Range, "says that the batch is packed, but it has " + std::to_string(rows_) + " rows",
                "segment_ids");
  if (!convertsToInteger(segments.dtype))
    faults_.add(Code::Type,
                "has dtype " + std::string(safetensorsName(segments.dtype)) + ", an integer type is expected",
                "segment_ids");
  else if (segments.shape != std::vector{rows_, columns_})
    faults_.add(Code::Range,
                "has shape " + shapeText(segments.shape) + ", " + shapeText(std::vector{rows_, columns_}) +
                    " is expected",
                "segment_ids");
  if (!faults_.none())
    return Status::ok();
  GRAFT_ASSIGN_OR_RETURN(std::vector<int64_t> ids, file_.readAll<int64_t>(segments));
  packed_ = readSegments(ids, options_.tokens, faults_);
  batch_.sequences = packed_.sequences;
  batch_.tokens = packed_.tokens;
  std::vector<int64_t> mask = packed_.places;
  for (int64_t &place : mask)
    place = place >= 0;
  batch_.arrays["attention_mask"] = {"attention_mask", {batch_.sequences, batch_.tokens}, true, std::move(mask), {}};
  return Status::ok();
}

bool Loader::checkShape(const TensorInfo &tensor, Role role, bool shifts) {
  int64_t B = rows_, S = columns_;
  bool isToken = tensor.shape == std::vector{B, S}, isShifted = tensor.shape == std::vector{B, S - 1},
       isSequence = tensor.shape == std::vector{batch_.sequences};
  bool fits = role == Role::Sequence ? isSequence
              : role == Role::Free ? tensor.elements <= static_cast<uint64_t>(maxTokens)
                                   : isToken || (shifts && isShifted) || (role == Role::TokenOrSequence && isSequence);
  if (fits)
    return true;
  std::string wanted = role == Role::Sequence ? shapeText(std::vector{batch_.sequences})
                       : role == Role::Free   ? "fewer elements"
                                              : shapeText(std::vector{B, S});
  if (role != Role::Sequence && role != Role::Free && shifts)
    wanted += ", " + shapeText(std::vector{B, S - 1}) + " (tokens 1 to S-1)";
  if (role == Role::TokenOrSequence)
    wanted += " or " + shapeText(std::vector{batch_.sequences});
  faults_.add(Code::Range, "has shape " + shapeText(tensor.shape) + ", " + wanted + " is expected",
              escaped(tensor.name));
  return false;
}

/// Shifts [B, S-1] in and broadcasts [B], where the contract says so; takes a packed row apart.
template <typename T> void Loader::arrange(std::vector<T> &values, RawArray &array, Role role, bool shifts) {
  auto B = static_cast<size_t>(rows_), S = static_cast<size_t>(columns_);
  if (shifts && array.shape == std::vector{rows_, columns_ - 1}) {
    std::vector<T> all(B * S);
    for (size_t row = 0; row < B; ++row)
      for (size_t column = 1; column < S; ++column)
        all[row * S + column] = values[row * (S - 1) + column - 1];
    values = std::move(all);
    array.shape = {rows_, columns_};
  }
  if (role == Role::TokenOrSequence && array.shape.size() == 1) {
    auto width = static_cast<size_t>(batch_.tokens);
    std::vector<T> all(values.size() * width);
    for (size_t i = 0; i < all.size(); ++i)
      all[i] = values[i / width];
    values = std::move(all);
    array.shape = {batch_.sequences, batch_.tokens};
  } else if (isPacked_ && array.shape == std::vector{rows_, columns_}) {
    values = packed_.spread(std::span<const T>(values));
    array.shape = {batch_.sequences, batch_.tokens};
  }
}

Status Loader::loadArray(const TensorInfo &tensor) {
  Contract contract = contractOf(tensor.name);
  bool isInteger = convertsToInteger(tensor.dtype), isFloat = convertsToFloat(tensor.dtype);
  if ((!isInteger && !isFloat) || (contract.integral && !isInteger)) {
    faults_.add(Code::Type,
                "has dtype " + std::string(safetensorsName(tensor.dtype)) + ", " +
                    (contract.integral ? "an integer or boolean type" : "a type of numbers") + " is expected",
                escaped(tensor.name));
    return Status::ok();
  }
  if (!checkShape(tensor, contract.role, contract.shifts))
    return Status::ok();
  RawArray array{tensor.name, tensor.shape, contract.integral || (contract.role == Role::Free && isInteger), {}, {}};
  if (isFloat) {
    GRAFT_ASSIGN_OR_RETURN(array.reals, file_.readAll<double>(tensor));
  } else {
    GRAFT_ASSIGN_OR_RETURN(array.integers, file_.readAll<int64_t>(tensor));
    if (!array.integral) {
      array.reals.assign(array.integers.begin(), array.integers.end());
      array.integers = {};
    }
  }
  array.integral ? arrange(array.integers, array, contract.role, contract.shifts)
                 : arrange(array.reals, array, contract.role, contract.shifts);
  batch_.arrays.insert_or_assign(tensor.name, std::move(array));
  return Status::ok();
}
} // namespace

Result<LoadedBatch> loadBatch(const SafetensorsFile &file, const BatchOptions &options) {
  Result<LoadedBatch> loaded = Loader(file, options).load();
  if (!loaded.isOk())
    return loaded.takeStatus().at(escaped(file.path(), 400));
  return loaded;
}

Result<LoadedBatch> loadBatch(const std::string &path, const BatchOptions &options) {
  GRAFT_ASSIGN_OR_RETURN(SafetensorsFile file, SafetensorsFile::open(path));
  return loadBatch(file, options);
}

} // namespace graft
