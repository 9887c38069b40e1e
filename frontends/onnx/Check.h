// Whether a parsed model is a sound graph: everything that can be said without knowing what operators do.
#pragma once

#include <functional>
#include <string_view>

#include "frontends/onnx/Model.h"
#include "runtime/base/Status.h"

namespace graft::onnx {

struct CheckOptions {
  /// Names that nobody defines in the graph but a checkpoint does (exporters can leave the initializers out). Empty:
  /// none.
  std::function<bool(std::string_view)> isParameter;
};

/// Checks a model and sets Node::opset everywhere. All faults at once, each with its node and module path:
///   Unsupported  IR version, opset version, training info, annotations, sparse initializers, domains of other products
///   Graph        names (undefined, defined twice, shadowed), order and cycles, functions (recursion, arity,
///   attributes),
///                inputs and outputs without type
///   Type, Range  attributes and tensors
///   Limit        functions, call depth, nodes after inlining
/// After it has passed: every value is defined once, before its use; every attribute has the one value its type says;
/// every tensor has the bytes its shape needs; inlineFunctions() ends and stays within limits.
Status checkModel(Model &model, const CheckOptions &options = {});

} // namespace graft::onnx
