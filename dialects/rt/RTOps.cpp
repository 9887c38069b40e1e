// Builders, parsers and printers of the rt dialect's operations.
#include "dialects/rt/RTOps.h"

using namespace mlir;
using namespace graft::rt;

#define GET_OP_CLASSES
#include "dialects/rt/RTOps.cpp.inc"

//---- rt.row_program

void RowProgramOp::build(OpBuilder &builder, OperationState &state, StringRef name, ArrayRef<int64_t> rows,
                         int64_t columns, int64_t group, ArrayRef<AccessType> accesses) {
  state.addAttribute(SymbolTable::getSymbolAttrName(), builder.getStringAttr(name));
  state.addAttribute(getRowsAttrName(state.name), builder.getDenseI64ArrayAttr(rows));
  state.addAttribute(getColumnsAttrName(state.name), builder.getI64IntegerAttr(columns));
  state.addAttribute(getGroupAttrName(state.name), builder.getI64IntegerAttr(group));
  Block &block = state.addRegion()->emplaceBlock();
  for (AccessType access : accesses)
    block.addArgument(access, state.location);
}

SmallVector<AccessType> RowProgramOp::getAccesses() {
  return llvm::map_to_vector(getBody()->getArgumentTypes(), [](Type type) { return cast<AccessType>(type); });
}

int64_t RowProgramOp::getRowCount() {
  int64_t count = 1;
  for (int64_t size : getRows())
    count *= size;
  return count;
}

size_t RowProgramOp::getUnitRank() {
  size_t rank = getRows().size();
  for (int64_t rows = 1; rows < static_cast<int64_t>(getGroup()) && rank > 0;)
    rows *= getRows()[--rank];
  return rank;
}

bool graft::rt::isWrite(OpOperand &use) {
  if (auto sweep = dyn_cast<SweepOp>(use.getOwner()))
    return use.getOperandNumber() >= sweep.getInputs().size();
  return isa<StoreOp>(use.getOwner());
}

static AccessType withoutNoalias(Type type) {
  auto access = cast<AccessType>(type);
  AccessFlags flags{access.getAccumulate(), /*noalias=*/false, access.getNontemporal(), access.getAlign()};
  return AccessType::get(access.getElementType(), access.getRowStrides(), access.getColumnStride(), flags);
}

bool graft::rt::runsColumnsInOrder(ModuleOp programs) {
  return !programs || !programs->hasAttr(anyOrderAttribute);
}

/// Do two accesses reach the same elements in the same way, but for `noalias`?
static bool reachTheSame(AccessType a, AccessType b) {
  return a.getElementType() == b.getElementType() && a.getRowStrides() == b.getRowStrides() &&
         a.getColumnStride() == b.getColumnStride() && a.getAccumulate() == b.getAccumulate() &&
         a.getNontemporal() == b.getNontemporal() && a.getAlign() == b.getAlign();
}

/// Do the columns of a row begin where the other's do, and are they narrower? A column is then written at or before
/// where it was read, over columns that were read before, if columns run in order.
static bool liesAtTheBeginning(AccessType to, AccessType from) {
  int64_t narrow = to.getElementBytes(), wide = from.getElementBytes();
  auto startsTogether = [&](auto strides) { return std::get<0>(strides) * narrow == std::get<1>(strides) * wide; };
  return narrow < wide && to.getColumnStride() == 1 && from.getColumnStride() == 1 &&
         to.getAlign() == from.getAlign() && !to.getNontemporal() &&
         llvm::all_of(llvm::zip_equal(to.getRowStrides(), from.getRowStrides()), startsTogether);
}

bool RowProgramOp::runsInPlace(unsigned read, unsigned written) {
  BlockArgument from = getBody()->getArgument(read), to = getBody()->getArgument(written);
  auto access = cast<AccessType>(to.getType());
  auto wide = cast<AccessType>(from.getType());
  if (to.use_empty() || !llvm::all_of(to.getUses(), isWrite) || llvm::any_of(from.getUses(), isWrite) ||
      access.getAccumulate())
    return false;
  if (!reachTheSame(wide, access) &&
      !(liesAtTheBeginning(access, wide) && runsColumnsInOrder((*this)->getParentOfType<ModuleOp>())))
    return false;
  // Within a sweep a column is read before it is written.
  for (Operation *writer : to.getUsers())
    for (Operation *reader : from.getUsers())
      if (writer->isBeforeInBlock(reader))
        return false;
  return true;
}

