// The header of a safetensors file: strict parsing, then the layout of the data as a whole.
#include "runtime/base/Checked.h"
#include "runtime/base/Json.h"
#include "runtime/io/Safetensors.h"

#include <algorithm>
#include <unordered_set>

namespace graft {

namespace {
std::string tensorPlace(std::string_view name) {
  return "tensor '" + escaped(name) + "'";
}

class HeaderParser {
public:
  HeaderParser(std::string_view text, uint64_t dataBytes, const SafetensorsLimits &limits)
      : text_(text), json_(text), dataBytes_(dataBytes), limits_(limits) {}

  Result<SafetensorsHeader> parse();

private:
  void fault(Code code, std::string message, std::string place) {
    if (faults_++ < limits_.faults)
      status_.merge(Status::error(code, std::move(message), std::move(place)));
  }
  void entry(std::string name);
  bool shape(TensorInfo &tensor);
  bool offsets(TensorInfo &tensor);
  void metadata();
  void layout();
  /// True if the next value is of the kind; otherwise consumes it and records a Type fault.
  bool is(JsonKind kind, std::string_view what, const std::string &place);
  Status finished();

  std::string_view text_;
  JsonReader json_;
  uint64_t dataBytes_;
  const SafetensorsLimits &limits_;
  SafetensorsHeader header_;
  Status status_;
  size_t faults_ = 0;
};

bool HeaderParser::is(JsonKind kind, std::string_view what, const std::string &place) {
  JsonKind found = json_.peek();
  if (found == kind)
    return true;
  if (json_.skip())
    fault(Code::Type,
          std::string(what) + " must be " + std::string(description(kind)) + ", found " +
              std::string(description(found)),
          place);
  return false;
}

bool HeaderParser::shape(TensorInfo &tensor) {
  std::string place = tensorPlace(tensor.name);
  if (!is(JsonKind::Array, "shape", place))
    return false;
  if (!json_.enterArray())
    return false;
  bool good = true;
  while (json_.nextElement()) {
    std::string_view spelling;
    std::optional<int64_t> dim;
    if (json_.peek() == JsonKind::Number && json_.readNumber(spelling))
      dim = parseInteger(spelling);
    else
      json_.skip(&spelling);
    if (json_.failed())
      return false;
    if (good && (!dim || *dim < 0))
      fault(Code::Type, "shape has " + escaped(spelling, 40) + " where an integer from 0 to 2^63 - 1 is expected",
            place);
    good = good && dim && *dim >= 0;
    if (good && tensor.shape.size() >= limits_.rank) {
      fault(Code::Limit, "shape has more than " + std::to_string(limits_.rank) + " dimensions", place);
      good = false;
    }
    if (good)
      tensor.shape.push_back(*dim);
  }
  return good;
}

bool HeaderParser::offsets(TensorInfo &tensor) {
  std::string place = tensorPlace(tensor.name);
  if (!is(JsonKind::Array, "data_offsets", place))
    return false;
  if (!json_.enterArray())
    return false;
  uint64_t values[2] = {};
  size_t count = 0;
  bool good = true;
  for (; json_.nextElement(); ++count) {
    std::string_view spelling;
    std::optional<uint64_t> value;
    if (json_.peek() == JsonKind::Number && json_.readNumber(spelling))
      value = parseUnsigned(spelling);
    else
      json_.skip(&spelling);
    if (json_.failed())
      return false;
    if (good && !value)
      fault(Code::Type,
            "data_offsets has " + escaped(spelling, 40) + " where an integer from 0 to 2^64 - 1 is expected", place);
    good = good && value;
    if (good && count < 2)
      values[count] = *value;
  }
  if (good && count != 2)
    fault(Code::Type, "data_offsets must have 2 numbers, found " + std::to_string(count), place);
  tensor.begin = values[0];
  tensor.bytes = values[1] - values[0];
  bool ordered = values[0] <= values[1] && values[1] <= dataBytes_;
  if (good && count == 2 && !ordered)
    fault(Code::Range,
          "data_offsets [" + std::to_string(values[0]) + ", " + std::to_string(values[1]) + "] do not lie within the " +
              std::to_string(dataBytes_) + " bytes of data",
          place);
  return good && count == 2 && ordered;
}

void HeaderParser::entry(std::string name) {
  TensorInfo tensor;
  tensor.name = std::move(name);
  std::string place = tensorPlace(tensor.name), key, spelling;
  if (!is(JsonKind::Object, "an entry", place))
    return;
  if (!json_.enterObject())
    return;
  enum { HasDtype = 1, HasShape = 2, HasOffsets = 4 };
  int seen = 0;
  bool good = true;
  while (json_.nextKey(key)) {
    int field = key == "dtype" ? HasDtype : key == "shape" ? HasShape : key == "data_offsets" ? HasOffsets : 0;
    if (field == 0) {
      json_.skip();
      continue;
    }
    if (seen & field) {
      fault(Code::Format, "key '" + key + "' occurs twice", place);
      json_.skip();
      good = false;
      continue;
    }
    seen |= field;
    if (field == HasShape) {
      good &= shape(tensor);
    } else if (field == HasOffsets) {
      good &= offsets(tensor);
    } else if (!is(JsonKind::String, "dtype", place)) {
      good = false;
    } else if (json_.readString(spelling)) {
      std::optional<DType> dtype = dtypeFromSafetensors(spelling);
      if (!dtype)
        fault(Code::Type, "unknown dtype '" + escaped(spelling, 40) + "'", place);
      good &= dtype.has_value();
      tensor.dtype = dtype.value_or(DType::U8);
    }
  }
  if (json_.failed())
    return;
  if (seen != (HasDtype | HasShape | HasOffsets)) {
    fault(Code::Format, "dtype, shape and data_offsets are expected", place);
    return;
  }
  if (good)
    header_.tensors.push_back(std::move(tensor));
}

void HeaderParser::metadata() {
  if (!is(JsonKind::Object, "'__metadata__'", ""))
    return;
  if (!json_.enterObject())
    return;
  std::string key, value;
  size_t count = 0;
  while (json_.nextKey(key)) {
    std::string place = "__metadata__ '" + escaped(key) + "'";
    if (++count > limits_.metadata) {
      if (count == limits_.metadata + 1)
        fault(Code::Limit, "'__metadata__' has more than " + std::to_string(limits_.metadata) + " entries", "");
      json_.skip();
      continue;
    }
    if (!is(JsonKind::String, "a value", place))
      continue;
    if (json_.readString(value) && !header_.metadata.emplace(key, value).second)
      fault(Code::Format, "key occurs twice", place);
  }
}

/// Checks sizes and that the tensors cover the data exactly, and makes offsets relative to the file.
void HeaderParser::layout() {
  auto &tensors = header_.tensors;
  for (TensorInfo &tensor : tensors) {
    std::optional<uint64_t> elements = elementCount(tensor.shape);
    std::optional<uint64_t> bits = elements ? checkedMultiply(*elements, bitWidth(tensor.dtype)) : std::nullopt;
    if (!bits)
      fault(Code::Range, "the number of bytes of its shape does not fit into 64 bits", tensorPlace(tensor.name));
    else if (*bits % 8 != 0)
      fault(Code::Range,
            std::to_string(*elements) + " elements of " + std::string(safetensorsName(tensor.dtype)) +
                " are no whole number of bytes",
            tensorPlace(tensor.name));
    else if (*bits / 8 != tensor.bytes)
      fault(Code::Range,
            "its dtype and shape need " + std::to_string(*bits / 8) + " bytes, its data_offsets span " +
                std::to_string(tensor.bytes),
            tensorPlace(tensor.name));
    tensor.elements = elements.value_or(0);
  }
  std::ranges::sort(tensors, [](const TensorInfo &a, const TensorInfo &b) {
    return std::tie(a.begin, a.bytes, a.name) < std::tie(b.begin, b.bytes, b.name);
  });
  uint64_t end = 0;
  for (const TensorInfo &tensor : tensors) {
    if (tensor.begin != end)
      fault(Code::Range,
            (tensor.begin > end ? "leaves a hole before it: begins at " : "overlaps the tensor before it: begins at ") +
                std::to_string(tensor.begin) + ", expected " + std::to_string(end),
            tensorPlace(tensor.name));
    end = std::max(end, tensor.begin + tensor.bytes);
  }
  if (end != dataBytes_ && faults_ == 0)
    fault(Code::Range,
          "the tensors end at byte " + std::to_string(end) + " of the data, the file at " + std::to_string(dataBytes_),
          "");
  for (TensorInfo &tensor : tensors)
    tensor.begin += 8 + text_.size();
}

Status HeaderParser::finished() {
  if (json_.failed())
    status_.merge(Status::error(json_.error().code, json_.error().message,
                                "header byte " + std::to_string(json_.error().offset)));
  if (faults_ > limits_.faults)
    status_.merge(Status::error(Code::Format, "and " + std::to_string(faults_ - limits_.faults) + " more faults"));
  return std::move(status_);
}

Result<SafetensorsHeader> HeaderParser::parse() {
  if (text_.empty() || text_[0] != '{')
    return Status::error(Code::Format, "the header does not begin with '{'");
  std::unordered_set<std::string> names;
  std::string name;
  bool hasMetadata = false;
  if (json_.enterObject())
    while (json_.nextKey(name)) {
      bool isMetadata = name == "__metadata__";
      if (isMetadata ? std::exchange(hasMetadata, true) : !names.insert(name).second) {
        fault(Code::Format, "occurs twice", isMetadata ? "'__metadata__'" : tensorPlace(name));
        json_.skip();
      } else if (isMetadata) {
        metadata();
      } else if (names.size() > limits_.tensors) {
        return Status::error(Code::Limit, "has more than " + std::to_string(limits_.tensors) + " tensors");
      } else {
        entry(name);
      }
    }
  json_.finish();
  if (json_.failed() || faults_ != 0)
    return finished();
  layout();
  if (faults_ != 0)
    return finished();
  return std::move(header_);
}
} // namespace

Result<SafetensorsHeader> parseSafetensorsHeader(std::string_view text, uint64_t dataBytes,
                                                 const SafetensorsLimits &limits) {
  return HeaderParser(text, dataBytes, limits).parse();
}

} // namespace graft
