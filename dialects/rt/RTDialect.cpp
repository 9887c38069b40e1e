// Registration of the rt dialect, and its types: printing, parsing and rules.
#include "dialects/rt/RTDialect.h"
#include "dialects/rt/RTOps.h"
#include "llvm/ADT/TypeSwitch.h"
#include "llvm/Support/MathExtras.h"

using namespace mlir;
using namespace graft::rt;

#include "dialects/rt/RTDialect.cpp.inc"

#include "dialects/rt/RTEnums.cpp.inc"

#define GET_ATTRDEF_CLASSES
#include "dialects/rt/RTAttrs.cpp.inc"

#define GET_TYPEDEF_CLASSES
#include "dialects/rt/RTTypes.cpp.inc"

void RTDialect::initialize() {
  addOperations<
#define GET_OP_LIST
#include "dialects/rt/RTOps.cpp.inc"
      >();
  addTypes<
#define GET_TYPEDEF_LIST
#include "dialects/rt/RTTypes.cpp.inc"
      >();
  addAttributes<
#define GET_ATTRDEF_LIST
#include "dialects/rt/RTAttrs.cpp.inc"
      >();
}

/// Bytes of a stored element, 0 for types that are not storage.
static int64_t storageBytes(Type type) {
  if (type.isF32() || type.isInteger(32))
    return 4;
  if (type.isBF16() || type.isF16())
    return 2;
  if (type.isF64() || type.isInteger(64))
    return 8;
  return type.isInteger(1) ? 1 : 0;
}

AccessType AccessType::get(Type elementType, ArrayRef<int64_t> rowStrides, int64_t columnStride, AccessFlags flags) {
  return get(elementType.getContext(), elementType, rowStrides, columnStride, flags.accumulate, flags.noalias,
             flags.nontemporal, flags.align ? flags.align : std::max<int64_t>(storageBytes(elementType), 1));
}

int64_t AccessType::getElementBytes() const {
  return storageBytes(getElementType());
}

Type AccessType::getComputeType() const {
  return rt::computeType(getElementType());
}

int64_t AccessType::getExtent(ArrayRef<int64_t> rows, int64_t columns) const {
  int64_t last = (columns - 1) * getColumnStride();
  for (auto [size, stride] : llvm::zip_equal(rows, getRowStrides()))
    last += (size - 1) * stride;
  return last + 1;
}

int64_t AccessType::getVectorAlignment(int64_t width) const {
  int64_t bytes = getElementBytes(), alignment = getAlign();
  auto divide = [&](int64_t step) {
    if (step != 0)
      alignment = std::min(alignment, step & -step);
  };
  divide(width * bytes);
  for (int64_t stride : getRowStrides())
    divide(stride * bytes);
  return alignment;
}

LogicalResult AccessType::verify(function_ref<InFlightDiagnostic()> emitError, Type elementType,
                                 ArrayRef<int64_t> rowStrides, int64_t columnStride, bool accumulate, bool noalias,
                                 bool nontemporal, int64_t align) {
  int64_t bytes = storageBytes(elementType);
  if (bytes == 0) // rule 1
    return emitError() << "element type must be f32, f64, bf16, f16, i64, i32 or i1, got " << elementType;
  if (llvm::any_of(rowStrides, [](int64_t stride) { return stride < 0; })) // rule 2
    return emitError() << "row strides must not be negative";
  if (columnStride != 0 && columnStride != 1) // rule 2
    return emitError() << "column stride must be 0 or 1, got " << columnStride;
  if (align < bytes || align > 4096 || !llvm::isPowerOf2_64(align)) // rule 3
    return emitError() << "align must be a power of two from " << bytes << " to 4096, got " << align;
  if (accumulate && !elementType.isF32()) // rule 4
    return emitError() << "accumulate needs f32, got " << elementType;
  if (nontemporal && (accumulate || columnStride != 1)) // rule 4
    return emitError() << "nontemporal needs column stride 1 and excludes accumulate";
  return success();
}

Type AccessType::parse(AsmParser &parser) {
  SMLoc loc = parser.getCurrentLocation();
  Type elementType;
  SmallVector<int64_t> strides;
  int64_t columnStride;
  AccessFlags flags;
  auto parseStride = [&] { return parser.parseInteger(strides.emplace_back()); };
  if (parser.parseLess() || parser.parseType(elementType) || parser.parseComma() ||
      parser.parseCommaSeparatedList(AsmParser::Delimiter::Square, parseStride) || parser.parseComma() ||
      parser.parseInteger(columnStride))
    return {};
  while (succeeded(parser.parseOptionalComma())) {
    SMLoc flagLoc = parser.getCurrentLocation();
    StringRef keyword;
    if (parser.parseKeyword(&keyword))
      return {};
    if (keyword == "accumulate")
      flags.accumulate = true;
    else if (keyword == "noalias")
      flags.noalias = true;
    else if (keyword == "nontemporal")
      flags.nontemporal = true;
    else if (keyword != "align" || parser.parseInteger(flags.align))
      return parser.emitError(flagLoc, "expected accumulate, noalias, nontemporal or align N"), Type();
  }
  if (parser.parseGreater())
    return {};
  int64_t align = flags.align ? flags.align : std::max<int64_t>(storageBytes(elementType), 1);
  return parser.getChecked<AccessType>(loc, parser.getContext(), elementType, ArrayRef<int64_t>(strides), columnStride,
                                       flags.accumulate, flags.noalias, flags.nontemporal, align);
}

void AccessType::print(AsmPrinter &printer) const {
  printer << "<" << getElementType() << ", [";
  llvm::interleaveComma(getRowStrides(), printer);
  printer << "], " << getColumnStride();
  if (getAccumulate())
    printer << ", accumulate";
  if (getNoalias())
    printer << ", noalias";
  if (getNontemporal())
    printer << ", nontemporal";
  if (getAlign() != getElementBytes())
    printer << ", align " << getAlign();
  printer << ">";
}

LogicalResult ScratchType::verify(function_ref<InFlightDiagnostic()> emitError, Type elementType) {
  if (!elementType.isF32())
    return emitError() << "scratch holds f32, got " << elementType;
  return success();
}

Type graft::rt::computeType(Type type) {
  if (auto access = dyn_cast<AccessType>(type))
    type = access.getElementType();
  if (auto scratch = dyn_cast<ScratchType>(type))
    type = scratch.getElementType();
  return type.isBF16() || type.isF16() ? Type(Float32Type::get(type.getContext())) : type;
}
