// gpu_kernels [--untimed] [P.graft...]: runs every kernel of the programs on a GPU and compares it with this CPU's
// result.
//
// Each kernel runs on random numbers, and on numbers with zeros, infinities, NaN and denormals among them; with as many
// blocks as it has work for, and with three, which must give the same bits. Where a kernel does not write, its outputs
// hold a pattern that must stay. Then it is timed. Without a GPU: says so and ends with 77; without programs: says
// which GPU there is.
#include "runtime/base/Convert.h"
#include "runtime/exec/KernelObject.h"
#include "runtime/program/Layout.h"
#include "runtime/program/Program.h"
#include "test/gpu/CudaDriver.h"

#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <limits>
#include <map>
#include <random>

using namespace graft;
using namespace graft::test;

namespace {

/// A kernel, with what its first call says about its operands.
struct Kernel {
  const schema::Kernel *table = nullptr;
  std::vector<schema::DType> dtypes;
  int64_t bytes = 0; ///< that must move, as the compiler counts them

  size_t operands() const { return dtypes.size(); }
  schema::Access access(size_t operand) const { return table->operands()->Get(static_cast<unsigned>(operand)); }
  size_t extent(size_t operand) const { return table->extents()->Get(static_cast<unsigned>(operand)); }
};

/// The kernels that the program calls, in the order of its table.
std::map<uint32_t, Kernel> kernelsOf(const schema::Program &program) {
  std::map<uint32_t, Kernel> kernels;
  for (const schema::Entry *entry : *program.entries())
    for (const schema::Instruction *instruction : *entry->instructions()) {
      const schema::KernelCall *call = instruction->operation_as_KernelCall();
      if (!call || kernels.contains(call->kernel()))
        continue;
      Kernel &kernel = kernels[call->kernel()];
      kernel.table = program.kernels()->Get(call->kernel());
      kernel.bytes = instruction->bytes();
      for (unsigned i = 0; call->operands() && i < call->operands()->size(); ++i)
        kernel.dtypes.push_back(program.buffers()->Get(call->operands()->Get(i)->buffer())->dtype());
    }
  return kernels;
}

using Bytes = std::vector<uint8_t>;
/// A kernel's operands.
using Operands = std::vector<Bytes>;

template <typename T> void put(Bytes &bytes, size_t index, T value) {
  std::memcpy(bytes.data() + index * sizeof value, &value, sizeof value);
}
template <typename T> T get(const Bytes &bytes, size_t index) {
  T value;
  std::memcpy(&value, bytes.data() + index * sizeof value, sizeof value);
  return value;
}

void putNumber(Bytes &bytes, schema::DType dtype, size_t index, double value) {
  switch (dtype) {
  case schema::DType::F32:
    return put(bytes, index, static_cast<float>(value));
  case schema::DType::F64:
    return put(bytes, index, value);
  case schema::DType::BF16:
    return put(bytes, index, floatToBfloat(static_cast<float>(value)));
  case schema::DType::F16:
    return put(bytes, index, floatToHalf(static_cast<float>(value)));
  case schema::DType::I32:
    return put(bytes, index, static_cast<int32_t>(value));
  case schema::DType::I64:
    return put(bytes, index, static_cast<int64_t>(value));
  default:
    return put(bytes, index, static_cast<uint8_t>(value));
  }
}

double getNumber(const Bytes &bytes, schema::DType dtype, size_t index) {
  switch (dtype) {
  case schema::DType::F32:
    return get<float>(bytes, index);
  case schema::DType::F64:
    return get<double>(bytes, index);
  case schema::DType::BF16:
    return bfloatToFloat(get<uint16_t>(bytes, index));
  case schema::DType::F16:
    return halfToFloat(get<uint16_t>(bytes, index));
  case schema::DType::I32:
    return get<int32_t>(bytes, index);
  case schema::DType::I64:
    return static_cast<double>(get<int64_t>(bytes, index));
  default:
    return get<uint8_t>(bytes, index);
  }
}

bool isFloat(schema::DType dtype) {
  return dtype == schema::DType::F32 || dtype == schema::DType::F64 || dtype == schema::DType::BF16 ||
         dtype == schema::DType::F16;
}

/// Random operands; `odd`: every seventeenth number is a special one. What is only written holds a pattern.
Operands makeOperands(const Kernel &kernel, bool odd, unsigned seed) {
  constexpr double infinity = std::numeric_limits<double>::infinity();
  constexpr double special[] = {0, -0.0, infinity, -infinity, NAN, 1e-40, -1e-40, 89, -110};
  std::mt19937 generator(seed);
  std::normal_distribution<double> normal(0, 1);
  Operands operands;
  for (size_t i = 0; i < kernel.operands(); ++i) {
    schema::DType dtype = kernel.dtypes[i];
    Bytes &bytes = operands.emplace_back(kernel.extent(i), 0x55);
    if (kernel.access(i) == schema::Access::Write)
      continue;
    size_t count = bytes.size() / static_cast<size_t>(byteSize(dtype));
    for (size_t at = 0; at < count; ++at) {
      double number = dtype == schema::DType::Bool ? generator() & 1 : double(generator() % 50);
      if (isFloat(dtype))
        number = odd && at % 17 == i ? special[at / 17 % std::size(special)] : normal(generator);
      putNumber(bytes, dtype, at, number);
    }
  }
  return operands;
}

/// What two orders of summing and two ways of rounding may differ by.
double tolerance(schema::DType dtype) {
  switch (dtype) {
  case schema::DType::F32:
    return 1e-4;
  case schema::DType::F64:
    return 1e-6;
  case schema::DType::BF16:
    return 1.0 / 64;
  case schema::DType::F16:
    return 1.0 / 512;
  default:
    return 0;
  }
}

/// The largest difference, relative to the number and to the root mean square of all, as a share of the tolerance;
/// infinite where only one is NaN or infinite.
double difference(const Bytes &actual, const Bytes &expected, schema::DType dtype) {
  size_t count = expected.size() / static_cast<size_t>(byteSize(dtype)), finite = 0;
  double squares = 0, worst = 0;
  for (size_t i = 0; i < count; ++i)
    if (double value = getNumber(expected, dtype, i); std::isfinite(value))
      squares += value * value, ++finite;
  double scale = finite ? std::sqrt(squares / static_cast<double>(finite)) : 1;
  for (size_t i = 0; i < count; ++i) {
    double a = getNumber(actual, dtype, i), b = getNumber(expected, dtype, i);
    if (a == b || (std::isnan(a) && std::isnan(b)))
      continue;
    double bound = tolerance(dtype) * (std::fabs(b) + scale);
    double share = std::isfinite(a) && std::isfinite(b) && bound > 0 ? std::fabs(a - b) / bound
                                                                     : std::numeric_limits<double>::infinity();
    worst = std::max(worst, share);
  }
  return worst;
}

/// The operands of one kernel in the GPU's memory.
class DeviceOperands {
public:
  DeviceOperands(const CudaDriver &driver, const Kernel &kernel, void *function)
      : driver_(driver), kernel_(kernel), function_(function) {}
  DeviceOperands(const DeviceOperands &) = delete;
  ~DeviceOperands() {
    for (DevicePointer memory : memory_)
      (void)driver_.free(memory).isOk(); // the process ends soon
  }
  Status allocate() {
    for (size_t i = 0; i < kernel_.operands(); ++i) {
      GRAFT_ASSIGN_OR_RETURN(DevicePointer memory, driver_.allocate(kernel_.extent(i)));
      memory_.push_back(memory);
    }
    return Status::ok();
  }
  Status upload(const Operands &operands) {
    for (size_t i = 0; i < memory_.size(); ++i)
      GRAFT_RETURN_IF_ERROR(driver_.upload(memory_[i], operands[i]));
    return Status::ok();
  }
  /// Blocks for all units.
  unsigned fullGrid() const {
    int64_t units = kernel_.table->block_units();
    return static_cast<unsigned>(std::min<int64_t>((kernel_.table->units() + units - 1) / units, 1 << 20));
  }
  Status launch(unsigned blocks) {
    return driver_.launch(function_, blocks, static_cast<unsigned>(kernel_.table->block_threads()), memory_,
                          kernel_.table->units());
  }
  /// What the kernel makes of the operands.
  Result<Operands> run(Operands operands, unsigned blocks) {
    GRAFT_RETURN_IF_ERROR(upload(operands));
    GRAFT_RETURN_IF_ERROR(launch(blocks));
    GRAFT_RETURN_IF_ERROR(driver_.synchronize());
    for (size_t i = 0; i < memory_.size(); ++i)
      GRAFT_RETURN_IF_ERROR(driver_.download(operands[i], memory_[i]));
    return operands;
  }

private:
  const CudaDriver &driver_;
  const Kernel &kernel_;
  void *function_;
  std::vector<DevicePointer> memory_;
};

/// The CPU's result; the operands' copies lie on multiples of 64 bytes, as kernels are promised.
Operands runOnCpu(KernelFunction function, const Kernel &kernel, Operands operands) {
  std::vector<void *> pointers;
  for (const Bytes &bytes : operands) {
    pointers.push_back(std::aligned_alloc(64, (bytes.size() + 63) / 64 * 64));
    std::memcpy(pointers.back(), bytes.data(), bytes.size());
  }
  function(pointers.data(), 0, kernel.table->units());
  for (size_t i = 0; i < operands.size(); ++i) {
    std::memcpy(operands[i].data(), pointers[i], operands[i].size());
    std::free(pointers[i]);
  }
  return operands;
}

/// Seconds of one `work`, of twenty after the first.
template <typename Work> Result<double> secondsOf(const CudaDriver &driver, const Work &work) {
  GRAFT_RETURN_IF_ERROR(work());
  GRAFT_RETURN_IF_ERROR(driver.synchronize());
  auto start = std::chrono::steady_clock::now();
  for (int i = 0; i < 20; ++i)
    GRAFT_RETURN_IF_ERROR(work());
  GRAFT_RETURN_IF_ERROR(driver.synchronize());
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count() / 20;
}

/// Bytes per second of copying 256 MiB within the GPU's memory, read and write counted.
Result<double> copySpeed(const CudaDriver &driver) {
  constexpr size_t bytes = 256 << 20;
  GRAFT_ASSIGN_OR_RETURN(DevicePointer from, driver.allocate(bytes));
  GRAFT_ASSIGN_OR_RETURN(DevicePointer to, driver.allocate(bytes));
  GRAFT_ASSIGN_OR_RETURN(double seconds, secondsOf(driver, [&] { return driver.copy(to, from, bytes); }));
  GRAFT_RETURN_IF_ERROR(driver.free(from));
  GRAFT_RETURN_IF_ERROR(driver.free(to));
  return 2 * bytes / seconds;
}

/// What a kernel's runs gave.
struct Comparison {
  double worst = 0, worstOdd = 0; ///< difference() on random numbers, and with special ones among them
  bool sameBits = true;           ///< with as many blocks as there is work for, and with three
};

Result<Comparison> compare(DeviceOperands &device, const Kernel &kernel, KernelFunction onCpu) {
  Comparison comparison;
  for (bool odd : {false, true}) {
    Operands operands = makeOperands(kernel, odd, 1 + odd);
    Operands expected = runOnCpu(onCpu, kernel, operands);
    GRAFT_ASSIGN_OR_RETURN(Operands actual, device.run(operands, device.fullGrid()));
    GRAFT_ASSIGN_OR_RETURN(Operands again, device.run(operands, std::min(3u, device.fullGrid())));
    comparison.sameBits &= actual == again;
    double &worst = odd ? comparison.worstOdd : comparison.worst;
    for (size_t i = 0; i < kernel.operands(); ++i)
      worst = std::max(worst, difference(actual[i], expected[i], kernel.dtypes[i]));
  }
  return comparison;
}

/// One kernel: a line of output. Failed when a result differs. `copy`: see copySpeed(); 0: nothing is timed.
Status checkKernel(const CudaDriver &driver, const Kernel &kernel, void *onGpu, KernelFunction onCpu, double copy) {
  DeviceOperands device(driver, kernel, onGpu);
  GRAFT_RETURN_IF_ERROR(device.allocate());
  GRAFT_ASSIGN_OR_RETURN(Comparison comparison, compare(device, kernel, onCpu));
  bool good = comparison.worst <= 1 && comparison.worstOdd <= 1 && comparison.sameBits;
  std::printf("%s %-20s error %6.2g odd %6.2g of the tolerance%s", good ? "ok  " : "FAIL",
              kernel.table->symbol()->c_str(), comparison.worst, comparison.worstOdd,
              comparison.sameBits ? "" : ", other bits with three blocks");
  if (copy > 0) {
    GRAFT_RETURN_IF_ERROR(device.upload(makeOperands(kernel, false, 1)));
    GRAFT_ASSIGN_OR_RETURN(double seconds, secondsOf(driver, [&] { return device.launch(device.fullGrid()); }));
    double speed = static_cast<double>(kernel.bytes) / seconds;
    std::printf("  %8.1f us %7.1f GB/s, %3.0f %% of a copy", seconds * 1e6, speed / 1e9, 100 * speed / copy);
  }
  std::printf("\n");
  return good ? Status::ok() : Status::error(Code::Failed, "differs from the CPU", kernel.table->symbol()->str());
}

/// The program's code for the GPU: the cubin of its architecture, or of an earlier one of the same generation, or PTX.
Result<void *> loadCode(const CudaDriver &driver, const schema::Program &program) {
  const schema::Object *best = nullptr;
  int bestCapability = 0;
  for (const schema::Object *object : *program.objects()) {
    std::string target = object->target()->str();
    int capability = target.starts_with("sm_") ? std::atoi(target.c_str() + 3) : 0;
    bool fits = capability / 10 == driver.capability() / 10 && capability <= driver.capability();
    if ((fits && capability > bestCapability) || (target == "ptx" && !best))
      best = object, bestCapability = capability;
  }
  if (!best)
    return Status::error(Code::Unsupported, "the program has no CUDA code: graft compile --target cuda:sm_90");
  std::printf("code for %s\n", best->target()->c_str());
  std::vector<uint8_t> code(best->bytes()->begin(), best->bytes()->end());
  code.push_back(0); // ends PTX
  return driver.load(code);
}

Status checkProgram(const CudaDriver &driver, const std::string &path, double copy) {
  GRAFT_ASSIGN_OR_RETURN(Program program, Program::open(path));
  std::printf("%s: ", path.c_str());
  GRAFT_ASSIGN_OR_RETURN(void *module, loadCode(driver, program.root()));
  const schema::Object *object = program.object();
  GRAFT_ASSIGN_OR_RETURN(KernelObject cpu, KernelObject::open({object->bytes()->data(), object->bytes()->size()}));
  Status all;
  for (const auto &[index, kernel] : kernelsOf(program.root())) {
    std::string symbol = kernel.table->symbol()->str();
    GRAFT_ASSIGN_OR_RETURN(void *onGpu, driver.findKernel(module, symbol));
    all.merge(checkKernel(driver, kernel, onGpu, cpu.find(symbol), copy));
  }
  return std::move(all).at(path);
}

Status run(const CudaDriver &driver, std::span<char *const> paths) {
  std::printf("%s, sm_%d\n", driver.deviceName().c_str(), driver.capability());
  bool timed = paths.empty() || std::string_view(paths.front()) != "--untimed";
  if (!timed)
    paths = paths.subspan(1);
  if (paths.empty())
    return Status::ok();
  double copy = 0;
  if (timed) {
    GRAFT_ASSIGN_OR_RETURN(copy, copySpeed(driver));
    std::printf("copy within the GPU: %.1f GB/s\n", copy / 1e9);
  }
  Status all;
  for (const char *path : paths)
    all.merge(checkProgram(driver, path, copy));
  return all;
}

} // namespace

int main(int argc, char **argv) {
  Result<CudaDriver> driver = CudaDriver::open();
  if (!driver.isOk()) {
    std::printf("skipped: %s", driver.status().text().c_str());
    return 77;
  }
  Status status = run(*driver, {argv + 1, static_cast<size_t>(argc - 1)});
  if (!status.isOk())
    std::fprintf(stderr, "%s", status.text().c_str());
  return status.exitCode();
}
