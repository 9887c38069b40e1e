// Structural identity of row programs.
#pragma once

#include "dialects/rt/RTOps.h"
#include <string>

namespace graft {

/// The program as text without what does not reach its code: its name and its locations.
std::string canonicalText(rt::RowProgramOp program, llvm::StringRef name);

/// 32 hexadecimal digits; equal for two programs exactly when (hash collisions aside) they compile to the same code:
/// same row space, columns, group, access types and body. Names and locations do not count. The same in every process.
std::string fingerprint(rt::RowProgramOp program);

/// Row programs of one context as keys of a map: equal only if their fingerprints are. Without a text, so that only the
/// first of many equal programs is printed.
struct SameProgram {
  static rt::RowProgramOp getEmptyKey() { return pointer(llvm::DenseMapInfo<void *>::getEmptyKey()); }
  static rt::RowProgramOp getTombstoneKey() { return pointer(llvm::DenseMapInfo<void *>::getTombstoneKey()); }
  static unsigned getHashValue(rt::RowProgramOp program);
  static bool isEqual(rt::RowProgramOp a, rt::RowProgramOp b);

private:
  static rt::RowProgramOp pointer(void *key) { return rt::RowProgramOp::getFromOpaquePointer(key); }
};

} // namespace graft
