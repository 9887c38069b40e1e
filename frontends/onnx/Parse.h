// From the bytes of a ModelProto to the structs of Model.h.
#pragma once

#include <string_view>

#include "frontends/onnx/Model.h"
#include "runtime/base/Status.h"

namespace graft::onnx {

/// Parses a serialised ModelProto without copying strings or tensor contents: the bytes must outlive the Model. Time is
/// linear in the structure, not in raw tensor data. Faults: Format (the first byte that is not protobuf, or a field of
/// another wire type than onnx.proto says), Limit (depth, size of the structure). What protobuf would merge (a message
/// field given twice) is merged. Nothing else is checked: that is checkModel()'s work.
Result<Model> parseModel(std::string_view bytes);

/// Parses a serialised TensorProto, as conformance tests hold them.
Result<Tensor> parseTensor(std::string_view bytes);

} // namespace graft::onnx
