// SHA-1, which ONNX uses as the checksum of external data. Not for anything that must resist an attacker.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

namespace graft::onnx {

class Sha1 {
public:
  void update(std::span<const std::byte> bytes);
  /// 40 lower-case hexadecimal digits; the object is used up.
  std::string finish();

private:
  void block(const std::byte *bytes);

  std::array<uint32_t, 5> state_ = {0x67452301, 0xEFCDAB89, 0x98BADCFE, 0x10325476, 0xC3D2E1F0};
  std::array<std::byte, 64> pending_{};
  uint64_t length_ = 0;
};

} // namespace graft::onnx
