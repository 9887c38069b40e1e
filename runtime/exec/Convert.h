// Arrays that callers hand in, and their conversion to the dtype that a program wants.
#pragma once

#include "runtime/base/Status.h"
#include "runtime/program/Program_generated.h"

#include <cstdint>
#include <string_view>
#include <vector>

namespace graft {

/// A dense row-major array of the caller, not owned, of any alignment; valid for the call it is passed to.
struct ConstArray {
  const void *data = nullptr;
  schema::DType dtype = schema::DType::F32;
  std::vector<int64_t> shape;
};
struct MutableArray {
  void *data = nullptr;
  schema::DType dtype = schema::DType::F32;
  std::vector<int64_t> shape;
};

/// "float32", "int64", ...
std::string_view dtypeName(schema::DType dtype);

/// Converts `count` elements. Allowed: any dtype to itself; integers and booleans to I32, I64 (checked), Bool (only 0
/// and 1), F32 and F64; F64, F16 and BF16 to F32; F32 to F64. Type errors otherwise, Range errors with the position of
/// the first value that does not fit.
Status convert(void *to, schema::DType toType, const void *from, schema::DType fromType, int64_t count);

/// "[16, 102]"
std::string shapeText(const std::vector<int64_t> &shape);

} // namespace graft
