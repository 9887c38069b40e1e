#include "test/gpu/CudaDriver.h"

#include <dlfcn.h>

namespace graft::test {

/// As cuda.h declares them; results are CUresult, 0 is success. Names with _v2 are those with 64-bit sizes.
struct CudaDriver::Functions {
  int (*cuInit)(unsigned flags);
  int (*cuGetErrorString)(int error, const char **text);
  int (*cuDeviceGetCount)(int *count);
  int (*cuDeviceGet)(int *device, int ordinal);
  int (*cuDeviceGetName)(char *name, int length, int device);
  int (*cuDeviceGetAttribute)(int *value, int attribute, int device);
  int (*cuDevicePrimaryCtxRetain)(void **context, int device);
  int (*cuCtxSetCurrent)(void *context);
  int (*cuCtxSynchronize)();
  int (*cuModuleLoadData)(void **module, const void *image);
  int (*cuModuleGetFunction)(void **function, void *module, const char *name);
  int (*cuMemAlloc_v2)(DevicePointer *memory, size_t bytes);
  int (*cuMemFree_v2)(DevicePointer memory);
  int (*cuMemcpyHtoD_v2)(DevicePointer to, const void *from, size_t bytes);
  int (*cuMemcpyDtoH_v2)(void *to, DevicePointer from, size_t bytes);
  int (*cuMemcpyDtoD_v2)(DevicePointer to, DevicePointer from, size_t bytes);
  int (*cuLaunchKernel)(void *function, unsigned gridX, unsigned gridY, unsigned gridZ, unsigned blockX,
                        unsigned blockY, unsigned blockZ, unsigned sharedBytes, void *stream, void **parameters,
                        void **extra);

