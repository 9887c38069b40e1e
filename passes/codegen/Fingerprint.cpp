// See Fingerprint.h.
#include "passes/codegen/Fingerprint.h"
#include "llvm/ADT/StringExtras.h"
#include "llvm/Support/BLAKE3.h"

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

} // namespace graft
