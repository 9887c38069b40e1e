// Builds safetensors files byte by byte, broken ones too.
#pragma once

#include <cstdint>
#include <string>

namespace graft::test {

/// The 8 bytes of header length, the header, the data.
inline std::string safetensors(const std::string &header, const std::string &data, uint64_t length) {
  std::string bytes(8, '\0');
  for (size_t i = 0; i < 8; ++i)
    bytes[i] = static_cast<char>(length >> (8 * i) & 0xFF);
  return bytes + header + data;
}
inline std::string safetensors(const std::string &header, const std::string &data = "") {
  return safetensors(header, data, header.size());
}

/// {"dtype":..., "shape":[...], "data_offsets":[begin, end]}
inline std::string entry(const std::string &dtype, const std::string &shape, uint64_t begin, uint64_t end) {
  return R"({"dtype":")" + dtype + R"(","shape":)" + shape + R"(,"data_offsets":[)" + std::to_string(begin) + "," +
         std::to_string(end) + "]}";
}

} // namespace graft::test
