#include "frontends/onnx/ExternalData.h"

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cstring>
#include <set>
#include <unistd.h>

#include "frontends/onnx/Sha1.h"

namespace graft::onnx {

namespace {
Result<uint64_t> number(const Property &property) {
  uint64_t value = 0;
  const char *begin = property.value.data(), *end = begin + property.value.size();
  auto [at, error] = std::from_chars(begin, end, value);
  if (begin == end || error != std::errc() || at != end)
    return Status::error(Code::Range, "external data: " + std::string(property.key) + " '" + escaped(property.value) +
                                          "' is not a count of bytes");
  return value;
}

bool isChecksum(std::string_view text) {
  return text.size() == 40 && text.find_first_not_of("0123456789abcdef") == std::string_view::npos;
}

/// The keys that mean something, in the order location, offset, length, checksum; each at most once.
Result<std::array<const Property *, 4>> knownKeys(const Tensor &tensor) {
  constexpr std::array<std::string_view, 4> names = {"location", "offset", "length", "checksum"};
  std::array<const Property *, 4> found{};
  if (tensor.external.size() > maxExternalKeys)
    return Status::error(Code::Limit, "external data with " + std::to_string(tensor.external.size()) +
                                          " keys, at most " + std::to_string(maxExternalKeys));
  for (const Property &property : tensor.external)
    for (size_t i = 0; i < names.size(); ++i)
      if (property.key == names[i]) {
        if (found[i])
          return Status::error(Code::Format, "external data: the key " + std::string(names[i]) + " is given twice");
        found[i] = &property;
      }
  if (!found[0])
    return Status::error(Code::Format, "external data without a location");
  return found;
}
} // namespace

Result<ExternalReference> externalReference(const Tensor &tensor) {
  GRAFT_ASSIGN_OR_RETURN(auto keys, knownKeys(tensor));
  ExternalReference reference;
  reference.location = keys[0]->value;
  GRAFT_RETURN_IF_ERROR(checkLocation(reference.location).at("external data"));
  GRAFT_ASSIGN_OR_RETURN(uint64_t count, elementCount(tensor.dims));
  GRAFT_ASSIGN_OR_RETURN(reference.length, byteCount(tensor.dataType, count));
  if (keys[1]) {
    GRAFT_ASSIGN_OR_RETURN(reference.offset, number(*keys[1]));
  }
  if (keys[2]) {
    GRAFT_ASSIGN_OR_RETURN(uint64_t length, number(*keys[2]));
    if (length != reference.length)
      return Status::error(Code::Range, "external data: length " + std::to_string(length) + ", but the shape " +
                                            shapeText(tensor.dims) + " of " + dataTypeName(tensor.dataType) +
                                            " needs " + std::to_string(reference.length));
  }
  uint64_t end;
  if (__builtin_add_overflow(reference.offset, reference.length, &end))
    return Status::error(Code::Range, "external data: offset and length exceed 2^64");
  if (keys[3]) {
    reference.checksum = keys[3]->value;
    if (!isChecksum(reference.checksum))
      return Status::error(Code::Verify, "external data: the checksum '" + escaped(reference.checksum) +
                                             "' is not a SHA-1 of 40 lower-case hexadecimal digits");
  }
  return reference;
}

Status ExternalData::open(File &file, bool first) {
  file.lastUse = ++clock_;
  if (file.descriptor)
    return Status::ok();
  if (open_ >= maxOpenFiles) {
    File *oldest = nullptr;
    for (File &other : files_)
      if (other.descriptor && (!oldest || other.lastUse < oldest->lastUse))
        oldest = &other;
    if (oldest) {
      oldest->descriptor = Descriptor();
      --open_;
    }
  }
  GRAFT_ASSIGN_OR_RETURN(OpenedFile opened, openBeneath(directory_, file.location, root_));
  if (!first && !(opened.identity == file.identity))
    return Status::error(Code::Io, "the file was changed or replaced while it was in use");
  file.identity = opened.identity;
  file.descriptor = std::move(opened.descriptor);
  ++open_;
  return Status::ok();
}

Result<uint32_t> ExternalData::fileAt(std::string_view location) {
  if (auto known = byLocation_.find(location); known != byLocation_.end())
    return known->second;
  if (directory_.empty())
    return Status::error(Code::Path, "external data, but the model has no directory");
  File file;
  file.location = location;
  GRAFT_RETURN_IF_ERROR(open(file, true));
  auto [same, isNew] = byIdentity_.try_emplace({file.identity.device, file.identity.inode}, files_.size());
  byLocation_.emplace(location, same->second);
  if (isNew)
    files_.push_back(std::move(file));
  else
    --open_; // `file` closes here; the other spelling's entry stays
  return same->second;
}

Result<ExternalData::Region> ExternalData::locate(const Tensor &tensor) {
  GRAFT_ASSIGN_OR_RETURN(ExternalReference reference, externalReference(tensor));
  auto locate = [&]() -> Result<Region> {
    GRAFT_ASSIGN_OR_RETURN(uint32_t number, fileAt(reference.location));
    File &file = files_[number];
    uint64_t size = file.identity.size;
    if (reference.offset > size || reference.length > size - reference.offset)
      return Status::error(Code::Range, "bytes " + std::to_string(reference.offset) + " to " +
                                            std::to_string(reference.offset + reference.length) + " of a file of " +
                                            std::to_string(size));
    if (!reference.checksum.empty())
      GRAFT_RETURN_IF_ERROR(verify(file, reference.checksum));
    return Region{number, reference.offset, reference.length};
  };
  Result<Region> region = locate();
  if (!region.isOk())
    return region.takeStatus().at("external data '" + escaped(reference.location) + "'");
  return region;
}

Status ExternalData::readAt(File &file, uint64_t offset, std::span<std::byte> out) {
  GRAFT_RETURN_IF_ERROR(open(file, false));
  while (!out.empty()) {
    ssize_t got = ::pread(file.descriptor.number(), out.data(), out.size(), static_cast<off_t>(offset));
    if (got < 0 && errno == EINTR)
      continue;
    if (got < 0)
      return Status::error(Code::Io, std::string("cannot read: ") + std::strerror(errno));
    if (got == 0)
      return Status::error(Code::Io, "the file became shorter while it was in use");
    offset += static_cast<uint64_t>(got);
    out = out.subspan(static_cast<size_t>(got));
  }
  return Status::ok();
}

Status ExternalData::read(const Region &region, uint64_t skip, std::span<std::byte> out) {
  if (skip > region.length || out.size() > region.length - skip)
    return Status::error(Code::Range, "a read beyond the end of the tensor");
  File &file = files_[region.file];
  return readAt(file, region.offset + skip, out).at("external data '" + escaped(file.location) + "'");
}

Status ExternalData::verify(File &file, std::string_view checksum) {
  if (file.checksum.empty()) {
    Sha1 sha1;
    std::vector<std::byte> buffer(size_t{1} << 20);
    for (uint64_t at = 0; at < file.identity.size; at += buffer.size()) {
      std::span<std::byte> part = std::span(buffer).first(std::min<uint64_t>(buffer.size(), file.identity.size - at));
      GRAFT_RETURN_IF_ERROR(readAt(file, at, part));
      sha1.update(part);
    }
    file.checksum = sha1.finish();
  }
  if (file.checksum != checksum)
    return Status::error(Code::Verify,
                         "the file's SHA-1 is " + file.checksum + ", the model says " + std::string(checksum));
  return Status::ok();
}

namespace {
class ExternalCheck {
public:
  explicit ExternalCheck(ExternalData &external) : external_(external) {}

