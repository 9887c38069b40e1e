// See Fingerprint.h.
#include "passes/codegen/Fingerprint.h"
#include "llvm/ADT/StringExtras.h"
#include "llvm/Support/BLAKE3.h"
#include <tuple>

using namespace mlir;

namespace graft {

std::string canonicalText(rt::RowProgramOp program, StringRef name) {
  OwningOpRef<rt::RowProgramOp> copy(program.clone());
  copy->setSymName(name);
  // Attributes that other stages leave on the operation do not change its code.
  (*copy)->setDiscardableAttrs(DictionaryAttr::get(program.getContext()));
  std::string text;
  llvm::raw_string_ostream stream(text);
  (*copy)->print(stream, OpPrintingFlags().useLocalScope().enableDebugInfo(false));
  return text;
}

std::string fingerprint(rt::RowProgramOp program) {
  std::string text = canonicalText(program, "program");
  auto hash = llvm::BLAKE3::hash<16>(llvm::arrayRefFromStringRef(text));
  return llvm::toHex(hash, /*LowerCase=*/true);
}

namespace {

/// What the text says in front of the body.
auto header(rt::RowProgramOp program) {
  return std::tuple(program.getRowsAttr(), program.getColumnsAttr(), program.getGroupAttr());
}

} // namespace

unsigned SameProgram::getHashValue(rt::RowProgramOp program) {
  llvm::hash_code hash = llvm::hash_value(header(program));
  for (Type type : program.getBody()->getArgumentTypes())
    hash = llvm::hash_combine(hash, type);
  program.getBody()->walk([&](Operation *op) {
    hash = llvm::hash_combine(hash, OperationEquivalence::computeHash(op, OperationEquivalence::ignoreHashValue,
                                                                      OperationEquivalence::ignoreHashValue,
                                                                      OperationEquivalence::IgnoreLocations));
  });
  return static_cast<unsigned>(size_t{hash});
}

bool SameProgram::isEqual(rt::RowProgramOp a, rt::RowProgramOp b) {
  if (a == b)
    return true;
  for (rt::RowProgramOp key : {getEmptyKey(), getTombstoneKey()})
    if (a == key || b == key)
      return false;
  return header(a) == header(b) && OperationEquivalence::isRegionEquivalentTo(&a.getRegion(), &b.getRegion(),
                                                                              OperationEquivalence::IgnoreLocations);
}

} // namespace graft
