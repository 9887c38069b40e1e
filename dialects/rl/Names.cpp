#include "dialects/rl/Names.h"

using namespace mlir;

namespace graft {

StringRef argumentName(func::FuncOp function, unsigned index) {
  auto name = function.getArgAttrOfType<StringAttr>(index, rl::nameAttribute);
  return name ? name.getValue() : StringRef();
}

StringRef resultName(func::FuncOp function, unsigned index) {
  auto name = function.getResultAttrOfType<StringAttr>(index, rl::nameAttribute);
  return name ? name.getValue() : StringRef();
}

Value findArgument(func::FuncOp function, StringRef name) {
  for (unsigned i = 0; i < function.getNumArguments(); ++i)
    if (argumentName(function, i) == name)
      return function.getArgument(i);
  return {};
}

BlockArgument addArgument(func::FuncOp function, StringRef name, Type type) {
  Builder builder(function.getContext());
  auto attribute = builder.getDictionaryAttr(builder.getNamedAttr(rl::nameAttribute, builder.getStringAttr(name)));
  (void)function.insertArgument(function.getNumArguments(), type, attribute, function.getLoc());
  return function.getArguments().back();
}

} // namespace graft
