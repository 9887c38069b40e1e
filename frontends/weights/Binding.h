// Which tensor of a checkpoint is which parameter of a graph. Names decide, never their form: nothing here knows a
// model.
#pragma once

#include "frontends/weights/Checkpoint.h"

namespace graft {

/// A parameter as the graph has it.
struct GraphParameter {
  std::string name;
  std::vector<int64_t> shape;
  /// Where the graph says its bytes are, if it says so: external data of ONNX. Only the last component of the location
  /// counts.
  std::string externalFile = {};
  uint64_t externalOffset = 0, externalBytes = 0;
};

enum class BoundBy { Rename, Name, ExternalData, Tie };

struct ParameterBinding {
  std::string parameter; ///< in the graph
  std::string tensor;    ///< in the checkpoint; several parameters may share one
  BoundBy how = BoundBy::Name;
};

/// For each parameter in turn, the first rule that applies:
///   1. `renames` (the recipe's [model.names]) maps its name to one in the checkpoint;
///   2. the checkpoint holds its name;
///   3. its external data are exactly the bytes of a tensor with its shape in the checkpoint's file of that name;
///   4. `tied` (config.json's tie_word_embeddings), and exactly one matrix of the checkpoint has its shape.
/// Otherwise a Graph fault that names tensors of the same shape. A shape that differs is a Type fault, as is a tensor
/// that is no float; a rename of or to something that does not exist is a Usage fault. All faults are reported
/// together.
Result<std::vector<ParameterBinding>> bindParameters(const Checkpoint &checkpoint,
                                                     std::span<const GraphParameter> parameters,
                                                     const std::map<std::string, std::string> &renames, bool tied);

} // namespace graft