SmallVector<std::pair<unsigned, unsigned>> RowProgramOp::getInPlacePairs() {
  SmallVector<std::pair<unsigned, unsigned>> pairs;
  for (unsigned read = 0; read < getBody()->getNumArguments(); ++read)
    for (unsigned written = 0; written < getBody()->getNumArguments(); ++written)
      if (runsInPlace(read, written))
        pairs.push_back({read, written});
  return pairs;
}

void RowProgramOp::letRunInPlace(unsigned read, unsigned written) {
  for (unsigned index : {read, written}) {
    BlockArgument argument = getBody()->getArgument(index);
    argument.setType(withoutNoalias(argument.getType()));
  }
}

bool RowProgramOp::mayRunInPlace(unsigned read, unsigned written) {
  auto isAlone = [&](unsigned index) { return cast<AccessType>(getBody()->getArgument(index).getType()).getNoalias(); };
  return !isAlone(read) && !isAlone(written);
}

ParseResult RowProgramOp::parse(OpAsmParser &parser, OperationState &result) {
  StringAttr name;
  Builder &builder = parser.getBuilder();
  SmallVector<int64_t> rows;
  int64_t columns, group = 1;
  SmallVector<OpAsmParser::Argument> arguments;
  auto parseRow = [&] { return parser.parseInteger(rows.emplace_back()); };
  if (parser.parseSymbolName(name, SymbolTable::getSymbolAttrName(), result.attributes) ||
      parser.parseKeyword("rows") || parser.parseCommaSeparatedList(AsmParser::Delimiter::Square, parseRow) ||
      parser.parseKeyword("columns") || parser.parseInteger(columns))
    return failure();
  if (succeeded(parser.parseOptionalKeyword("group")) && parser.parseInteger(group))
    return failure();
  result.addAttribute(getRowsAttrName(result.name), builder.getDenseI64ArrayAttr(rows));
  result.addAttribute(getColumnsAttrName(result.name), builder.getI64IntegerAttr(columns));
  result.addAttribute(getGroupAttrName(result.name), builder.getI64IntegerAttr(group));
  if (parser.parseArgumentList(arguments, AsmParser::Delimiter::Paren, /*allowType=*/true) ||
      parser.parseOptionalAttrDictWithKeyword(result.attributes))
    return failure();
  Region *body = result.addRegion();
  if (parser.parseRegion(*body, arguments))
    return failure();
  if (body->empty()) {
    Block &block = body->emplaceBlock();
    for (OpAsmParser::Argument &argument : arguments)
      block.addArgument(argument.type, result.location);
  }
  return success();
}

void RowProgramOp::print(OpAsmPrinter &printer) {
  printer << ' ';
  printer.printSymbolName(getSymName());
  printer << " rows [";
  llvm::interleaveComma(getRows(), printer);
  printer << "] columns " << getColumns();
  if (getGroup() != 1)
    printer << " group " << getGroup();
  printer << " (";
  llvm::interleaveComma(getBody()->getArguments(), printer,
                        [&](BlockArgument argument) { printer.printRegionArgument(argument); });
  printer << ")";
  printer.printOptionalAttrDictWithKeyword((*this)->getAttrs(), {"sym_name", "rows", "columns", "group"});
  printer << ' ';
  printer.printRegion(getRegion(), /*printEntryBlockArgs=*/false, /*printBlockTerminators=*/true);
}

//---- rt.sweep

void SweepOp::build(OpBuilder &builder, OperationState &state, ValueRange inputs, ValueRange writes,
                    ArrayRef<ReductionKind> reductions, TypeRange reducedTypes,
                    function_ref<SmallVector<Value>(OpBuilder &, Location, ValueRange)> body) {
  state.addOperands(inputs);
  state.addOperands(writes);
  state.getOrAddProperties<Properties>().operandSegmentSizes = {static_cast<int32_t>(inputs.size()),
                                                                static_cast<int32_t>(writes.size())};
  auto kinds = llvm::map_to_vector(
      reductions, [&](ReductionKind kind) -> Attribute { return ReductionKindAttr::get(builder.getContext(), kind); });
  state.addAttribute(getReductionsAttrName(state.name), builder.getArrayAttr(kinds));
  state.addTypes(reducedTypes);
  OpBuilder::InsertionGuard guard(builder);
  Block *block = builder.createBlock(state.addRegion());
  for (Value input : inputs)
    block->addArgument(computeType(input.getType()), state.location);
  SmallVector<Value> yielded = body(builder, state.location, block->getArguments());
  YieldOp::create(builder, state.location, yielded);
}

