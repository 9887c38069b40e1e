// The shape of object code that the compiler writes and the runtime is willing to open: a 64-bit x86 ELF shared object
// without dependencies. Checked before dlopen, whose own reading of a damaged file is not safe.
#pragma once

#include "runtime/base/Status.h"

#include <cstdint>
#include <span>

namespace graft {

/// Verify errors: bad header, program headers or dynamic section outside the file, a segment both writable and
/// executable, constructors or destructors, needed libraries, undefined symbols, relocations other than
/// R_X86_64_RELATIVE.
Status verifyObject(std::span<const uint8_t> bytes);

} // namespace graft
