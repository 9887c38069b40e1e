// The safetensors format: 8 bytes of header length (little endian), a JSON header, the data.
//
//   {"__metadata__":{"format":"pt"},"lm_head.weight":{"dtype":"F32","shape":[256,32],"data_offsets":[0,32768]}, ...}
//
// Offsets count from the end of the header; together the tensors cover the data exactly, without holes and without
// overlap, so that no byte of a file is unaccounted for. A header is checked completely, and all its faults reported,
// before any tensor can be read. Accepted although unusual: entries in any order, tensors without elements, rank 0,
// misaligned tensors, unknown keys in an entry (ignored, as the reference reader does), names of any form (they never
// become paths).
#pragma once

#include "runtime/base/AtomicFile.h"
#include "runtime/base/DType.h"
#include "runtime/base/File.h"

#include <map>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

namespace graft {

/// What a header may be at most; the header's size is the reference implementation's bound.
struct SafetensorsLimits {
  uint64_t headerBytes = 100'000'000;
  size_t tensors = 1'000'000;
  size_t metadata = 65'536; ///< entries of __metadata__
  size_t rank = 64;
  size_t faults = 20; ///< reported; the rest is counted
};

struct TensorInfo {
  std::string name;
  DType dtype = DType::F32;
  std::vector<int64_t> shape;
  uint64_t elements = 0;
  uint64_t begin = 0; ///< offset in the *file*
  uint64_t bytes = 0;
};

struct SafetensorsHeader {
  std::vector<TensorInfo> tensors; ///< in the order of their bytes; equal offsets (empty tensors) by name
  std::map<std::string, std::string> metadata;
};

/// Parses a header. `text` is the JSON, `dataBytes` the number of bytes after it; begins are made relative to the file
/// by adding 8 + text.size(). Faults have no file name yet: their place is the tensor.
Result<SafetensorsHeader> parseSafetensorsHeader(std::string_view text, uint64_t dataBytes,
                                                 const SafetensorsLimits &limits = {});

/// An open file. Movable; may be read from several threads. Reads are done with pread: see runtime/base/File.h.
class SafetensorsFile {
public:
  static Result<SafetensorsFile> open(const std::string &path, const SafetensorsLimits &limits = {});
  static Result<SafetensorsFile> open(InputFile file, const SafetensorsLimits &limits = {});

  const std::string &path() const { return file_.path(); }
  const InputFile &file() const { return file_; }
  const std::vector<TensorInfo> &tensors() const { return header_.tensors; }
  const std::map<std::string, std::string> &metadata() const { return header_.metadata; }
  /// The tensor of exactly this name, or null. Valid as long as this object.
  const TensorInfo *find(std::string_view name) const;

  /// `count` elements from element `first` of a tensor of this file, as stored. Precondition: the dtype is at least a
  /// byte wide.
  Status readBytes(const TensorInfo &tensor, uint64_t first, std::span<std::byte> out) const;
  /// The same, converted: any float of 8 bits or more to float or double, any integer or bool to int64. Type fault for
  /// another kind, Range if an unsigned integer does not fit or the elements lie outside of the tensor. No allocation
  /// beyond 1 MiB.
  Status read(const TensorInfo &tensor, uint64_t first, std::span<float> out) const;
  Status read(const TensorInfo &tensor, uint64_t first, std::span<double> out) const;
  Status read(const TensorInfo &tensor, uint64_t first, std::span<int64_t> out) const;

  /// A whole tensor: "file: tensor 'name'" is the place of every fault.
  template <typename T> Result<std::vector<T>> readAll(const TensorInfo &tensor) const {
    std::vector<T> values(tensor.elements);
    GRAFT_RETURN_IF_ERROR(read(tensor, 0, std::span<T>(values)));
    return values;
  }

private:
  SafetensorsFile(InputFile file, SafetensorsHeader header);

  InputFile file_;
  SafetensorsHeader header_;
  std::unordered_map<std::string_view, size_t> index_;
};

/// If the first bytes of a file are those of another well-known format, what it is and what to do; an ok Status
/// otherwise. (PyTorch pickles and zip archives, GGUF, ONNX tensors, git-LFS pointers, ...: never opened further.)
Status recogniseOtherFormat(std::span<const std::byte> beginning);

/// What a writer needs to know about each tensor before the first byte of data.
struct TensorDeclaration {
  std::string name;
  DType dtype = DType::F32;
  std::vector<int64_t> shape;
};

/// Writes a file whose bytes depend on nothing but the declarations and values: sorted by name, compact header padded
/// with spaces so that the data starts at a multiple of 64, atomic (see AtomicFile.h). Memory: 1 MiB.
class SafetensorsWriter {
public:
  /// Graph fault for a name that occurs twice or is "__metadata__"; Range for a shape that is none.
  static Result<SafetensorsWriter> create(const std::string &path, std::vector<TensorDeclaration> tensors,
                                          const std::map<std::string, std::string> &metadata = {});

  /// In the order in which they must be written.
  const std::vector<TensorDeclaration> &tensors() const { return tensors_; }
  /// Appends values of the tensor that is next, as a whole or in pieces. Bytes are stored as they are; floats are
  /// rounded to the declared F64, F32, F16 or BF16. Internal fault if there are more values than declared.
  Status append(std::span<const std::byte> bytes);
  Status append(std::span<const float> values);
  /// Internal fault if values are missing.
  Status commit();

private:
  SafetensorsWriter(AtomicFile file, std::vector<TensorDeclaration> tensors, std::vector<uint64_t> sizes);
  void advance();

  AtomicFile file_;
  std::vector<TensorDeclaration> tensors_;
  std::vector<uint64_t> sizes_;
  size_t next_ = 0;
  uint64_t done_ = 0; ///< bytes of tensor `next_` written so far
};

} // namespace graft