YieldOp SweepOp::getYield() {
  return cast<YieldOp>(getBody()->getTerminator());
}

/// `(%a = %x : type, ...)` fills arguments as well, `(%y : type, ...)` does not.
static ParseResult parseOperandList(OpAsmParser &parser, OperationState &result, int32_t &count,
                                    SmallVectorImpl<OpAsmParser::Argument> *arguments) {
  return parser.parseCommaSeparatedList(AsmParser::Delimiter::Paren, [&]() -> ParseResult {
    OpAsmParser::UnresolvedOperand operand;
    Type type;
    if (arguments && (parser.parseArgument(arguments->emplace_back()) || parser.parseEqual()))
      return failure();
    SMLoc loc = parser.getCurrentLocation();
    if (parser.parseOperand(operand) || parser.parseColonType(type) ||
        parser.resolveOperand(operand, type, result.operands))
      return failure();
    if (!isa<AccessType, ScratchType>(type))
      return parser.emitError(loc, "expected an access or scratch, got ") << type;
    if (arguments)
      arguments->back().type = computeType(type);
    ++count;
    return success();
  });
}

ParseResult SweepOp::parse(OpAsmParser &parser, OperationState &result) {
  SmallVector<OpAsmParser::Argument> arguments;
  int32_t inputs = 0, writes = 0;
  SmallVector<Attribute> kinds;
  if (parseOperandList(parser, result, inputs, &arguments))
    return failure();
  if (succeeded(parser.parseOptionalKeyword("writes")) && parseOperandList(parser, result, writes, nullptr))
    return failure();
  auto parseReduction = [&]() -> ParseResult {
    FailureOr<ReductionKind> kind = FieldParser<ReductionKind>::parse(parser);
    Type type;
    if (failed(kind) || parser.parseColonType(type))
      return failure();
    kinds.push_back(ReductionKindAttr::get(parser.getContext(), *kind));
    result.addTypes(type);
    return success();
  };
  if (succeeded(parser.parseOptionalKeyword("reduces")) &&
      parser.parseCommaSeparatedList(AsmParser::Delimiter::Paren, parseReduction))
    return failure();
  result.getOrAddProperties<Properties>().operandSegmentSizes = {inputs, writes};
  result.addAttribute(getReductionsAttrName(result.name), parser.getBuilder().getArrayAttr(kinds));
  return failure(parser.parseOptionalAttrDictWithKeyword(result.attributes) ||
                 parser.parseRegion(*result.addRegion(), arguments));
}

void SweepOp::print(OpAsmPrinter &printer) {
  auto printAccess = [&](Value value) { printer << value << " : " << value.getType(); };
  printer << " (";
  llvm::interleaveComma(llvm::zip(getBody()->getArguments(), getInputs()), printer, [&](auto pair) {
    printer << std::get<0>(pair) << " = ";
    printAccess(std::get<1>(pair));
  });
  printer << ")";
  if (!getWrites().empty()) {
    printer << " writes (";
    llvm::interleaveComma(getWrites(), printer, printAccess);
    printer << ")";
  }
  if (!getReductions().empty()) {
    printer << " reduces (";
    llvm::interleaveComma(llvm::zip(getReductions(), getResultTypes()), printer, [&](auto pair) {
      printer << stringifyReductionKind(cast<ReductionKindAttr>(std::get<0>(pair)).getValue()) << " : "
              << std::get<1>(pair);
    });
    printer << ")";
  }
  printer.printOptionalAttrDictWithKeyword((*this)->getAttrs(), {"reductions", "operandSegmentSizes"});
  printer << ' ';
  printer.printRegion(getRegion(), /*printEntryBlockArgs=*/false);
}

//---- rt.load

void LoadOp::build(OpBuilder &builder, OperationState &state, Value access) {
  build(builder, state, cast<AccessType>(access.getType()).getComputeType(), access);
}
