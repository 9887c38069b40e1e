#include "passes/lower/EntryBuilder.h"

#include "dialects/nn/NNDialect.h"
#include "runtime/program/Hash.h"
#include "runtime/program/Layout.h"

#include "mlir/IR/Location.h"
#include "mlir/IR/Matchers.h"

#include <cstring>

using namespace mlir;

namespace graft {

namespace {

/// Appends the names in a location, from the outside in. (Location::walk costs ten times as much.)
void addNames(Location location, std::string &text) {
  if (auto name = dyn_cast<NameLoc>(location)) {
    text += (text.empty() ? "" : " @ ") + name.getName().str();
    addNames(name.getChildLoc(), text);
  } else if (auto fused = dyn_cast<FusedLoc>(location)) {
    for (Location part : fused.getLocations())
      addNames(part, text);
  } else if (auto call = dyn_cast<CallSiteLoc>(location)) {
    addNames(call.getCallee(), text);
    addNames(call.getCaller(), text);
  }
}

} // namespace

std::string originOf(Operation *op) {
  std::string text;
  addNames(op->getLoc(), text);
  return text.empty() ? op->getName().getStringRef().str() : text;
}

schema::DType dtypeOf(Type type) {
  if (type.isF32())
    return schema::DType::F32;
  if (type.isBF16())
    return schema::DType::BF16;
  if (type.isF16())
    return schema::DType::F16;
  if (type.isF64())
    return schema::DType::F64;
  if (type.isInteger(32))
    return schema::DType::I32;
  if (type.isInteger(64))
    return schema::DType::I64;
  return schema::DType::Bool;
}

EntryBuilder::EntryBuilder(schema::ProgramT &program, int entry, uint32_t kernels)
    : program_(program), entry_(entry), kernels_(kernels) {
  for (auto [index, buffer] : llvm::enumerate(program.buffers))
    if (!isTransient(buffer->storage))
      shared_[{buffer->storage, buffer->name}] = static_cast<int>(index);
}

int64_t EntryBuilder::elementBytes(int buffer) const {
  return byteSize(program_.buffers[buffer]->dtype);
}

int EntryBuilder::addBuffer(schema::Storage storage, int64_t offset, RankedTensorType type, const std::string &name) {
  if (storage != schema::Storage::Arena) { // entries share what outlives them
    auto [known, isNew] = shared_.try_emplace({storage, name}, static_cast<int>(program_.buffers.size()));
    if (!isNew)
      return known->second;
  }
  auto buffer = std::make_unique<schema::BufferT>();
  buffer->name = name;
  buffer->storage = storage;
  buffer->entry = storage == schema::Storage::Arena ? entry_ : -1;
  buffer->offset = offset;
  buffer->dtype = dtypeOf(type.getElementType());
  buffer->size = type.getNumElements() * byteSize(buffer->dtype);
  buffer->shape.assign(type.getShape().begin(), type.getShape().end());
  program_.buffers.push_back(std::move(buffer));
  return static_cast<int>(program_.buffers.size()) - 1;
}

Place EntryBuilder::newBuffer(RankedTensorType type, const std::string &name, const std::string &origin) {
  int index = addBuffer(schema::Storage::Arena, 0, type, name + "." + std::to_string(temporaries_++));
  program_.buffers[index]->origin = origin;
  program_.buffers[index]->first = program_.buffers[index]->last = -2; // not used yet
  return {index, 0, denseStrides(type.getShape())};
}

const Place &EntryBuilder::place(Value value, std::optional<int64_t> pitch) {
  auto it = places_.find(value);
  if (it != places_.end())
    return it->second;
  Operation *op = value.getDefiningOp();
  DenseElementsAttr elements;
  if (op && matchPattern(op, m_Constant(&elements)))
    return places_[value] = constant(elements);
  std::string origin = op ? originOf(op) : "";
  Place place = newBuffer(nn::typeOf(value), op ? op->getName().getStringRef().str() : "argument", origin);
  if (pitch) {
    int64_t columns = nn::shapeOf(value).back(), &size = buffer(place.buffer).size;
    size = size / columns * *pitch;
    for (int64_t &stride : MutableArrayRef(place.strides).drop_back())
      stride = stride / columns * *pitch;
  }
  return places_[value] = std::move(place);
}

namespace {

/// The elements as the runtime holds them: dense, little-endian, booleans as bytes.
std::vector<uint8_t> rawElements(DenseElementsAttr elements) {
  auto type = cast<RankedTensorType>(elements.getType());
  int64_t count = type.getNumElements(), width = byteSize(dtypeOf(type.getElementType()));
  std::vector<uint8_t> bytes(count * width);
  uint8_t *to = bytes.data();
  if (type.getElementType().isInteger(1)) {
    for (bool value : elements.getValues<bool>())
      *to++ = value;
  } else if (elements.isSplat()) {
    for (int64_t k = 0; k < count; ++k)
      std::memcpy(to + k * width, elements.getRawData().data(), width);
  } else {
    std::memcpy(to, elements.getRawData().data(), count * width);
  }
  return bytes;
}

} // namespace

Place EntryBuilder::constant(DenseElementsAttr elements) {
  auto type = cast<RankedTensorType>(elements.getType());
  std::vector<uint8_t> raw = rawElements(elements), &all = program_.constants;
  // Named by content: equal constants of all entries are one buffer.
  std::string name = "constant." + std::to_string(raw.size()) + "." + std::to_string(hash64(raw.data(), raw.size()));
  all.resize((all.size() + 63) / 64 * 64);
  auto offset = static_cast<int64_t>(all.size());
  size_t buffers = program_.buffers.size();
  int buffer = addBuffer(schema::Storage::Constant, offset, type, name);
  if (program_.buffers.size() > buffers)
    all.insert(all.end(), raw.begin(), raw.end());
  return {buffer, 0, denseStrides(type.getShape())};
}

Access EntryBuilder::strided(const Place &place, const Index &index, size_t spaceRank) const {
  Access access{place.buffer, place.offset, SmallVector<int64_t>(spaceRank, 0)};
  for (auto [affine, stride] : llvm::zip(index, place.strides)) {
    access.offset += affine.constant * stride;
    for (auto [to, coefficient] : llvm::zip(access.strides, affine.coefficients))
      to += coefficient * stride;
  }
  return access;
}

Access EntryBuilder::read(Value value, const Index &index, ArrayRef<int64_t> space) {
  Value current = value;
  Index at = index;
  while (isView(current.getDefiningOp()) && !copies_.contains(current)) {
    auto source = stepThroughView(current.getDefiningOp(), at, space);
    if (!source) {
      denseCopy(current);
      break;
    }
    current = source->value;
    at = source->index;
  }
  auto copied = copies_.find(current);
  return strided(copied != copies_.end() ? copied->second : place(current), at, space.size());
}

Access EntryBuilder::read(Value value) {
  auto shape = nn::shapeOf(value);
  return read(value, identityIndex(shape.size(), shape.size()), shape);
}

Access EntryBuilder::denseCopy(Value value) {
  auto it = copies_.find(value);
  if (it == copies_.end()) {
    // A reshape is copied in the order of its operand: the row-major order of the elements is the same.
    auto reshape = value.getDefiningOp<nn::ReshapeOp>();
    Value from = reshape ? reshape.getInput() : value;
    Access source = read(from);
    std::string origin = value.getDefiningOp() ? originOf(value.getDefiningOp()) : "";
    Place copyPlace = newBuffer(nn::typeOf(value), "copy", origin);
    auto shape = nn::shapeOf(from);
    copy({copyPlace.buffer, 0, denseStrides(shape)}, source, shape, origin);
    it = copies_.insert({value, copyPlace}).first;
  }
  return {it->second.buffer, it->second.offset, it->second.strides};
}

Access EntryBuilder::readDense(Value value) {
  Access access = read(value);
  auto dense = denseStrides(nn::shapeOf(value));
  bool same = true;
  for (auto [d, size] : llvm::enumerate(nn::shapeOf(value)))
    same = same && (size <= 1 || access.strides[d] == dense[d]);
  return same ? Access{access.buffer, access.offset, dense} : denseCopy(value);
}

void EntryBuilder::use(int index) {
  schema::BufferT &buffer = *program_.buffers[index];
  if (buffer.storage != schema::Storage::Arena) {
    outside_.try_emplace(index, Uses{time(), time()}).first->second.last = time();
    return;
  }
  if (buffer.first == -2)
    buffer.first = time();
  buffer.last = time();
}

void EntryBuilder::endScope(Scope scope, int loop) {
  copies_ = std::move(scope.copies);
  for (auto &buffer : program_.buffers)
    if (buffer->storage == schema::Storage::Arena && buffer->entry == entry_ && buffer->first <= loop &&
        buffer->last >= loop)
      buffer->last = time() - 1;
  for (auto &[buffer, uses] : outside_)
    if (uses.last >= loop)
      uses = {std::min(uses.first, loop), time() - 1};
}

schema::Operand EntryBuilder::operand(const Access &access, ArrayRef<int64_t> space, schema::Access mode) {
  int64_t bytes = elementBytes(access.buffer), extent = 1;
  for (auto [size, stride] : llvm::zip(space, access.strides))
    extent += (size - 1) * stride;
  return schema::Operand(static_cast<uint32_t>(access.buffer), mode, access.offset * bytes, extent * bytes);
}

void EntryBuilder::copy(const Access &to, const Access &from, ArrayRef<int64_t> shape, const std::string &origin) {
  schema::CopyT copy;
  copy.dst = std::make_unique<schema::Operand>(operand(to, shape, schema::Access::Write));
  copy.src = std::make_unique<schema::Operand>(operand(from, shape, schema::Access::Read));
  copy.dtype = program_.buffers[to.buffer]->dtype;
  copy.shape.assign(shape.begin(), shape.end());
  copy.dst_strides.assign(to.strides.begin(), to.strides.end());
  copy.src_strides.assign(from.strides.begin(), from.strides.end());
  append(std::move(copy), origin, "copy");
}

void EntryBuilder::fillZero(const Place &place, ArrayRef<int64_t> shape, const std::string &origin) {
  schema::FillT fill;
  fill.dst = std::make_unique<schema::Operand>(
      operand({place.buffer, place.offset, place.strides}, shape, schema::Access::Write));
  fill.pattern = {0};
  append(std::move(fill), origin, "copy");
}

} // namespace graft
