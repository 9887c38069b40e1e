// See Ptxas.h.
#include "passes/codegen/Ptxas.h"
#include "passes/codegen/TemporaryDirectory.h"
#include "llvm/Support/Process.h"
#include "llvm/Support/Program.h"
#include "llvm/Support/raw_ostream.h"

namespace graft {

std::span<const std::string_view> cudaArchitectures() {
  static constexpr std::string_view names[] = {"sm_80", "sm_86", "sm_89", "sm_90", "sm_100", "sm_120"};
  return names;
}

std::optional<std::string> findPtxas() {
  if (std::optional<std::string> home = llvm::sys::Process::GetEnv("CUDA_HOME"); home && !home->empty())
    if (auto path = llvm::sys::findProgramByName("ptxas", {*home + "/bin"}))
      return *path;
  if (auto path = llvm::sys::findProgramByName("ptxas"))
    return *path;
  return std::nullopt;
}

static Status writeFile(const std::string &path, std::string_view bytes) {
  std::error_code error;
  llvm::raw_fd_ostream file(path, error);
  if (!error)
    file << bytes;
  file.close();
  if (!error && !file.has_error())
    return Status::ok();
  std::string message = (error ? error : file.error()).message();
  file.clear_error(); // reported here
  return Status::error(Code::Failed, "PTX cannot be written to " + path + ": " + message);
}

Result<std::string> assemblePtx(const std::string &ptxas, std::string_view ptx, std::string_view architecture) {
  TemporaryDirectory directory;
  GRAFT_RETURN_IF_ERROR(directory.status());
  std::string input = directory.file("kernels.ptx"), output = directory.file("kernels.cubin"),
              log = directory.file("log"), error;
  GRAFT_RETURN_IF_ERROR(writeFile(input, ptx));
  std::string target = "-arch=" + std::string(architecture);
  std::optional<llvm::StringRef> streams[] = {llvm::StringRef(), llvm::StringRef(log), llvm::StringRef(log)};
  int code = llvm::sys::ExecuteAndWait(ptxas, {ptxas, target, "-O3", input, "-o", output}, std::nullopt, streams, 0, 0,
                                       &error);
  if (code == 0)
    return directory.read("kernels.cubin");
  Result<std::string> said = directory.read("log");
  return Status::error(Code::Failed,
                       ptxas + " cannot assemble for " + std::string(architecture) + ": " + error +
                           (said.isOk() ? escaped(*said, 400) : ""),
                       "", "a newer CUDA toolkit may know the architecture");
}

} // namespace graft
