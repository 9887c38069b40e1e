// Arithmetic on sizes that come from files: every product and sum is checked before anything is allocated or read.
#pragma once

#include <cstdint>
#include <optional>
#include <span>

namespace graft {

/// a * b, or nothing if the product does not fit.
std::optional<uint64_t> checkedMultiply(uint64_t a, uint64_t b);
/// a + b, or nothing if the sum does not fit.
std::optional<uint64_t> checkedAdd(uint64_t a, uint64_t b);
/// Number of elements of a shape: 1 for rank 0, 0 if any dimension is 0 (whatever the others are), nothing if a
/// dimension is negative or the product does not fit into 63 bits.
std::optional<uint64_t> elementCount(std::span<const int64_t> shape);

} // namespace graft
