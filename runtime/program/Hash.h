// XXH64 (Yann Collet's 64-bit hash, seed 0): digests of object code, checksums of files, fingerprints of inputs. It
// finds accidents, not attackers: object code is code, run only programs that you trust.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

namespace graft {

uint64_t hash64(const void *data, size_t size);
inline uint64_t hash64(std::string_view text) {
  return hash64(text.data(), text.size());
}

} // namespace graft
