#include "runtime/io/Safetensors.h"

#include "runtime/base/Convert.h"

#include <algorithm>
#include <array>
#include <cstring>

namespace graft {

namespace {
struct Signature {
  std::string_view bytes;
  std::string_view what, hint;
};
using namespace std::string_view_literals;
constexpr std::string_view convertHint = "convert it to safetensors where you trust it (transformers: save_pretrained)";
constexpr std::array<Signature, 9> signatures = {
    {{"PK\x03\x04"sv, "is a zip archive, as torch.save writes them: it holds pickled code, which is never run",
      convertHint},
     {"\x80\x02"sv, "is a Python pickle, which is never run", convertHint},
     {"\x80\x03"sv, "is a Python pickle, which is never run", convertHint},
     {"\x80\x04"sv, "is a Python pickle, which is never run", convertHint},
     {"\x80\x05"sv, "is a Python pickle, which is never run", convertHint},
     {"GGUF"sv, "is a GGUF file", "convert it to safetensors in Hugging Face layout"},
     {"version https://git-lfs"sv, "is a git-LFS pointer, not the file it stands for",
      "fetch the contents with 'git lfs pull'"},
     {"\x93NUMPY"sv, "is a numpy array file", "save the arrays as safetensors"},
     {"\x89HDF"sv, "is an HDF5 file", convertHint}}};

/// "\x80\x02" also begins a safetensors header of 640 bytes or so: then a zero high byte and a '{' follow, in a pickle
/// never both.
bool looksLikeHeader(std::string_view text) {
  return text.size() > 8 && text[7] == '\0' && text[8] == '{';
}

std::string place(const std::string &path, const TensorInfo &tensor) {
  return escaped(path, 400) + ": tensor '" + escaped(tensor.name) + "'";
}

/// Reads elements in pieces of up to 1 MiB; `convert(bytes, begin, count)` takes each piece and returns false to stop
/// with a Range fault.
template <typename Convert>
Status readPieces(const SafetensorsFile &file, const TensorInfo &tensor, uint64_t first, uint64_t count,
                  Convert convert) {
  constexpr uint64_t pieceBytes = 1u << 20;
  uint64_t width = byteWidth(tensor.dtype), perPiece = pieceBytes / width;
  std::vector<std::byte> buffer(std::min(count, perPiece) * width);
  for (uint64_t done = 0; done < count;) {
    uint64_t now = std::min(count - done, perPiece);
    std::span<std::byte> bytes(buffer.data(), now * width);
    GRAFT_RETURN_IF_ERROR(file.readBytes(tensor, first + done, bytes));
    if (!convert(bytes, done, now))
      return Status::error(Code::Range, "has a value above the largest 64-bit integer", place(file.path(), tensor));
    done += now;
  }
  return Status::ok();
}

Status wrongType(const std::string &path, const TensorInfo &tensor, std::string_view wanted) {
  return Status::error(Code::Type,
                       "has dtype " + std::string(safetensorsName(tensor.dtype)) + ", " + std::string(wanted) +
                           " is expected",
                       place(path, tensor));
}
} // namespace

Status recogniseOtherFormat(std::span<const std::byte> beginning) {
  std::string_view text(reinterpret_cast<const char *>(beginning.data()), beginning.size());
  if (looksLikeHeader(text))
    return Status::ok();
  for (const Signature &signature : signatures)
    if (text.starts_with(signature.bytes))
      return Status::error(Code::Unsupported, std::string(signature.what), "", std::string(signature.hint));
  return Status::ok();
}

SafetensorsFile::SafetensorsFile(InputFile file, SafetensorsHeader header)
    : file_(std::move(file)), header_(std::move(header)) {
  index_.reserve(header_.tensors.size());
  // Names lie in the heap buffer of header_.tensors, which moves along with this object.
  for (size_t i = 0; i < header_.tensors.size(); ++i)
    index_.emplace(header_.tensors[i].name, i);
}

Result<SafetensorsFile> SafetensorsFile::open(const std::string &path, const SafetensorsLimits &limits) {
  GRAFT_ASSIGN_OR_RETURN(InputFile file, InputFile::open(path));
  return open(std::move(file), limits);
}

Result<SafetensorsFile> SafetensorsFile::open(InputFile file, const SafetensorsLimits &limits) {
  std::string where = escaped(file.path(), 400);
  std::array<std::byte, 64> beginning;
  std::span<std::byte> head(beginning.data(), std::min<uint64_t>(beginning.size(), file.size()));
  GRAFT_RETURN_IF_ERROR(file.read(0, head));
  GRAFT_RETURN_IF_ERROR(recogniseOtherFormat(head).at(where));
  if (file.size() < 8)
    return Status::error(Code::Format,
                         "has " + std::to_string(file.size()) +
                             " bytes, a safetensors file begins with 8 bytes of header length",
                         where);
  uint64_t length = 0;
  for (int i = 7; i >= 0; --i)
    length = length << 8 | static_cast<uint64_t>(beginning[static_cast<size_t>(i)]);
  if (length > limits.headerBytes)
    return Status::error(Code::Limit,
                         "says its header has " + std::to_string(length) + " bytes, at most " +
                             std::to_string(limits.headerBytes) + " are accepted",
                         where, "is it a safetensors file?");
  if (length > file.size() - 8)
    return Status::error(Code::Format,
                         "says its header has " + std::to_string(length) + " bytes, but only " +
                             std::to_string(file.size() - 8) + " follow",
                         where, "is it complete?");
  std::string text(length, '\0');
  GRAFT_RETURN_IF_ERROR(file.read(8, std::as_writable_bytes(std::span(text))));
  Result<SafetensorsHeader> header = parseSafetensorsHeader(text, file.size() - 8 - length, limits);
  if (!header.isOk())
    return header.takeStatus().at(where);
  return SafetensorsFile(std::move(file), std::move(*header));
}

const TensorInfo *SafetensorsFile::find(std::string_view name) const {
  auto found = index_.find(name);
  return found == index_.end() ? nullptr : &header_.tensors[found->second];
}

Status SafetensorsFile::readBytes(const TensorInfo &tensor, uint64_t first, std::span<std::byte> out) const {
  uint64_t width = byteWidth(tensor.dtype);
  if (width == 0)
    return wrongType(path(), tensor, "a type of whole bytes");
  if (first > tensor.elements || out.size() / width > tensor.elements - first)
    return Status::error(Code::Range,
                         "elements " + std::to_string(first) + " to +" + std::to_string(out.size() / width) +
                             " lie outside of its " + std::to_string(tensor.elements),
                         place(path(), tensor));
  return file_.read(tensor.begin + first * width, out);
}

Status SafetensorsFile::read(const TensorInfo &tensor, uint64_t first, std::span<float> out) const {
  if (tensor.dtype == DType::F32)
    return readBytes(tensor, first, std::as_writable_bytes(out));
  if (!convertsToFloat(tensor.dtype))
    return wrongType(path(), tensor, "a floating-point type");
  return readPieces(*this, tensor, first, out.size(),
                    [&](std::span<const std::byte> bytes, uint64_t begin, uint64_t count) {
                      toFloat(tensor.dtype, bytes, out.subspan(begin, count));
                      return true;
                    });
}

Status SafetensorsFile::read(const TensorInfo &tensor, uint64_t first, std::span<double> out) const {
  if (!convertsToFloat(tensor.dtype))
    return wrongType(path(), tensor, "a floating-point type");
  return readPieces(*this, tensor, first, out.size(),
                    [&](std::span<const std::byte> bytes, uint64_t begin, uint64_t count) {
                      toDouble(tensor.dtype, bytes, out.subspan(begin, count));
                      return true;
                    });
}

Status SafetensorsFile::read(const TensorInfo &tensor, uint64_t first, std::span<int64_t> out) const {
  if (!convertsToInteger(tensor.dtype))
    return wrongType(path(), tensor, "an integer or boolean type");
  return readPieces(*this, tensor, first, out.size(),
                    [&](std::span<const std::byte> bytes, uint64_t begin, uint64_t count) {
                      return toInteger(tensor.dtype, bytes, out.subspan(begin, count));
                    });
}

} // namespace graft
