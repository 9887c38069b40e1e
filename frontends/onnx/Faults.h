// Collects the faults of one reading: all of them up to maxFaults, then only their number.
#pragma once

#include "frontends/onnx/Limits.h"
#include "runtime/base/Status.h"

namespace graft::onnx {

class Faults {
public:
  void add(Code code, std::string place, std::string message, std::string hint = "") {
    if (count_++ < maxFaults)
      status_.merge(Status::error(code, std::move(message), std::move(place), std::move(hint)));
  }
  void merge(Status status) {
    for (const Fault &fault : status.faults())
      add(fault.code, fault.place, fault.message, fault.hint);
  }
  bool any() const { return count_ > 0; }
  /// All collected faults; ok when there were none.
  Status take() {
    if (count_ > maxFaults)
      status_.merge(Status::error(status_.faults().front().code,
                                  "and " + std::to_string(count_ - maxFaults) + " more faults like these"));
    return std::move(status_);
  }

private:
  Status status_;
  size_t count_ = 0;
};

} // namespace graft::onnx
