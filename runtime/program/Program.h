// A loaded program: the bytes of a program file that passed every check of ProgramVerifier.h.
//
// Loading reads the whole file into memory of its own (weights are not in it), so that the bytes which were checked are
// the bytes which are used, whatever happens to the file. Immutable and cheap to copy; any thread may read.
#pragma once

#include "runtime/base/Status.h"
#include "runtime/program/Program_generated.h"

#include <cstdint>
#include <memory>
#include <span>
#include <string>

namespace graft {

/// The object with the best target that this CPU has; nullptr if there is none.
const schema::Object *chooseObject(const schema::Program &program);

class Program {
public:
  /// Errors: Io (cannot read), Format, Limit, Unsupported (version, target, CPU), Verify; places begin with the path.
  static Result<Program> open(const std::string &path);
  /// Copies the bytes.
  static Result<Program> fromBytes(std::span<const uint8_t> file);

  /// The verified root: offsets, indices and sizes in it can be used without a check.
  const schema::Program &root() const { return *root_; }
  /// Index of an entry by name, -1 if there is none.
  int findEntry(std::string_view name) const;
  /// Index of a parameter by its name or one of its aliases, -1 if there is none.
  int findParameter(std::string_view name) const;
  /// The object code for this CPU: the best target that it supports; nullptr if the program has no kernels.
  const schema::Object *object() const;
  /// The path that it was opened by, escaped for messages; "program" for bytes.
  const std::string &name() const { return name_; }
  /// hash64 of the file.
  uint64_t fingerprint() const { return fingerprint_; }

private:
  struct Free {
    void operator()(uint8_t *bytes) const;
  };
  static Result<Program> fromOwned(std::unique_ptr<uint8_t[], Free> bytes, size_t size);

  std::shared_ptr<const uint8_t[]> bytes_; // 64-byte aligned
  std::string name_ = "program";
  const schema::Program *root_ = nullptr;
  uint64_t fingerprint_ = 0;
};

} // namespace graft
