#include "frontends/onnx/Tensor.h"

#include <array>
#include <bit>
#include <charconv>
#include <cmath>
#include <cstring>
#include <limits>

#include "frontends/onnx/ExternalData.h"
#include "frontends/onnx/Wire.h"

static_assert(std::endian::native == std::endian::little, "tensor contents are little-endian and used as they are");

namespace graft::onnx {

namespace {
// By TensorProto.DataType.
constexpr std::array<DataTypeInfo, 27> dataTypes = {{
    {"UNDEFINED", 0, 0},      {"FLOAT", 32, 4},       {"UINT8", 8, 5},          {"INT8", 8, 5},
    {"UINT16", 16, 5},        {"INT16", 16, 5},       {"INT32", 32, 5},         {"INT64", 64, 7},
    {"STRING", 0, 6},         {"BOOL", 8, 5},         {"FLOAT16", 16, 5},       {"DOUBLE", 64, 10},
    {"UINT32", 32, 11},       {"UINT64", 64, 11},     {"COMPLEX64", 64, 4},     {"COMPLEX128", 128, 10},
    {"BFLOAT16", 16, 5},      {"FLOAT8E4M3FN", 8, 5}, {"FLOAT8E4M3FNUZ", 8, 5}, {"FLOAT8E5M2", 8, 5},
    {"FLOAT8E5M2FNUZ", 8, 5}, {"UINT4", 4, 5},        {"INT4", 4, 5},           {"FLOAT4E2M1", 4, 5},
    {"FLOAT8E8M0", 8, 5},     {"UINT2", 2, 5},        {"INT2", 2, 5},
}};

/// Width of one encoded value of a typed field; 0: varint.
unsigned encodedWidth(uint8_t field) {
  return field == 4 ? 4 : field == 10 ? 8 : 0;
}

/// Bytes that one value of a typed field becomes in raw form.
unsigned decodedWidth(int32_t dataType) {
  unsigned bits = dataTypes[static_cast<size_t>(dataType)].bits;
  if (dataType == Complex64 || dataType == Complex128)
    return bits / 16;
  return bits < 8 ? 1 : bits / 8;
}

uint64_t typedCount(const Tensor &tensor) {
  uint64_t count = 0;
  for (const TypedValues &values : tensor.typed)
    count += countValues(values.bytes, encodedWidth(values.field));
  return count;
}

/// Whether a value of int32_data or uint64_data is one of the data type.
bool fits(int32_t dataType, int64_t value) {
  auto within = [&](int64_t low, int64_t high) { return value >= low && value <= high; };
  switch (dataType) {
  case Int8:
    return within(-128, 127);
  case Int16:
    return within(-32768, 32767);
  case Int32:
    return within(std::numeric_limits<int32_t>::min(), std::numeric_limits<int32_t>::max());
  case Uint16:
  case Float16:
  case Bfloat16:
    return within(0, 65535);
  case Uint32:
    return within(0, std::numeric_limits<uint32_t>::max());
  case Int64:
  case Uint64:
    return true;
  case Bool:
    return within(0, 255);
  default: // eight bits and less
    return within(0, 255);
  }
}

/// The number that a varint means: int32_data keeps 32 bits, as protobuf does.
int64_t valueOf(uint8_t field, uint64_t varint) {
  return field == 5 ? static_cast<int32_t>(varint) : static_cast<int64_t>(varint);
}

double float16Value(uint16_t bits) {
  int exponent = bits >> 10 & 31;
  double fraction = bits & 1023;
  double value = exponent == 0    ? std::ldexp(fraction, -24)
                 : exponent == 31 ? (fraction == 0 ? INFINITY : NAN)
                                  : std::ldexp(1024 + fraction, exponent - 25);
  return bits & 0x8000 ? -value : value;
}

template <typename T, typename Out> void appendAll(std::string_view bytes, std::vector<Out> &values) {
  for (; bytes.size() >= sizeof(T); bytes.remove_prefix(sizeof(T))) {
    T value;
    std::memcpy(&value, bytes.data(), sizeof value);
    values.push_back(static_cast<Out>(value));
  }
}

/// Appends integers and bools; false for other types.
template <typename Out> bool appendIntegers(int32_t dataType, std::string_view bytes, std::vector<Out> &values) {
  switch (dataType) {
  case Bool:
  case Uint8:
    return appendAll<uint8_t>(bytes, values), true;
  case Int8:
    return appendAll<int8_t>(bytes, values), true;
  case Uint16:
    return appendAll<uint16_t>(bytes, values), true;
  case Int16:
    return appendAll<int16_t>(bytes, values), true;
  case Uint32:
    return appendAll<uint32_t>(bytes, values), true;
  case Int32:
    return appendAll<int32_t>(bytes, values), true;
  case Uint64:
    return appendAll<uint64_t>(bytes, values), true;
  case Int64:
    return appendAll<int64_t>(bytes, values), true;
  }
  return false;
}

std::vector<std::byte> decodeTyped(const Tensor &tensor) {
  unsigned width = decodedWidth(tensor.dataType);
  std::vector<std::byte> bytes(typedCount(tensor) * width);
  std::byte *out = bytes.data();
  for (const TypedValues &values : tensor.typed) {
    if (encodedWidth(values.field) != 0) {
      std::memcpy(out, values.bytes.data(), values.bytes.size());
      out += values.bytes.size();
      continue;
    }
    for (std::string_view rest = values.bytes; !rest.empty(); out += width) {
      uint64_t value = takeVarint(rest);
      std::memcpy(out, &value, width);
    }
  }
  return bytes;
}
} // namespace

const DataTypeInfo *dataTypeInfo(int32_t dataType) {
  return dataType > 0 && static_cast<size_t>(dataType) < dataTypes.size() ? &dataTypes[static_cast<size_t>(dataType)]
                                                                          : nullptr;
}

std::string dataTypeName(int32_t dataType) {
  const DataTypeInfo *info = dataTypeInfo(dataType);
  return info ? std::string(info->name) : "data type " + std::to_string(dataType);
}

Result<uint64_t> elementCount(std::span<const int64_t> dims) {
  if (dims.size() > maxRank)
    return Status::error(Code::Limit, "rank " + std::to_string(dims.size()) + ", at most " + std::to_string(maxRank));
  uint64_t count = 1;
  bool overflow = false, empty = false;
  for (int64_t dim : dims) {
    if (dim < 0)
      return Status::error(Code::Range, "a dimension of size " + std::to_string(dim) + " in " + shapeText(dims));
    empty |= dim == 0;
    overflow |= __builtin_mul_overflow(count, static_cast<uint64_t>(dim), &count);
  }
  if (empty)
    return uint64_t{0};
  if (overflow || count > static_cast<uint64_t>(std::numeric_limits<int64_t>::max()))
    return Status::error(Code::Range, "the shape " + shapeText(dims) + " has more than 2^63 elements");
  return count;
}

Result<uint64_t> byteCount(int32_t dataType, uint64_t count) {
  const DataTypeInfo *info = dataTypeInfo(dataType);
  if (!info || info->bits == 0)
    return Status::error(Code::Type, dataTypeName(dataType) + " has no raw form");
  uint64_t bits;
  if (__builtin_mul_overflow(count, uint64_t{info->bits}, &bits) || bits > std::numeric_limits<uint64_t>::max() - 7)
    return Status::error(Code::Range, std::to_string(count) + " elements of " + dataTypeName(dataType) +
                                          " are more than this machine can address");
  return (bits + 7) / 8;
}

std::string shapeText(std::span<const int64_t> dims) {
  std::string text = "[";
  for (size_t i = 0; i < dims.size() && i < 16; ++i)
    text += (i ? ", " : "") + std::to_string(dims[i]);
  return text + (dims.size() > 16 ? ", ...]" : "]");
}

namespace {
/// Checks a typed field's kind and every value; the number of values is checked by the caller.
void checkTypedValues(const Tensor &tensor, const std::string &place, Faults &faults) {
  const DataTypeInfo &info = dataTypes[static_cast<size_t>(tensor.dataType)];
  for (const TypedValues &values : tensor.typed) {
    if (values.field != info.field) {
      faults.add(Code::Type, place,
                 std::string(info.name) + " values in the wrong field of TensorProto: number " +
                     std::to_string(values.field) + ", expected " + std::to_string(info.field));
      return;
    }
    if (encodedWidth(values.field) != 0)
      continue;
    for (std::string_view rest = values.bytes; !rest.empty();)
      if (int64_t value = valueOf(values.field, takeVarint(rest)); !fits(tensor.dataType, value)) {
        faults.add(Code::Range, place, "the value " + std::to_string(value) + " is no " + std::string(info.name));
        return;
      }
  }
}

void checkCount(const Tensor &tensor, uint64_t count, const std::string &place, Faults &faults) {
  auto mismatch = [&](std::string found, uint64_t expected, std::string_view unit) {
    faults.add(Code::Range, place,
               found + ", but the shape " + shapeText(tensor.dims) + " of " + dataTypeName(tensor.dataType) +
                   " needs " + std::to_string(expected) + std::string(unit));
  };
  if (tensor.dataType == String) {
    if (tensor.strings.size() != count)
      mismatch(std::to_string(tensor.strings.size()) + " strings", count, "");
    return;
  }
  Result<uint64_t> bytes = byteCount(tensor.dataType, count);
  if (!bytes.isOk())
    return faults.merge(bytes.takeStatus().at(place));
  if (tensor.raw) {
    if (tensor.raw->size() != *bytes)
      mismatch("raw_data has " + std::to_string(tensor.raw->size()) + " bytes", *bytes, "");
    return;
  }
  uint64_t found = typedCount(tensor), expected = *bytes / decodedWidth(tensor.dataType);
  if (found != expected)
    mismatch(std::to_string(found) + " values", expected, "");
  else if (found > maxTypedElements)
    faults.add(Code::Limit, place,
               std::to_string(found) + " values in a typed field, at most " + std::to_string(maxTypedElements),
               "write the tensor as raw_data or external data");
}

void checkContents(const Tensor &tensor, uint64_t count, const std::string &place, Faults &faults) {
  int places = tensor.raw.has_value() + !tensor.typed.empty() + !tensor.strings.empty();
  if (tensor.dataLocation == 1) {
    if (places > 0)
      faults.add(Code::Format, place, "external data and values inside the model at once");
    if (Result<ExternalReference> reference = externalReference(tensor); !reference.isOk())
      faults.merge(reference.takeStatus().at(place));
    return;
  }
  if (!tensor.external.empty())
    faults.add(Code::Format, place, "keys of external data, but data_location does not say EXTERNAL");
  else if (places > 1)
    faults.add(Code::Type, place, "values in more than one field of TensorProto");
  else if (tensor.dataType == String ? tensor.raw.has_value() || !tensor.typed.empty() : !tensor.strings.empty())
    faults.add(Code::Type, place, dataTypeName(tensor.dataType) + " values in a field that cannot hold them");
  else {
    checkTypedValues(tensor, place, faults);
    checkCount(tensor, count, place, faults);
  }
}
} // namespace

void checkTensor(const Tensor &tensor, const std::string &place, Faults &faults) {
  if (tensor.hasSegment)
    faults.add(Code::Unsupported, place, "a tensor in segments");
  if (tensor.dataLocation != 0 && tensor.dataLocation != 1)
    return faults.add(Code::Format, place,
                      "data_location " + std::to_string(tensor.dataLocation) + ", expected 0 or 1");
  if (!dataTypeInfo(tensor.dataType))
    return faults.add(Code::Type, place, dataTypeName(tensor.dataType) + " does not exist (1 to 26 do)");
  Result<uint64_t> count = elementCount(tensor.dims);
  if (!count.isOk())
    return faults.merge(count.takeStatus().at(place));
  checkContents(tensor, *count, place, faults);
}

void checkSparseTensor(const SparseTensor &sparse, const std::string &place, Faults &faults) {
  Faults own;
  checkTensor(sparse.values, place + ": values", own);
  checkTensor(sparse.indices, place + ": indices", own);
  Result<uint64_t> count = elementCount(sparse.dims);
  if (!count.isOk())
    own.merge(count.takeStatus().at(place));
  const std::vector<int64_t> &values = sparse.values.dims, &indices = sparse.indices.dims;
  if (values.size() != 1)
    own.add(Code::Range, place, "values of shape " + shapeText(values) + ", expected one dimension");
  else if (sparse.indices.dataType != Int64)
    own.add(Code::Type, place, "indices of " + dataTypeName(sparse.indices.dataType) + ", expected INT64");
  else if (indices.empty() || indices.size() > 2 || indices[0] != values[0] ||
           (indices.size() == 2 && indices[1] != static_cast<int64_t>(sparse.dims.size())))
    own.add(Code::Range, place,
            "indices of shape " + shapeText(indices) + " for " + std::to_string(values[0]) +
                " values of a tensor of shape " + shapeText(sparse.dims));
  if (own.any() || sparse.indices.dataLocation == 1)
    return faults.merge(own.take());
  Result<std::vector<int64_t>> read = tensorIntegers(sparse.indices, nullptr);
  if (!read.isOk())
    return faults.merge(read.takeStatus().at(place));
  size_t width = indices.size() == 2 ? sparse.dims.size() : 1;
  int64_t previous = -1;
  for (size_t i = 0; i + width <= read->size() && width > 0; i += width) {
    int64_t linear = 0;
    for (size_t k = 0; k < width; ++k) {
      int64_t index = (*read)[i + k];
      int64_t size = indices.size() == 2 ? sparse.dims[k] : static_cast<int64_t>(*count);
      if (index < 0 || index >= size)
        return faults.add(Code::Range, place,
                          "the index " + std::to_string(index) + " in a dimension of size " + std::to_string(size));
      linear = linear * size + index;
    }
    if (linear <= previous)
      return faults.add(Code::Range, place, "indices are not in ascending order");
    previous = linear;
  }
}

Result<TensorBytes> tensorBytes(const Tensor &tensor, ExternalData *external) {
  if (tensor.dataType == String)
    return Status::error(Code::Unsupported, "a tensor of strings");
  TensorBytes bytes;
  if (tensor.dataLocation == 1) {
    if (!external)
      return Status::error(Code::Path, "external data, but the model has no directory");
    GRAFT_ASSIGN_OR_RETURN(ExternalData::Region region, external->locate(tensor));
    bytes.owned.resize(region.length);
    GRAFT_RETURN_IF_ERROR(external->read(region, 0, bytes.owned));
  } else if (tensor.raw && tensor.dataType != Bool) {
    bytes.view = *tensor.raw;
    return bytes;
  } else if (tensor.raw) {
    bytes.owned.resize(tensor.raw->size());
    std::memcpy(bytes.owned.data(), tensor.raw->data(), tensor.raw->size());
  } else {
    bytes.owned = decodeTyped(tensor);
  }
  if (tensor.dataType == Bool)
    for (std::byte &byte : bytes.owned)
      byte = byte == std::byte{0} ? std::byte{0} : std::byte{1};
  bytes.view = {reinterpret_cast<const char *>(bytes.owned.data()), bytes.owned.size()};
  return bytes;
}

Result<std::vector<int64_t>> tensorIntegers(const Tensor &tensor, ExternalData *external) {
  GRAFT_ASSIGN_OR_RETURN(TensorBytes bytes, tensorBytes(tensor, external));
  std::vector<int64_t> values;
  if (!appendIntegers(tensor.dataType, bytes.view, values))
    return Status::error(Code::Type, dataTypeName(tensor.dataType) + " where integers are needed");
  return values;
}

Result<std::vector<double>> tensorFloats(const Tensor &tensor, ExternalData *external) {
  GRAFT_ASSIGN_OR_RETURN(TensorBytes bytes, tensorBytes(tensor, external));
  std::vector<double> values;
  if (appendIntegers(tensor.dataType, bytes.view, values))
    return values;
  std::vector<uint16_t> halves;
  switch (tensor.dataType) {
  case Float:
    appendAll<float>(bytes.view, values);
    return values;
  case Double:
    appendAll<double>(bytes.view, values);
    return values;
  case Float16:
    appendAll<uint16_t>(bytes.view, halves);
    for (uint16_t bits : halves)
      values.push_back(float16Value(bits));
    return values;
  case Bfloat16:
    appendAll<uint16_t>(bytes.view, halves);
    for (uint16_t bits : halves)
      values.push_back(std::bit_cast<float>(static_cast<uint32_t>(bits) << 16));
    return values;
  }
  return Status::error(Code::Type, dataTypeName(tensor.dataType) + " where numbers are needed");
}

} // namespace graft::onnx
