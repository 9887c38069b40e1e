// Updates of parameters within an entry: which there may be, and that nothing reads afterwards what was updated.
//
//   1. Only the entry `step` of a program whose optimizer works in the backward pass updates, and no loop does.
//   2. It updates every trained parameter, each once.
//   3. A gradient is all of the parameter's rows in float32, in the arena. They have no padding, which nobody would
//      keep at zero where others lay before.
//   4. After an update nothing reads the parameter or its working copy.
//   5. The output `loss`, one float32, is written before the first update and not again.
#pragma once

#include "runtime/program/Program_generated.h"

#include <functional>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

namespace graft {

class UpdateVerifier {
public:
  using Report = std::function<void(std::string)>;

  /// `report` is called for every fault, while the instruction at fault is looked at.
  UpdateVerifier(const schema::Program &program, const schema::Entry &entry, Report report);

  /// `written`: buffers that were written so far.
  void verify(const schema::Update &update, bool inLoop, const std::vector<bool> &written);
  /// A sound buffer of weights, or of a working copy, is read.
  void verifyRead(const schema::Buffer &weights);
  void verifyWrite(unsigned buffer);
  /// At the end of the entry.
  void verifyComplete();

private:
  std::string nameOf(unsigned parameter) const;
  void verifyGradient(const schema::Operand &gradient, const schema::Parameter &parameter);

  const schema::Program &program_;
  bool mayUpdate_;
  Report report_;
  std::optional<unsigned> loss_; ///< its buffer
  std::set<unsigned> updated_;
  std::map<int64_t, unsigned> byOffset_, byWorkingOffset_; ///< parameters that are not empty
};

} // namespace graft
