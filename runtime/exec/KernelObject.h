// Object code of a program, opened from memory (memfd and dlopen), and its kernels.
#pragma once

#include "runtime/base/Status.h"

#include <cstdint>
#include <memory>
#include <span>
#include <string_view>

namespace graft {

/// operands: one pointer per operand in the kernel table's order; runs work items [begin, end).
using KernelFunction = void (*)(void *const *operands, int64_t begin, int64_t end);

/// Owns the opened object; functions are valid as long as it lives. The bytes must have passed verifyObject.
class KernelObject {
public:
  /// Failed if the system cannot open it.
  static Result<KernelObject> open(std::span<const uint8_t> bytes);
  /// nullptr if there is no such symbol.
  KernelFunction find(std::string_view symbol) const;

private:
  struct Close {
    void operator()(void *handle) const;
  };
  std::unique_ptr<void, Close> handle_;
};

} // namespace graft
