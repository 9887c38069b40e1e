// Replaces calls of the model's own functions by their bodies.
#pragma once

#include "frontends/onnx/Model.h"
#include "runtime/base/Status.h"

namespace graft::onnx {

/// Inlines every call in the main graph (also in branches) of a checked model, so that only operators are left; empties
/// Model::functions. Values of a body are renamed to "CALL/NAME", where CALL is the call's node name (or "function_N"),
/// so names stay unique; nodes are named alike and keep their own module path, or get that of the call. Attributes
/// that refer to the function's are replaced by the call's value or the default, or dropped when there is neither.
/// Faults: Graph (an attribute without default that the call leaves out and the body needs is the operator's fault, not
/// ours), Type (the call passes an attribute of another type).
Status inlineFunctions(Model &model);

} // namespace graft::onnx
