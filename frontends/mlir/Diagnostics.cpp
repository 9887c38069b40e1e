#include "frontends/mlir/Diagnostics.h"

#include "mlir/IR/BuiltinAttributes.h"

using namespace mlir;

namespace graft {

namespace {
/// Faults in words; the rest is counted.
constexpr size_t maxErrors = 50;
} // namespace

std::string locationText(Location location) {
  std::string text;
  auto add = [&](std::string part) {
    if (!part.empty())
      text += (text.empty() ? "" : ", ") + escaped(part);
  };
  location->walk([&](Location inner) {
    if (auto name = dyn_cast<NameLoc>(inner))
      add(name.getName().str());
    else if (auto file = dyn_cast<FileLineColLoc>(inner))
      add(file.getLine() == 0 ? file.getFilename().str() // a whole file
                              : file.getFilename().str() + ":" + std::to_string(file.getLine()) + ":" +
                                    std::to_string(file.getColumn()));
    return WalkResult::advance();
  });
  return text;
}

DiagnosticCollector::DiagnosticCollector(MLIRContext &context, Code code, std::string place)
    : code_(code), place_(std::move(place)), handler_(&context, [this](Diagnostic &diagnostic) { add(diagnostic); }) {}

void DiagnosticCollector::add(Diagnostic &diagnostic) {
  std::string where = locationText(diagnostic.getLocation());
  std::string place = where.empty() || where == place_ ? place_ : place_.empty() ? where : place_ + ": " + where;
  if (diagnostic.getSeverity() != DiagnosticSeverity::Error) {
    notes_.push_back(place + ": " + diagnostic.str());
    return;
  }
  if (++errors_ <= maxErrors)
    status_.merge(Status::error(code_, escaped(diagnostic.str(), 600), place));
}

Status DiagnosticCollector::take(const std::string &what) {
  if (status_.isOk())
    return Status::error(Code::Internal, what + " failed without a reason", place_);
  if (errors_ > maxErrors)
    status_.merge(Status::error(code_, "and " + std::to_string(errors_ - maxErrors) + " more", place_));
  errors_ = 0;
  return std::exchange(status_, Status::ok());
}

} // namespace graft
