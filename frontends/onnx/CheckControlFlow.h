// The structure that If, Loop and Scan need whatever their branches compute. (Graft does not translate them yet; a
// broken one is still told from one that is only unsupported.)
#pragma once

#include <string>

#include "frontends/onnx/Faults.h"
#include "frontends/onnx/Model.h"

namespace graft::onnx {

/// Faults: Graph. Does nothing for other operators.
void checkControlFlow(const Node &node, const std::string &place, Faults &faults);

} // namespace graft::onnx
