// From a checked ONNX model to a function of nn, arith and math operators with static shapes.
//
// The graph is walked once. Every node becomes operators through a table of translations (Table.cpp); operators on
// constants are replaced by their value at once, so that shapes computed by the graph are numbers when they are needed.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "frontends/onnx/ModelFile.h"
#include "passes/import/FoldConstants.h"
#include "runtime/base/Status.h"

#include "mlir/IR/BuiltinOps.h"
#include "mlir/IR/OwningOpRef.h"

namespace graft::onnx {

/// What a checkpoint knows about a name.
struct ParameterInfo {
  std::vector<int64_t> shape;
  int32_t dataType = Float; ///< DataType
  bool trained = true;
};

struct ImportOptions {
  /// What the axes of rank-2 integer inputs (token ids, masks, positions) are bound to, whatever the graph calls them.
  /// 0: the number that the graph has baked in.
  int64_t batch = 0, sequence = 0;
  /// Symbolic axes of other inputs, by name.
  std::map<std::string, int64_t, std::less<>> dimensions;
  /// Asks a checkpoint for a tensor. With it, a float initializer becomes a parameter if it has two dimensions or more
  /// or if the checkpoint has the name, trained as the checkpoint says (not, if it lacks the name); a name that the
  /// graph uses but does not define is taken from the checkpoint. Without it, a float initializer becomes a parameter
  /// if it has two dimensions or more, lies in external data, or is named like one ("a.b.weight", "a.b.bias"), trained
  /// in the last two cases. Everything else becomes a constant.
  std::function<std::optional<ParameterInfo>(std::string_view name)> parameter;
  FoldLimits fold;
  /// Return every output, not only the logits: for tests of single operators.
  bool allOutputs = false;
};

struct ImportedParameter {
  std::string name; ///< in the graph
  std::vector<int64_t> shape;
  int32_t dataType = Float; ///< DataType
  bool trained = false;
  /// Its contents; null if the graph only names it. Points into the ModelFile.
  const Tensor *initializer = nullptr;
  /// Where the contents lie, if in a file: location, as the model writes it.
  std::optional<ExternalReference> external;
};

struct ImportedModel {
  /// `func.func @forward`: one argument per graph input, one result per output, named by the attribute "rl.name".
  /// Key-value caches among the inputs are bound to a past of length 0 and are no arguments.
  mlir::OwningOpRef<mlir::ModuleOp> module;
  std::vector<ImportedParameter> parameters; ///< each rl.parameter of the module, in the order of first use
  std::vector<std::string> notes;            ///< what was ignored, for people
};

/// Translates the graph. `context` must have rl::registerDialects() appended. All faults that can be found
/// independently, each with the file, the node and its module path:
///   Unsupported  operators, attributes, element types, shapes that depend on data
///   Range        shapes and indices that do not fit; baked sizes that differ from those asked for
///   Type         operands and attributes of the wrong type
///   Graph        missing inputs, names that neither the graph nor the checkpoint defines
///   Limit        tensors of more than maxTensorElements elements
///   Io, Path, ...  of external constants
Result<ImportedModel> importModel(ModelFile &file, mlir::MLIRContext &context, const ImportOptions &options = {});

/// Names of the supported operators, sorted.
std::vector<std::string_view> supportedOperators();

inline constexpr int64_t maxTensorElements = int64_t{1} << 34;
/// Bytes of one initializer that is kept in the program as a constant.
inline constexpr uint64_t maxConstantBytes = uint64_t{1} << 30;

} // namespace graft::onnx
