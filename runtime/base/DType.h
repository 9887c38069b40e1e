// The storage types of tensors in files and buffers, one table for names, sizes and spellings.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

namespace graft {

/// Every storage type that safetensors knows. Graft computes in F32, F64, BF16, F16, I64, I32 and Bool; the others can
/// be read (and converted, where Convert.h says so) or at least be measured and copied.
enum class DType : uint8_t {
  F32,
  F64,
  F16,
  BF16,
  I64,
  I32,
  I16,
  I8,
  U64,
  U32,
  U16,
  U8,
  Bool,
  F8E4M3,
  F8E5M2,
  F8E8M0,
  F6E2M3,
  F6E3M2,
  F4,
  C64,
};

enum class DTypeKind : uint8_t { Float, Integer, Bool, Complex };

/// Width of one element in bits: 4 and 6 occur.
unsigned bitWidth(DType type);
/// Width of one element in bytes; 0 for types narrower than a byte.
unsigned byteWidth(DType type);
DTypeKind kind(DType type);
/// "float32", "int64", "bool": as recipes and messages spell it.
std::string_view name(DType type);
/// "F32", "I64", "BOOL": as safetensors spells it.
std::string_view safetensorsName(DType type);
/// The reverse of safetensorsName; case matters.
std::optional<DType> dtypeFromSafetensors(std::string_view name);

} // namespace graft
