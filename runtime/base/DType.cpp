#include "runtime/base/DType.h"

#include <array>
#include <cstddef>

namespace graft {

namespace {
struct Info {
  std::string_view name;
  std::string_view safetensors;
  unsigned bits;
  DTypeKind kind;
};
// In the order of the enumeration.
constexpr std::array<Info, 20> infos = {{{"float32", "F32", 32, DTypeKind::Float},
                                         {"float64", "F64", 64, DTypeKind::Float},
                                         {"float16", "F16", 16, DTypeKind::Float},
                                         {"bfloat16", "BF16", 16, DTypeKind::Float},
                                         {"int64", "I64", 64, DTypeKind::Integer},
                                         {"int32", "I32", 32, DTypeKind::Integer},
                                         {"int16", "I16", 16, DTypeKind::Integer},
                                         {"int8", "I8", 8, DTypeKind::Integer},
                                         {"uint64", "U64", 64, DTypeKind::Integer},
                                         {"uint32", "U32", 32, DTypeKind::Integer},
                                         {"uint16", "U16", 16, DTypeKind::Integer},
                                         {"uint8", "U8", 8, DTypeKind::Integer},
                                         {"bool", "BOOL", 8, DTypeKind::Bool},
                                         {"float8_e4m3", "F8_E4M3", 8, DTypeKind::Float},
                                         {"float8_e5m2", "F8_E5M2", 8, DTypeKind::Float},
                                         {"float8_e8m0", "F8_E8M0", 8, DTypeKind::Float},
                                         {"float6_e2m3", "F6_E2M3", 6, DTypeKind::Float},
                                         {"float6_e3m2", "F6_E3M2", 6, DTypeKind::Float},
                                         {"float4_e2m1", "F4", 4, DTypeKind::Float},
                                         {"complex64", "C64", 64, DTypeKind::Complex}}};

const Info &info(DType type) {
  return infos[static_cast<size_t>(type)];
}
} // namespace

unsigned bitWidth(DType type) {
  return info(type).bits;
}
unsigned byteWidth(DType type) {
  return info(type).bits / 8;
}
DTypeKind kind(DType type) {
  return info(type).kind;
}
std::string_view name(DType type) {
  return info(type).name;
}
std::string_view safetensorsName(DType type) {
  return info(type).safetensors;
}

std::optional<DType> dtypeFromSafetensors(std::string_view name) {
  for (size_t i = 0; i < infos.size(); ++i)
    if (infos[i].safetensors == name)
      return static_cast<DType>(i);
  return std::nullopt;
}

} // namespace graft
