#include "runtime/program/Hash.h"

#include <bit>
#include <cstring>

namespace graft {

namespace {
constexpr uint64_t prime1 = 0x9E3779B185EBCA87, prime2 = 0xC2B2AE3D27D4EB4F, prime3 = 0x165667B19E3779F9,
                   prime4 = 0x85EBCA77C2B2AE63, prime5 = 0x27D4EB2F165667C5;

template <typename T> T load(const unsigned char *bytes) {
  T value;
  std::memcpy(&value, bytes, sizeof value);
  return value;
}

uint64_t round(uint64_t lane, uint64_t input) {
  return std::rotl(lane + input * prime2, 31) * prime1;
}
uint64_t merge(uint64_t hash, uint64_t lane) {
  return (hash ^ round(0, lane)) * prime1 + prime4;
}
} // namespace

uint64_t hash64(const void *data, size_t size) {
  const auto *bytes = static_cast<const unsigned char *>(data);
  size_t left = size;
  uint64_t hash = prime5;
  if (left >= 32) {
    uint64_t lanes[4] = {prime1 + prime2, prime2, 0, 0 - prime1};
    for (; left >= 32; left -= 32)
      for (uint64_t &lane : lanes) {
        lane = round(lane, load<uint64_t>(bytes));
        bytes += 8;
      }
    hash = std::rotl(lanes[0], 1) + std::rotl(lanes[1], 7) + std::rotl(lanes[2], 12) + std::rotl(lanes[3], 18);
    for (uint64_t lane : lanes)
      hash = merge(hash, lane);
  }
  hash += size;
  for (; left >= 8; left -= 8, bytes += 8)
    hash = std::rotl(hash ^ round(0, load<uint64_t>(bytes)), 27) * prime1 + prime4;
  if (left >= 4) {
    hash = std::rotl(hash ^ load<uint32_t>(bytes) * prime1, 23) * prime2 + prime3;
    bytes += 4;
    left -= 4;
  }
  for (; left > 0; --left, ++bytes)
    hash = std::rotl(hash ^ *bytes * prime5, 11) * prime1;
  hash = (hash ^ hash >> 33) * prime2;
  hash = (hash ^ hash >> 29) * prime3;
  return hash ^ hash >> 32;
}

} // namespace graft
