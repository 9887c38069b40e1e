// From PTX to cubins with the CUDA toolkit's assembler, where there is one. Nothing else of the toolkit is used.
#pragma once

#include "runtime/base/Status.h"
#include <optional>
#include <span>
#include <string>
#include <string_view>

namespace graft {

/// The architectures that a program may have cubins for: "sm_80", ....
std::span<const std::string_view> cudaArchitectures();

/// The assembler's path: ptxas in CUDA_HOME/bin, or else in PATH.
std::optional<std::string> findPtxas();

/// The cubin of PTX text for an architecture. The bytes depend on the text and the assembler. Failed, with what the
/// assembler said, when it cannot.
Result<std::string> assemblePtx(const std::string &ptxas, std::string_view ptx, std::string_view architecture);

} // namespace graft
