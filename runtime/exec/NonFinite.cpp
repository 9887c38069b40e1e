// Where a value that is not finite comes from: weights, inputs, then instruction by instruction.
#include "runtime/base/Convert.h"
#include "runtime/exec/SessionState.h"
#include "runtime/program/Instructions.h"
#include "runtime/program/Layout.h"

#include <cmath>
#include <cstring>

namespace graft {

namespace {

struct BFloat {
  uint16_t bits;
  operator double() const { return static_cast<double>(bfloatToFloat(bits)); }
};

struct Found {
  int64_t index;
  bool isNaN;
};

/// The first element that is NaN or plus infinity.
template <typename T> std::optional<Found> firstBadOf(const uint8_t *bytes, int64_t size) {
  for (int64_t k = 0; k < size / static_cast<int64_t>(sizeof(T)); ++k) {
    T value;
    std::memcpy(&value, bytes + k * static_cast<int64_t>(sizeof(T)), sizeof value);
    if (!(static_cast<double>(value) < std::numeric_limits<double>::infinity()))
      return Found{k, std::isnan(static_cast<double>(value))};
  }
  return std::nullopt;
}

/// Absent: none, or no floats.
std::optional<Found> firstBad(const uint8_t *bytes, int64_t size, schema::DType dtype) {
  return dtype == schema::DType::F32    ? firstBadOf<float>(bytes, size)
         : dtype == schema::DType::F64  ? firstBadOf<double>(bytes, size)
         : dtype == schema::DType::BF16 ? firstBadOf<BFloat>(bytes, size)
                                        : std::nullopt;
}

/// "NaN in 'x' at [0, 3]"
std::string badText(const uint8_t *bytes, int64_t size, schema::DType dtype, std::string_view name,
                    std::vector<int64_t> shape) {
  auto found = firstBad(bytes, size, dtype);
  if (!found)
    return "";
  std::string index;
  for (int64_t rest = found->index; !shape.empty(); shape.pop_back()) {
    index = std::to_string(shape.back() ? rest % shape.back() : 0) + (index.empty() ? "" : ", ") + index;
    rest = shape.back() ? rest / shape.back() : 0;
  }
  return std::string(found->isNaN ? "NaN" : "infinity") + " in '" + escaped(name, 200) + "' at [" + index + "]";
}

} // namespace

std::string Session::State::nonFiniteWeights() const {
  for (unsigned i = 0; i < parameters.size(); ++i) {
    const schema::Parameter &parameter = *root().parameters()->Get(i);
    std::vector<int64_t> shape = parameters[i].shape;
    int64_t columns = shape.empty() ? 1 : shape.back(), pitch = parameter.row_pitch();
    int64_t rows = columns ? parameters[i].elements / columns : 0;
    for (int64_t row = 0; row < rows; ++row) {
      int64_t width = byteSize(parameter.dtype());
      const uint8_t *from = parameterBlock.data() + parameter.offset() + row * pitch * width;
      if (auto at = firstBad(from, columns * width, parameter.dtype()))
        return "weights '" + escaped(parameters[i].name, 200) + "' are not finite in row " + std::to_string(row) +
               ", column " + std::to_string(at->index);
    }
  }
  return "";
}

std::string Session::State::nonFiniteBuffer(const Blocks &blocks, uint32_t index) const {
  const schema::Buffer &b = buffer(index);
  if (!isTransient(b.storage()) && b.storage() != schema::Storage::Gradient)
    return "";
  return badText(blocks.address(b), b.size(), b.dtype(), b.name()->string_view(), shapeOf(b.shape()));
}

Result<std::optional<std::string>> Session::findNonFinite(std::string_view name, const Inputs &inputs) {
  State &state = *state_;
  GRAFT_RETURN_IF_ERROR(state.checkWhole());
  GRAFT_ASSIGN_OR_RETURN(int index, state.findEntry(name));
  const schema::Entry &entry = *state.root().entries()->Get(static_cast<unsigned>(index));
  GRAFT_RETURN_IF_ERROR(state.checkRun(index, inputs, {}));
  if (std::string weights = state.nonFiniteWeights(); !weights.empty())
    return std::optional(weights);
  // What an earlier run left behind must not be taken for what this one makes.
  std::memset(state.arena.data(), 0, state.arena.size());
  if (name == "accumulate")
    std::memset(state.gradientBlock.data(), 0, state.gradientBlock.size());
  GRAFT_RETURN_IF_ERROR(state.loadInputs(entry, inputs));
  Blocks blocks = state.blocks();
  for (unsigned i = 0; entry.inputs() && i < entry.inputs()->size(); ++i)
    if (std::string bad = state.nonFiniteBuffer(blocks, entry.inputs()->Get(i)->buffer()); !bad.empty())
      return std::optional("the batch has " + bad);
  std::string found;
  Status status = state.runSteps(index, Use(), [&](size_t number) -> Status {
    const schema::Instruction &instruction = *entry.instructions()->Get(static_cast<unsigned>(number));
    visitBuffers(instruction, [&](uint32_t written, schema::Access access) {
      if (access != schema::Access::Read && found.empty())
        if (std::string bad = state.nonFiniteBuffer(blocks, written); !bad.empty())
          found = "instruction " + std::to_string(number) + " (" +
                  escaped(instruction.origin() ? instruction.origin()->string_view() : "", 200) + ", " +
                  escaped(kindOf(instruction)) + ") makes " + bad;
    });
    return found.empty() ? Status::ok() : Status::error(Code::Failed, "found");
  });
  if (found.empty() && !status.isOk())
    return status;
  return found.empty() ? std::optional<std::string>() : std::optional(found);
}

} // namespace graft
