// A directory of its own for files that another program or library wants by name.
#pragma once

#include "runtime/base/Status.h"
#include "llvm/ADT/SmallString.h"
#include "llvm/Support/FileSystem.h"
#include "llvm/Support/MemoryBuffer.h"
#include <string>

namespace graft {

/// Exists, with all that is in it, as long as the object.
class TemporaryDirectory {
public:
  TemporaryDirectory() : error_(llvm::sys::fs::createUniqueDirectory("graft", path_)) {}
  TemporaryDirectory(const TemporaryDirectory &) = delete;
  ~TemporaryDirectory() {
    if (!error_) // failure to clean up is not an error of what was done
      (void)llvm::sys::fs::remove_directories(path_);
  }
  /// Failed when there is no directory.
  Status status() const {
    if (!error_)
      return Status::ok();
    return Status::error(Code::Failed, "temporary directory cannot be made: " + error_.message(), "",
                         "set TMPDIR to a directory that can be written");
  }
  std::string file(llvm::StringRef name) const { return (path_ + "/" + name).str(); }
  /// The bytes of a file in it.
  Result<std::string> read(llvm::StringRef name) const {
    auto bytes = llvm::MemoryBuffer::getFile(file(name), /*IsText=*/false, /*RequiresNullTerminator=*/false);
    if (!bytes)
      return Status::error(Code::Failed, name.str() + " cannot be read: " + bytes.getError().message());
    return (*bytes)->getBuffer().str();
  }

private:
  llvm::SmallString<128> path_;
  std::error_code error_;
};

} // namespace graft
