// The shape of object code that the compiler writes and the runtime is willing to open: a 64-bit x86 ELF shared object
// without dependencies, checked before dlopen, whose own reading of a damaged file is not safe; and CUDA code.
#pragma once

#include "runtime/base/Status.h"

#include <cstdint>
#include <span>
#include <string_view>

namespace graft {

/// What kind of code a target's name stands for.
enum class ObjectKind { SharedObject, Cubin, Ptx };
ObjectKind objectKind(std::string_view target);

/// A shared object for a CPU. Verify errors: bad header, program headers or dynamic section outside the file, a segment
/// both writable and executable, constructors or destructors, needed libraries, undefined symbols, relocations other
/// than R_X86_64_RELATIVE.
Status verifyObject(std::span<const uint8_t> bytes);

/// Verify errors: not a 64-bit ELF file for CUDA, or with header tables outside of it. The driver reads the rest.
Status verifyCubin(std::span<const uint8_t> bytes);

/// Verify errors: not text that begins with a version, or text that needs functions from elsewhere.
Status verifyPtx(std::span<const uint8_t> bytes);

} // namespace graft
