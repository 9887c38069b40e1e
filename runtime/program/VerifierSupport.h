// Shared by the parts of the program verifier: the list of faults with a cap, and names.
#pragma once

#include "runtime/base/Status.h"
#include "runtime/program/Layout.h"
#include "runtime/program/Program_generated.h"

#include <string>
#include <string_view>
#include <vector>

namespace graft {

/// Collects faults; after `cap` of them only counts.
class FaultList {
public:
  void add(Code code, std::string place, std::string message) {
    if (++count_ <= cap)
      status_.merge(Status::error(code, std::move(message), std::move(place)));
  }
  void verify(std::string place, std::string message) { add(Code::Verify, std::move(place), std::move(message)); }
  void merge(Status status) {
    for (const Fault &fault : status.faults())
      add(fault.code, fault.place, fault.message);
  }
  bool empty() const { return count_ == 0; }
  Status take() {
    if (count_ > cap)
      status_.merge(Status::error(Code::Verify, "and " + std::to_string(count_ - cap) + " more faults"));
    return std::move(status_);
  }

private:
  static constexpr size_t cap = 50;
  size_t count_ = 0;
  Status status_;
};

/// Size of a vector that may be absent.
template <typename Vector> unsigned sizeOf(const Vector *vector) {
  return vector ? vector->size() : 0;
}

/// "parameter 'model.norm.weight'", "buffer 3 'x'": place of a fault.
inline std::string placeOf(std::string_view kind, unsigned index, const flatbuffers::String *name) {
  return std::string(kind) + " " + std::to_string(index) + (name ? " '" + escaped(name->string_view()) + "'" : "");
}

/// What is wrong with a name; empty if nothing is.
inline std::string_view nameFault(std::string_view name) {
  if (name.empty())
    return "name is empty";
  if (name.size() > 4096)
    return "name is longer than 4096 bytes";
  if (escaped(name, 4 * name.size() + 8) != name)
    return "name has control characters or is not UTF-8";
  if (name.find("../") != std::string_view::npos)
    return "name contains '../'";
  return {};
}

/// Whether all vectors of 8-byte elements are aligned to 8 bytes (FlatBuffers' verifier does not look).
bool vectorsAreAligned(const schema::Program &program);

/// Checks instructions, bindings and lifetimes of entry `index` whose arena buffers all passed the checks for buffers.
void verifyEntry(const schema::Program &program, unsigned index, FaultList &faults);

} // namespace graft
