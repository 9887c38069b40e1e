#include "passes/report/CompareBatch.h"

#include "dialects/nn/NNDialect.h"
#include "dialects/reference/Interpreter.h"
#include "dialects/rl/Names.h"
#include "frontends/mlir/Diagnostics.h"
#include "runtime/io/Safetensors.h"

#include <cmath>
#include <filesystem>

using namespace mlir;

namespace graft::report {

namespace {

std::string place(const std::string &file, const std::string &tensor) {
  return escaped(file, 400) + ": tensor '" + escaped(tensor) + "'";
}

/// The inputs of a run, by name.
class BatchArrays {
public:
  static Result<BatchArrays> open(const std::string &path) {
    GRAFT_ASSIGN_OR_RETURN(SafetensorsFile file, SafetensorsFile::open(path));
    return BatchArrays(std::move(file));
  }

  /// The array for an argument of this type.
  Result<Tensor> argument(const std::string &name, RankedTensorType type) {
    Tensor::Shape shape(type.getShape());
    const TensorInfo *info = file_.find(name);
    if (!info && name == "attention_mask")
      return Tensor::integers(shape, 1);
    if (!info && name == "position_ids")
      return positions(shape);
    if (!info)
      return Status::error(Code::Graph, "the batch has no array for this input of the graph",
                           place(file_.path(), name));
    if (info->shape != shape)
      return Status::error(Code::Range, "a shape that differs from the graph's", place(file_.path(), name));
    if (isa<FloatType>(type.getElementType())) {
      GRAFT_ASSIGN_OR_RETURN(std::vector<double> values, file_.readAll<double>(*info));
      return Tensor::floats(shape, std::move(values));
    }
    GRAFT_ASSIGN_OR_RETURN(std::vector<int64_t> values, file_.readAll<int64_t>(*info));
    return Tensor::integers(shape, std::move(values));
  }

  /// 1 where a token is real, per row-major index; empty: all are.
  Result<std::vector<int64_t>> mask() {
    const TensorInfo *info = file_.find("attention_mask");
    if (!info)
      return std::vector<int64_t>();
    return file_.readAll<int64_t>(*info);
  }
  const SafetensorsFile &file() const { return file_; }

private:
  explicit BatchArrays(SafetensorsFile file) : file_(std::move(file)) {}

  Result<Tensor> positions(const Tensor::Shape &shape) {
    GRAFT_ASSIGN_OR_RETURN(std::vector<int64_t> real, mask());
    Tensor out = Tensor::integers(shape);
    if (shape.size() != 2)
      return Status::error(Code::Range, "an input that is no matrix", place(file_.path(), "position_ids"));
    for (int64_t b = 0; b < shape[0]; ++b)
      for (int64_t t = 0, count = 0; t < shape[1]; ++t) {
        size_t at = static_cast<size_t>(b * shape[1] + t);
        bool counts = at >= real.size() || real[at] != 0;
        out.i()[at] = std::max<int64_t>(count - (counts ? 0 : 1), 0);
        count += counts;
      }
    return out;
  }

