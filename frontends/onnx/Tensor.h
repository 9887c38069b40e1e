// What a TensorProto holds: its data types, whether its contents fit its shape, its values.
#pragma once

#include <cstddef>
#include <span>
#include <string>
#include <vector>

#include "frontends/onnx/Faults.h"
#include "frontends/onnx/Model.h"

namespace graft::onnx {

class ExternalData;

struct DataTypeInfo {
  std::string_view name; ///< as the specification writes it: "FLOAT"
  unsigned bits;         ///< per element, of both parts for complex numbers; 0 for strings
  uint8_t field;         ///< number of the typed field of TensorProto that may hold it
};
/// Null when the number is no data type.
const DataTypeInfo *dataTypeInfo(int32_t dataType);
/// "FLOAT", or "data type 99".
std::string dataTypeName(int32_t dataType);

/// Number of elements of a shape. Faults: Range (negative sizes, products beyond 2^63), Limit (rank).
Result<uint64_t> elementCount(std::span<const int64_t> dims);
/// Bytes of `count` elements in raw form; sub-byte types fill bytes from the low end. Range on overflow.
Result<uint64_t> byteCount(int32_t dataType, uint64_t count);
/// "[2, 3]"
std::string shapeText(std::span<const int64_t> dims);

/// Where and how external data lies, as text in the file says it; nothing is opened.
struct ExternalReference {
  std::string_view location;
  uint64_t offset = 0, length = 0; ///< bytes; length is that of the shape and data type
  std::string_view checksum;       ///< 40 hexadecimal digits, or empty
};
/// Reads the keys of a tensor with data_location EXTERNAL. Faults: Format, Range, Path, Verify, Limit.
Result<ExternalReference> externalReference(const Tensor &tensor);

/// Everything that can be said without opening a file: type, shape, exactly as many values as the shape has, in exactly
/// one place, in the range of the type; keys of external data. All faults, each with `place`.
void checkTensor(const Tensor &tensor, const std::string &place, Faults &faults);
/// The same for both parts; also indices inside of the shape, sorted, without duplicates.
void checkSparseTensor(const SparseTensor &sparse, const std::string &place, Faults &faults);

/// Bytes that are either inside the model file or owned.
struct TensorBytes {
  std::vector<std::byte> owned;
  std::string_view view; ///< of `owned` too
  TensorBytes() = default;
  TensorBytes(TensorBytes &&) = default;
  TensorBytes &operator=(TensorBytes &&) = default;
};

/// The values of a checked tensor in raw form: dense, little-endian, row-major, bool as bytes 0 and 1, not aligned.
/// `external` may be null if the tensor is not external. Faults: Unsupported (strings), and those of ExternalData.
Result<TensorBytes> tensorBytes(const Tensor &tensor, ExternalData *external);
/// The values of a checked tensor of an integer or bool type. Faults: Type (another type), those of tensorBytes().
Result<std::vector<int64_t>> tensorIntegers(const Tensor &tensor, ExternalData *external);
/// The values of a checked tensor of an integer, bool, float16, bfloat16, float or double type.
Result<std::vector<double>> tensorFloats(const Tensor &tensor, ExternalData *external);

} // namespace graft::onnx
