// The rt dialect and its types and attributes. RTDialect.td and RTTypes.td are the manual.
#pragma once

#include "mlir/IR/BuiltinTypes.h"
#include "mlir/IR/Dialect.h"

namespace graft::rt {

/// What a kernel may assume about an operand beyond its strides; see !rt.access.
struct AccessFlags {
  bool accumulate = false;
  bool noalias = false;
  bool nontemporal = false;
  int64_t align = 0; ///< bytes; 0: the size of an element
};

} // namespace graft::rt

#include "dialects/rt/RTDialect.h.inc"

#include "dialects/rt/RTEnums.h.inc"

#define GET_ATTRDEF_CLASSES
#include "dialects/rt/RTAttrs.h.inc"

#define GET_TYPEDEF_CLASSES
#include "dialects/rt/RTTypes.h.inc"