  SafetensorsFile file_;
};

/// Log-prob of the next token at every position but each row's last, from logits [B, S, V].
std::vector<double> nextLogprobs(std::span<const double> logits, int64_t vocabulary, std::span<const int64_t> ids,
                                 int64_t rows, int64_t width) {
  std::vector<double> out;
  for (int64_t b = 0; b < rows; ++b)
    for (int64_t t = 0; t + 1 < width; ++t) {
      auto row = logits.subspan(static_cast<size_t>((b * width + t) * vocabulary), static_cast<size_t>(vocabulary));
      double largest = *std::max_element(row.begin(), row.end()), sum = 0;
      for (double logit : row)
        sum += std::exp(logit - largest);
      int64_t next = ids[static_cast<size_t>(b * width + t + 1)];
      out.push_back(next >= 0 && next < vocabulary ? row[static_cast<size_t>(next)] - largest - std::log(sum) : 0);
    }
  return out;
}

struct Reference {
  std::vector<double> logprobs; ///< [B, S-1]
  std::string name;
};

/// Log-probs that a file holds, as logits or as log-probs in either convention.
Result<std::optional<Reference>> referenceIn(const SafetensorsFile &file, std::span<const int64_t> ids, int64_t rows,
                                             int64_t width) {
  std::string name = std::filesystem::path(file.path()).filename().string();
  if (const TensorInfo *info = file.find("logits");
      info && info->shape.size() == 3 && info->shape[0] == rows && info->shape[1] == width && info->shape[2] > 0) {
    GRAFT_ASSIGN_OR_RETURN(std::vector<double> logits, file.readAll<double>(*info));
    return std::optional(Reference{nextLogprobs(logits, info->shape[2], ids, rows, width), name + ": logits"});
  }
  const TensorInfo *info = file.find("logprobs");
  if (!info || info->shape.size() != 2 || info->shape[0] != rows ||
      (info->shape[1] != width && info->shape[1] != width - 1))
    return std::optional<Reference>();
  GRAFT_ASSIGN_OR_RETURN(std::vector<double> all, file.readAll<double>(*info));
  Reference reference{{}, name + ": logprobs"};
  int64_t skip = info->shape[1] == width ? 1 : 0;
  for (int64_t b = 0; b < rows; ++b)
    reference.logprobs.insert(reference.logprobs.end(), all.begin() + b * info->shape[1] + skip,
                              all.begin() + (b + 1) * info->shape[1]);
  return std::optional(std::move(reference));
}

Result<std::optional<Reference>> findReference(const BatchArrays &batch, std::span<const int64_t> ids, int64_t rows,
                                               int64_t width) {
  GRAFT_ASSIGN_OR_RETURN(std::optional<Reference> inBatch, referenceIn(batch.file(), ids, rows, width));
  std::filesystem::path beside = std::filesystem::path(batch.file().path()).parent_path() / "expected.safetensors";
  if (inBatch || !std::filesystem::exists(beside))
    return inBatch;
  GRAFT_ASSIGN_OR_RETURN(SafetensorsFile file, SafetensorsFile::open(beside.string()));
  return referenceIn(file, ids, rows, width);
}

Result<Tensor> runForward(func::FuncOp function, BatchArrays &batch, const ParameterValues &values) {
  SmallVector<Tensor> arguments;
  Status status;
  for (unsigned i = 0; i < function.getNumArguments(); ++i) {
    std::string name = argumentName(function, i).str();
    Result<Tensor> array = batch.argument(name, cast<RankedTensorType>(function.getArgumentTypes()[i]));
    if (array.isOk())
      arguments.push_back(*array);
    else
      status.merge(array.takeStatus());
  }
  GRAFT_RETURN_IF_ERROR(status);
  DiagnosticCollector diagnostics(*function.getContext(), Code::Verify,
                                  "the graph on " + escaped(batch.file().path(), 400));
  std::map<std::string, Tensor::Shape> shapes;
  function.walk([&](rl::ParameterOp op) { shapes[op.getName().str()] = Tensor::Shape(nn::shapeOf(op.getResult())); });
  auto results = interpret(function, arguments, [&](StringRef name) -> std::optional<Tensor> {
    Result<std::vector<double>> read = values(name.str());
    if (read.isOk())
      return Tensor::floats(shapes[name.str()], std::move(*read));
    status.merge(read.takeStatus());
    return std::nullopt;
  });
  GRAFT_RETURN_IF_ERROR(status);
  if (failed(results))
    return diagnostics.take("interpreting");
  return results->front();
}

} // namespace

Result<std::pair<int64_t, int64_t>> batchShape(const std::string &path) {
  GRAFT_ASSIGN_OR_RETURN(SafetensorsFile file, SafetensorsFile::open(path));
  const TensorInfo *ids = file.find("input_ids");
  if (!ids)
    return Status::error(Code::Graph, "the batch has no input_ids", escaped(path, 400));
  if (ids->shape.size() != 2 || ids->shape[0] < 1 || ids->shape[1] < 2)
    return Status::error(Code::Range, "expected a shape [sequences, tokens] of at least [1, 2]",
                         place(path, "input_ids"));
  return std::pair(ids->shape[0], ids->shape[1]);
}

Result<std::optional<LogprobDifference>> compareBatch(func::FuncOp function, const std::string &path,
                                                      const ParameterValues &values) {
  GRAFT_ASSIGN_OR_RETURN(auto shape, batchShape(path));
  auto [rows, width] = shape;
  GRAFT_ASSIGN_OR_RETURN(BatchArrays batch, BatchArrays::open(path));
  GRAFT_ASSIGN_OR_RETURN(std::vector<int64_t> ids, batch.file().readAll<int64_t>(*batch.file().find("input_ids")));
  GRAFT_ASSIGN_OR_RETURN(std::optional<Reference> reference, findReference(batch, ids, rows, width));
  if (!reference)
    return std::optional<LogprobDifference>();
  GRAFT_ASSIGN_OR_RETURN(Tensor logits, runForward(function, batch, values));
  if (logits.rank() != 3 || logits.shape()[0] != rows || logits.shape()[1] != width)
    return Status::error(Code::Graph, "the graph's output is not logits [sequences, tokens, vocabulary]",
                         escaped(path, 400));
  std::vector<double> got = nextLogprobs(logits.f(), logits.shape()[2], ids, rows, width);
  GRAFT_ASSIGN_OR_RETURN(std::vector<int64_t> mask, batch.mask());
  LogprobDifference difference;
  difference.reference = reference->name;
  for (int64_t b = 0; b < rows; ++b)
    for (int64_t t = 0; t + 1 < width; ++t) {
      auto real = [&](int64_t token) { return mask.empty() || mask[static_cast<size_t>(b * width + token)] != 0; };
      if (!real(t) || !real(t + 1))
        continue;
      size_t at = static_cast<size_t>(b * (width - 1) + t);
      double distance = std::abs(got[at] - reference->logprobs[at]);
      ++difference.compared;
      if (distance > difference.largest || std::isnan(distance)) {
        difference.largest = distance;
        difference.sequence = b;
        difference.token = t + 1;
      }
    }
  return std::optional(std::move(difference));
}

} // namespace graft::report