  /// Finds each of them; a name that is absent, or null.
  const char *find(void *library);
};

const char *CudaDriver::Functions::find(void *library) {
  const char *absent = nullptr;
  auto bind = [&](auto &function, const char *name) {
    function = reinterpret_cast<std::remove_reference_t<decltype(function)>>(::dlsym(library, name));
    absent = function ? absent : name;
  };
#define GRAFT_BIND(name) bind(name, #name)
  GRAFT_BIND(cuInit);
  GRAFT_BIND(cuGetErrorString);
  GRAFT_BIND(cuDeviceGetCount);
  GRAFT_BIND(cuDeviceGet);
  GRAFT_BIND(cuDeviceGetName);
  GRAFT_BIND(cuDeviceGetAttribute);
  GRAFT_BIND(cuDevicePrimaryCtxRetain);
  GRAFT_BIND(cuCtxSetCurrent);
  GRAFT_BIND(cuCtxSynchronize);
  GRAFT_BIND(cuModuleLoadData);
  GRAFT_BIND(cuModuleGetFunction);
  GRAFT_BIND(cuMemAlloc_v2);
  GRAFT_BIND(cuMemFree_v2);
  GRAFT_BIND(cuMemcpyHtoD_v2);
  GRAFT_BIND(cuMemcpyDtoH_v2);
  GRAFT_BIND(cuMemcpyDtoD_v2);
  GRAFT_BIND(cuLaunchKernel);
#undef GRAFT_BIND
  return absent;
}

Status CudaDriver::check(int result, const char *call) const {
  if (result == 0)
    return Status::ok();
  const char *text = nullptr;
  functions_->cuGetErrorString(result, &text);
  return Status::error(Code::Failed, std::string(call) + ": " + (text ? text : "error " + std::to_string(result)));
}

Result<CudaDriver> CudaDriver::open() {
  static Functions functions;
  void *library = ::dlopen("libcuda.so.1", RTLD_NOW | RTLD_LOCAL);
  if (!library)
    return Status::error(Code::Unsupported, std::string("there is no CUDA driver: ") + ::dlerror());
  if (const char *absent = functions.find(library))
    return Status::error(Code::Unsupported, std::string("the CUDA driver has no ") + absent);
  CudaDriver driver;
  driver.functions_ = &functions;
  int count = 0, device = 0, major = 0, minor = 0;
  if (functions.cuInit(0) != 0 || functions.cuDeviceGetCount(&count) != 0 || count == 0)
    return Status::error(Code::Unsupported, "there is no GPU");
  char name[256] = {};
  void *context = nullptr;
  constexpr int capabilityMajor = 75, capabilityMinor = 76; // CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_...
  GRAFT_RETURN_IF_ERROR(driver.check(functions.cuDeviceGet(&device, 0), "cuDeviceGet"));
  GRAFT_RETURN_IF_ERROR(driver.check(functions.cuDeviceGetName(name, sizeof name - 1, device), "cuDeviceGetName"));
  GRAFT_RETURN_IF_ERROR(
      driver.check(functions.cuDeviceGetAttribute(&major, capabilityMajor, device), "cuDeviceGetAttribute"));
  GRAFT_RETURN_IF_ERROR(
      driver.check(functions.cuDeviceGetAttribute(&minor, capabilityMinor, device), "cuDeviceGetAttribute"));
  GRAFT_RETURN_IF_ERROR(driver.check(functions.cuDevicePrimaryCtxRetain(&context, device), "cuDevicePrimaryCtxRetain"));
  GRAFT_RETURN_IF_ERROR(driver.check(functions.cuCtxSetCurrent(context), "cuCtxSetCurrent"));
  driver.name_ = name;
  driver.capability_ = 10 * major + minor;
  return driver;
}

Result<void *> CudaDriver::load(const std::vector<uint8_t> &code) const {
  void *module = nullptr;
  GRAFT_RETURN_IF_ERROR(check(functions_->cuModuleLoadData(&module, code.data()), "cuModuleLoadData"));
  return module;
}

Result<void *> CudaDriver::findKernel(void *module, const std::string &symbol) const {
  void *function = nullptr;
  GRAFT_RETURN_IF_ERROR(
      check(functions_->cuModuleGetFunction(&function, module, symbol.c_str()), "cuModuleGetFunction").at(symbol));
  return function;
}

Result<DevicePointer> CudaDriver::allocate(size_t bytes) const {
  DevicePointer memory = 0;
  GRAFT_RETURN_IF_ERROR(check(functions_->cuMemAlloc_v2(&memory, bytes), "cuMemAlloc"));
  return memory;
}

Status CudaDriver::free(DevicePointer memory) const {
  return check(functions_->cuMemFree_v2(memory), "cuMemFree");
}

Status CudaDriver::upload(DevicePointer to, std::span<const uint8_t> from) const {
  return check(functions_->cuMemcpyHtoD_v2(to, from.data(), from.size()), "cuMemcpyHtoD");
}

Status CudaDriver::download(std::span<uint8_t> to, DevicePointer from) const {
  return check(functions_->cuMemcpyDtoH_v2(to.data(), from, to.size()), "cuMemcpyDtoH");
}

Status CudaDriver::copy(DevicePointer to, DevicePointer from, size_t bytes) const {
  return check(functions_->cuMemcpyDtoD_v2(to, from, bytes), "cuMemcpyDtoD");
}

Status CudaDriver::launch(void *kernel, unsigned blocks, unsigned threads, std::vector<DevicePointer> operands,
                          int64_t units) const {
  int64_t begin = 0;
  std::vector<void *> parameters;
  for (DevicePointer &operand : operands)
    parameters.push_back(&operand);
  parameters.push_back(&begin);
  parameters.push_back(&units);
  return check(functions_->cuLaunchKernel(kernel, blocks, 1, 1, threads, 1, 1, 0, nullptr, parameters.data(), nullptr),
               "cuLaunchKernel");
}

Status CudaDriver::synchronize() const {
  return check(functions_->cuCtxSynchronize(), "cuCtxSynchronize");
}

} // namespace graft::test
