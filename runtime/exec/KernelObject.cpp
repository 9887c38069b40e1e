#include "runtime/exec/KernelObject.h"

#include <cerrno>
#include <cstring>
#include <dlfcn.h>
#include <string>
#include <sys/mman.h>
#include <unistd.h>

namespace graft {

void KernelObject::Close::operator()(void *handle) const {
  (void)::dlclose(handle);
}

Result<KernelObject> KernelObject::open(std::span<const uint8_t> bytes) {
  int file = ::memfd_create("graft-kernels", MFD_CLOEXEC);
  if (file < 0)
    return Status::error(Code::Failed, std::string("no memory file for object code: ") + std::strerror(errno));
  size_t done = 0;
  while (done < bytes.size()) {
    ssize_t written = ::write(file, bytes.data() + done, bytes.size() - done);
    if (written < 0 && errno == EINTR)
      continue;
    if (written <= 0)
      break;
    done += static_cast<size_t>(written);
  }
  KernelObject object;
  if (done == bytes.size())
    object.handle_.reset(::dlopen(("/proc/self/fd/" + std::to_string(file)).c_str(), RTLD_NOW | RTLD_LOCAL));
  std::string message = object.handle_ ? "" : done == bytes.size() ? ::dlerror() : std::strerror(errno);
  ::close(file);
  if (!object.handle_)
    return Status::error(Code::Failed, "object code cannot be opened: " + escaped(message));
  return object;
}

KernelFunction KernelObject::find(std::string_view symbol) const {
  return reinterpret_cast<KernelFunction>(::dlsym(handle_.get(), std::string(symbol).c_str()));
}

} // namespace graft
