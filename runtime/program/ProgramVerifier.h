// What must hold before the first byte of a program runs. All faults are reported (the first 50 in words, the rest as a
// count).
//
//   structure     FlatBuffers' own verifier: depth 64, 1,000,000 tables; identifier; required fields
//   header        schema version, features, device and instruction set are ones this runtime and CPU have
//   names         not empty, UTF-8, no control characters, no `../`; unique where they are keys
//   parameters    float32; rows and pitch fit; parameters do not overlap in the parameter, gradient and moment blocks
//   buffers       offset and size inside their storage, multiples of 64; the shape fits the size; parameter buffers lie
//   in one
//                 parameter
//   objects       digest of the bytes that will be used; ELF or PTX as codegen writes it (ObjectFile.h)
//   instructions  every operand inside its buffer; matrix, copy and host-call extents computed from their strides;
//   written
//                 elements are distinct; a matrix product or copy does not read what it writes; kernel ordinals,
//                 operand counts, access, extents and work items; weights and constants are never written
//   lifetimes     an arena buffer is used only by its entry and within [first, last], never read before it was written,
//   and
//                 no two live at the same time overlap; outputs are written
//
// Not checked: what a kernel does with the pointers that it gets. Object code is code: run only programs that you
// trust.
#pragma once

#include "runtime/base/Status.h"
#include "runtime/program/Program_generated.h"

#include <cstdint>
#include <span>

namespace graft {

/// `buffer`: the FlatBuffer part of a program file, 64-byte aligned, alive as long as the result.
Result<const schema::Program *> verifyProgram(std::span<const uint8_t> buffer);

} // namespace graft
