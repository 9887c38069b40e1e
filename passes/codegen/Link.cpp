// Links object files in memory to a shared object, with lld in this process.
//
// lld reads inputs from file descriptors (/proc/PID/fd/N of a memfd), but renames a temporary file onto its output,
// which is why the output is a real file in a temporary directory of its own, read back and removed.
#include "lld/Common/Driver.h"
#include "passes/codegen/NativeCode.h"
#include "passes/codegen/TemporaryDirectory.h"
#include "llvm/Support/Program.h"
#include <mutex>
#include <sys/mman.h>
#include <unistd.h>

#ifndef GRAFT_LINKER_PROCESS
LLD_HAS_DRIVER(elf)
#endif

namespace graft {
namespace {

/// Bytes as an anonymous file with a path.
class MemoryFile {
public:
  explicit MemoryFile(llvm::StringRef bytes) : descriptor_(memfd_create("kernels.o", MFD_CLOEXEC)) {
    while (ok() && !bytes.empty()) {
      ssize_t written = write(descriptor_, bytes.data(), bytes.size());
      if (written <= 0) {
        close(descriptor_);
        descriptor_ = -1;
        return;
      }
      bytes = bytes.drop_front(written);
    }
  }
  MemoryFile(MemoryFile &&other) : descriptor_(std::exchange(other.descriptor_, -1)) {}
  ~MemoryFile() {
    if (ok())
      close(descriptor_);
  }
  bool ok() const { return descriptor_ >= 0; }
  std::string path() const { return "/proc/" + std::to_string(getpid()) + "/fd/" + std::to_string(descriptor_); }

private:
  int descriptor_;
};

#ifdef GRAFT_LINKER_PROCESS
/// Runs ld.lld as a process. Only in sanitizer builds: lld's archive and our instrumented code would share LLVM's
/// inline functions, whose allocators differ with the sanitizer.
Status callLinker(llvm::ArrayRef<llvm::StringRef> arguments) {
  std::string error;
  int code = llvm::sys::ExecuteAndWait(GRAFT_LINKER_PROCESS, arguments, std::nullopt, {}, 0, 0, &error);
  if (code != 0)
    return Status::error(Code::Internal,
                         "kernels cannot be linked: ld.lld ended with " + std::to_string(code) + " " + error);
  return Status::ok();
}
#else
/// Calls lld, one call at a time.
Status callLinker(llvm::ArrayRef<llvm::StringRef> arguments) {
  std::vector<const char *> pointers;
  for (llvm::StringRef argument : arguments)
    pointers.push_back(argument.data());
  static std::mutex mutex;
  static bool broken = false;
  std::lock_guard lock(mutex);
  if (broken)
    return Status::error(Code::Internal, "the linker crashed earlier in this process");
  std::string messages;
  llvm::raw_string_ostream stream(messages);
  lld::Result result = lld::lldMain(pointers, stream, stream, {{lld::Gnu, &lld::elf::link}});
  broken = !result.canRunAgain;
  if (result.retCode != 0)
    return Status::error(Code::Internal, "kernels cannot be linked: " + messages);
  return Status::ok();
}
#endif

Status runLinker(llvm::ArrayRef<MemoryFile> inputs, const std::string &output) {
  std::vector<std::string> arguments = {"ld.lld",
                                        "-shared",
                                        "--strip-all",
                                        "--hash-style=gnu",
                                        "--build-id=none",
                                        "--threads=1",
                                        "-z",
                                        "noexecstack",
                                        "-z",
                                        "now",
                                        "--no-undefined",
                                        "-o",
                                        output};
  for (const MemoryFile &input : inputs)
    arguments.push_back(input.path());
  return callLinker(std::vector<llvm::StringRef>(arguments.begin(), arguments.end()));
}

} // namespace

Result<std::string> linkSharedObject(llvm::ArrayRef<std::string> objects) {
  std::vector<MemoryFile> inputs;
  for (const std::string &object : objects) {
    inputs.emplace_back(object);
    if (!inputs.back().ok())
      return Status::error(Code::Failed, "no memory for an object file of " + std::to_string(object.size()) + " bytes");
  }
  TemporaryDirectory directory;
  GRAFT_RETURN_IF_ERROR(directory.status());
  GRAFT_RETURN_IF_ERROR(runLinker(inputs, directory.file("kernels.so")));
  return directory.read("kernels.so");
}

} // namespace graft
