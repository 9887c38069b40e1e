// Instruction sets that code is compiled for, and which of them this CPU has.
#pragma once

#include <span>
#include <string_view>

namespace graft {

/// Names that object code may carry, worst first: "x86-64-v3" (AVX2, FMA), "x86-64-v4" (AVX-512 F, BW, CD, DQ, VL).
std::span<const std::string_view> knownTargets();
/// Whether code for that target runs here; false for unknown names.
bool isTargetAvailable(std::string_view target);
/// The best available target of this CPU; empty if it has none of them.
std::string_view bestTarget();

} // namespace graft
