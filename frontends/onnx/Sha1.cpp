// After FIPS 180-4, section 6.1.
#include "frontends/onnx/Sha1.h"

#include <algorithm>
#include <bit>
#include <cstring>

namespace graft::onnx {

void Sha1::block(const std::byte *bytes) {
  std::array<uint32_t, 80> w;
  for (size_t t = 0; t < 16; ++t)
    w[t] = std::to_integer<uint32_t>(bytes[4 * t]) << 24 | std::to_integer<uint32_t>(bytes[4 * t + 1]) << 16 |
           std::to_integer<uint32_t>(bytes[4 * t + 2]) << 8 | std::to_integer<uint32_t>(bytes[4 * t + 3]);
  for (size_t t = 16; t < 80; ++t)
    w[t] = std::rotl(w[t - 3] ^ w[t - 8] ^ w[t - 14] ^ w[t - 16], 1);
  auto [a, b, c, d, e] = state_;
  for (size_t t = 0; t < 80; ++t) {
    uint32_t f = t < 20 ? (b & c) | (~b & d) : t < 40 ? b ^ c ^ d : t < 60 ? (b & c) | (b & d) | (c & d) : b ^ c ^ d;
    constexpr std::array<uint32_t, 4> k = {0x5A827999, 0x6ED9EBA1, 0x8F1BBCDC, 0xCA62C1D6};
    uint32_t next = std::rotl(a, 5) + f + e + k[t / 20] + w[t];
    e = d;
    d = c;
    c = std::rotl(b, 30);
    b = a;
    a = next;
  }
  std::array<uint32_t, 5> added = {a, b, c, d, e};
  for (size_t i = 0; i < 5; ++i)
    state_[i] += added[i];
}

void Sha1::update(std::span<const std::byte> bytes) {
  size_t filled = length_ % 64;
  length_ += bytes.size();
  if (filled > 0) {
    size_t taken = std::min(bytes.size(), 64 - filled);
    std::copy_n(bytes.begin(), taken, pending_.begin() + static_cast<ptrdiff_t>(filled));
    bytes = bytes.subspan(taken);
    if (filled + taken < 64)
      return;
    block(pending_.data());
  }
  for (; bytes.size() >= 64; bytes = bytes.subspan(64))
    block(bytes.data());
  std::copy(bytes.begin(), bytes.end(), pending_.begin());
}

std::string Sha1::finish() {
  uint64_t bits = length_ * 8;
  std::array<std::byte, 72> padding{};
  padding[0] = std::byte{0x80};
  size_t zeros = (119 - length_ % 64) % 64 + 1;
  for (size_t i = 0; i < 8; ++i)
    padding[zeros + i] = static_cast<std::byte>(bits >> (56 - 8 * i));
  update(std::span(padding).first(zeros + 8));
  std::string text;
  for (uint32_t word : state_)
    for (int shift = 28; shift >= 0; shift -= 4)
      text += "0123456789abcdef"[word >> shift & 15];
  return text;
}

} // namespace graft::onnx
