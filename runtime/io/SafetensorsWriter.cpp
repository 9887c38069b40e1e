#include "runtime/base/Checked.h"
#include "runtime/base/Convert.h"
#include "runtime/base/Json.h"
#include "runtime/io/Safetensors.h"

#include <algorithm>

namespace graft {

namespace {
/// The header's JSON, padded so that 8 + its size is a multiple of 64.
std::string headerText(const std::vector<TensorDeclaration> &tensors, const std::vector<uint64_t> &sizes,
                       const std::map<std::string, std::string> &metadata) {
  std::string text = "{", separator;
  if (!metadata.empty()) {
    text += "\"__metadata__\":{";
    for (const auto &[key, value] : metadata)
      text += std::exchange(separator, ",") + jsonString(key) + ":" + jsonString(value);
    text += "}";
  }
  uint64_t offset = 0;
  for (size_t i = 0; i < tensors.size(); ++i) {
    std::string dims;
    for (int64_t dim : tensors[i].shape)
      dims += (dims.empty() ? "" : ",") + std::to_string(dim);
    text += std::exchange(separator, ",") + jsonString(tensors[i].name) + ":{\"dtype\":\"" +
            std::string(safetensorsName(tensors[i].dtype)) + "\",\"shape\":[" + dims + "],\"data_offsets\":[" +
            std::to_string(offset) + "," + std::to_string(offset + sizes[i]) + "]}";
    offset += sizes[i];
  }
  text += "}";
  text.append((64 - (8 + text.size()) % 64) % 64, ' ');
  return text;
}
} // namespace

Result<SafetensorsWriter> SafetensorsWriter::create(const std::string &path, std::vector<TensorDeclaration> tensors,
                                                    const std::map<std::string, std::string> &metadata) {
  std::ranges::sort(tensors, {}, &TensorDeclaration::name);
  std::vector<uint64_t> sizes;
  uint64_t total = 0;
  for (size_t i = 0; i < tensors.size(); ++i) {
    const TensorDeclaration &tensor = tensors[i];
    std::string place = escaped(path, 400) + ": tensor '" + escaped(tensor.name) + "'";
    if (tensor.name == "__metadata__" || (i > 0 && tensors[i - 1].name == tensor.name))
      return Status::error(Code::Graph,
                           tensor.name == "__metadata__" ? "a tensor cannot have this name" : "occurs twice", place);
    std::optional<uint64_t> elements = elementCount(tensor.shape);
    std::optional<uint64_t> bits = elements ? checkedMultiply(*elements, bitWidth(tensor.dtype)) : std::nullopt;
    std::optional<uint64_t> sum = bits && *bits % 8 == 0 ? checkedAdd(total, *bits / 8) : std::nullopt;
    if (!sum)
      return Status::error(Code::Range, "its shape is no number of bytes", place);
    sizes.push_back(*bits / 8);
    total = *sum;
  }
  std::string header = headerText(tensors, sizes, metadata);
  GRAFT_ASSIGN_OR_RETURN(AtomicFile file, AtomicFile::create(path));
  std::string length(8, '\0');
  for (size_t i = 0; i < 8; ++i)
    length[i] = static_cast<char>(header.size() >> (8 * i) & 0xFF);
  GRAFT_RETURN_IF_ERROR(file.write(length + header));
  return SafetensorsWriter(std::move(file), std::move(tensors), std::move(sizes));
}

SafetensorsWriter::SafetensorsWriter(AtomicFile file, std::vector<TensorDeclaration> tensors,
                                     std::vector<uint64_t> sizes)
    : file_(std::move(file)), tensors_(std::move(tensors)), sizes_(std::move(sizes)) {
  advance();
}

/// Goes on to the next tensor that still lacks bytes.
void SafetensorsWriter::advance() {
  while (next_ < sizes_.size() && done_ == sizes_[next_]) {
    ++next_;
    done_ = 0;
  }
}

Status SafetensorsWriter::append(std::span<const std::byte> bytes) {
  if (bytes.empty())
    return Status::ok();
  if (next_ == sizes_.size() || bytes.size() > sizes_[next_] - done_)
    return Status::error(Code::Internal, "more values than declared",
                         next_ == sizes_.size() ? "" : "tensor '" + escaped(tensors_[next_].name) + "'");
  GRAFT_RETURN_IF_ERROR(file_.write(bytes));
  done_ += bytes.size();
  advance();
  return Status::ok();
}

Status SafetensorsWriter::append(std::span<const float> values) {
  if (values.empty())
    return Status::ok();
  if (next_ == sizes_.size())
    return Status::error(Code::Internal, "more values than declared");
  DType dtype = tensors_[next_].dtype;
  if (dtype == DType::F32)
    return append(std::as_bytes(values));
  std::string place = "tensor '" + escaped(tensors_[next_].name) + "'";
  if (values.size() > (sizes_[next_] - done_) / std::max(byteWidth(dtype), 1u))
    return Status::error(Code::Internal, "more values than declared", place);
  constexpr size_t perPiece = 128 * 1024;
  std::vector<std::byte> buffer(std::min(values.size(), perPiece) * byteWidth(dtype));
  for (; !values.empty(); values = values.subspan(std::min(values.size(), perPiece))) {
    std::span<const float> piece = values.first(std::min(values.size(), perPiece));
    std::span<std::byte> bytes(buffer.data(), piece.size() * byteWidth(dtype));
    if (!fromFloat(dtype, piece, bytes))
      return Status::error(Code::Type, "float values cannot be stored as " + std::string(safetensorsName(dtype)),
                           place);
    GRAFT_RETURN_IF_ERROR(append(bytes));
  }
  return Status::ok();
}

Status SafetensorsWriter::commit() {
  if (next_ != sizes_.size())
    return Status::error(Code::Internal, "values are missing", "tensor '" + escaped(tensors_[next_].name) + "'");
  return file_.commit();
}

} // namespace graft
