// What a session holds; private to Session.cpp (opening, weights, descriptions) and SessionRun.cpp (running, time).
#pragma once

#include "kernels/gemm/Gemm.h"
#include "runtime/device/cpu/Memory.h"
#include "runtime/exec/KernelObject.h"
#include "runtime/exec/Session.h"
#include "runtime/exec/Steps.h"

#include <chrono>
#include <functional>
#include <optional>

namespace graft {

using Clock = std::chrono::steady_clock;

/// A FlatBuffers vector of dimensions; absent: rank 0.
inline std::vector<int64_t> shapeOf(const flatbuffers::Vector<int64_t> *shape) {
  return shape ? std::vector<int64_t>(shape->begin(), shape->end()) : std::vector<int64_t>();
}
inline std::string textOf(const flatbuffers::String *string) {
  return string ? string->str() : "";
}

/// A step, or the beginning of a loop, and the time it has taken (the loop's own without its body).
struct TimedStep {
  std::unique_ptr<Step> step; ///< nullptr for a loop
  std::optional<LoopStep> loop;
  int64_t calls = 0;
  Clock::duration time{};
};

/// An entry made ready to run.
struct PreparedEntry {
  bool available = true; ///< false: trains, in a session that was opened without
  std::vector<TimedStep> steps;
};
struct Session::State {
  Program program;
  Options options;
  std::vector<ParameterInfo> parameters;
  std::vector<bool> bound; ///< by parameter
  std::vector<std::string> notices;
  std::string libraryName = "built-in loops";

  HostBlock parameterBlock, gradientBlock, meanBlock, squareBlock, workingBlock, arena;
  std::optional<KernelObject> object;
  std::shared_ptr<const kernels::MatrixLibrary> library;
  std::optional<kernels::GemmPlanner> planner;
  std::vector<PreparedEntry> entries;
  std::optional<Optimizer> optimizer;
  int64_t failedStep = 0; ///< that has updated some parameters, and not the others; 0: none
  int64_t applyCalls = 0;
  Clock::duration applyTime{};
  // Last: its threads are joined before anything they use goes away.
  std::unique_ptr<WorkerPool> pool;
  std::optional<Workers> workers;

  State(Program loaded, Options chosen);
  ~State() { workers.reset(); }

  const schema::Program &root() const { return program.root(); }

  Status allocate();
  Status openKernels();
  Status startWorkers();
  Status prepare();
  Status prepareEntry(unsigned index, const StepMaker &maker);
  Status prepareScratch();
  void touchPages();

  void copyToWorking(unsigned parameter);
  Result<unsigned> findArray(Block block, std::string_view name, size_t elements) const;
  bool isPacked(Block block, unsigned parameter) const;
  std::vector<float> unpacked(Block block, unsigned parameter) const;
  void pack(Block block, unsigned parameter, std::span<const float> values);
  float *floatsOf(Block block, unsigned parameter, std::vector<float> &unpacked);
  template <typename F> void forEachRow(unsigned parameter, F f) const;

  /// Failed if weights are between two steps.
  Status checkWhole() const;
  Status checkStep(bool inBackward, double learningRate, int64_t step) const;
  Status runEntry(std::string_view name, const Inputs &inputs, const Outputs &outputs, Use use);
  Result<int> findEntry(std::string_view name) const;
  Status checkRun(int entry, const Inputs &inputs, const Outputs &outputs) const;
  Status loadInputs(const schema::Entry &entry, const Inputs &inputs);
  Status storeOutputs(const schema::Entry &entry, const Outputs &outputs) const;
  /// `after` is called after each instruction with its number, in every pass of a loop; an error ends the run.
  Status runSteps(int entry, Use use, const std::function<Status(size_t)> &after = {});
  /// What is not finite in weights, or in a transient or gradient buffer; empty: nothing (NonFinite.cpp).
  std::string nonFiniteWeights() const;
  std::string nonFiniteBuffer(const Blocks &blocks, uint32_t index) const;
  Blocks blocks();
  const schema::Buffer &buffer(unsigned index) const { return *root().buffers()->Get(index); }
};

} // namespace graft