  void graph(const Graph &graph) {
    for (const Tensor &tensor : graph.initializers)
      check(tensor, "initializer '" + escaped(tensor.name) + "'");
    for (const SparseTensor &sparse : graph.sparseInitializers)
      check(sparse, "sparse initializer '" + escaped(sparse.values.name) + "'");
    nodes(graph.nodes);
  }
  void nodes(const std::vector<Node> &nodes) {
    for (const Node &node : nodes)
      for (const Attribute &attribute : node.attributes) {
        for (const Tensor &tensor : attribute.tensors)
          if (tensor.dataLocation == 1)
            check(tensor, describe(node) + ": attribute '" + escaped(attribute.name) + "'");
        for (const SparseTensor &sparse : attribute.sparse)
          check(sparse, describe(node) + ": attribute '" + escaped(attribute.name) + "'");
        for (const Graph &inner : attribute.graphs)
          graph(inner);
      }
  }
  Status take() { return faults_.take(); }

private:
  void check(const Tensor &tensor, const std::string &place) {
    if (tensor.dataLocation != 1)
      return;
    Result<ExternalData::Region> region = external_.locate(tensor);
    if (region.isOk())
      return;
    // A missing file is the fault of all its tensors: say it once, with the first of them.
    Status fault = region.takeStatus();
    if (reported_.insert(fault.text()).second)
      faults_.merge(std::move(fault).at(place));
  }
  void check(const SparseTensor &sparse, const std::string &place) {
    check(sparse.values, place);
    check(sparse.indices, place);
  }

  ExternalData &external_;
  Faults faults_;
  std::set<std::string> reported_;
};
} // namespace

Status checkExternalData(const Model &model, ExternalData &external) {
  ExternalCheck check(external);
  if (model.graph)
    check.graph(*model.graph);
  for (const Function &function : model.functions)
    check.nodes(function.nodes);
  return check.take();
}

} // namespace graft::onnx
